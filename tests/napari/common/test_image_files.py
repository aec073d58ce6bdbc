"""Images in the window have the axes, pixel size and position that the command line reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile
import zarr
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_kindred._napari.common.layers import calibrate, file_of, image_layer, read_layer
from napari_kindred._napari.results.layer_storage import layer_data, save_layer
from napari_kindred._napari.results.reader import get_reader
from napari_kindred.images.readers import read_image

if TYPE_CHECKING:
    from pathlib import Path

STACK = np.random.default_rng(0).integers(0, 255, (3, 20, 30)).astype(np.uint8)
ABOUT = {"axes": "ZYX"} | {f"PhysicalSize{axis}": 0.65 for axis in "XY"} | {"PhysicalSizeZ": 2.0}


def opened(path: Path) -> Image:
    reader = get_reader(str(path))
    assert reader is not None
    ((data, options, kind),) = reader(str(path))
    assert kind == "image"
    (layer,) = ViewerModel()._add_layer_from_data(data, options, kind)
    return layer


def test_an_ome_tiff_keeps_axes_and_pixel_size(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.ome.tif", STACK, metadata=ABOUT)
    layer = opened(tmp_path / "a.ome.tif")
    assert tuple(layer.scale) == (2.0, 0.65, 0.65)
    assert layer.axis_labels == ("z", "y", "x")
    assert str(layer.units[0]) == "micrometer"
    image = read_layer(layer)
    assert (image.guess.axes, image.guess.safe) == ("ZYX", True)
    np.testing.assert_array_equal(np.asarray(layer.data), STACK)


def test_an_ome_zarr_keeps_position_and_resolutions(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "a.ome.zarr")
    levels = []
    for number in range(2):
        group.create_array(str(number), data=STACK[0, :: 2**number, :: 2**number])
        steps = [{"type": "scale", "scale": [0.5 * 2**number] * 2}]
        steps.append({"type": "translation", "translation": [10.0, 20.0]})
        levels.append({"path": str(number), "coordinateTransformations": steps})
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    about = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": levels}]}
    group.attrs["ome"] = about
    layer = opened(tmp_path / "a.ome.zarr")
    assert layer.multiscale
    assert tuple(layer.scale) == (0.5, 0.5)
    assert tuple(layer.translate) == (10.0, 20.0)
    assert read_layer(layer).file.translate == (10.0, 20.0)


@pytest.mark.parametrize("end", ["a.ome.tif", "a.tif"])
def test_what_another_reader_left_out_is_looked_up_in_the_file(tmp_path: Path, end: str) -> None:
    path = tmp_path / end
    if end == "a.tif":
        about = {"axes": "ZYX", "unit": "um", "spacing": 2.0}
        tifffile.imwrite(path, STACK, imagej=True, resolution=(1 / 0.65,) * 2, metadata=about)
    else:
        tifffile.imwrite(path, STACK, metadata=ABOUT)
    viewer = ViewerModel()
    layer = Image(STACK)  # as napari's own reader gives it
    layer._set_source(layer.source.model_copy(update={"path": str(path)}))
    viewer.add_layer(layer)
    assert file_of(layer) is not None
    assert read_layer(layer).guess.axes == "ZYX"
    assert "Pixel size" in calibrate(layer)
    np.testing.assert_allclose(layer.scale, (2.0, 0.65, 0.65), rtol=1e-3)
    assert calibrate(layer) == ""
    other = Image(STACK[:2])
    other._set_source(layer.source)
    assert file_of(other) is None


def test_colours_and_channels_are_layers_of_their_kind(tmp_path: Path) -> None:
    colours = np.stack([STACK[0]] * 3, -1)
    tifffile.imwrite(tmp_path / "a.ome.tif", colours, photometric="rgb")
    assert opened(tmp_path / "a.ome.tif").rgb
    data, options, _ = image_layer(read_image(tmp_path / "a.ome.tif"))
    assert data.shape == colours.shape
    assert options["axis_labels"] == ("y", "x")


@pytest.mark.parametrize("name", ["a.ome.zarr", "a.tif"])
def test_a_layer_saved_again_and_again_stays_where_it_is(tmp_path: Path, name: str) -> None:
    labels = np.eye(16, dtype=np.int32)[None].repeat(3, 0)
    layer = Labels(
        labels,
        scale=(-2, 1, 0.5),
        translate=(5, -7, 3),
        units=("um", "um", "um"),
        axis_labels=("depth", "y", "x"),
    )
    for number in range(3):
        path = tmp_path / f"{number} {name}"
        save_layer(layer, path)
        data, options, _ = layer_data(path)
        again = Labels(data, **options)
        for what in ("scale", "translate"):
            np.testing.assert_array_equal(getattr(again, what), getattr(layer, what))
        assert again.axis_labels == layer.axis_labels
        assert again.units == layer.units
        layer = again
    if name.endswith(".zarr"):
        steps = zarr.open_group(path).attrs["ome"]["multiscales"][0]["datasets"][0]
        assert steps["coordinateTransformations"] == [
            {"type": "scale", "scale": [2.0, 1.0, 0.5]},
            {"type": "translation", "translation": [5.0, -7.0, 3.0]},
        ]
