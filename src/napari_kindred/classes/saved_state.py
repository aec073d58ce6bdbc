"""What was found in an image's frames: what another threshold or other names take, on disk as well.

A saved result keeps it as safetensors beside JSON, so that nothing is ever unpickled.
"""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.events import Notice, Progress
from ..results.atomic import plain
from ..results.spill import SpillStore
from .clip.matching import chances, contrast_beside
from .open import reopen_clip, reopen_map
from .proposals.open import reopen_proposer

if TYPE_CHECKING:
    import zarr
    from numpy.typing import NDArray

    from ..results.spill import Arrays
    from .classifiers import Classifier
    from .clip.matching import ClipMatcher
    from .proposals.base import Proposals, Recipe
    from .proposals.masks import Masks


OBSERVATIONS = "observations"
"""What a result's group calls it."""

LARGEST = 1 << 27
"""Bytes that are kept with a result, and believed of one."""

_TOO_LARGE = "observations are too large"

NOT_KEPT = (
    "This result was saved without what was found in its frames; run again to change its "
    "threshold or names."
)

MUCH = (
    "What was found in the frames of this result was too much to be saved with it; run again to "
    "change its threshold or names."
)

DAMAGED = (
    "What was found in the frames of this result is damaged in its file; run again to change its "
    "threshold or names."
)


@dataclass(frozen=True, eq=False)
class Observations:
    """What was found in the frames of an image, before names and thresholds decide.

    Attributes
    ----------
    classifier : Classifier
        What gives names their meaning.
    store : SpillStore
        What it found, by the frame's number.
    indices : tuple
        The frames' positions on the leading axes, in the order of their numbers.
    shape : tuple of int
        Of the labels of all frames.
    """

    classifier: Classifier
    store: SpillStore
    indices: tuple[tuple[int, ...], ...]
    shape: tuple[int, ...]


def write_observations(root: zarr.Group, observations: Observations, names: Sequence[str]) -> None:
    """Add to a result's group what was found in its frames, unless it is too much.

    A classifier of the user's own is not known here, and not kept.

    Parameters
    ----------
    root : zarr.Group
        Of the result.
    observations : Observations
    names : sequence of str
        Those that can be asked for without opening CLIP again.
    """
    from safetensors.numpy import save

    known = _packed(observations.classifier, names)
    if known is None:
        return
    facts, tensors = known
    size = sum(array.nbytes for array in tensors.values())
    for number in range(len(observations.store)):
        arrays = observations.store.get(number)
        size += sum(array.nbytes for array in arrays.values())
        if size > LARGEST:
            root.attrs[_TOO_LARGE] = True
            return
        tensors |= {f"{number} {name}": array for name, array in arrays.items()}
    content = save({name: np.ascontiguousarray(array) for name, array in tensors.items()})
    array = root.create_array(OBSERVATIONS, data=np.frombuffer(content, np.uint8))
    place = {
        "indices": observations.indices[: len(observations.store)],
        "shape": observations.shape,
    }
    array.attrs.update(plain({**facts, **place}))


def read_observations(root: zarr.Group, shape: Sequence[int]) -> tuple[Observations | None, str]:
    """Read what :func:`write_observations` wrote, or tell in one sentence why there is nothing.

    Parameters
    ----------
    root : zarr.Group
        Of the result, whatever is in it.
    shape : sequence of int
        Of its labels.
    """
    try:
        if root.attrs.get(_TOO_LARGE):
            return None, MUCH
        if OBSERVATIONS not in root:
            return None, NOT_KEPT
        return _read(root[OBSERVATIONS], tuple(shape)), ""
    except Exception:  # noqa: BLE001 - each library fails in its own ways; the labels are whole
        return None, DAMAGED


def _read(array: Any, shape: tuple[int, ...]) -> Observations:
    from safetensors.numpy import load

    if array.ndim != 1 or array.dtype != np.uint8 or array.nbytes > 2 * LARGEST:
        raise ValueError("no bytes")
    facts = dict(array.attrs)
    tensors: Arrays = {}
    frames: dict[int, Arrays] = defaultdict(dict)
    for name, part in load(array[:].tobytes()).items():
        place, _, what = name.partition(" ")
        # Copied, for torch refuses arrays that cannot be written to, as those of bytes.
        (frames[int(place)] if what else tensors)[what or name] = part.copy()
    classifier, length = _unpacked(facts, tensors)
    plane, lead = tuple(map(int, facts["shape"][-2:])), tuple(map(int, facts["shape"][:-2]))
    indices = tuple(tuple(map(int, index)) for index in facts["indices"])
    _check_places(indices, lead)
    store = SpillStore()
    for number in range(len(indices)):
        _check(frames[number], classifier, plane, length)
        store.put(number, frames[number])
    return _in_shape(Observations(classifier, store, indices, (*lead, *plane)), shape)


