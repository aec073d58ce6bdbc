from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import save_file

from napari_kindred.core.errors import WeightsError
from napari_kindred.core.settings import cache_dir
from napari_kindred.models import download
from napari_kindred.models.weights import WEIGHTS, Weights, read_header, resolve

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(download.CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.safetensors"
    save_file({"a": np.arange(600, dtype="float32")}, path, metadata={"format": "test"})
    return path


@pytest.fixture
def remote(file: Path, monkeypatch: pytest.MonkeyPatch) -> Weights:
    """A table entry that is 'downloaded' from a file: URL."""
    sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
    entry = Weights(file.as_uri(), sha256, file.stat().st_size, "CC0-1.0", "a test")
    monkeypatch.setitem(WEIGHTS, "far", entry)
    return entry


# -- files and paths --------------------------------------------------------------------------


def test_a_path_and_a_file_url_lead_to_the_file(file: Path) -> None:
    assert resolve(file) == resolve(str(file)) == resolve(file.as_uri()) == file


def test_the_header_is_read_without_the_tensors(file: Path) -> None:
    header = read_header(file)
    assert header["__metadata__"] == {"format": "test"}
    assert header["a"]["shape"] == [600]


def test_an_unknown_name_is_refused_listing_the_known_ones() -> None:
    with pytest.raises(WeightsError, match="kindred-entities"):
        resolve("no-such-weights")


@pytest.mark.parametrize("keep", [0, 5, 40, 1000])
def test_a_file_cut_short_is_refused(file: Path, keep: int) -> None:
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(WeightsError, match=r"cut short|not a safetensors"):
        resolve(file)


@pytest.mark.parametrize(
    "content",
    [
        b"PK\x03\x04 a zip archive, as torch.save writes it",
        b"\xff" * 64,  # a header of 2**64 - 1 bytes
        (20).to_bytes(8, "little") + b"not JSON at all.....",
        (20).to_bytes(8, "little") + b'["a list, no table"]',
        (12).to_bytes(8, "little") + b'{"a": "why"}',
        (8).to_bytes(8, "little") + b"[" * 8,
    ],
)
def test_anything_but_safetensors_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="not a safetensors file"):
        resolve(path)


# -- the table --------------------------------------------------------------------------------


def test_named_weights_are_checked_against_their_hash(
    remote: Weights, own_cache: Path, file: Path
) -> None:
    path = resolve("far")
    assert path.parent == own_cache
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged"):
        resolve("far")


def test_the_cache_folder_can_be_chosen(own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_dir() == own_cache
    monkeypatch.delenv(download.CACHE_VARIABLE)
    assert cache_dir().name == "napari-kindred"


LARGEST = {"kindred-entities": 10_000_000, "kindred-sam": 16_000_000}
"""Bytes that shipped weights may have; together with all else that is shipped, 30 MB."""


def test_shipped_weights_are_the_ones_in_the_table() -> None:
    shipped = [name for name, entry in WEIGHTS.items() if "://" not in entry.source]
    assert set(shipped) == set(LARGEST)
    for name in shipped:
        assert resolve(name).stat().st_size <= LARGEST[name]
        assert resolve(name).with_suffix(".md").is_file()  # the model card
    folder = resolve(shipped[0]).parent
    assert sum(path.stat().st_size for path in folder.iterdir()) < 30_000_000
