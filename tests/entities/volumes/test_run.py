"""Objects of stacks by the public function: in 3-D and stitched through z."""

from __future__ import annotations

import dask.array as da
import numpy as np
import pytest
import zarr
from scipy import ndimage

import napari_kindred as nk
from napari_kindred.core.errors import InputError, OptionError
from napari_kindred.core.events import Notice, Partial, Progress, finish
from napari_kindred.entities.checkpoint import load_network
from napari_kindred.images.readers import ImageFile
from napari_kindred.results.metrics import average_precision

BALLS = [(10, 18, 20, 8), (11, 20, 44, 9), (12, 42, 32, 8)]


@pytest.fixture(scope="module")
def network():
    return load_network("kindred-entities")


@pytest.fixture(scope="module")
def balls():
    """A blurred, noisy stack of three balls, slices two pixels apart, and its truth."""
    grid = np.indices((24, 64, 64))
    truth = np.zeros((24, 64, 64), np.int32)
    for number, (z, y, x, radius) in enumerate(BALLS, start=1):
        away = sum((axis - c) ** 2 for axis, c in zip(grid, (z, y, x), strict=True))
        truth[away <= radius**2] = number
    light = ndimage.gaussian_filter((truth > 0).astype(float), (1.5, 1, 1))
    noise = np.random.default_rng(0).normal(0, 0.05, truth.shape)
    image = (1000 * (light + noise).clip(0) + 100).astype(np.uint16)
    return image[::2], truth[::2]


def segment(image, network, **options):
    options = {"axes": "ZYX", "scale": 1.0, "spacing": (2, 1, 1), **options}
    return nk.segment_entities(image, model=network, **options)


def score(truth, result):
    return average_precision([(truth, np.asarray(result.labels))])["AP50"]


@pytest.mark.parametrize("link", ["auto", "z"])
def test_a_ball_is_one_object_with_the_measures_of_a_ball(network, balls, link) -> None:
    image, truth = balls
    result = segment(image, network, link=link)
    assert score(truth, result) == 1.0
    assert (result.ids, result.axes) == ("stack", "ZYX")
    assert result.provenance["link_used"] == ("3-D" if link == "auto" else "z")
    table = result.table.sort_values("centroid_y", ignore_index=True)
    for row, (z, y, x, radius) in zip(table.itertuples(), BALLS, strict=True):
        assert row.centroid_z * 2 == pytest.approx(z, abs=1.5)
        assert row.centroid_y == pytest.approx(y, abs=1)
        assert row.centroid_x == pytest.approx(x, abs=1)
        assert row.volume * 2 == pytest.approx(4 / 3 * np.pi * radius**3, rel=0.35)
        assert row.surface == pytest.approx(4 * np.pi * radius**2, rel=0.3)


def test_numpy_dask_and_zarr_give_the_same(network, balls, tmp_path) -> None:
    image, _ = balls
    stored = zarr.create_array(tmp_path / "v.zarr", shape=image.shape, dtype=image.dtype)
    stored[:] = image
    expected = segment(image, network)
    for other in (da.from_array(image, chunks=(5, 20, 64)), stored):
        found = segment(other, network)
        np.testing.assert_array_equal(np.asarray(found.labels), expected.labels)


def test_little_memory_gives_the_same_from_a_temporary_file(network, balls, monkeypatch) -> None:
    from napari_kindred.entities.volumes import run, volume

    image, _ = balls
    expected = segment(image, network).labels
    monkeypatch.setattr(run, "SHARE", 1e-9)
    monkeypatch.setattr(volume, "SIDE", 23)
    np.testing.assert_array_equal(segment(image, network).labels, expected)


@pytest.mark.parametrize("name", ["balls.tif", "balls.ome.zarr"])
def test_a_result_is_saved_and_read_back(network, balls, tmp_path, name) -> None:
    file = ImageFile(balls[0], "ZYX", (0.6, 0.3, 0.3), ("micrometer",) * 3)
    result = segment(file, network, spacing=None)
    back = nk.load_segmentation(result.save(tmp_path / name))
    assert back.ids == "stack"
    np.testing.assert_array_equal(np.asarray(back.labels), result.labels)
    np.testing.assert_allclose(back.table["volume"], result.table["volume"])
    assert result.provenance["spacing_used"] == pytest.approx([0.6, 0.3, 0.3])
    csv = result.save_table(tmp_path / "objects.csv").read_text("utf-8-sig")
    assert "volume [µm³]" in csv.splitlines()[0]
    assert "centroid_z [µm]" in csv.splitlines()[0]
    assert len(result.table_per("frame")) == 1