def _check_places(indices: Sequence[tuple[int, ...]], lead: Sequence[int]) -> None:
    for index in indices:
        if (
            len(index) != len(lead)
            or (np.array(index) < 0).any()
            or (index >= np.array(lead)).any()
        ):
            raise ValueError("positions of frames")
    if not indices or len(set(indices)) < len(indices):
        raise ValueError("positions of frames")


def _in_shape(observations: Observations, shape: tuple[int, ...]) -> Observations:
    """Return it with the axes of length 1 that the labels have besides, as a layer may."""
    if observations.shape == shape:
        return observations
    lead, own, places = observations.shape[:-2], 0, []
    for size in shape[:-2]:
        mine = own < len(lead) and lead[own] == size
        places.append(own if mine else None)
        own += mine
        if not mine and size != 1:
            raise ValueError("another shape")
    if own < len(lead) or observations.shape[-2:] != shape[-2:]:
        raise ValueError("another shape")
    indices = tuple(
        tuple(0 if place is None else index[place] for place in places)
        for index in observations.indices
    )
    return Observations(observations.classifier, observations.store, indices, shape)


# -- what gives names their meaning ----------------------------------------------------------


def _packed(classifier: Classifier, names: Sequence[str]) -> tuple[dict[str, Any], Arrays] | None:
    """Return what a classifier is made of, as JSON can hold it and as arrays; None for others."""
    from .classifiers import (
        ClipMaskClassifier,
        MaskClassifier,
        PixelClassifier,
        VocabularyClassifier,
    )

    if isinstance(classifier, PixelClassifier):
        facts: dict[str, Any] = {"names": classifier.names, "threshold": classifier.threshold}
        return {"kind": "map", "known": classifier.network.identity(), **facts}, {}
    if not isinstance(classifier, MaskClassifier):
        return None
    facts = {"recipe": classifier.proposer.recipe.as_dict()}
    facts |= {"nms_box": classifier.nms_box, "nms_mask": classifier.nms_mask}
    if isinstance(classifier, VocabularyClassifier):
        from .vocabulary.files import to_bytes

        content = np.frombuffer(to_bytes(classifier.vocabulary), np.uint8)
        return {"kind": "vocabulary", **facts}, {"vocabulary": content}
    if isinstance(classifier, ClipMaskClassifier):
        words, texts, sharpness = classifier.clip.texts_of(names)
        facts |= {"known": classifier.clip.identity(), "words": words, "sharpness": sharpness}
        return {"kind": "clip", **facts}, {"texts": texts}
    return None


def _unpacked(facts: Mapping[str, Any], tensors: Arrays) -> tuple[Classifier, int]:
    """Return what :func:`_packed` took apart, and the length of a vector; 0 where there is none."""
    from .classifiers import ClipMaskClassifier, PixelClassifier, VocabularyClassifier
    from .proposals.base import Recipe

    if facts["kind"] == "map":
        names, threshold = tuple(map(str, facts["names"])), float(facts["threshold"])
        network = ClosedNetwork(dict(facts["known"]), names, threshold)
        return PixelClassifier(network, names, threshold), 0
    proposer = ClosedProposer(Recipe.from_dict(facts["recipe"]))
    masks = proposer, None, float(facts["nms_box"]), float(facts["nms_mask"])
    if facts["kind"] == "vocabulary":
        from .vocabulary.vocabulary import Vocabulary

        with tempfile.TemporaryDirectory(prefix="napari-kindred-") as folder:
            path = Path(folder, "result.kindred")
            path.write_bytes(tensors["vocabulary"].tobytes())
            vocabulary = Vocabulary.load(path)
        return VocabularyClassifier(*masks, vocabulary), vocabulary.head.dimension
    if facts["kind"] != "clip":
        raise ValueError("another kind")
    texts, words = tensors["texts"], tuple(map(str, facts["words"]))
    _check_floats(texts, (len(words), texts.shape[1]))
    clip = ClosedClip(dict(facts["known"]), words, texts, float(facts["sharpness"]))
    return ClipMaskClassifier(*masks, clip), texts.shape[1]


# -- what was found --------------------------------------------------------------------------


