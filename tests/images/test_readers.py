from __future__ import annotations

from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import zarr
from ome_zarr_models import open_ome_zarr

from napari_kindred.core.errors import InputError
from napari_kindred.images.ome import label_attributes
from napari_kindred.images.readers import list_images, read_image, stem_of

if TYPE_CHECKING:
    from pathlib import Path

MOVIE = np.random.default_rng(0).integers(0, 255, (5, 20, 30)).astype("uint8")


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd"])
def test_a_tiff_is_opened_without_reading_it(tmp_path: Path, compression: str | None) -> None:
    path = tmp_path / "movie.tif"
    tifffile.imwrite(path, MOVIE, compression=compression, photometric="minisblack")
    image = read_image(path)
    assert isinstance(image.data, np.memmap | zarr.Array)
    assert image.data.shape == MOVIE.shape
    np.testing.assert_array_equal(image.data[3], MOVIE[3])
    assert image.axes is None  # a bare TIFF does not say what its pages are


def test_ome_tiff_tells_axes_and_pixel_size(tmp_path: Path) -> None:
    metadata = {"axes": "TYX", "PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm"}
    tifffile.imwrite(tmp_path / "a.ome.tif", MOVIE, metadata=metadata)
    image = read_image(tmp_path / "a.ome.tif")
    assert image.axes == "TYX"
    assert image.scale == (1.0, 1.0, 0.5)
    assert image.units == ("pixel", "pixel", "micrometer")
    assert image.scale_of("YX") == ((1.0, 0.5), ("pixel", "micrometer"))


def test_imagej_tiff_tells_axes_pixel_size_and_interval(tmp_path: Path) -> None:
    metadata = {"axes": "TYX", "unit": "um", "finterval": 3.0}
    tifffile.imwrite(tmp_path / "a.tif", MOVIE, imagej=True, resolution=(2, 4), metadata=metadata)
    image = read_image(tmp_path / "a.tif")
    assert image.axes == "TYX"
    assert image.scale == (3.0, 0.25, 0.5)
    assert image.units == ("second", "micrometer", "micrometer")


def ome_zarr(path: Path, version: int) -> None:
    group = zarr.create_group(path, zarr_format=version)
    group.create_array("0", data=MOVIE[:, None], chunks=(1, 1, 20, 30))
    names = [("t", "time"), ("c", "channel"), ("y", "space"), ("x", "space")]
    axes = [{"name": name, "type": kind} for name, kind in names]
    axes[-1]["unit"] = "micrometer"
    level = {
        "path": "0",
        "coordinateTransformations": [{"type": "scale", "scale": [2, 1, 0.5, 0.5]}],
    }
    about = {"multiscales": [{"axes": axes, "datasets": [level]}]}
    group.attrs.update({"ome": about} if version == 3 else about)


@pytest.mark.parametrize("version", [2, 3])
def test_ome_zarr_tells_axes_and_pixel_size(tmp_path: Path, version: int) -> None:
    ome_zarr(tmp_path / "a.ome.zarr", version)
    image = read_image(tmp_path / "a.ome.zarr")
    assert isinstance(image.data, zarr.Array)
    assert image.axes == "TCYX"
    assert image.scale == (2.0, 1.0, 0.5, 0.5)
    assert image.units == ("pixel", "pixel", "pixel", "micrometer")


def test_a_picture_inside_a_numbered_group_is_found(tmp_path: Path) -> None:
    zarr.create_group(tmp_path / "a.zarr")
    ome_zarr(tmp_path / "a.zarr" / "0", 3)
    assert read_image(tmp_path / "a.zarr").axes == "TCYX"


