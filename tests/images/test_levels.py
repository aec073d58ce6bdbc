"""Images that are stored at several resolutions."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import zarr

from counting import Counting
from napari_kindred.images.readers import ImageFile, read_image
from napari_kindred.images.stack import ImageStack

if TYPE_CHECKING:
    from pathlib import Path

RANDOM = np.random.default_rng(0)


def pyramid(*shape: int) -> list[Counting]:
    finest = RANDOM.integers(0, 4000, shape).astype("uint16")
    return [Counting(finest[..., ::step, ::step]) for step in (1, 2, 4)]


@pytest.mark.parametrize(
    ("scale", "level"), [(1, 0), (0.6, 0), (0.5, 1), (0.3, 1), (0.25, 2), (0.1, 2), (2, 0)]
)
def test_the_coarsest_resolution_that_is_enough_is_read(scale: float, level: int) -> None:
    levels = pyramid(3, 101, 150)
    lower = ImageStack.open(levels, axes="TYX").at(scale)
    for one in levels:  # what was read to see that they show the same
        one.read = 0
    read = lower.read((1,)).pixels[..., 0]
    np.testing.assert_array_equal(read, levels[level].data[1])
    assert sum(one.read for one in levels) == read.size


def test_an_image_at_one_resolution_is_its_own_lowest() -> None:
    frames = ImageStack.open(RANDOM.random((40, 50)))
    assert frames.at(0.1) is frames


def test_resolutions_with_fewer_slices_are_passed_over() -> None:
    stack = RANDOM.random((8, 40, 50))
    frames = ImageStack.open([stack, stack[::2, ::2, ::2]], axes="ZYX")
    assert frames.at(0.5) is frames


def test_a_list_of_equal_frames_is_a_stack_of_them() -> None:
    assert ImageStack.open([RANDOM.random((40, 50)) for _ in range(6)]).leading_shape == (6,)


def test_channels_and_colours_are_those_of_the_image_at_every_resolution() -> None:
    picture = RANDOM.integers(0, 200, (3, 64, 64)).astype("uint8")
    low = ImageStack.open([picture, picture[:, ::2, ::2]], axes="CYX", channel=2).at(0.5)
    np.testing.assert_array_equal(low.read().pixels[..., 0], picture[2, ::2, ::2])


def test_an_opened_file_brings_axes_steps_place_and_resolutions(tmp_path: Path) -> None:
    picture = RANDOM.integers(0, 200, (64, 96)).astype("uint8")
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as file:
        metadata = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm"}
        file.write(picture, subifds=1, metadata=metadata)
        file.write(picture[::2, ::2], subfiletype=1)
    frames = ImageStack.open(read_image(tmp_path / "a.ome.tif"))
    assert frames.at(0.5).plane_shape == (32, 48)
    assert frames.path == tmp_path / "a.ome.tif"
    assert (frames.scale, frames.units) == ((1.0, 0.5), ("pixel", "micrometer"))


def test_an_array_inside_an_ome_zarr_knows_where_people_see_it(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "a.ome.zarr")
    array = group.create_array("deep/0", shape=(40, 50), dtype="uint8")
    assert ImageStack.open(array).path == tmp_path / "a.ome.zarr"
    assert ImageStack.open(np.zeros((40, 50))).path is None
    assert (
        ImageStack.open(ImageFile(array)).path is None
    )  # whoever says nothing wants nothing there


def test_reading_a_lower_resolution_alone_gives_the_signature_of_that() -> None:
    levels = pyramid(101, 150)
    frames = ImageStack.open(levels)
    frames.at(0.25).read()
    signature = frames.signature()
    assert signature["shape"] == [101, 150]
    assert signature["content"] == ImageStack.open(levels[2].data).signature()["content"]
    assert levels[0].read == 0


def test_resolutions_travel_together(tmp_path: Path) -> None:
    data = [one.data for one in pyramid(3, 100, 150)]
    stored = [
        zarr.create_array(tmp_path / f"{number}.zarr", data=level, chunks=(1, 50, 50))
        for number, level in enumerate(data)
    ]
    frames = ImageStack.open(stored, axes="TYX")
    assert frames.portable
    there = pickle.loads(pickle.dumps(frames))  # noqa: S301 - our own
    np.testing.assert_array_equal(there.at(0.25).read((2,)).pixels[..., 0], data[2][2])
    assert not ImageStack.open([stored[0], data[1]], axes="TYX").portable