def _check(arrays: Arrays, classifier: Classifier, plane: tuple[int, ...], length: int) -> None:
    """Refuse what could not have been found in a picture."""
    from .classifiers import PixelClassifier

    if isinstance(classifier, PixelClassifier):
        maps = arrays["maps"]
        if maps.dtype != np.uint8 or maps.shape != (len(classifier.names), *plane):
            raise ValueError("maps")
        return
    boxes, bits = arrays["mask_boxes"], arrays["mask_bits"]
    if boxes.dtype != np.int32 or bits.dtype != np.uint8 or bits.ndim != 1:
        raise ValueError("types of masks")
    if boxes.ndim != 2 or arrays["mask_shape"].tolist() != list(plane):
        raise ValueError("shapes of masks")
    y0, x0, y1, x1 = boxes.T.astype(np.int64)
    inside = (y0 >= 0) & (x0 >= 0) & (y1 >= y0) & (x1 >= x0) & (y1 <= plane[0]) & (x1 <= plane[1])
    needed = -(-(y1 - y0) * (x1 - x0) // 8)
    if not inside.all() or needed.sum() != len(bits):
        raise ValueError("boxes")
    _check_floats(arrays["quality"], (len(boxes),))
    _check_floats(arrays["vectors"], (len(boxes), length if len(boxes) else None))


def _check_floats(values: NDArray[Any], shape: tuple[int | None, ...]) -> None:
    alike = values.ndim == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, values.shape, strict=True)
    )
    if not alike or values.dtype != np.float32 or not math.isfinite(float(np.abs(values).sum())):
        raise ValueError("numbers")


Steps = Generator[Progress | Notice, None, "NDArray[np.float32]"]


@dataclass
class ClosedProposer:
    """What proposes masks by a recipe; see :class:`.base.Proposer`.

    Attributes
    ----------
    recipe : Recipe
    """

    recipe: Recipe

    def iter_propose(
        self, pixels: NDArray[np.float32]
    ) -> Generator[Progress | Notice, None, Proposals]:
        """Find the proposals of one picture, with the weights opened again."""
        return (yield from reopen_proposer(self.recipe).iter_propose(pixels))


@dataclass(frozen=True, eq=False)
class ClosedClip:
    """A CLIP of which the vectors of some words were kept; see :class:`.matching.ClipMatcher`.

    Attributes
    ----------
    known : dict
        Its identity.
    words : tuple of str
    texts : ndarray of float32, shape (len(words), D)
    sharpness : float
        Factor before its cosines.
    """

    known: dict[str, Any]
    words: tuple[str, ...]
    texts: NDArray[np.float32]
    sharpness: float

    def identity(self) -> dict[str, Any]:
        """Return what a result says about how its names were understood."""
        return self.known

    def scores(self, embeddings: NDArray[np.float32], names: Sequence[str]) -> NDArray[np.float32]:
        """Tell how well names fit masks; only for words that were not kept CLIP is opened."""
        wanted = [*names, *contrast_beside(names, self.known["contrast"])]
        if not set(wanted) <= set(self.words):
            return self._opened.scores(embeddings, names)
        texts = self.texts[[self.words.index(word) for word in wanted]]
        return chances(embeddings, texts, self.sharpness, len(names))

    def texts_of(self, names: Sequence[str]) -> tuple[list[str], NDArray[np.float32], float]:
        """Return what is kept of CLIP for these names; see :meth:`.ClipMatcher.texts_of`."""
        wanted = [*names, *contrast_beside(names, self.known["contrast"])]
        if not set(wanted) <= set(self.words):
            return self._opened.texts_of(names)
        return list(self.words), self.texts, self.sharpness

    def iter_embed(self, pixels: NDArray[np.float32], masks: Masks) -> Steps:
        """Embed what lies under each mask of a picture."""
        return (yield from self._opened.iter_embed(pixels, masks))

    @cached_property
    def _opened(self) -> ClipMatcher:
        return reopen_clip(self.known, "auto")


@dataclass(frozen=True)
class ClosedNetwork:
    """A network that names pixels; see :class:`.classifiers.PixelPredictor`.

    Attributes
    ----------
    known : dict
        Its identity.
    names : tuple of str
        What it was asked for.
    threshold : float
        Of the classifier that it belongs to.
    """

    known: dict[str, Any]
    names: tuple[str, ...]
    threshold: float

    def identity(self) -> dict[str, Any]:
        """Return what this is, as plain data."""
        return self.known

    def iter_class_map(self, pixels: NDArray[np.float32], names: Sequence[str]) -> Steps:
        """Return probabilities (C, H, W), with the weights opened again."""
        opened = reopen_map(self.known, self.names, self.threshold, "auto")
        return (yield from opened.network.iter_class_map(pixels, names))
