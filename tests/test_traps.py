"""Files that want to do harm: refused in one sentence by whatever reads them, nothing executed."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save

import napari_kindred as nk
from napari_kindred.classes.escnet.checkpoint import load_esc
from napari_kindred.classes.sam.model import load_sam
from napari_kindred.core.errors import KindredError
from napari_kindred.encoders.registry import describe_encoder, open_encoder
from napari_kindred.entities.checkpoint import load_network
from napari_kindred.images.readers import read_image
from napari_kindred.models.checkpoints import read_tensors
from napari_kindred.models.feature_cache import FeatureCache
from napari_kindred.models.weights import resolve

if TYPE_CHECKING:
    from collections.abc import Callable


class Door:
    """Unpickled, it writes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def torch_file(content: Any, zipped: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def zip_file(names: list[str]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, "sprung")
    return buffer.getvalue()


def safetensors_file(header: Any, tail: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + tail


def traps(sprung: Path) -> dict[str, bytes]:
    """Files by what they are; each would leave ``sprung`` behind."""
    whole = save({"a": np.arange(60, dtype="float32")})
    npy = io.BytesIO()
    np.save(npy, np.array([Door(sprung)], object), allow_pickle=True)
    four = {"dtype": "F32", "shape": [4]}
    return {
        "pickle": pickle.dumps({"a": Door(sprung)}),
        "pickle of torch": torch_file({"model": {"a": Door(sprung)}}),
        "pickle of old torch": torch_file({"a": Door(sprung)}, zipped=False),
        "pickle of numpy": npy.getvalue(),
        "zip that climbs": zip_file([f"../{sprung.name}", str(sprung), "zarr.json"]),
        "nothing": b"",
        "web page": b"<!DOCTYPE html><html><body>Sign in</body></html>",
        "half": whole[: len(whole) // 2],
        "header of 2^63": safetensors_file(b"{}", length=2**63),
        "header of 2^64 - 1": safetensors_file(b"{}", length=2**64 - 1),
        "deep header": safetensors_file(b'{"a":' * 40_000 + b"1" + b"}" * 40_000),
        "tensor of 2^62": safetensors_file(
            {"a": {"dtype": "F32", "shape": [2**62], "data_offsets": [0, 16]}}, bytes(16)
        ),
        "tensor before the file": safetensors_file(
            {"a": {**four, "data_offsets": [-16, 0]}}, bytes(16)
        ),
        "tensors on each other": safetensors_file(
            {name: {**four, "data_offsets": [0, 16]} for name in "ab"}, bytes(16)
        ),
        "tensor of no type": safetensors_file(
            {"a": {"dtype": "PICKLE", "shape": [4], "data_offsets": [0, 16]}}, bytes(16)
        ),
        "zeros": bytes(5000),
    }


KINDS = tuple(traps(Path("sprung")))

READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "tensors": (".safetensors", lambda path: read_tensors(resolve(path))),
    "PyTorch file": (".pt", lambda path: read_tensors(resolve(path, pytorch=True))),
    "entity network": (".safetensors", load_network),
    "SAM": (".pth", load_sam),
    "SAM encoder": (".pt", lambda path: open_encoder(str(path))),
    "ESC-Net": (".safetensors", load_esc),
    "clusters": (".safetensors", nk.HierarchicalClustering.load),
    "vocabulary": (".kindred", nk.Vocabulary.load),
    "result": (".tif", nk.load_segmentation),
    "zarr result": (".ome.zarr", nk.load_segmentation),
    **{
        f"image {suffix}": (suffix, read_image)
        for suffix in (".npy", ".tif", ".zarr", ".png", ".gif", ".webp")
    },
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_trap_is_refused_in_one_sentence_and_not_sprung(
    tmp_path: Path, reader: str, kind: str
) -> None:
    suffix, read = READERS[reader]
    inside = tmp_path / "folder"
    inside.mkdir()
    path = inside / f"trap{suffix}"
    path.write_bytes(traps(tmp_path / "sprung")[kind])
    with pytest.raises(KindredError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert [file.name for file in tmp_path.rglob("*")] == ["folder", path.name]


@pytest.mark.parametrize("kind", KINDS)
def test_a_trap_in_the_cache_is_deleted_and_computed_anew(tmp_path: Path, kind: str) -> None:
    cache = FeatureCache(tmp_path / "features")
    cache.put("key", {"a": np.arange(5)})
    (entry,) = cache.folder.iterdir()
    entry.write_bytes(traps(tmp_path / "sprung")[kind])
    assert cache.get("key") is None
    cache.put("key", {"a": np.arange(5)})
    assert cache.get("key") is not None
    assert [file.name for file in tmp_path.rglob("*")] == ["features", entry.name]


PLACES = ["\0", "a\0b", "x" * 5000, "~nobody-of-this-name/a", "file://[", "file:", "", ".", "/"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("reader", READERS)
def test_a_path_that_leads_nowhere_is_refused_in_one_sentence(reader: str, place: str) -> None:
    suffix, read = READERS[reader]
    for path in (place, f"{place}{suffix}"):
        with pytest.raises(KindredError) as caught:
            read(path)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("place", PLACES)
def test_an_encoder_or_folder_that_is_nowhere_is_refused_in_one_sentence(place: str) -> None:
    for read in (describe_encoder, nk.read_examples):
        for path in (place, f"{place}.pt"):
            with pytest.raises(KindredError):
                read(path)
