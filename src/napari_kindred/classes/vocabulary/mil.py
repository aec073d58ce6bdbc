"""Multiple-instance learning: classes of masks from the names of whole images.

U-SAM, section 3.5.  An image is a *bag* of mask embeddings; a class that occurs in it is that of
some of its masks, unknown which.  Annotated masks are trained on directly.  Every loss is a
function of tensors; :mod:`.train_head` combines them.
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
"""Instance code: not annotated, in an image where others are."""

UNKNOWN = -3
"""Instance code: unknown."""

_FARTHEST = 8.0
"""Bound of standardised embeddings, so that an outlier cannot be arbitrarily confident."""


@dataclass(frozen=True, eq=False)
class Bag:
    """The masks of one image and their annotations.

    ``instances`` (N,) are the class of each of the ``embeddings`` (N, D) from 0, or
    :data:`NOTHING`, :data:`UNMARKED`, :data:`UNKNOWN`; ``present`` (C,) the classes that the image
    holds, and no others, or None if it was not named; ``annotated`` (C,) the classes that the
    annotator considered: a mask of none of them may be of another class.  ``source`` is where the
    image came from, ``lost`` (C,) the marks of each class that no instance has, if any; ``area``
    the number of pixels that it stands for.
    """

    embeddings: NDArray[np.float32] | NDArray[np.float16]
    instances: NDArray[np.int16]
    present: NDArray[np.bool_] | None
    annotated: NDArray[np.bool_]
    source: str = ""
    lost: NDArray[np.int16] | None = None
    area: float = 1.0

    def lost_marks(self, classes: int) -> NDArray[np.int16]:
        """Return the marks of each class that no instance has, (C,)."""
        return np.zeros(classes, np.int16) if self.lost is None else self.lost

    def __len__(self) -> int:
        return len(self.instances)

    def take(self, indices: NDArray[np.intp]) -> Bag:
        """Return a bag of some of the masks."""
        return replace(self, embeddings=self.embeddings[indices], instances=self.instances[indices])

    def mapped(self, to: NDArray[np.int16], classes: int) -> Bag:
        """Return the bag with classes renumbered by ``to`` (C,); several may become one."""
        instances = self.instances.copy()
        named = instances >= 0
        instances[named] = to[instances[named]]
        return replace(
            self,
            instances=instances,
            present=None if self.present is None else _moved(self.present, to, classes),
            annotated=_moved(self.annotated, to, classes),
            lost=np.bincount(to, self.lost_marks(len(to)), classes).astype(np.int16),
        )


def _moved(flags: NDArray[np.bool_], to: NDArray[np.int16], classes: int) -> NDArray[np.bool_]:
    moved = np.zeros(classes, bool)
    moved[to[flags]] = True
    return moved


class Head(nn.Module):
    """Scores mask embeddings of length ``dimension`` for classes: a perceptron of four layers.

    With ``nothing`` there is a last output for none of the classes.  The second hidden layer has
    half the first one's width, the third a quarter.  It standardises embeddings itself, by the
    ``mean`` and ``scale`` (D,) of those it was trained on.
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
        """Number of classes, and of the output for none of them."""
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
        """Return the probabilities (N, C) of embeddings (N, D)."""
        found = np.zeros((len(embeddings), self.outputs), np.float32)
        for start in range(0, len(embeddings), batch):
            part = np.asarray(embeddings[start : start + batch], np.float32)
            found[start : start + batch] = F.softmax(self(torch.from_numpy(part)), 1).numpy()
        return found[:, : self.classes]


def bag_scores(logits: Tensor, sizes: Sequence[int], share: int = 10) -> Tensor:
    """Return a bag's score for each class: the mean of its largest logits (section 3.5, eq. 1).

    ``logits`` (N, C) are of all bags; returns (B, C).
    """
    tops = [max(1, math.ceil(size / share)) for size in sizes]
    padded = torch.nn.utils.rnn.pad_sequence(
        list(torch.split(logits, list(sizes))), batch_first=True, padding_value=-math.inf
    )
    best = padded.topk(max(tops), dim=1).values  # (B, k, C)
    counts = torch.tensor(tops, device=logits.device)[:, None, None]
    place = torch.arange(best.shape[1], device=logits.device)[None, :, None]
    return torch.where(place < counts, best, 0.0).sum(1) / counts[:, 0]


def mil_loss(scores: Tensor, present: Tensor, annotated: Tensor | None = None) -> Tensor:
    """Cross-entropy of bags against their normalised multi-hot names (section 3.5, eq. 2).

    ``scores``, ``present``, ``annotated`` (B, C).
    """
    if annotated is not None:
        scores = scores.masked_fill(~annotated, -math.inf)
    logs = F.log_softmax(scores, 1)
    # A class that takes no part has a log of minus infinity, and a weight of 0.
    return -torch.where(present, logs, 0.0).sum(1).div(present.sum(1)).mean()


def bad_masks(teacher: Tensor, allowed: Tensor, share: float = 0.5) -> Tensor:
    """Return on which masks (N,) a teacher (N, C) is uncertain or wrong (section 3.5, *B*)."""
    logs = F.log_softmax(teacher, 1)
    entropy = -(logs.exp() * logs).sum(1)
    predicted = teacher.argmax(1, keepdim=True)
    wrong = ~allowed.gather(1, predicted)[:, 0]
    return (entropy > share * math.log(teacher.shape[1])) | wrong


def uncertainty_loss(student: Tensor) -> Tensor:
    """Draw a student's logits (N, C) on bad masks towards equal ones (section 3.5, eq. 3)."""
    if not len(student):
        return student.sum()
    return -F.log_softmax(student, 1).sum(1).mean()


def instance_loss(logits: Tensor, allowed: Tensor, weights: Tensor) -> Tensor:
    """Cross-entropy of single masks, each of which may be one or several classes.

    ``logits``, ``allowed`` (N, C), ``weights`` (N,).
    """
    if not len(logits):
        return logits.sum()
    inside = logits.masked_fill(~allowed, -math.inf).logsumexp(1)
    cost = logits.logsumexp(1) - inside
    return (cost * weights).sum() / weights.sum()
