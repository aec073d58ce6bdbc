from __future__ import annotations

import re
from typing import TYPE_CHECKING

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from napari_kindred.core.errors import InputError
from napari_kindred.images.image_folder import read_folder
from napari_kindred.images.stack import ImageStack

if TYPE_CHECKING:
    from pathlib import Path


def write(folder: Path, names: list[str], size: tuple[int, ...] = (8, 9)) -> None:
    """Write frames; each has the place of its name in the list as its grey value."""
    for value, name in enumerate(names):
        iio.imwrite(folder / name, np.full(size, value, np.uint8))


def greys(folder: Path) -> list[int]:
    """The grey value of each frame, in the movie's order."""
    movie = read_folder(folder)
    frames = ImageStack.open(movie.data, metadata_axes=movie.axes)
    return [int(frames.read(index).pixels.max()) for index in frames.indices()]


def test_frames_come_in_the_order_of_their_numbers_padded_or_not(tmp_path: Path) -> None:
    write(tmp_path, [f"cell3_t{number}.png" for number in (8, 9, 10, 11)])
    assert greys(tmp_path) == [0, 1, 2, 3]


def test_names_without_a_common_pattern_come_in_name_order(tmp_path: Path) -> None:
    write(tmp_path, ["b.png", "a1.png", "c77.png"])
    assert greys(tmp_path) == [1, 0, 2]


def test_every_tenth_frame_is_a_movie_too(tmp_path: Path) -> None:
    write(tmp_path, ["t00.png", "t10.png", "t20.png"])
    movie = read_folder(tmp_path)
    assert movie.data.shape == (3, 8, 9)
    assert movie.note == ""


def test_missing_numbers_are_named_and_the_others_are_a_movie(tmp_path: Path) -> None:
    write(tmp_path, ["t098.png", "t099.png", "t101.png", "t104.png"])
    movie = read_folder(tmp_path)
    assert movie.data.shape == (4, 8, 9)
    assert movie.note.startswith("3 frames are missing in the sequence")
    assert "between 't099.png' and 't101.png'" in movie.note
    (tmp_path / "t104.png").unlink()
    assert read_folder(tmp_path).note.startswith("One frame is missing")


def test_sizes_or_types_that_differ_are_named(tmp_path: Path) -> None:
    write(tmp_path, ["t0.png", "t1.png"])
    write(tmp_path, ["t2.png"], size=(8, 10))
    with pytest.raises(InputError, match=r"8 × 9 .* 't2.png' is 8 × 10"):
        read_folder(tmp_path)
    iio.imwrite(tmp_path / "t2.png", np.zeros((8, 9), np.uint16))
    with pytest.raises(InputError, match=r"'t2.png' is 8 × 9 pixels of uint16"):
        read_folder(tmp_path)


def test_a_damaged_frame_and_an_empty_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no image"):
        read_folder(tmp_path)
    write(tmp_path, ["t0.png", "t1.png"])
    (tmp_path / "t1.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"'t1.png' is damaged"):
        read_folder(tmp_path)


def test_stacks_in_a_folder_are_to_be_given_by_themselves(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 8, 9), np.uint8), metadata={"axes": "TYX"})
    with pytest.raises(InputError, match="itself a stack"):
        read_folder(tmp_path)


def test_colour_frames_and_slices(tmp_path: Path) -> None:
    write(tmp_path, ["t0.png", "t1.png", "t2.png"], size=(8, 9, 3))
    movie = read_folder(tmp_path)
    assert movie.axes == "TYXS"
    assert movie.data[1:, 2, :, 0].shape == (2, 9)
    assert movie.data[-1].max() == 2


def test_pixel_size_is_that_of_the_first_file(tmp_path: Path) -> None:
    for number in range(2):
        about = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25}
        tifffile.imwrite(
            tmp_path / f"t{number}.ome.tif", np.zeros((8, 9), np.uint16), ome=True, metadata=about
        )
    movie = read_folder(tmp_path)
    assert movie.scale == (1.0, 0.25, 0.5)
    assert movie.units == ("pixel", "micrometer", "micrometer")


def test_only_frames_that_are_looked_at_are_read(tmp_path: Path) -> None:
    write(tmp_path, ["t0.png", "t1.png", "t2.png"])
    movie = read_folder(tmp_path)
    (tmp_path / "t2.png").unlink()
    assert movie.data[0].max() == 0
    with pytest.raises(InputError, match=r"t2.png"):
        movie.data[2]