def test_each_time_has_its_volumes_and_ids_are_unique(network, balls) -> None:
    image, truth = balls
    result = segment(np.stack([image, image[:, ::-1]]), network, axes="TZYX", link="3-D")
    assert result.table["frame"].tolist() == [0, 0, 0, 1, 1, 1]
    assert sorted(result.table["index"]) == [1, 2, 3, 4, 5, 6]
    assert average_precision([(truth[:, ::-1], result.labels[1])])["AP50"] == 1.0
    turned = segment(np.stack([image, image[:, ::-1]], axis=1), network, axes="ZTYX", link="3-D")
    np.testing.assert_array_equal(np.moveaxis(turned.labels, 1, 0), result.labels)


def test_volumes_are_linked_over_time(network, balls) -> None:
    image, truth = balls
    moved = np.roll(image, 3, axis=2)
    result = segment(np.stack([image, moved, image]), network, axes="TZYX")
    assert result.ids == "track"
    assert len(result.tracks) == 3
    assert result.table["frame"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    np.testing.assert_array_equal(result.labels[0], result.labels[2])
    assert average_precision([(np.roll(truth, 3, axis=2), result.labels[1])])["AP50"] == 1.0


def test_few_slices_are_stitched_and_the_result_says_so(network, balls) -> None:
    image, _ = balls
    result = segment(image[3:8], network)
    assert result.provenance["link_used"] == "z"
    assert "fewer than 8 slices" in " ".join(result.provenance["notes"])
    far = segment(image, network, spacing=(9, 1, 1))
    assert far.provenance["link_used"] == "z"


def test_unknown_steps_count_as_equal_with_a_note(network, balls) -> None:
    image, _ = balls
    result = segment(image, network, spacing=None)
    assert result.provenance["spacing_used"] == [1, 1, 1]
    assert "step along z is not known" in " ".join(result.provenance["notes"])
    partly = ImageFile(image, "ZYX", (1.0, 0.3, 0.3), ("pixel", "micrometer", "micrometer"))
    assert "not known" in " ".join(segment(partly, network, spacing=None).provenance["notes"])


def test_one_slice_and_empty_slices_in_the_middle_are_segmented(network, balls) -> None:
    image, truth = balls
    assert len(segment(image[5:6], network).table) == 3
    holed = image.copy()
    holed[2] = 100
    assert score(truth, segment(holed, network)) == 1.0
    assert score(truth, segment(holed, network, link="z")) == 1.0
    assert not len(segment(np.full((12, 40, 40), 7, np.uint8), network).table)


@pytest.mark.parametrize(
    "spacing", ["1, 2", "-1, 1, 1", "0 1 1", "a, b, c", (1, 2), 3.0, "nan 1 1"]
)
def test_spacing_that_is_none_is_refused(spacing) -> None:
    with pytest.raises(OptionError, match="three numbers above 0"):
        nk.EntityConfig(spacing=spacing)


def test_slices_that_are_not_there_cannot_be_linked(network, balls) -> None:
    with pytest.raises(InputError, match="needs slices"):
        segment(balls[0], network, axes="TYX", link="3-D")


def test_a_stopped_run_keeps_the_finished_volumes(network, balls) -> None:
    image, _ = balls
    job = nk.iter_segment_entities(
        np.stack([image, image]), axes="TZYX", scale=1.0, spacing=(2, 1, 1), model=network
    )
    slices = 0
    for event in job:
        slices += isinstance(event, Partial)
        if isinstance(event, Partial):
            assembly = event.assembly
        if slices == 12 and isinstance(event, Progress) and event.what.startswith("looking"):
            break
    job.close()
    result = assembly.result()
    assert result.provenance["frames_done"] == 12
    assert not result.provenance["complete"]
    assert len(result.table) == 3
    assert not result.labels[1].any()


def test_progress_counts_planes_and_never_goes_back(network, balls) -> None:
    done, notices = [], []
    job = nk.iter_segment_entities(balls[0], axes="ZYX", model=network)

    def watch(event) -> None:
        if isinstance(event, Progress):
            done.append(event.done)
            assert event.total == 12
        if isinstance(event, Notice):
            notices.append(event.text)

    finish(job, watch)
    assert done == sorted(done)
    assert done[-1] == 12


@pytest.mark.parametrize("link", ["auto", "z"])
def test_volumes_of_a_movie_are_the_same_with_workers(network, balls, client, link) -> None:
    image, _ = balls
    movie = np.stack([image, np.roll(image, 3, axis=1)])
    options = {"axes": "TZYX", "scale": 1.0, "spacing": (2, 1, 1), "link": link}
    alone = nk.segment_entities(movie, **options)
    spread = nk.segment_entities(movie, **options, scheduler=client)
    np.testing.assert_array_equal(alone.labels, spread.labels)
    assert alone.table.equals(spread.table)
