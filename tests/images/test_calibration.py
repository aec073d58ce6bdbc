"""Pixel sizes, positions and names of channels, as files tell them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
import zarr

from napari_kindred.core.errors import InputError
from napari_kindred.images.readers import list_images, read_image
from napari_kindred.images.stack import ImageStack

if TYPE_CHECKING:
    from pathlib import Path

GREY = np.random.default_rng(0).integers(0, 4000, (2, 40, 48)).astype(np.uint16)


def test_images_of_a_stage_lie_where_it_was(tmp_path: Path) -> None:
    def write(name: str, *places: tuple[float, str]) -> Path:
        path = tmp_path / name
        with tifffile.TiffWriter(path, ome=True) as tif:
            for number, (place, unit) in enumerate(places):
                about = {"axes": "ZYX", "PhysicalSizeX": 500, "PhysicalSizeXUnit": "nm"}
                about |= {"PhysicalSizeY": 500, "PhysicalSizeYUnit": "nm"}
                plane = {"PositionX": [place] * 3, "PositionXUnit": [unit] * 3}
                plane |= {"PositionY": [7.0] * 3, "PositionYUnit": [unit] * 3}
                tif.write(np.stack([GREY[number % 2]] * 3), metadata={**about, "Plane": plane})
        return path

    path = write("a.ome.tif", (12.5, "µm"), (0.9, "mm"))
    assert read_image(path).translate == (0, 7_000, 12_500)  # in nm, as the pixel size
    assert read_image(path / "1").translate == (0, 7_000_000, 900_000)
    frames = ImageStack.open(read_image(path / "1"))
    assert frames.translate == (0, 7_000_000, 900_000)
    # One image, or several at one place, or places in no unit of length, stay at 0.
    assert read_image(write("b.ome.tif", (12.5, "µm"))).translate is None
    assert read_image(write("c.ome.tif", (12.5, "µm"), (12.5, "µm"))).translate is None
    nowhere = "reference frame"
    assert read_image(write("d.ome.tif", (12.5, nowhere), (900, nowhere))).translate is None


@pytest.mark.parametrize(
    ("resolution", "unit", "expected"),
    [
        ((40_000, 20_000), "CENTIMETER", (0.5, 0.25)),  # Y, X in µm
        ((72, 72), "INCH", None),
        ((28.35, 28.35), "CENTIMETER", None),  # 72 dots per inch
        ((40_000, 0), "CENTIMETER", None),
    ],
)
def test_pixels_per_centimetre_are_a_pixel_size_unless_those_of_a_screen(
    tmp_path: Path, resolution: Any, unit: str, expected: Any
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", GREY[0], resolution=resolution, resolutionunit=unit)
    image = read_image(tmp_path / "a.tif")
    assert image.scale == (None if expected is None else pytest.approx(expected))
    assert image.units == (None if expected is None else ("micrometer",) * 2)


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({"omero": {"channels": [{"label": "A"}, {"label": None}]}}, ()),
        ({"omero": {"channels": "A, B"}}, ()),
        ({"omero": {"channels": [{"label": "A"}, {"label": "B"}]}}, ("A", "B")),
    ],
)
def test_names_of_channels_that_are_none_are_left_out(
    tmp_path: Path, more: dict[str, Any], names: tuple[str, ...]
) -> None:
    root = zarr.create_group(tmp_path / "a.zarr")
    root.create_array("0", data=GREY[:2])
    axes = [{"name": "c", "type": "channel"}]
    axes += [{"name": one, "type": "space", "unit": "micrometer"} for one in "yx"]
    entry = {
        "axes": axes,
        "datasets": [
            {"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [1, 1, 1]}]}
        ],
    }
    root.attrs["ome"] = {"version": "0.5", "multiscales": [entry], **more}
    image = read_image(tmp_path / "a.zarr")
    assert (image.axes, image.channels) == ("CYX", names)


def test_a_zarr_without_any_resolution_says_what_to_give(tmp_path: Path) -> None:
    root = zarr.create_group(tmp_path / "a.zarr")
    root.attrs["ome"] = {"version": "0.5", "multiscales": []}
    with pytest.raises(InputError, match="not an OME-Zarr image"):
        read_image(tmp_path / "a.zarr")


@pytest.mark.parametrize("plate", [[], {"wells": ["A/1"]}, {"wells": [{}]}])
def test_a_plate_of_another_form_is_one_image_of_a_folder_that_cannot_be_read(
    tmp_path: Path, plate: Any
) -> None:
    root = zarr.create_group(tmp_path / "p.zarr")
    root.attrs["ome"] = {"version": "0.5", "plate": plate}
    tifffile.imwrite(tmp_path / "a.tif", GREY[0])
    assert list_images(tmp_path) == [tmp_path / "a.tif", tmp_path / "p.zarr"]
    with pytest.raises(InputError, match="damaged"):
        read_image(tmp_path / "p.zarr")
