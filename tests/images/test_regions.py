from __future__ import annotations

import pickle
import tracemalloc
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import tifffile
import zarr

from counting import Counting
from napari_kindred.images import arrays, intensity
from napari_kindred.images.image_folder import read_folder
from napari_kindred.images.stack import ImageStack, normalise, normalise_to, read_image

if TYPE_CHECKING:
    from pathlib import Path

RANDOM = np.random.default_rng(0)


def picture(*shape: int, dtype: str = "uint16") -> np.ndarray:
    return RANDOM.integers(1, 200, shape).astype(dtype)


# -- regions of frames too large to hold ------------------------------------------------------


def strange(dtype: str, *shape: int) -> np.ndarray:
    """Values as a camera, a divided image or an id map has them: offset, huge or with holes."""
    values = RANDOM.gamma(2.0, 30.0, shape)
    if dtype in ("float32", "float64"):
        values[:, 20:25, 10:40] = np.nan
        values[..., 3] = np.inf
    if dtype == "int64":
        values += 2**45
    return (values * (1e36 if dtype == "float64" else 1)).astype(dtype)


@pytest.mark.parametrize("kind", ["numpy", "zarr", "dask"])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "uint16", "int64", "float32", "float64"])
def test_regions_put_together_are_the_frame(dtype: str, kind: str, tmp_path) -> None:
    movie = strange(dtype, 2, 70, 90)
    image = {
        "numpy": lambda: movie,
        "zarr": lambda: zarr.create_array(tmp_path / "a", data=movie, chunks=(1, 32, 32)),
        "dask": lambda: da.from_array(movie, chunks=(1, 50, 40)),
    }[kind]()
    frames = ImageStack.open(image, axes="TYX")
    known = frames.frame_stats((1,))
    whole = frames.read((1,))
    halves = [
        np.concatenate(
            [
                frames.read_region((1,), rows, columns, known).pixels
                for columns in (slice(0, 41), slice(41, 90))
            ],
            axis=1,
        )
        for rows in (slice(0, 30), slice(30, 70))
    ]
    np.testing.assert_array_equal(np.concatenate(halves), whole.pixels)
    assert known.note == whole.note


@pytest.mark.parametrize(
    ("axes", "shape", "channel"),
    [("YXS", (50, 60, 4), None), ("YXS", (50, 60, 3), 1), ("CYX", (3, 50, 60), 2)],
)
def test_regions_know_channels_and_drop_alpha(axes: str, shape: tuple, channel: int | None) -> None:
    frames = ImageStack.open(picture(*shape, dtype="uint8"), axes=axes, channel=channel)
    region = frames.read_region((), slice(10, 30), slice(5, 60))
    np.testing.assert_array_equal(region.pixels, frames.read().pixels[10:30, 5:60])


def test_only_the_region_is_read() -> None:
    source = Counting(picture(3, 400, 500))
    ImageStack.open(source, axes="TYX").read_region((1,), slice(100, 120), slice(200, 230))
    assert source.read == 20 * 30


def test_only_the_blocks_of_a_region_are_computed() -> None:
    computed = []

    def load(block_info: dict) -> np.ndarray:
        computed.append(block_info[None]["chunk-location"])
        return np.ones((100, 100), "uint16")

    plane = da.map_blocks(load, chunks=((100,) * 6, (100,) * 6), dtype="uint16", meta=np.empty(0))
    ImageStack.open(plane).read_region((), slice(150, 250), slice(310, 390))
    assert sorted(computed) == [(1, 3), (2, 3)]


@pytest.mark.parametrize("dtype", ["uint16", "int64", "float32", "float64"])
def test_a_frame_read_in_regions_is_normalised_as_a_whole_one(
    dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intensity, "SAMPLED", 2_000)  # the frame is sampled, every third row
    monkeypatch.setattr(arrays, "_BLOCK", 8 * 1_000)  # in blocks of eleven rows
    frames = ImageStack.open(strange(dtype, 1, 101, 90), axes="TYX")
    known = frames.frame_stats((0,))
    region = frames.read_region((0,), slice(40, 60), slice(8, 77), known).pixels
    np.testing.assert_array_equal(
        normalise_to(region, known.low, known.high),
        normalise(frames.read((0,)).pixels)[40:60, 8:77],
    )


def test_looking_through_a_frame_reads_each_pixel_once_and_holds_few(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intensity, "SAMPLED", 1 << 12)
    monkeypatch.setattr(arrays, "_BLOCK", 1 << 16)
    source = Counting(picture(2000, 1500))
    frames = ImageStack.open(source)
    ImageStack.open(picture(20, 15)).frame_stats()  # imports
    tracemalloc.start()
    frames.frame_stats()
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert source.read == 2000 * 1500
    assert most < source.data.nbytes / 10


