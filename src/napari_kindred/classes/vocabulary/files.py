"""Vocabularies on disk: safetensors with JSON, so that nothing is ever unpickled."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from ...core.errors import KindredError, OutputError, WeightsError
from ...models.weights import read_header, there
from ...results.atomic import check_folder, plain, refuse_existing, replacing
from ..config import TeachConfig
from ..names import check_names
from ..pixelwise.head import PixelHead
from ..proposals.base import ProposerSpec
from ..proposals.open import read_spec
from .entry import Entry
from .mil import UNKNOWN, Bag, Head

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Arrays = Mapping[str, NDArray[Any]]

Parts = tuple[
    tuple[Entry, ...],
    Head | PixelHead,
    ProposerSpec,
    tuple[Bag, ...],
    TeachConfig,
    dict[str, Any],
    str,
]
"""Entries, head, spec of the proposals, bags, config, quality and origin of a vocabulary."""

KIND = "napari-kindred vocabulary 1"
"""The one key of a file's metadata; the order of several, and so the hash, would be random."""

SUFFIX = ".kindred"

PIXELS = "pixels."
"""Beginning of the names of a pixel head's arrays."""

SHIPPED = {"microscopy": "microscopy.kindred"}
"""Vocabularies that come with the package, by name: files in ``models/weights_data``."""

WIDEST = 8192
"""Largest accepted width of a head's first hidden layer."""

_COLOUR = re.compile(r"#[0-9a-fA-F]{6}")


def to_bytes(
    entries: tuple[Entry, ...],
    head: Head | PixelHead,
    spec: ProposerSpec,
    bags: tuple[Bag, ...],
    config: TeachConfig,
    quality: dict[str, Any],
    origin: str,
) -> bytes:
    """Return the parts of a vocabulary as its file holds them, the same for the same content."""
    tensors: dict[str, NDArray[Any]]
    if isinstance(head, Head):
        state = {name: value.numpy() for name, value in head.state_dict().items()}
        tensors = {f"head.{name}": value.astype(np.float16) for name, value in state.items()}
    else:
        tensors = {f"{PIXELS}{name}": value for name, value in head.arrays().items()}
    classes = len(entries)
    tensors |= {
        "embeddings": np.concatenate([bag.embeddings for bag in bags]).astype(np.float16),
        "instances": np.concatenate([bag.instances for bag in bags]).astype(np.int16),
        "sizes": np.array([len(bag) for bag in bags], np.int64),
        "told": np.array([bag.present is not None for bag in bags], np.uint8),
        "present": np.array(
            [np.zeros(classes) if bag.present is None else bag.present for bag in bags], np.uint8
        ),
        "known": np.array([bag.annotated for bag in bags], np.uint8),
        "lost": np.array([bag.lost_marks(classes) for bag in bags], np.int16),
        "areas": np.array([bag.area for bag in bags], np.float32),
    }
    facts = {
        "entries": [dataclasses.asdict(entry) for entry in entries],
        "recipe": spec.as_dict(),
        "nothing": head.nothing,
        "config": dataclasses.asdict(config),
        "quality": quality,
        "origin": origin,
        "sources": [bag.source for bag in bags],
    }
    text = json.dumps(plain(facts), ensure_ascii=False, sort_keys=True)
    ready = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    return save_tensors(ready, {KIND: text})


def check_place(path: Path, overwrite: bool = False) -> None:
    """Raise OutputError before a long job whose vocabulary could not be written."""
    if path.suffix.lower() != SUFFIX:
        raise OutputError(f"{path.name!r} is no name for a vocabulary; end it in {SUFFIX}.")
    check_folder(path.parent)
    refuse_existing(path, overwrite)


def save(content: bytes, path: Path, overwrite: bool = False) -> Path:
    """Write what :func:`to_bytes` returned; see :meth:`.Vocabulary.save`."""
    check_place(path, overwrite)
    with replacing(path) as part:
        part.write_bytes(content)
    return path


