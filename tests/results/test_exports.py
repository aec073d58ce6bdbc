"""Every format is read again by a program of others, and its pixels are those of the labels."""

from __future__ import annotations

import json
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import tifffile
import yaml
from roifile import roiread
from skimage.draw import polygon2mask
from skimage.measure import regionprops

import napari_kindred as nk
from napari_kindred.core.errors import InputError, OptionError, OutputError
from napari_kindred.images.readers import ImageFile
from napari_kindred.results.exports import FORMATS
from napari_kindred.results.imports import load_outlines
from napari_kindred.results.outlines import area_of, pieces_of
from napari_kindred.results.segmentation import Segmentation, measure

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def difficult() -> np.ndarray:
    """Labels with holes, several pieces, pixels that touch in corners, borders and a large id."""
    plane = np.zeros((40, 60), np.int32)
    plane[0:6, 0:7] = 1  # in a corner of the image
    plane[8:20, 5:20] = 2
    plane[10:13, 8:11] = 0
    plane[13:15, 11:14] = 0  # a hole that touches the other one in a corner
    plane[10, 16] = 3  # an object in …
    plane[10:14, 22:26] = plane[18:20, 30:33] = 4  # two pieces
    plane[25:35, 5:15][np.eye(10, dtype=bool)] = 5  # a diagonal
    plane[25:30, 25:30] = plane[30:35, 30:35] = 6  # corners that touch
    plane[24:39, 45:60] = 70_000
    plane[26:37, 47:58] = 0
    plane[28:33, 50:55] = 70_000  # an island in its own hole
    plane[36, 56] = 70_000  # which closes off a corner of it
    return plane


def result_of(labels: np.ndarray, axes: str, **more: Any) -> Segmentation:
    leading = labels.shape[:-2]
    tables = [
        measure(labels[index], None, frame=number if leading else None)
        for number, index in enumerate(np.ndindex(*leading))
    ]
    table = pd.concat(tables, ignore_index=True)
    facts = {"method": "entities", "image": "cells"}
    return Segmentation(labels, table, facts, axes, **more)


def stack() -> np.ndarray:
    plane = difficult()
    return np.stack([plane, np.zeros_like(plane), plane[::-1, ::-1]])


SHAPES = {"YX": difficult, "TYX": stack, "ZYX": stack, "TZYX": lambda: np.stack([stack(), stack()])}


@pytest.fixture(params=SHAPES)
def result(request: pytest.FixtureRequest) -> Segmentation:
    return result_of(SHAPES[request.param](), request.param)


def filled(rings: Iterable[Any], shape: tuple[int, ...]) -> np.ndarray:
    """Return the pixels whose centre is inside an odd number of rings of (x, y) corners."""
    mask = np.zeros(shape, bool)
    for ring in rings:
        mask ^= polygon2mask(shape, np.asarray(ring)[:, ::-1] - 0.5)
    return mask


def test_outlines_are_simple_rings_of_corners_with_the_area_of_the_pixels() -> None:
    plane = difficult()
    for region in regionprops(plane):
        pieces = pieces_of(region.image, region.bbox[:2])
        rings = [ring for piece in pieces for ring in piece.rings]
        assert sum(map(area_of, rings)) == region.area
        for piece in pieces:
            assert area_of(piece.shell) > 0
            assert all(area_of(hole) < 0 for hole in piece.holes)
        for ring in rings:
            assert len(np.unique(ring, axis=0)) == len(ring)
        np.testing.assert_array_equal(filled(rings, plane.shape), plane == region.label)


def test_random_masks_become_outlines_and_masks_again() -> None:
    random = np.random.default_rng(0)
    for share in (0.2, 0.5, 0.8):
        mask = random.random((30, 40)) < share
        rings = [ring for piece in pieces_of(mask) for ring in piece.rings]
        np.testing.assert_array_equal(filled(rings, mask.shape), mask)


def test_roifile_reads_regions_with_their_frames(result: Segmentation, tmp_path: Path) -> None:
    path = result.export(tmp_path / "cells.zip")
    labels = np.zeros_like(result.labels)
    frames = result.labels.shape[:-2]
    for roi in roiread(path):
        index = tuple(
            {"T": roi.t_position, "Z": roi.z_position}[letter] - 1 for letter in result.axes[:-2]
        )
        if len(frames) == 1:
            assert roi.position == index[0] + 1
        else:
            assert roi.position == 0
        mask = filled(roi.coordinates(multi=True), labels.shape[-2:])
        labels[index][mask] = int(roi.properties["label"])
    np.testing.assert_array_equal(labels, result.labels)