def test_a_zarr_with_several_arrays_is_refused_naming_one(tmp_path: Path) -> None:
    group = zarr.create_group(tmp_path / "a.zarr")
    for name in ("left", "right"):
        group.create_array(name, data=MOVIE)
    with pytest.raises(InputError, match=r"a.zarr/(left|right)'"):
        read_image(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    ("data", "axes"),
    [
        (MOVIE[0], "YX"),
        (np.stack([MOVIE[0]] * 3, -1), "YXS"),
        (np.stack([MOVIE[0]] * 4, -1), "YXS"),
    ],
)
def test_png_tells_grey_from_colour(tmp_path: Path, data: np.ndarray, axes: str) -> None:
    iio.imwrite(tmp_path / "a.png", data)
    image = read_image(tmp_path / "a.png")
    assert image.axes == axes
    np.testing.assert_array_equal(image.data, data)


def test_npy_is_mapped_and_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", MOVIE)
    assert isinstance(read_image(tmp_path / "a.npy").data, np.memmap)
    np.save(tmp_path / "b.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="damaged"):
        read_image(tmp_path / "b.npy")


@pytest.mark.parametrize("name", ["a.tif", "a.png", "a.npy", "a.jpg"])
def test_a_damaged_file_is_refused_in_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"II*\0 not an image")
    with pytest.raises(InputError, match="damaged") as caught:
        read_image(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_tiff_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, MOVIE)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(InputError, match="damaged"):
        read_image(path)


def test_missing_and_foreign_files_are_refused_naming_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="check the path"):
        read_image(tmp_path / "none.tif")
    (tmp_path / "a.czi").touch()
    with pytest.raises(InputError, match="OME-TIFF"):
        read_image(tmp_path / "a.czi")


def test_a_folder_lists_its_images_in_name_order(tmp_path: Path) -> None:
    for name in ("b.png", "a.TIF", ".c.png", "notes.txt"):
        (tmp_path / name).touch()
    ome_zarr(tmp_path / "c.ome.zarr", 3)
    assert [path.name for path in list_images(tmp_path)] == ["a.TIF", "b.png", "c.ome.zarr"]
    level = tmp_path / "c.ome.zarr" / "0"
    assert list_images(level) == [level]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no image"):
        list_images(tmp_path / "empty")


def test_the_stem_leaves_out_double_suffixes() -> None:
    names = ["a.tif", "a.ome.tif", "a.ome.zarr", "a.PNG"]
    assert {stem_of(name) for name in names} == {"a"}
    assert stem_of("day 1.2.png") == "day 1.2"


# -- several resolutions ----------------------------------------------------------------------

PLANE = np.random.default_rng(1).integers(0, 4000, (2, 64, 96)).astype("uint16")
PYRAMID = [PLANE, PLANE[:, ::2, ::2], PLANE[:, ::4, ::4]]


def multiscale_zarr(path: Path, version: str) -> None:
    """A movie in three resolutions, its metadata as the specification has it."""
    group = zarr.create_group(path, zarr_format=2 if version == "0.4" else 3)
    levels = []
    for number, level in enumerate(PYRAMID):
        names = {} if version == "0.4" else {"dimension_names": ("t", "y", "x")}
        group.create_array(str(number), data=level, chunks=(1, 32, 32), **names)
        scale = [1.0, 0.25 * 2**number, 0.25 * 2**number]
        levels.append(
            {
                "path": str(number),
                "coordinateTransformations": [{"type": "scale", "scale": scale}],
            }
        )
    axes = [
        {"name": "t", "type": "time", "unit": "second"},
        {"name": "y", "type": "space", "unit": "micrometer"},
        {"name": "x", "type": "space", "unit": "micrometer"},
    ]
    overall = [{"type": "scale", "scale": [3.0, 1.0, 1.0]}]
    about = [{"axes": axes, "datasets": levels, "coordinateTransformations": overall}]
    if version == "0.4":
        group.attrs["multiscales"] = [{"version": "0.4", **about[0]}]
    else:
        group.attrs["ome"] = {"version": "0.5", "multiscales": about}


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_all_resolutions_of_an_ome_zarr_are_there_unread(tmp_path: Path, version: str) -> None:
    multiscale_zarr(tmp_path / "a.ome.zarr", version)
    open_ome_zarr(zarr.open_group(tmp_path / "a.ome.zarr", mode="r"))  # the example is valid
    image = read_image(tmp_path / "a.ome.zarr")
    assert [level.shape for level in image.levels] == [level.shape for level in PYRAMID]
    assert all(isinstance(level, zarr.Array) for level in image.levels)
    assert image.data is image.levels[0]
    assert image.scale == (3.0, 0.25, 0.25)
    assert image.units == ("second", "micrometer", "micrometer")
    assert image.note == ""