# -- order ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "names",
    [
        ("img1_12-30-01.tif", "img2_12-31-01.tif", "img10_12-39-01.tif"),
        ("f1.tif", "f2.tif", "f10.TIF"),
        ("t1.tif", "t2_bad.tif", "t3.tif", "t10.tif"),
        ("1h0min.tif", "2h30min.tif", "10h0min.tif"),
        ("p1_t1.tif", "p1_t2.tif", "p1_t10.tif", "p2_t1.tif", "p2_t2.tif", "p2_t10.tif"),
        ("f1.tif", "f01.tif", "f2.tif"),
        ("Cell 9.tif", "cell 10.tif"),
    ],
)
def test_frames_come_in_natural_order(tmp_path: Path, names: tuple[str, ...]) -> None:
    for value, name in enumerate(names):
        tifffile.imwrite(tmp_path / name, np.full((8, 9), value, np.uint8))
    movie = read_folder(tmp_path)
    assert [int(movie.data[place, 0, 0]) for place in range(len(names))] == [*range(len(names))]
    assert "-" not in movie.note.split(" frames")[0]


def test_an_order_that_no_number_confirms_is_told(tmp_path: Path) -> None:
    for name in ("p1_t1", "p1_t2", "p2_t1", "p2_t2"):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.zeros((8, 9), np.uint8))
    assert "from 'p1_t1.tif' to 'p2_t2.tif'" in read_folder(tmp_path).note


@pytest.mark.parametrize("mark", ["_ch{}", "_C{}", "_w{}", "-channel00{}"])
def test_numbers_of_channels_in_names_are_channels(tmp_path: Path, mark: str) -> None:
    for frame in range(3):
        for channel in (1, 2):
            image = np.full((8, 9), 10 * frame + channel, np.uint8)
            tifffile.imwrite(tmp_path / f"t{frame}{mark.format(channel)}.tif", image)
    movie = read_folder(tmp_path)
    assert (movie.axes, movie.data.shape) == ("TCYX", (3, 2, 8, 9))
    np.testing.assert_array_equal(movie.data[:, :, 0, 0], [[1, 2], [11, 12], [21, 22]])
    np.testing.assert_array_equal(movie.data[1, 1], np.full((8, 9), 12))
    assert "taken for channels" in movie.note


def test_wells_and_incomplete_channels_stay_frames(tmp_path: Path) -> None:
    for name in ("C1", "C2", "C3"):
        tifffile.imwrite(tmp_path / f"{name}.tif", np.zeros((8, 9), np.uint8))
    assert read_folder(tmp_path).axes == "TYX"


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    for end in (".tif", ".png"):
        iio.imwrite(tmp_path / f"a{end}", np.zeros((8, 9), np.uint8))
    with pytest.raises(InputError, match="same name"):
        read_folder(tmp_path)


def test_a_set_of_files_is_one_movie(tmp_path: Path) -> None:
    ids = [f"1111111{number}-1111-1111-1111-111111111111" for number in range(2)]
    planes = "".join(
        f'<TiffData FirstT="{number}" IFD="0" PlaneCount="1">'
        f'<UUID FileName="t{number}.ome.tif">urn:uuid:{one}</UUID></TiffData>'
        for number, one in enumerate(ids)
    )
    for number, one in enumerate(ids):
        about = (
            '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" '
            f'UUID="urn:uuid:{one}"><Image ID="Image:0"><Pixels ID="Pixels:0" '
            'DimensionOrder="XYZCT" Type="uint8" SizeX="9" SizeY="8" SizeC="1" SizeZ="1" '
            f'SizeT="2"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>{planes}'
            "</Pixels></Image></OME>"
        )
        image = np.full((8, 9), number, np.uint8)
        tifffile.imwrite(tmp_path / f"t{number}.ome.tif", image, description=about, metadata=None)
    movie = read_folder(tmp_path)
    assert movie.axes == "TYX"
    np.testing.assert_array_equal(movie.data[:, 0, 0], [0, 1])


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["a_w1.tif", "a_w2.tif"], r"they may be channels \(w1, w2\)"),
        (["t1_ch0.tif", "t1_ch1.tif", "t2_ch0.tif"], "no ch1 to 't2_ch0.tif'"),
    ],
)
def test_files_that_may_be_channels_are_told(tmp_path: Path, names: list[str], said: str) -> None:
    for name in names:
        tifffile.imwrite(tmp_path / name, np.zeros((20, 30), np.uint8))
    movie = read_folder(tmp_path)
    assert movie.axes == "TYX"
    assert re.search(said, movie.note)
