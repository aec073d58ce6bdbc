"""What Zarr files and arrays with named axes hold besides one array: used, refused or told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from napari_kindred.core.errors import InputError
from napari_kindred.images.readers import is_image, read_image, stem_of
from napari_kindred.images.stack import ImageStack

if TYPE_CHECKING:
    from pathlib import Path

GREY = np.random.default_rng(0).integers(0, 256, (5, 40, 48)).astype(np.uint8)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(read_image(path).data)


# -- OME-Zarr ---------------------------------------------------------------------------------


def multiscale(steps: list[Any], names: str = "yx", **more: Any) -> dict[str, Any]:
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in names]
    datasets = [
        {"path": str(number), "coordinateTransformations": step}
        for number, step in enumerate(steps)
    ]
    return {"version": "0.5", "multiscales": [{"axes": axes, "datasets": datasets}], **more}


def scaled(*scale: float, at: tuple[float, ...] = ()) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = [{"type": "scale", "scale": list(scale)}]
    return [*steps, {"type": "translation", "translation": list(at)}] if at else steps


def plate(path: Path, fields: int = 1) -> None:
    root = zarr.create_group(path)
    wells = [{"path": name, "rowIndex": 0, "columnIndex": 0} for name in ("A/1", "A/2")]
    columns = [{"name": "1"}, {"name": "2"}]
    root.attrs["ome"] = {
        "version": "0.5",
        "plate": {"columns": columns, "rows": [{"name": "A"}], "name": "p", "wells": wells},
    }
    for number, well in enumerate(wells):
        group = root.create_group(well["path"])
        images = [{"path": str(field)} for field in range(fields)]
        group.attrs["ome"] = {"version": "0.5", "well": {"images": images}}
        for field in range(fields):
            image = group.create_group(str(field))
            image.create_array("0", data=GREY[number])
            image.attrs["ome"] = multiscale([scaled(0.5, 0.5)])


def test_a_plate_names_a_place_that_is_there(tmp_path: Path) -> None:
    plate(tmp_path / "p.ome.zarr")
    with pytest.raises(InputError, match=r"plate of 2 wells \(A/1, A/2\)") as caught:
        read_image(tmp_path / "p.ome.zarr")
    place = str(caught.value).split("such as '")[1].split("'")[0]
    image = read_image(place)
    assert (image.axes, image.scale, image.name) == ("YX", (0.5, 0.5), "p_A_1_0")
    np.testing.assert_array_equal(image.data[:], GREY[0])
    array = read_image(tmp_path / "p.ome.zarr" / "A" / "2" / "0" / "0")
    np.testing.assert_array_equal(array.data[:], GREY[1])
    assert (array.axes, array.scale) == ("YX", (0.5, 0.5))
    assert read_image(tmp_path / "p.ome.zarr" / "A" / "2").scale == (0.5, 0.5)
    assert is_image(tmp_path / "p.ome.zarr" / "A" / "1" / "0")
    with pytest.raises(InputError, match="no zarr at"):
        read_image(tmp_path / "p.ome.zarr" / "B" / "7")


def test_a_well_of_several_images_names_them(tmp_path: Path) -> None:
    plate(tmp_path / "p.ome.zarr", fields=3)
    with pytest.raises(InputError, match=r"3 images \(0, 1, 2\).*A/1/0"):
        read_image(tmp_path / "p.ome.zarr" / "A" / "1")


def test_further_images_of_a_converted_file_are_told(tmp_path: Path) -> None:
    root = zarr.create_group(tmp_path / "a.zarr")
    root.attrs["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
    for number in range(3):
        group = root.create_group(str(number))
        group.create_array("0", data=GREY[number])
        group.attrs["ome"] = multiscale([scaled(1, 1)])
    image = read_image(tmp_path / "a.zarr")
    np.testing.assert_array_equal(image.data[:], GREY[0])
    assert "2 more images" in image.note
    place = image.note.split("give '")[1].split("'")[0]
    np.testing.assert_array_equal(read_image(place).data[:], GREY[1])


def test_scale_and_position_are_those_of_all_transformations_in_their_order(
    tmp_path: Path,
) -> None:
    group = zarr.create_group(tmp_path / "a.ome.zarr")
    group.create_array("0", data=GREY[0])
    about = multiscale([scaled(0.5, 0.25, at=(100, 250))])
    about["multiscales"][0]["coordinateTransformations"] = scaled(2, 2, at=(1, 0))
    group.attrs["ome"] = about
    image = read_image(tmp_path / "a.ome.zarr")
    assert image.scale == (1.0, 0.5)
    assert image.translate == (201.0, 500.0)
    assert ImageStack.open(image).translate == (201.0, 500.0)


def test_resolutions_that_are_missing_or_of_another_size_are_told_and_left_out(
    tmp_path: Path,
) -> None:
    group = zarr.create_group(tmp_path / "a.ome.zarr")
    group.create_array("0", data=GREY[0])
    group.create_array("1", data=np.zeros((32, 32), np.uint8))  # padded to whole chunks
    group.attrs["ome"] = multiscale([scaled(1, 1), scaled(2, 2), scaled(4, 4)])
    image = read_image(tmp_path / "a.ome.zarr")
    assert image.levels == ()
    assert "lacks its lower resolutions '2'" in image.note
    assert "resolution '1'" in image.note


@pytest.mark.parametrize("version", [2, 3])
def test_the_dimension_names_of_xarray_are_axes(tmp_path: Path, version: int) -> None:
    root = zarr.create_group(tmp_path / "a.zarr", zarr_format=version)
    names = ("time", "y", "x")
    kept = {} if version == 2 else {"dimension_names": names}
    array = root.create_array("cells", data=GREY, **kept)
    if version == 2:
        array.attrs["_ARRAY_DIMENSIONS"] = list(names)
    root.create_array("x", data=np.arange(48) * 0.5 + 10)
    image = read_image(tmp_path / "a.zarr")
    assert (image.axes, image.scale, image.translate) == ("TYX", (1, 1, 0.5), (0, 0, 10))
    assert read_image(tmp_path / "a.zarr" / "cells").axes == "TYX"


def test_the_dimensions_of_an_xarray_in_memory_are_axes() -> None:
    class Named(np.ndarray):
        dims = ("z", "y", "x")

    assert ImageStack.open(GREY[:3].view(Named)).axes == "ZYX"


# -- resolutions and samples in memory --------------------------------------------------------


def test_two_images_are_not_one_at_two_resolutions() -> None:
    for images in ([GREY[0], GREY[0][:20]], [GREY[0][:20], GREY[0]]):
        with pytest.raises(InputError, match="one image at a time"):
            ImageStack.open(images)


FINE = np.random.default_rng(3).integers(0, 4000, (1201, 1103)).astype(np.uint16)
HALF = FINE[:1200, :1102].reshape(600, 2, 551, 2).mean((1, 3)).astype(np.uint16)


def test_a_resolution_that_was_padded_or_never_filled_is_not_read() -> None:
    padded, partly = np.zeros((640, 640), np.uint16), HALF.copy()
    padded[:600, :551] = HALF
    partly[:, 200:] = 0
    assert ImageStack.open([FINE, HALF]).at(0.5).plane_shape == HALF.shape
    stack = ImageStack.open([FINE, padded])
    assert stack.at(0.5) is stack
    assert "640 × 640" in stack.notes[-1]
    for bad in (np.zeros_like(HALF), partly):
        stack = ImageStack.open([FINE, bad])
        assert stack.at(0.5) is stack
        assert "never filled" in stack.level_note
    dark = FINE.copy()
    dark[:, 400:] = 0  # an image may be empty in places
    assert ImageStack.open([dark, dark[::2, ::2]]).at(0.5).plane_shape != dark.shape


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_four_channels_are_not_taken_for_transparency(dtype: str) -> None:
    four = np.moveaxis(GREY[:4], 0, -1).astype(dtype)
    with pytest.raises(InputError, match="axes='YXC'"):
        ImageStack.open(four)
    if dtype == "uint8":
        four[..., 3] = 255
        assert ImageStack.open(four).axes == "YXS"


@pytest.mark.parametrize(
    "shape", [(512, 512, 20), (512, 400, 20), (512, 512, 30, 20), (200, 200, 180)]
)
def test_frames_that_come_last_are_asked_for(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="may be"):
        ImageStack.open(np.broadcast_to(np.uint16(1), shape))


def test_the_stem_of_an_image_inside_a_file_names_both() -> None:
    assert stem_of("plate.ome.zarr/A/1/0") == "plate_A_1_0"
    assert stem_of("https://example.org/a/cells.ome.zarr") == "cells"
    assert stem_of("s3://bucket/plate.zarr/B/2") == "plate_B_2"