def load(name_or_path: str | Path) -> tuple[Parts, str]:
    """Read the parts of a vocabulary, and the file's hash; see :meth:`.Vocabulary.load`."""
    text = str(name_or_path)
    shipped = Path(__file__).parents[2] / "models" / "weights_data"
    path = there(shipped / SHIPPED[text] if text in SHIPPED else text)
    if path is None:
        raise WeightsError(
            f"There is no vocabulary {text!r}; give the path of a {SUFFIX} file, or the name of "
            f"the shipped one, {', '.join(SHIPPED)}."
        )
    try:
        about = read_header(path).get("__metadata__") or {}
    except WeightsError as error:
        raise WeightsError(
            f"The vocabulary {path.name!r} is damaged or cut short, or something else; get it "
            "again, or train it again."
        ) from error
    if KIND not in about:
        raise WeightsError(
            f"{path.name!r} holds something else than a vocabulary; give a file that was written "
            "by teaching classes."
        )
    try:
        content = path.read_bytes()
        parts = _build(load_tensors(content), json.loads(about[KIND]))
    except (
        SafetensorError, KindredError, LookupError, TypeError, ValueError, AttributeError,
        RuntimeError, RecursionError,
    ) as error:  # fmt: skip
        raise WeightsError(
            f"The vocabulary {path.name!r} is damaged or of another version; get it again, or "
            "train it again."
        ) from error
    return parts, hashlib.sha256(content).hexdigest()


def _build(tensors: Arrays, facts: Mapping[str, Any]) -> Parts:
    """Build a vocabulary's parts from a file; content that does not fit raises any error."""
    entries = tuple(_entry(item) for item in facts["entries"])
    check_names([entry.name for entry in entries])
    bags = _bags(tensors, [str(source) for source in facts["sources"]], len(entries))
    head = _head(tensors, len(entries), bool(facts["nothing"]))
    quality = facts["quality"]
    if not isinstance(quality, dict):
        raise TypeError("quality")
    return (
        entries,
        head,
        read_spec(facts["recipe"]),
        bags,
        TeachConfig(**facts["config"]),
        quality,
        str(facts["origin"]),
    )


def _head(tensors: Arrays, classes: int, nothing: bool) -> Head | PixelHead:
    """Build the head; content that does not fit raises any error."""
    if f"{PIXELS}version" in tensors:
        found = PixelHead.from_arrays(
            {
                name.removeprefix(PIXELS): value
                for name, value in tensors.items()
                if name.startswith(PIXELS)
            }
        )
        if (found.dimension, found.classes) != (tensors["embeddings"].shape[1], classes):
            raise ValueError("the head's shape")
        return found
    hidden, dimension = tensors["head.layers.0.weight"].shape
    if dimension != tensors["embeddings"].shape[1] or hidden > WIDEST:
        raise ValueError("the head's shape")
    head = Head(dimension, classes, nothing, hidden)
    state = {
        name: torch.from_numpy(tensors[f"head.{name}"].astype(np.float32))
        for name in head.state_dict()
    }
    if not all(bool(torch.isfinite(value).all()) for value in state.values()):
        raise ValueError("values that are not finite")
    head.load_state_dict(state)
    return head.eval()


def _entry(item: Mapping[str, Any]) -> Entry:
    name, synonyms = item["name"], tuple(item["synonyms"])
    colour, threshold = item["colour"], float(item["threshold"])
    if synonyms:
        check_names(synonyms)
    extent = float(item.get("extent", 0.0))
    if not _COLOUR.fullmatch(colour) or not 0 <= threshold <= 1 or not 0 <= extent < 1e6:
        raise ValueError(f"entry {name}")
    return Entry(name, synonyms, colour, threshold, extent)


def _bags(tensors: Arrays, sources: list[str], classes: int) -> tuple[Bag, ...]:
    """Split the tensors into bags, checking that they fit each other."""
    embeddings, instances = tensors["embeddings"], tensors["instances"]
    sizes, has_names = tensors["sizes"], tensors["told"].astype(bool)
    present, annotated = (tensors[name].astype(bool) for name in ("present", "known"))
    count = len(sizes)
    lost = tensors.get("lost", np.zeros((count, classes), np.int16))
    areas = tensors.get("areas", np.ones(count, np.float32))
    whole = (
        embeddings.ndim == 2
        and embeddings.dtype == np.float16
        and instances.dtype == np.int16
        and instances.shape == (len(embeddings),)
        and present.shape == annotated.shape == (count, classes)
        and has_names.shape == (count,)
        and lost.shape == (count, classes)
        and areas.shape == (count,)
        and bool((areas >= 0).all())
        and len(sources) == count > 0
        and sizes.min() >= 0
        and sizes.sum() == len(embeddings)
    )
    if not whole or not np.isfinite(embeddings).all():
        raise ValueError("bags")
    if len(instances) and (instances.min() < UNKNOWN or instances.max() >= classes):
        raise ValueError("classes of masks")
    ends = np.cumsum([0, *sizes.tolist()])
    return tuple(
        Bag(
            embeddings[ends[i] : ends[i + 1]],
            instances[ends[i] : ends[i + 1]],
            present[i] if has_names[i] else None,
            annotated[i],
            sources[i],
            lost[i],
            float(areas[i]),
        )
        for i in range(count)
    )