def test_geojson_holds_polygons_planes_classes_and_measurements(
    result: Segmentation, tmp_path: Path
) -> None:
    content = json.loads(result.export(tmp_path / "cells.geojson").read_text("utf-8"))
    labels = np.zeros_like(result.labels)
    assert content["type"] == "FeatureCollection"
    for feature in content["features"]:
        geometry, about = feature["geometry"], feature["properties"]
        polygons = geometry["coordinates"]
        polygons = [polygons] if geometry["type"] == "Polygon" else polygons
        plane = geometry.get("plane", {})
        index = tuple(plane[letter.lower()] for letter in result.axes[:-2])
        for rings in polygons:
            assert all(ring[0] == ring[-1] for ring in rings)
            labels[index][filled(rings, labels.shape[-2:])] = about["label"]
        assert about["objectType"] == "detection"
        assert about["classification"]["name"] == "entity"
        area = np.count_nonzero(result.labels[index] == about["label"])
        assert about["measurements"]["area [px]"] == area
    np.testing.assert_array_equal(labels, result.labels)


def decoded(segmentation: Any, shape: tuple[int, ...]) -> np.ndarray:
    if isinstance(segmentation, list):
        return filled([np.reshape(ring, (-1, 2)) for ring in segmentation], shape)
    runs = segmentation["counts"]
    values = np.repeat(np.arange(len(runs)) % 2, runs)
    return values.reshape(segmentation["size"], order="F").astype(bool)


def test_coco_holds_every_pixel_of_every_frame(result: Segmentation, tmp_path: Path) -> None:
    content = json.loads(result.export(tmp_path / "cells.json").read_text("utf-8"))
    frames = result.labels.reshape(-1, 40, 60)
    assert len(content["images"]) == len(frames)
    labels = np.zeros_like(frames)
    for entry in content["annotations"]:
        mask = decoded(entry["segmentation"], (40, 60))
        assert mask.sum() == entry["area"]
        left, top, width, height = entry["bbox"]
        assert mask[top : top + height, left : left + width].sum() == entry["area"]
        assert (entry["iscrowd"], entry["category_id"]) == (0, 1)
        labels[entry["image_id"] - 1][mask] = entry["label"]
    np.testing.assert_array_equal(labels, frames)
    assert content["categories"] == [{"id": 1, "name": "entity"}]


def test_yolo_holds_a_ring_per_object_and_a_text_per_frame(
    result: Segmentation, tmp_path: Path
) -> None:
    frames = result.labels.reshape(-1, 40, 60)
    with zipfile.ZipFile(result.export(tmp_path / "cells.yolo.zip")) as file:
        names = sorted(name for name in file.namelist() if name.endswith(".txt"))
        assert yaml.safe_load(file.read("data.yaml"))["names"] == {0: "entity"}
        assert len(names) == len(frames)
        for name, frame in zip(names, frames, strict=True):
            masks = []
            for line in file.read(name).decode().splitlines():
                kind, *places = map(float, line.split())
                assert kind == 0
                corners = np.reshape(places, (-1, 2)) * (60, 40)
                masks.append(filled([corners.round(4)], (40, 60)))
            wanted = [frame == label for label in np.unique(frame[frame > 0])]
            np.testing.assert_array_equal(masks, wanted) if wanted else None
            assert len(masks) == len(wanted)


@pytest.mark.parametrize(
    ("axes", "scale", "units", "kept"),
    [
        ("TYX", (2.5, 0.5, 0.25), ("second", *["micrometer"] * 2), {"frames": 3, "finterval": 2.5}),
        ("ZYX", (2.0, 0.5, 0.25), ("micrometer",) * 3, {"slices": 3, "spacing": 2.0}),
    ],
)  # fmt: skip
def test_imagej_finds_pixel_size_and_interval_with_frames_as_frames(
    tmp_path: Path, axes: str, scale: Any, units: Any, kept: dict[str, float]
) -> None:
    result = result_of(stack(), axes, scale=scale, units=units)
    with tifffile.TiffFile(result.export(tmp_path / "cells.tif")) as tif:
        assert tif.is_imagej
        about = tif.imagej_metadata
        assert about is not None
        assert about["unit"] == "um"
        assert {name: about[name] for name in kept} == kept
        assert not {"frames", "slices"} - kept.keys() & about.keys()
        tags = tif.pages[0].tags
        assert [tags[f"{letter}Resolution"].value for letter in "XY"] == [(4, 1), (2, 1)]
        assert tif.series[0].axes == axes
        # Above 65,535 in floating point, which holds them exactly.
        np.testing.assert_array_equal(tif.asarray(), result.labels)
    small = result_of(np.where(stack() > 6, 7, stack()), axes, scale=scale, units=units)
    with tifffile.TiffFile(small.save(tmp_path / "saved.tif")) as tif:
        assert tif.is_imagej  # as any result that is saved
        assert tif.series[0].dtype == np.uint16


