"""What is installed, and how a result came about, in lines of text."""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from .._version import __version__
from ..core.errors import InputError, KindredError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..classes.vocabulary.vocabulary import Vocabulary
    from ..encoders.registry import EncoderInfo

_OPTIONAL = {
    "napari": "the window",
    "open_clip_torch": "CLIP",
    "segment-anything": "SAM",
    "distributed": "Dask clusters",
}
"""What the extra ``all`` installs, and what it is for."""


def installed() -> Iterator[str]:
    """Versions, device, missing packages, weights, encoders, and the size of the cache."""
    from ..compute.device import describe
    from ..core.settings import cache_dir
    from ..encoders.registry import list_encoders
    from ..models.feature_cache import LIMIT_VARIABLE, FeatureCache

    yield f"napari-kindred {__version__}, Python {platform.python_version()}, {sys.platform}"
    for name in ("numpy", "torch", "timm", "zarr", "napari"):
        try:
            yield f"  {name} {version(name)}"
        except PackageNotFoundError:
            yield f"  {name} is not installed"
    yield f"device: {describe()}"
    yield from _missing()
    encoders = list_encoders()
    yield "weights:"
    yield from _weights({encoder.name for encoder in encoders})
    yield "encoders:"
    for encoder in encoders:
        yield f"  {encoder.name}: {encoder.about}; licence {encoder.licence}; {_place(encoder)}"
    yield "vocabularies:"
    yield from _vocabularies()
    yield f"cache: {cache_dir()}"
    cache = FeatureCache()
    yield (
        f"  {cache.folder}: {cache.size() / 1e6:.0f} MB kept of images for the next run, at most "
        f"{cache.limit / 1e9:.1f} GB ({LIMIT_VARIABLE}); info --clear-cache deletes them"
    )


def _missing() -> Iterator[str]:
    missing = []
    for name, purpose in _OPTIONAL.items():
        try:
            version(name)
        except PackageNotFoundError:
            missing.append(f"  {name}: {purpose}")
    if missing:
        yield "not installed (pip install 'napari-kindred[all]'):"
        yield from missing
    else:
        yield "optional packages: all installed"


def _place(encoder: EncoderInfo) -> str:
    """Where the weights of an encoder are, or how they get here."""
    if encoder.here:
        return "on this machine"
    if encoder.package:
        return f"needs the package {encoder.package}"
    size = f"{encoder.size / 1e6:.0f} MB " if encoder.size else ""
    return f"{size}to download when first used"


def clear_cache() -> str:
    """Delete the cached features, and return how much space that freed."""
    from ..models.feature_cache import FeatureCache

    cache = FeatureCache()
    return f"{cache.folder}: {cache.clear() / 1e6:.0f} MB freed"


def _weights(told_later: set[str]) -> Iterator[str]:
    from ..core.settings import cache_dir
    from ..entities.learning.files import learnt_weights
    from ..models.download import file_sha256
    from ..models.weights import WEIGHTS, resolve

    for name, entry in WEIGHTS.items():
        if name in told_later:
            continue
        try:
            path = resolve(name) if "://" not in entry.source else cache_dir() / entry.file_name
            state = f"sha256 {file_sha256(path)}" if path.exists() else "not downloaded yet"
        except KindredError as error:
            state = str(error)
        yield f"  {name}: {entry.about} ({entry.licence}); {state}"
    for name, file in learnt_weights().items():
        yield f"  {name}: learnt from corrections; {file}"


def _vocabularies() -> Iterator[str]:
    from ..classes.vocabulary.files import SHIPPED
    from ..classes.vocabulary.vocabulary import Vocabulary

    for name in SHIPPED:
        try:
            yield f"  {name}: {', '.join(Vocabulary.load(name).names)}"
        except KindredError as error:
            yield f"  {name}: {error}"


def of_file(path: Path) -> Iterator[str]:
    """Tell how a result or weights came about, or what a vocabulary knows."""
    from ..results.storage import PROVENANCE, read_about

    if (path / PROVENANCE).is_file():
        path = path / PROVENANCE
    elif path.is_dir() and path.suffix.lower() != ".zarr":
        path = _only_result(path)
    if _is_vocabulary(path):
        from ..classes.vocabulary.vocabulary import Vocabulary

        yield from card(Vocabulary.load(path))
    elif path.suffix.lower() == ".safetensors":
        from ..models.weights import read_header

        facts = read_header(path).get("__metadata__", {}).get("info", "{}")
        yield json.dumps(json.loads(facts), indent=2, ensure_ascii=False)
    elif path.suffix == ".json":
        try:
            yield path.read_text("utf-8").rstrip("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{str(path)!r} cannot be read; check the path.") from error
    else:
        facts = read_about(path)
        yield json.dumps(facts, indent=2, ensure_ascii=False)


def _only_result(folder: Path) -> Path:
    """Return the result in a folder, as a movie's, where there is no more than one."""
    found = [
        path
        for path in sorted(folder.iterdir())
        if path.name.lower().endswith((".ome.zarr", ".tif", ".tiff"))
        and (path.is_dir() or (folder / f"{path.stem.removesuffix('.ome')}.json").exists())
    ]
    if len(found) != 1:
        how = "more than one result" if found else "no result"
        raise InputError(f"There is {how} in {str(folder)!r}; name the file of one.")
    return found[0]


def _is_vocabulary(path: Path) -> bool:
    if path.suffix or path.exists():  # which spares loading torch to read a result's JSON
        return path.suffix.lower() == ".kindred"
    from ..classes.vocabulary.files import SHIPPED

    return str(path) in SHIPPED


def card(vocabulary: Vocabulary) -> Iterator[str]:
    """Tell what a vocabulary knows, how it was made and how well it does."""
    quality, spec = vocabulary.quality, vocabulary.spec
    measured = quality.get("classes", {})
    yield "classes:"
    for entry in vocabulary.entries:
        words = f" ({', '.join(entry.synonyms)})" if entry.synonyms else ""
        told = ""
        found = measured.get(entry.name, {"count": 0})
        if found["count"]:
            told = (
                f"; of {found['count']} marked masks {found['recall']:.0%} found, of those named "
                f"so {found['precision']:.0%} right"
            )
        yield f"  {entry.name}{words}: {entry.colour}, threshold {entry.threshold:g}{told}"
    yield f"quality: {_quality(quality)}"
    yield f"looks at: {spec.kind}, encoder {spec.encoder}, sha256 {spec.sha256}"
    yield f"taught by: {vocabulary.origin or 'nothing is known of it'}"
    yield f"sha256: {vocabulary.sha256}"


def _quality(quality: dict[str, Any]) -> str:
    if not quality:
        return "not measured"
    shares = []
    if "masks" in quality:
        marked = "pixels" if "iou" in quality else "masks"
        shares.append(f"{quality['masks']:.0%} of the marked {marked} got their class")
    if "iou" in quality:
        shares.append(f"a mean IoU of {quality['iou']:.0%} is expected")
    if "named" in quality:
        shares.append(f"{quality['named']:.0%} of the named pictures got one of theirs")
    return (
        f"{' and '.join(shares)}, on {quality['pictures']} pictures left out in "
        f"{quality['turns']} turns"
    )
