"""Observations: output of inference from which threshold and names can be changed, also on disk.

A saved result holds them as safetensors and JSON, so that nothing is ever unpickled.
"""

from __future__ import annotations

import math
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..results.atomic import plain
from ..results.spill import SpillStore
from .classifiers import (
    ClipMaskClassifier,
    MaskClassifier,
    PixelClassifier,
    VocabularyClassifier,
)
from .clip.matching import ClipSpec, WordVectors
from .pixelwise.classifier import VocabularyPixelClassifier
from .proposals.open import read_spec

if TYPE_CHECKING:
    import zarr
    from numpy.typing import NDArray

    from ..results.spill import Arrays
    from .classifiers import Classifier
    from .escnet.predict import EscNetSpec
    from .escnet.training_free import FreeEscSpec
    from .vocabulary.vocabulary import Vocabulary


OBSERVATIONS = "observations"
"""Name of the array in a result's group."""

LARGEST = 1 << 27
"""Largest size in bytes that is saved with a result, and accepted of one."""

_LARGE_MARK = "observations are too large"

NOT_KEPT = (
    "This result was saved without what was found in its frames; run again to change its "
    "threshold or names."
)

TOO_LARGE = (
    "What was found in the frames of this result was too much to be saved with it; run again to "
    "change its threshold or names."
)

DAMAGED = (
    "What was found in the frames of this result is damaged in its file; run again to change its "
    "threshold or names."
)


@dataclass(frozen=True, eq=False)
class Observations:
    """Output of inference for the frames of an image, before names and thresholds decide.

    ``store`` holds that of ``classifier`` by the frame's number, ``indices`` are the frames'
    positions on the leading axes, ``shape`` is that of the labels of all frames.
    """

    classifier: Classifier
    store: SpillStore
    indices: tuple[tuple[int, ...], ...]
    shape: tuple[int, ...]


def write_observations(root: zarr.Group, observations: Observations, names: Sequence[str]) -> None:
    """Add observations to a result's group, unless too large or of a user's own classifier."""
    from safetensors.numpy import save

    packed = _packed(observations.classifier, names)
    if packed is None:
        return
    facts, tensors = packed
    size = sum(array.nbytes for array in tensors.values())
    for number in range(len(observations.store)):
        arrays = observations.store.get(number)
        size += sum(array.nbytes for array in arrays.values())
        if size > LARGEST:
            root.attrs[_LARGE_MARK] = True
            return
        tensors |= {f"{number} {name}": array for name, array in arrays.items()}
    content = save({name: np.ascontiguousarray(array) for name, array in tensors.items()})
    array = root.create_array(OBSERVATIONS, data=np.frombuffer(content, np.uint8))
    facts["indices"] = observations.indices[: len(observations.store)]
    facts["shape"] = observations.shape
    array.attrs.update(plain(facts))


def read_observations(root: zarr.Group, shape: Sequence[int]) -> tuple[Observations | None, str]:
    """Read observations, or return a sentence that says why there are none."""
    try:
        if root.attrs.get(_LARGE_MARK):
            return None, TOO_LARGE
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
        # Copied because torch refuses read-only arrays.
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
    inside = all(
        len(index) == len(lead) and all(0 <= i < n for i, n in zip(index, lead, strict=True))
        for index in indices
    )
    if not inside or not indices or len(set(indices)) < len(indices):
        raise ValueError("positions of frames")


def _in_shape(observations: Observations, shape: tuple[int, ...]) -> Observations:
    """Return observations with the additional axes of length 1 that a layer's labels may have."""
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


# -- classifiers ----------------------------------------------------------------------------