def test_labels_beyond_what_imagej_can_show_are_refused(tmp_path: Path) -> None:
    labels = np.full((4, 4), 2**24 + 1, np.int32)
    with pytest.raises(OutputError, match="number the labels anew"):
        result_of(labels, "YX").export(tmp_path / "a.tif")
    assert list(tmp_path.iterdir()) == []


# -- measurements -----------------------------------------------------------------------------


def test_measurements_are_those_of_scikit_image_in_the_unit_of_the_image(tmp_path: Path) -> None:
    labels, size = stack(), (1.0, 0.5, 0.5)
    units = ("second", "micrometer", "micrometer")
    result = result_of(labels, "TYX", scale=size, units=units)
    pixels = np.random.default_rng(0).random((3, 2, 40, 60)).astype("float32")
    names = ["area", "perimeter", "eccentricity", "centroid", "intensity_mean", "orientation"]
    image = ImageFile(pixels, "TCYX")
    path = result.export(tmp_path / "a.csv", image=image, properties=names)
    table = pd.read_csv(path)
    assert list(table.columns) == [
        "index", "frame", "area [µm²]", "perimeter [µm]", "eccentricity", "centroid_y [µm]",
        "centroid_x [µm]", "intensity_mean_channel0", "intensity_mean_channel1",
        "orientation [rad]", "score",
    ]  # fmt: skip
    assert set(table["frame"]) == {0, 2}  # the one between is empty
    for row in table.itertuples(index=False):
        (region,) = regionprops((labels[row.frame] == row.index).astype(int))
        mask = labels[row.frame] == row.index
        assert row[2] == pytest.approx(region.area / 4)
        assert row[3] == pytest.approx(region.perimeter / 2)
        assert row[4] == pytest.approx(region.eccentricity, abs=1e-6)
        assert row[5:7] == pytest.approx(np.array(region.centroid) / 2)
        for channel in (0, 1):
            assert row[7 + channel] == pytest.approx(pixels[row.frame, channel][mask].mean())


def test_without_a_scale_lengths_are_in_pixels_and_without_an_image_there_are_shapes() -> None:
    table = result_of(difficult(), "YX").measure()
    assert {"area [px]", "perimeter [px]", "solidity", "score"} <= set(table.columns)
    assert not any("intensity" in name for name in table)
    assert table["index"].tolist() == [1, 2, 3, 4, 5, 6, 70_000]


def test_measurements_that_cannot_be_made_are_refused(tmp_path: Path) -> None:
    result = result_of(difficult(), "YX", scale=(1.0, 0.5), units=("micrometer",) * 2)
    assert "perimeter [µm]" not in result.measure()
    with pytest.raises(OptionError, match="square pixels"):
        result.measure(properties=["perimeter"])
    with pytest.raises(OptionError, match="choose among area"):
        result.measure(properties=["beauty"])
    with pytest.raises(InputError, match="give it"):
        result.measure(properties=["intensity_mean"])
    with pytest.raises(OptionError, match="image that was segmented"):
        result.measure(np.zeros((5, 5)))
    with pytest.raises(OptionError, match="csv only"):
        result.export(tmp_path / "a.zip", properties=["area"])
    with pytest.raises(OptionError, match="roi, geojson"):
        result.export(tmp_path / "a.docx")
    path = result.export(tmp_path / "b.csv")
    with pytest.raises(OutputError, match="there already"):
        result.export(path)
    assert result.export(path, overwrite=True) == path


def test_volumes_are_measured_in_cubic_units_and_their_slices_are_exported(
    tmp_path: Path,
) -> None:
    labels = np.zeros((2, 6, 20, 20), np.int32)
    labels[0, 1:5, 2:10, 3:12] = 1
    labels[1, 2:4, 5:9, 5:9] = 1
    labels[1, 0:3, 12:18, 12:18] = 2
    rows = pd.DataFrame({"index": [1, 1, 2], "frame": [0, 1, 1], "volume": [288, 32, 108]})
    rows["score"] = [0.5, 0.6, 0.7]
    units = ("second", *["micrometer"] * 3)
    result = Segmentation(labels, rows, {"method": "entities"}, "TZYX", (1, 2, 0.5, 0.5), units)
    pixels = np.arange(labels.size, dtype=float).reshape(labels.shape)
    table = result.measure(pixels)
    assert table["area [µm³]"].tolist() == [144, 16, 54]  # a voxel has half a cubic micrometre
    assert table["centroid_z [µm]"].tolist() == [5, 5, 2]
    assert table["score"].tolist() == [0.5, 0.6, 0.7]
    assert table["intensity_mean"][0] == pytest.approx(pixels[0][labels[0] == 1].mean())
    assert "perimeter [µm]" not in table
    with pytest.raises(OptionError, match="not of volumes"):
        result.measure(properties=["orientation"])
    regions = roiread(result.export(tmp_path / "a.zip"))
    places = [(roi.t_position, roi.z_position, int(roi.properties["label"])) for roi in regions]
    assert places[:5] == [(1, z, 1) for z in (2, 3, 4, 5)] + [(2, 1, 2)]
    found = load_outlines(tmp_path / "a.zip", labels.shape, "TZYX")
    np.testing.assert_array_equal(found.labels, labels)