def test_chunks_are_not_read_twice_when_a_frame_is_looked_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arrays, "_BLOCK", 100_000)
    computed: list[tuple[int, ...]] = []

    def load(block_info: dict) -> np.ndarray:
        computed.append(block_info[None]["chunk-location"])
        return np.ones((70, 90), "uint16")

    plane = da.map_blocks(load, chunks=((70,) * 9, (90,) * 7), dtype="uint16", meta=np.empty(0))
    ImageStack.open(plane).frame_stats()
    assert len(computed) == len(set(computed)) == 63


@pytest.mark.parametrize(
    ("values", "constant", "ends"),
    [((7, 7), True, (7, 7)), ((np.nan, np.nan), True, (0, 0)), ((0, 50), False, (0, 50))],
)
def test_a_frame_with_little_to_see_has_the_range_that_normalising_takes(
    values: tuple, constant: bool, ends: tuple
) -> None:
    image = np.full((60, 80), values[0], "float32")
    image[3, 3] = values[1]
    frames = ImageStack.open(image)
    known, whole = frames.frame_stats(), frames.read()
    assert (known.constant, (known.low, known.high)) == (constant, ends)
    assert known.note == whole.note


def test_without_the_frame_s_range_a_region_takes_its_own() -> None:
    image = np.array([[1.0, np.nan, 5, 9], [2, 4, np.nan, 8]])
    frames = ImageStack.open(image)
    region = frames.read_region((), slice(0, 2), slice(2, 4))
    assert region.pixels[1, 0, 0] == 5
    assert "25 % NaN" in region.note


@pytest.mark.parametrize("dtype", ["uint16", "float64"])
def test_the_signature_is_the_same_however_the_frames_were_read(dtype: str) -> None:
    movie = strange(dtype, 3, 150, 200)
    whole, parts, none = (ImageStack.open(movie, axes="TYX") for _ in range(3))
    whole.read((0,))
    known = ImageStack.open(movie, axes="TYX").frame_stats((0,))
    parts.read_region((0,), slice(0, 20), slice(0, 20), known)
    none.read_region((0,), slice(0, 20), slice(0, 20))
    assert whole.signature() == parts.signature() == none.signature()


# -- sent to other processes ------------------------------------------------------------------


def written(kind: str, movie: np.ndarray, folder: Path) -> Any:
    """The same movie as users have it."""
    if kind == "zarr":
        return zarr.create_array(folder / "a.zarr", data=movie, chunks=(1, 40, 50))
    if kind == "dask":
        return da.from_zarr(written("zarr", movie, folder)) + 0
    if kind == "tiff":
        tifffile.imwrite(folder / "a.tif", movie)
        return read_image(folder / "a.tif").data
    if kind == "npy":
        np.save(folder / "a.npy", np.asfortranarray(movie))
        return read_image(folder / "a.npy").data
    (folder / "files").mkdir()
    for number, frame in enumerate(movie):
        tifffile.imwrite(folder / "files" / f"{number}.tif", frame)
    return read_folder(folder / "files").data


def to_another_process(frames: ImageStack) -> tuple[bytes, ImageStack]:
    sent = pickle.dumps(frames)
    return sent, pickle.loads(sent)  # noqa: S301 - our own


@pytest.mark.parametrize("kind", ["zarr", "dask", "tiff", "npy", "folder"])
def test_what_lies_on_disk_is_sent_without_its_pixels(kind: str, tmp_path: Path) -> None:
    movie = picture(20, 80, 100)
    frames = ImageStack.open(written(kind, movie, tmp_path), axes="TYX")
    sent, there = to_another_process(frames)
    assert frames.portable
    assert len(sent) < movie.nbytes / 10
    np.testing.assert_array_equal(there.read((7,)).pixels[..., 0], movie[7])


@pytest.mark.parametrize("kind", ["numpy", "dask", "zarr", "part of a file"])
def test_what_is_in_memory_is_not_called_portable(kind: str, tmp_path: Path) -> None:
    movie = picture(80, 100, 120)
    image = {
        "numpy": lambda: movie,
        "dask": lambda: da.from_array(movie) + 1,
        "zarr": lambda: zarr.array(movie),
        "part of a file": lambda: written("tiff", movie, tmp_path)[3:],
    }[kind]()
    assert not ImageStack.open(image, axes="TYX").portable


def test_part_of_a_mapped_file_arrives_as_that_part(tmp_path: Path) -> None:
    movie = picture(6, 40, 50)
    part = ImageStack.open(written("tiff", movie, tmp_path)[3:], axes="TYX")
    _, there = to_another_process(part)
    np.testing.assert_array_equal(there.read((1,)).pixels[..., 0], movie[4])


def test_frames_read_elsewhere_count_towards_the_signature() -> None:
    movie = picture(3, 40, 50)
    here, there = ImageStack.open(movie, axes="TYX"), ImageStack.open(movie, axes="TYX")
    for index in there.indices():
        here.add_digest(index, there.read(index).digest)
    assert here.signature() == there.signature()
