"""OME-Zarr on a server, and files of microscopes."""

from __future__ import annotations

import functools
import http.server
import sys
import threading
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import zarr

from napari_kindred.core.errors import InputError
from napari_kindred.images.readers import is_image, read_image, source_of_text, stem_of
from napari_kindred.images.stack import ImageStack
from napari_kindred.results.recipe import FileInput

if TYPE_CHECKING:
    from collections.abc import Iterator

CELLS = np.random.default_rng(0).integers(0, 4000, (3, 40, 48)).astype(np.uint16)


def write(path: Path) -> None:
    group = zarr.create_group(path)
    group.create_array("0", data=CELLS, chunks=(1, 40, 48))
    axes = [{"name": "t", "type": "time"}]
    axes += [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    steps = [{"type": "scale", "scale": [1.0, 0.5, 0.5]}]
    level = {"path": "0", "coordinateTransformations": steps}
    about = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [level]}]}
    group.attrs["ome"] = about


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A folder on a local server."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()
        thread.join()


def test_an_image_is_read_from_its_address(tmp_path: Path, server: str) -> None:
    pytest.importorskip("aiohttp")
    write(tmp_path / "cells.ome.zarr")
    url = f"{server}/cells.ome.zarr"
    assert is_image(url)
    assert source_of_text(url) == url
    assert source_of_text("cells.ome.zarr") == Path("cells.ome.zarr")
    image = read_image(url)
    assert (image.axes, image.scale, image.name) == ("TYX", (1.0, 0.5, 0.5), "cells")
    frames = ImageStack.open(image)
    np.testing.assert_array_equal(frames.read((1,)).pixels[..., 0], CELLS[1])
    assert frames.source == url  # never mangled into a path
    assert FileInput(image.source).path == url
    np.testing.assert_array_equal(np.asarray(read_image(f"{url}/0").data[2]), CELLS[2])
    with pytest.raises(InputError, match="no zarr at"):
        read_image(f"{server}/none.ome.zarr")


def test_addresses_that_cannot_be_read_say_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(InputError, match="ftp:// cannot be read"):
        read_image("ftp://example.org/a.zarr")
    monkeypatch.setattr("napari_kindred.images.remote.find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"napari-kindred\[remote\]"):
        read_image("s3://bucket/a.zarr")


def test_a_file_address_is_a_path(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", CELLS)
    image = read_image(f"file://{tmp_path}/a.npy")
    np.testing.assert_array_equal(image.data, CELLS)


def test_a_missing_reader_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, package in (("a.nd2", "nd2"), ("a.lif", "liffile"), ("a.czi", "czifile")):
        (tmp_path / name).touch()
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(InputError, match=rf"{package}.*napari-kindred\[formats\]"):
            read_image(tmp_path / name)


def test_positions_of_an_nd2_are_its_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in with the interface that the package nd2 documents."""
    data = np.arange(3 * 2 * 2 * 8 * 9).reshape(3, 2, 2, 8, 9).astype(np.uint16)

    class File:
        def __init__(self, path: Path) -> None:
            channel = types.SimpleNamespace(channel=types.SimpleNamespace(name="DAPI"))
            self.metadata = types.SimpleNamespace(channels=[channel, channel])
            self.sizes = {"T": 3, "P": 2, "C": 2, "Y": 8, "X": 9}

        def to_dask(self) -> Any:
            return da.from_array(data)

        def voxel_size(self) -> Any:
            return types.SimpleNamespace(x=0.2, y=0.2, z=1.0)

    monkeypatch.setitem(sys.modules, "nd2", types.SimpleNamespace(ND2File=File))
    (tmp_path / "a.nd2").touch()
    image = read_image(tmp_path / "a.nd2")
    assert (image.axes, image.scale) == ("TCYX", (1.0, 1.0, 0.2, 0.2))
    assert image.channels == ("DAPI", "DAPI")
    assert "one more image" in image.note
    second = read_image(tmp_path / "a.nd2" / "1")
    np.testing.assert_array_equal(np.asarray(second.data), data[:, 1])
    assert stem_of(tmp_path / "a.nd2" / "1") == "a_1"


def czi_of(tiles: int, scenes: int = 1) -> Any:
    """A stand-in with the interface that the package czifile documents; axes are SMYX0."""

    def block(scene: int, tile: int) -> Any:
        data = np.full((1, 1, 20, 30, 1), 10 * scene + tile, np.uint8)
        return types.SimpleNamespace(
            start=(scene, tile, 0, 30 * tile, 0),
            shape=data.shape,
            data_segment=lambda: types.SimpleNamespace(data=lambda: data),
        )

    class File:
        axes, dtype = "SMYX0", np.dtype("u1")
        filtered_subblock_directory = tuple(
            block(scene, tile) for scene in range(scenes) for tile in range(tiles)
        )

        def __init__(self, path: Any) -> None: ...

        def __enter__(self) -> File:
            return self

        def __exit__(self, *error: object) -> None: ...

        def metadata(self) -> str:
            step = "<Distance Id='{}'><Value>5e-07</Value></Distance>"
            items = "".join(map(step.format, "XY"))
            return f"<a><Scaling><Items>{items}</Items></Scaling></a>"

    return types.SimpleNamespace(CziFile=File)


def test_a_czi_is_read_scene_by_scene_and_a_mosaic_of_tiles_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.czi").touch()
    monkeypatch.setitem(sys.modules, "czifile", czi_of(1, scenes=2))
    image = read_image(tmp_path / "a.czi" / "1")
    assert (image.axes, image.scale) == ("YX", (0.5, 0.5))
    np.testing.assert_array_equal(image.data, np.full((20, 30), 10))
    assert "one more image" in read_image(tmp_path / "a.czi").note
    monkeypatch.setitem(sys.modules, "czifile", czi_of(2))
    with pytest.raises(InputError, match="mosaic of tiles, which cannot be read; stitch it"):
        read_image(tmp_path / "a.czi")
