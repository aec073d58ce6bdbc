"""What was found in an image's frames: what another threshold or other names take, on disk as well.

A saved result keeps it as safetensors beside JSON, so that nothing is ever unpickled.
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
from .proposals.base import ProposerSpec

if TYPE_CHECKING:
    import zarr
    from numpy.typing import NDArray

    from ..results.spill import Arrays
    from .classifiers import Classifier
    from .escnet.predict import EscNetSpec
    from .escnet.training_free import FreeEscSpec


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
    """Read what :func:`write_observations` wrote, or tell in one sentence why there is nothing."""
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
    if isinstance(classifier, PixelClassifier):
        facts: dict[str, Any] = {"names": classifier.names, "threshold": classifier.threshold}
        return {"kind": "map", "network": _network_facts(classifier), **facts}, {}
    if not isinstance(classifier, MaskClassifier):
        return None
    facts = {"proposer": classifier.spec.as_dict()}
    facts |= {"nms_box": classifier.nms_box, "nms_mask": classifier.nms_mask}
    if isinstance(classifier, VocabularyClassifier):
        content = np.frombuffer(classifier.vocabulary.to_bytes(), np.uint8)
        return {"kind": "vocabulary", **facts}, {"vocabulary": content}
    if isinstance(classifier, ClipMaskClassifier):
        known = classifier.word_vectors(names)
        facts |= {"clip": classifier.clip_spec.as_dict(), "words": known.words}
        return {"kind": "clip", "sharpness": known.sharpness, **facts}, {"texts": known.vectors}
    return None


def _unpacked(facts: Mapping[str, Any], tensors: Arrays) -> tuple[Classifier, int]:
    """Return what :func:`_packed` took apart, and the length of a vector; 0 where there is none."""
    if facts["kind"] == "map":
        names, threshold = tuple(map(str, facts["names"])), float(facts["threshold"])
        return PixelClassifier(_network_spec(facts["network"]), names, threshold), 0
    overlaps = float(facts["nms_box"]), float(facts["nms_mask"])
    masks = ProposerSpec.from_dict(facts["proposer"]), None, *overlaps
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
    known = WordVectors(words, texts, float(facts["sharpness"]))
    return ClipMaskClassifier(*masks, ClipSpec.from_dict(facts["clip"]), known), texts.shape[1]


def _network_facts(classifier: PixelClassifier) -> dict[str, Any]:
    return {"kind": classifier.spec.kind, **classifier.spec.as_dict()}


def _network_spec(facts: Mapping[str, Any]) -> EscNetSpec | FreeEscSpec:
    """Return what :func:`_network_facts` took apart."""
    from .escnet.predict import EscNetSpec
    from .escnet.training_free import FreeEscSpec

    fields = {**facts, "clip": ClipSpec.from_dict(facts["clip"])}
    trained = fields.pop("kind") == EscNetSpec.kind
    return EscNetSpec(**fields) if trained else FreeEscSpec(**fields)


# -- what was found --------------------------------------------------------------------------


def _check(arrays: Arrays, classifier: Classifier, plane: tuple[int, ...], length: int) -> None:
    """Refuse what could not have been found in a picture."""
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
