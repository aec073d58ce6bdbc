"""What files hold besides one array of grey values: used, refused or told."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_kindred.core.errors import InputError
from napari_kindred.images.readers import list_images, read_image, read_indices
from napari_kindred.images.stack import ImageStack

if TYPE_CHECKING:
    from pathlib import Path

GREY = np.random.default_rng(0).integers(0, 256, (5, 40, 48)).astype(np.uint8)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(read_image(path).data)


# -- several images in a TIFF -----------------------------------------------------------------


def test_pages_of_one_size_written_one_by_one_are_frames(tmp_path: Path) -> None:
    for frame in GREY:
        tifffile.imwrite(tmp_path / "a.tif", frame, append=True)
    image = read_image(tmp_path / "a.tif")
    assert image.axes == "TYX"
    np.testing.assert_array_equal(image.data, GREY)
    assert "5 images" in image.note
    assert "frames" in image.note


def test_a_page_of_another_size_is_told_and_can_be_asked_for(tmp_path: Path) -> None:
    odd = np.zeros((20, 48), np.uint8)
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        for frame in (GREY[0], GREY[1], odd, GREY[2]):
            tif.write(frame, contiguous=False)
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, GREY[:3])
    assert "one more image" in image.note
    place = image.note.split("give '")[1].split("'")[0]
    assert pixels(place).shape == odd.shape
    assert ImageStack.open(image).notes[0] == image.note
    with pytest.raises(InputError, match="no image '9'"):
        read_image(tmp_path / "a.tif" / "9")


@pytest.mark.parametrize("flagged", [True, False])
def test_a_thumbnail_does_not_stand_for_the_image(tmp_path: Path, flagged: bool) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(GREY[0][::4, ::4], subfiletype=int(flagged), metadata=None)
        tif.write(GREY[0], metadata=None)
    image = read_image(tmp_path / "a.tif")
    np.testing.assert_array_equal(image.data, GREY[0])
    assert "10 × 12" in image.note


def test_the_second_image_of_an_ome_tiff_is_told_and_read_with_its_own_sizes(
    tmp_path: Path,
) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif") as tif:
        for frame, size in ((GREY[0], 0.5), (GREY[1][:30], 0.25)):
            about = {"axes": "YX", "PhysicalSizeX": size, "PhysicalSizeXUnit": "µm"}
            tif.write(frame, metadata=about)
    image = read_image(tmp_path / "a.ome.tif")
    assert "one more image" in image.note
    assert image.scale == (1.0, 0.5)
    second = read_image(tmp_path / "a.ome.tif" / "1")
    np.testing.assert_array_equal(second.data, GREY[1][:30])
    assert (second.scale, second.note, second.name) == ((1.0, 0.25), "", "a_1")


# -- sets of files ----------------------------------------------------------------------------


def ome_set(folder: Path, count: int = 3) -> None:
    """An OME-TIFF of a file per time point."""
    folder.mkdir()
    ids = [f"1111111{number}-1111-1111-1111-111111111111" for number in range(count)]
    planes = "".join(
        f'<TiffData FirstT="{number}" FirstC="0" FirstZ="0" IFD="0" PlaneCount="1">'
        f'<UUID FileName="t{number}.ome.tif">urn:uuid:{one}</UUID></TiffData>'
        for number, one in enumerate(ids)
    )
    for number, one in enumerate(ids):
        about = (
            '<?xml version="1.0" encoding="UTF-8"?><OME '
            'xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{one}"><Image ID="Image:0"><Pixels ID="Pixels:0" '
            'DimensionOrder="XYZCT" Type="uint8" SizeX="48" SizeY="40" SizeC="1" SizeZ="1" '
            f'SizeT="{count}"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{planes}'
            "</Pixels></Image></OME>"
        )
        path = folder / f"t{number}.ome.tif"
        tifffile.imwrite(path, GREY[number], description=about, metadata=None)


def test_an_image_in_several_files_is_listed_once(tmp_path: Path) -> None:
    ome_set(tmp_path / "set")
    tifffile.imwrite(tmp_path / "set" / "z.tif", GREY[4])
    assert [path.name for path in list_images(tmp_path / "set")] == ["t0.ome.tif", "z.tif"]
    image = read_image(tmp_path / "set" / "t1.ome.tif")
    assert image.axes == "TYX"
    np.testing.assert_array_equal(image.data, GREY[:3])


def test_a_missing_file_of_a_set_is_named(tmp_path: Path) -> None:
    ome_set(tmp_path / "set")
    assert "cannot be found" not in read_image(tmp_path / "set" / "t0.ome.tif").note
    (tmp_path / "set" / "t1.ome.tif").unlink()
    image = read_image(tmp_path / "set" / "t0.ome.tif")
    assert "'t1.ome.tif'" in image.note
    assert "cannot be found" in image.note


# -- colours ----------------------------------------------------------------------------------


@pytest.mark.parametrize("end", [".png", ".tif", ".bmp", ".gif"])
def test_a_palette_gives_its_colours_and_labels_its_indices(tmp_path: Path, end: str) -> None:
    colours = np.random.default_rng(1).integers(0, 256, (256, 3)).astype(np.uint8)
    image = Image.fromarray(GREY[0])
    image.putpalette(colours.tobytes())
    path = tmp_path / f"a{end}"
    image.save(path)
    opened = read_image(path)
    assert opened.axes == "YXS"
    np.testing.assert_array_equal(np.asarray(opened.data), colours[GREY[0]])
    if end in (".png", ".tif"):
        np.testing.assert_array_equal(np.asarray(read_indices(path).data), GREY[0])
    frame = ImageStack.open(image).read()
    np.testing.assert_array_equal(frame.pixels, colours[GREY[0]])


def test_a_ramp_of_one_colour_only_tints_grey_values(tmp_path: Path) -> None:
    green = np.zeros((3, 256), np.uint16)
    green[1] = np.arange(256) * 257
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY[0], photometric="palette", colormap=green)
    image = read_image(path)
    assert image.axes == "YX"
    np.testing.assert_array_equal(image.data, GREY[0])


@pytest.mark.parametrize("end", [".jpg", ".tif"])
def test_cmyk_becomes_rgb_as_viewers_show_it(tmp_path: Path, end: str) -> None:
    y, x = np.mgrid[:40, :48]
    inks = np.stack([y * 3, x * 3, y + x, (y * x) % 90], -1).astype(np.uint8)
    Image.fromarray(inks, "CMYK").save(tmp_path / f"a{end}", quality=100, subsampling=0)
    image = read_image(tmp_path / f"a{end}")
    light = 255 - inks.astype(float)
    expected = light[..., :3] * light[..., 3:] / 255
    assert image.axes == "YXS"
    assert np.abs(np.asarray(image.data) - expected).max() <= (12 if end == ".jpg" else 1)
    assert "CMYK" in image.note


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (255 - GREY[0], GREY[0]),
        (65535 - GREY[0].astype(np.uint16), GREY[0].astype(np.uint16)),
        (GREY[0] > 99, GREY[0] <= 99),
    ],
)
def test_grey_of_which_the_smallest_means_white_is_inverted(
    tmp_path: Path, stored: np.ndarray, shown: np.ndarray
) -> None:
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="miniswhite")
    np.testing.assert_array_equal(pixels(tmp_path / "a.tif"), shown)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_colours_stored_plane_by_plane_are_colours(tmp_path: Path, compression: str | None) -> None:
    colours = np.moveaxis(GREY[:3], 0, -1)
    tifffile.imwrite(
        tmp_path / "a.tif",
        GREY[:3],
        photometric="rgb",
        planarconfig="separate",
        compression=compression,
    )
    image = read_image(tmp_path / "a.tif")
    assert image.axes == "YXS"
    np.testing.assert_array_equal(np.asarray(image.data), colours)


def test_samples_that_are_no_colours_are_channels(tmp_path: Path) -> None:
    five = np.moveaxis(GREY, 0, -1)
    options = {"photometric": "minisblack", "planarconfig": "contig"}
    tifffile.imwrite(tmp_path / "a.tif", five, extrasamples=[0] * 4, **options)
    assert read_image(tmp_path / "a.tif").axes == "YXC"
    two = five[..., :2]
    tifffile.imwrite(tmp_path / "b.tif", two, extrasamples=["unassalpha"], **options)
    image = read_image(tmp_path / "b.tif")
    assert image.axes == "YX"
    np.testing.assert_array_equal(np.asarray(image.data), two[..., 0])
    assert "transparency" in image.note


def test_colours_that_are_not_understood_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(GREY[:3], 0, -1), photometric="cielab")
    with pytest.raises(InputError, match="CIELAB colours"):
        read_image(tmp_path / "a.tif")


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
def test_a_png_keeps_all_of_its_16_bits(tmp_path: Path, samples: int) -> None:
    values = np.random.default_rng(2).integers(0, 800, (40, 48, samples)).astype(np.uint16)
    values = values[..., 0] if samples == 1 else values
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(values))
    image = read_image(tmp_path / "a.png")
    expected = values[..., 0] if samples == 2 else values
    assert image.axes == ("YX" if samples < 3 else "YXS")
    np.testing.assert_array_equal(image.data, expected)


def test_a_turned_photograph_is_told(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(GREY[0]).save(tmp_path / "a.jpg", exif=exif)
    image = read_image(tmp_path / "a.jpg")
    assert image.data.shape == (40, 48)
    assert "orientation is 6" in image.note


# -- damage -----------------------------------------------------------------------------------


def test_a_movie_cut_short_is_refused_whoever_listens_to_the_log(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as tif:
        for frame in GREY:
            tif.write(frame, contiguous=False, metadata=None)
    whole = path.read_bytes()
    logger = logging.getLogger("tifffile")
    level, logger.level = logger.level, logging.CRITICAL + 1
    try:
        assert read_image(path).data.shape == GREY.shape
        path.write_bytes(whole[: len(whole) * 2 // 3])
        with pytest.raises(InputError, match="cut short"):
            read_image(path)
    finally:
        logger.setLevel(level)


def test_the_complaints_of_another_file_do_not_make_this_one_damaged(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, GREY)

    class Noisy(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            return True

    logging.getLogger("tifffile").warning("invalid page offset 7")
    assert read_image(path).data.shape == GREY.shape
