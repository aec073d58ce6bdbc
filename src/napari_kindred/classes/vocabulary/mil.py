"""Multiple-instance learning: which mask is what, learnt from the names of whole pictures.

U-SAM, section 3.5.  A picture is a *bag* of mask embeddings; that a class occurs in it says that
some of its masks are of this class, not which.  Where single masks were marked they teach on their
own.  Every loss is a function of tensors; :mod:`.train_head` puts them together.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

NOTHING = -1
"""Instance code: certainly none of the classes."""

UNMARKED = -2
"""Instance code: in a picture where others are marked, and not marked itself."""

UNKNOWN = -3
"""Instance code: nothing is known of it."""

_FARTHEST = 8.0
"""Standardised embeddings are cut off here, so that an odd one cannot be arbitrarily sure."""


@dataclass(frozen=True, eq=False)
class Bag:
    """The masks of one picture and what is known of them.

    Attributes
    ----------
    embeddings : ndarray of float32 or float16, shape (N, D)
    instances : ndarray of int16, shape (N,)
        Class number of each mask from 0, or :data:`NOTHING`, :data:`UNMARKED`, :data:`UNKNOWN`.
    present : ndarray of bool, shape (C,), or None
        Which classes the picture was said to hold, and no others; None where nothing was said.
    known : ndarray of bool, shape (C,)
        Classes that who described this picture knew of.  It says nothing of the others: what is
        none of the known classes may still be one of them.
    source : str
        Where the picture came from.
    """

    embeddings: NDArray[np.float32] | NDArray[np.float16]
    instances: NDArray[np.int16]
    present: NDArray[np.bool_] | None
    known: NDArray[np.bool_]
    source: str = ""

    def __len__(self) -> int:
        return len(self.instances)

    def take(self, indices: NDArray[np.intp]) -> Bag:
        """Return a bag of some of the masks."""
        return replace(self, embeddings=self.embeddings[indices], instances=self.instances[indices])

    def mapped(self, to: NDArray[np.int16], classes: int) -> Bag:
        """Return the bag with its classes renumbered.

        Parameters
        ----------
        to : ndarray of int16, shape (C,)
            New number of each class; several may become one.
        classes : int
            How many there are then.
        """
        instances = self.instances.copy()
        named = instances >= 0
        instances[named] = to[instances[named]]
        return replace(
            self,
            instances=instances,
            present=None if self.present is None else _moved(self.present, to, classes),
            known=_moved(self.known, to, classes),
        )


def _moved(flags: NDArray[np.bool_], to: NDArray[np.int16], classes: int) -> NDArray[np.bool_]:
    moved = np.zeros(classes, bool)
    moved[to[flags]] = True
    return moved


class Head(nn.Module):
    """Mask embeddings to one score per class: a perceptron of four layers.

    Parameters
    ----------
    dimension : int
        Length D of an embedding.
    classes : int
    nothing : bool
        Whether a last output stands for none of the classes.
    hidden : int
        Width of the first hidden layer; the second has half, the third a quarter of it.

    Attributes
    ----------
    mean, scale : Tensor, (D,) float32
        Of the embeddings it was trained on, which it standardises itself.
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, dimension: int, classes: int, nothing: bool, hidden: int = 256) -> None:
        super().__init__()
        self.dimension, self.classes, self.nothing = dimension, classes, nothing
        self.hidden = hidden
        self.register_buffer("mean", torch.zeros(dimension))
        self.register_buffer("scale", torch.ones(dimension))
        widths = [dimension, hidden, hidden // 2, hidden // 4]
        layers: list[nn.Module] = []
        for width, following in pairwise(widths):
            layers += [nn.Linear(width, following), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], classes + nothing))

    @property
    def outputs(self) -> int:
        """Classes, and one more where there is an output for none of them."""
        return self.classes + self.nothing

    def standardise(self, embeddings: Tensor) -> Tensor:
        """Shift and scale embeddings (N, D) as those of the training were."""
        return ((embeddings - self.mean) / self.scale).clamp(-_FARTHEST, _FARTHEST)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Return logits (N, outputs) of raw embeddings (N, D)."""
        logits: Tensor = self.layers(self.standardise(embeddings))
        return logits

    @torch.no_grad()
    def probabilities(
        self, embeddings: NDArray[np.floating], batch: int = 4096
    ) -> NDArray[np.float32]:
        """Score masks.

        ``embeddings`` (N, D); returns (N, C) float32.
        """
        found = np.zeros((len(embeddings), self.outputs), np.float32)
        for start in range(0, len(embeddings), batch):
            part = np.asarray(embeddings[start : start + batch], np.float32)
            found[start : start + batch] = F.softmax(self(torch.from_numpy(part)), 1).numpy()
        return found[:, : self.classes]


def bag_scores(logits: Tensor, sizes: Sequence[int], share: int = 10) -> Tensor:
    """Return a bag's score for each class: the mean of its largest logits (section 3.5, eq. 1).

    ``logits`` (N, C) float32; returns (B, C) float32.
    """
    tops = [max(1, math.ceil(size / share)) for size in sizes]
    padded = torch.nn.utils.rnn.pad_sequence(
        list(torch.split(logits, list(sizes))), batch_first=True, padding_value=-math.inf
    )
    best = padded.topk(max(tops), dim=1).values  # (B, k, C)
    counts = torch.tensor(tops, device=logits.device)[:, None, None]
    place = torch.arange(best.shape[1], device=logits.device)[None, :, None]
    return torch.where(place < counts, best, 0.0).sum(1) / counts[:, 0]


def mil_loss(scores: Tensor, present: Tensor, known: Tensor | None = None) -> Tensor:
    """Cross-entropy of bags against their normalised multi-hot names (section 3.5, eq. 2).

    ``scores`` (B, C) float32, ``present`` (B, C) bool, ``known`` (B, C) bool; returns () float32.
    """
    if known is not None:
        scores = scores.masked_fill(~known, -math.inf)
    logs = F.log_softmax(scores, 1)
    # A class that takes no part has a log of minus infinity, and a weight of 0.
    return -torch.where(present, logs, 0.0).sum(1).div(present.sum(1)).mean()


def bad_masks(teacher: Tensor, allowed: Tensor, share: float = 0.5) -> Tensor:
    """Tell on which masks a teacher should not be followed (section 3.5, *B*).

    ``teacher`` (N, C) float32, ``allowed`` (N, C) bool; returns (N,) bool.
    """
    logs = F.log_softmax(teacher, 1)
    entropy = -(logs.exp() * logs).sum(1)
    chosen = teacher.argmax(1, keepdim=True)
    wrong = ~allowed.gather(1, chosen)[:, 0]
    return (entropy > share * math.log(teacher.shape[1])) | wrong


def uncertainty_loss(student: Tensor) -> Tensor:
    """Draw a student's answers on bad masks towards not knowing (section 3.5, eq. 3).

    ``student`` (N, C) float32; returns () float32.
    """
    if not len(student):
        return student.sum()
    return -F.log_softmax(student, 1).sum(1).mean()


def instance_loss(logits: Tensor, allowed: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of single masks, each of which may be one or several classes.

    ``logits`` (N, C) float32, ``allowed`` (N, C) bool, ``weights`` (N,) float32; returns ()
    float32.
    """
    if not len(logits):
        return logits.sum()
    inside = logits.masked_fill(~allowed, -math.inf).logsumexp(1)
    cost = logits.logsumexp(1) - inside
    return (cost * weights).sum() / weights.sum()