def _packed(classifier: Classifier, names: Sequence[str]) -> tuple[dict[str, Any], Arrays] | None:
    """Return a classifier's facts for JSON, and its arrays; None for one of a user's own."""
    if isinstance(classifier, PixelClassifier):
        facts: dict[str, Any] = {"names": classifier.names, "threshold": classifier.threshold}
        network = {"kind": classifier.spec.kind, **classifier.spec.as_dict()}
        return {"kind": "map", "network": network, **facts}, {}
    if isinstance(classifier, VocabularyPixelClassifier):
        content = np.frombuffer(classifier.vocabulary.to_bytes(), np.uint8)
        return {"kind": "pixels", "maps": classifier.maps}, {"vocabulary": content}
    if not isinstance(classifier, MaskClassifier):
        return None
    facts = {"proposer": classifier.spec.as_dict()}
    facts |= {"nms_box": classifier.nms_box, "nms_mask": classifier.nms_mask}
    if isinstance(classifier, VocabularyClassifier):
        content = np.frombuffer(classifier.vocabulary.to_bytes(), np.uint8)
        return {"kind": "vocabulary", **facts}, {"vocabulary": content}
    if isinstance(classifier, ClipMaskClassifier):
        words = classifier.word_vectors(names)
        facts |= {"clip": classifier.clip_spec.as_dict(), "words": words.words}
        return {"kind": "clip", "sharpness": words.sharpness, **facts}, {"texts": words.vectors}
    return None


def _unpacked(facts: Mapping[str, Any], tensors: Arrays) -> tuple[Classifier, int]:
    """Return the classifier of :func:`_packed`, and the length of a vector; 0 if it has none."""
    if facts["kind"] == "map":
        names, threshold = tuple(map(str, facts["names"])), float(facts["threshold"])
        return PixelClassifier(_network_spec(facts["network"]), names, threshold), 0
    if facts["kind"] == "pixels":
        vocabulary, maps = _vocabulary(tensors), tuple(map(str, facts["maps"]))
        for name in maps:
            vocabulary.lookup(name)
        return VocabularyPixelClassifier(vocabulary.spec, vocabulary, maps), 0
    overlaps = float(facts["nms_box"]), float(facts["nms_mask"])
    masks = read_spec(facts["proposer"]), None, *overlaps
    if facts["kind"] == "vocabulary":
        vocabulary = _vocabulary(tensors)
        return VocabularyClassifier(*masks, vocabulary), vocabulary.head.dimension
    if facts["kind"] != "clip":
        raise ValueError("another kind")
    texts, words = tensors["texts"], tuple(map(str, facts["words"]))
    _check_floats(texts, (len(words), texts.shape[1]))
    vectors = WordVectors(words, texts, float(facts["sharpness"]))
    return ClipMaskClassifier(*masks, ClipSpec.from_dict(facts["clip"]), vectors), texts.shape[1]


def _vocabulary(tensors: Arrays) -> Vocabulary:
    from .vocabulary.vocabulary import Vocabulary

    with tempfile.TemporaryDirectory(prefix="napari-kindred-") as folder:
        path = Path(folder, "result.kindred")
        path.write_bytes(tensors["vocabulary"].tobytes())
        return Vocabulary.load(path)


def _network_spec(facts: Mapping[str, Any]) -> EscNetSpec | FreeEscSpec:
    from .escnet.predict import EscNetSpec
    from .escnet.training_free import FreeEscSpec

    fields = {**facts, "clip": ClipSpec.from_dict(facts["clip"])}
    trained = fields.pop("kind") == EscNetSpec.kind
    return EscNetSpec(**fields) if trained else FreeEscSpec(**fields)


# -- observations --------------------------------------------------------------------------


def _check(arrays: Arrays, classifier: Classifier, plane: tuple[int, ...], length: int) -> None:
    """Raise ValueError for observations that no image gives."""
    if isinstance(classifier, PixelClassifier | VocabularyPixelClassifier):
        maps = arrays["maps"]
        count = len(
            classifier.names if isinstance(classifier, PixelClassifier) else classifier.maps
        )
        if maps.dtype != np.uint8 or maps.shape != (count, *plane):
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