# -- classes ----------------------------------------------------------------------------------


def test_classes_go_along_with_their_names_and_colours(tmp_path: Path) -> None:
    result = result_of(np.where(difficult() > 6, 0, difficult()), "YX")
    result.table["name"] = ["Tumor", "Stroma", "Tumor", "Tumor", "Stroma", "Tumor"]
    features = json.loads(result.export(tmp_path / "a.geojson").read_text())["features"]
    names = [feature["properties"]["classification"]["name"] for feature in features]
    assert names == list(result.table["name"])
    assert len({tuple(f["properties"]["classification"]["color"]) for f in features}) == 2
    regions = roiread(result.export(tmp_path / "a.zip"))
    assert [roi.group for roi in regions] == [1, 2, 1, 1, 2, 1]
    coco = json.loads(result.export(tmp_path / "a.json").read_text())
    assert [entry["name"] for entry in coco["categories"]] == ["Tumor", "Stroma"]
    assert [entry["category_id"] for entry in coco["annotations"]] == [1, 2, 1, 1, 2, 1]
    for name in ("a.zip", "a.geojson"):
        assert load_outlines(tmp_path / name).table["name"].tolist() == names


def test_clusters_are_regions_each_a_class_with_its_area_in_the_frame(tmp_path: Path) -> None:
    labels = np.zeros((2, 20, 20), np.int32)
    labels[:, :10] = 1
    labels[1, 15:, 5:] = 2
    table = pd.DataFrame({"index": [1, 2], "area": [400, 75], "name": ["", "cell"]})
    result = Segmentation(labels, table, {"method": "clusters"}, "TYX", ids="stack")
    features = json.loads(result.export(tmp_path / "a.geojson").read_text())["features"]
    about = [feature["properties"] for feature in features]
    assert [each["objectType"] for each in about] == ["annotation"] * 3
    names = [each["classification"]["name"] for each in about]
    assert names == ["cluster 1", "cluster 1", "cell"]
    assert [each["measurements"] for each in about] == [{"area [px]": n} for n in (200, 200, 75)]


# -- and back ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cells.zip", "cells.geojson"])
def test_outlines_become_the_same_labels_again(
    result: Segmentation, tmp_path: Path, name: str
) -> None:
    path = result.export(tmp_path / name)
    found = nk.load_outlines(path, shape=result.labels.shape, axes=result.axes)
    np.testing.assert_array_equal(found.labels, result.labels)
    columns = [column for column in ("index", "frame", "area") if column in result.table]
    pd.testing.assert_frame_equal(found.table[columns], result.table[columns])
    # Without a shape they are as large as need be.
    free = load_outlines(path)
    assert free.axes == result.axes
    place = tuple(slice(0, length) for length in free.labels.shape)
    np.testing.assert_array_equal(free.labels, result.labels[place])


def test_outlines_without_ids_count_from_one_and_lines_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "drawn.geojson"
    square = [[[1.2, 1.2], [5.4, 1.2], [5.4, 5.4], [1.2, 5.4], [1.2, 1.2]]]
    line = {"type": "LineString", "coordinates": [[0, 0], [3, 3]]}
    features = [
        {"type": "Feature", "geometry": geometry, "properties": {}}
        for geometry in ({"type": "Polygon", "coordinates": square}, line)
    ]
    path.write_text(json.dumps(features))  # QuPath's own files may be a plain list
    found = load_outlines(path, shape=(8, 8))
    assert found.table["index"].tolist() == [1]
    assert found.table["area"].tolist() == [16]


def test_files_that_hold_no_outlines_are_refused(tmp_path: Path) -> None:
    for name, content in (
        ("a.zip", b"no zip"),
        ("a.geojson", b"{"),
        ("b.geojson", b'{"features": []}'),
        ("c.geojson", b'{"features": [7]}'),
        ("a.txt", b""),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="outline"):
            load_outlines(tmp_path / name)
    path = result_of(stack(), "TYX").export(tmp_path / "b.zip")
    with pytest.raises(OptionError, match="give the shape of its image"):
        load_outlines(path, shape=(2, 40, 60))


def test_every_format_has_its_own_ending_and_words() -> None:
    assert len({entry.suffix for entry in FORMATS.values()}) == len(FORMATS)
    assert all(entry.about and callable(entry.write) for entry in FORMATS.values())