def test_an_ome_zarr_that_breaks_the_rules_is_opened_and_told(tmp_path: Path) -> None:
    multiscale_zarr(tmp_path / "a.ome.zarr", "0.5")
    group = zarr.open_group(tmp_path / "a.ome.zarr")
    about = dict(group.attrs["ome"])
    about["multiscales"][0]["datasets"][0]["coordinateTransformations"][0]["scale"] = [1.0, 0.25]
    group.attrs["ome"] = about
    image = read_image(tmp_path / "a.ome.zarr")
    assert (image.axes, image.scale) == ("TYX", None)  # the arrays name their dimensions
    assert len(image.levels) == 3
    assert "breaks the rules of OME-Zarr 0.5" in image.note
    assert image.note.endswith(".")


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_all_resolutions_of_an_ome_tiff_are_there_unread(
    tmp_path: Path, compression: str | None
) -> None:
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path) as file:
        options = {"tile": (32, 32), "compression": compression, "photometric": "minisblack"}
        file.write(PYRAMID[0], subifds=2, metadata={"axes": "TYX"}, **options)
        for level in PYRAMID[1:]:
            file.write(level, subfiletype=1, **options)
    image = read_image(path)
    assert [level.shape for level in image.levels] == [level.shape for level in PYRAMID]
    assert all(isinstance(level, np.memmap | zarr.Array) for level in image.levels)
    for level, known in zip(image.levels, PYRAMID, strict=True):
        np.testing.assert_array_equal(level[1], known[1])
    assert image.axes == "TYX"


def test_an_image_of_one_resolution_has_no_levels(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", MOVIE)
    ome_zarr(tmp_path / "a.ome.zarr", 3)
    assert read_image(tmp_path / "a.tif").levels == ()
    assert read_image(tmp_path / "a.ome.zarr").levels == ()


@pytest.mark.parametrize("size", ["inf", "nan", "-1", "0", "wide", "1e999"])
def test_a_pixel_size_that_cannot_be_is_left_out(tmp_path: Path, size: str) -> None:
    path = tmp_path / "a.ome.tif"
    about = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25}
    tifffile.imwrite(path, np.zeros((8, 8), np.uint8), metadata=about)
    text = tifffile.tiffcomment(path).replace('PhysicalSizeX="0.5"', f'PhysicalSizeX="{size}"')
    tifffile.tiffcomment(path, text.encode())
    assert read_image(path).scale == (0.25, 1.0)


@pytest.mark.parametrize(
    "about", [{"unit": "um", "spacing": np.nan}, {"finterval": -1.0}, {"finterval": np.inf}]
)
def test_a_step_of_imagej_that_cannot_be_is_left_out(tmp_path: Path, about: dict) -> None:
    path = tmp_path / "a.tif"
    stack = np.zeros((3, 8, 8), np.uint8)
    axes = "ZYX" if "spacing" in about else "TYX"
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": axes, **about})
    assert (read_image(path).scale or (1.0,))[0] == 1.0


@pytest.mark.parametrize("step", [0.0, -0.5])
def test_a_scale_of_a_zarr_that_cannot_be_is_left_out_with_a_note(
    tmp_path: Path, step: float
) -> None:
    group = zarr.create_group(tmp_path / "a.ome.zarr")
    group.create_array("0", data=np.zeros((8, 8), np.uint8))
    group.attrs["ome"] = label_attributes("YX", (step, 0.5), None)
    image = read_image(tmp_path / "a.ome.zarr")
    assert (image.axes, image.scale) == ("YX", None)
    assert "so its pixel sizes are not known" in image.note
