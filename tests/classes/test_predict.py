"""Classes by name, from an image to labels: names, thresholds, stacks, tables, files."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import psutil
import pytest
import tifffile
import zarr

import napari_kindred as nk
from napari_kindred.classes.predict import iter_segment_classes, segment_classes
from napari_kindred.classes.result import ClassSegmentation
from napari_kindred.core.errors import InputError, KindredError, OptionError
from napari_kindred.core.events import Notice, Partial, Progress, finish
from napari_kindred.images.image_file import ImageFile
from napari_kindred.models.feature_cache import FeatureCache

if TYPE_CHECKING:
    from pathlib import Path

Ask = Callable[..., ClassSegmentation]
Picture = tuple[np.ndarray, np.ndarray]
"""An image, and the class of each pixel."""

NAMES = ("red", "green")

CENTRES = ((20, 22, "red"), (22, 70, "green"), (68, 24, "green"), (72, 74, "red"))


@pytest.fixture(scope="module")
def picture() -> Picture:
    """Grey, with two red and two green discs; and which pixels are which."""
    random = np.random.default_rng(0)
    pixels = np.full((96, 96, 3), 110, float)
    truth = np.zeros((96, 96), int)
    y, x = np.mgrid[:96, :96]
    for cy, cx, name in CENTRES:
        disc = (y - cy) ** 2 + (x - cx) ** 2 < 14**2
        pixels[disc] = (200, 30, 30) if name == "red" else (30, 190, 30)
        truth[disc] = 1 + NAMES.index(name)
    return (pixels + random.normal(0, 6, pixels.shape)).clip(0, 255).astype(np.uint8), truth


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> FeatureCache:
    return FeatureCache(tmp_path_factory.mktemp("features"))


@pytest.fixture(scope="module")
def taught(picture: Picture, cache: FeatureCache) -> nk.Vocabulary:
    """A vocabulary of red and green things, from five points on half of the picture."""
    example = nk.Example(
        picture[0],
        points={
            "red": np.array([[20.0, 22.0], [72.0, 74.0]]),
            "green": np.array([[22.0, 70.0]]),
            "background": np.array([[46.0, 46.0], [4.0, 46.0]]),
        },
    )
    return nk.teach_classes([example], proposals="regions", region_size=6, cache=cache)


@pytest.fixture(scope="module")
def ask(picture: Picture, taught: nk.Vocabulary, cache: FeatureCache) -> Ask:
    """Ask that vocabulary about the picture, or another one."""

    def run(names: Any = NAMES, image: Any = None, **options: Any) -> ClassSegmentation:
        image = picture[0] if image is None else image
        options = {"vocabulary": taught, "axes": "YXS", **options}
        return segment_classes(image, names, cache=cache, **options)

    return run


def overlap(labels: np.ndarray, truth: np.ndarray) -> float:
    """Smallest IoU of any class."""
    return min(
        ((labels == kind) & (truth == kind)).sum() / ((labels == kind) | (truth == kind)).sum()
        for kind in (1, 2)
    )


# -- labels -----------------------------------------------------------------------------------


def test_pixels_get_the_number_of_their_name(ask: Ask, picture: Picture) -> None:
    result = ask()
    assert result.labels.dtype == np.int32
    assert overlap(result.labels, picture[1]) > 0.7


def test_labels_lie_where_the_image_lies(ask: Ask, picture: Picture) -> None:
    image = ImageFile(picture[0], "YXS", (0.5, 0.5, 1.0), translate=(10.0, 20.0, 0.0))
    result = ask(image=image, axes=None)
    assert result.translate == (10.0, 20.0)
    assert result.scale == (0.5, 0.5)


def test_names_are_numbered_as_they_were_written(ask: Ask) -> None:
    forward, back = ask("red, green"), ask(["green", "red"])
    swapped = np.array([0, 2, 1])[forward.labels]
    np.testing.assert_array_equal(back.labels, swapped)
    assert back.table["name"].tolist() == ["green", "red"]


def test_what_is_not_asked_for_is_background(ask: Ask) -> None:
    both, one = ask(), ask(["green"])
    np.testing.assert_array_equal(one.labels > 0, both.labels == 2)


def test_another_threshold_is_what_a_run_with_it_gives(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = {value: ask(threshold=value) for value in (0.2, 0.9, 1.0)}
    result = ask()

    def never(*_: Any) -> None:
        raise AssertionError("it looked again")

    monkeypatch.setattr("napari_kindred.classes.classifiers.iter_propose", never)
    for value, expected in wanted.items():
        again = result.at_threshold(value)
        np.testing.assert_array_equal(again.labels, expected.labels)
        pd.testing.assert_frame_equal(again.table, expected.table)
        pd.testing.assert_frame_equal(again.entity_table, expected.entity_table)
        assert again.provenance["config"] == expected.provenance["config"]
    assert (wanted[0.2].labels > 0).sum() > (wanted[0.9].labels > 0).sum()
    swapped = result.with_names(["green", "red"])
    np.testing.assert_array_equal(swapped.labels, np.array([0, 2, 1])[result.labels])
    np.testing.assert_array_equal(result.at_threshold("auto").labels, result.labels)


def test_clip_takes_names_at_their_meaning(
    picture: Picture, colour_clip: str, cache: FeatureCache
) -> None:
    result = segment_classes(
        picture[0], NAMES, clip=colour_clip, proposals="regions", threshold=0.5, cache=cache
    )
    inside = picture[1] > 0
    assert (result.labels == picture[1])[inside].mean() > 0.7
    assert result.provenance["weights"]["name"] == result.provenance["clip"]["name"]
    again = result.with_names(["green", "red"])
    np.testing.assert_array_equal(again.labels == 2, result.labels == 1)


def test_the_same_twice_is_the_same_and_the_second_time_nothing_is_encoded(
    picture: Picture, taught: nk.Vocabulary, tmp_path: Path
) -> None:
    cache = FeatureCache(tmp_path)
    seen: list[list[str]] = []
    results = []
    for _ in range(2):
        job = iter_segment_classes(picture[0], NAMES, vocabulary=taught, cache=cache)
        events: list[Any] = []
        results.append(finish(job, events.append))
        seen.append([event.what for event in events if isinstance(event, Progress)])
    np.testing.assert_array_equal(results[0].labels, results[1].labels)
    assert "proposals known" in seen[1]
    assert "proposals known" not in seen[0]
    assert set(seen[0]) - set(seen[1])


# -- stacks -----------------------------------------------------------------------------------


def test_frames_of_a_movie_are_what_single_pictures_are_and_names_stay(
    ask: Ask, picture: Picture
) -> None:
    movie = np.stack([picture[0], picture[0][::-1], picture[0][:, ::-1]])
    result = ask(image=movie, axes="TYXS")
    assert result.axes == "TYX"
    for frame, pixels in enumerate(movie):
        alone = ask(image=pixels)
        np.testing.assert_array_equal(result.labels[frame], alone.labels)
        np.testing.assert_array_equal(result.entities[frame], alone.entities)
        rows = result.per_frame[result.per_frame["frame"] == frame]
        assert rows["area"].tolist() == alone.table["area"].tolist()
        assert rows["name"].tolist() == list(NAMES)
    summed = result.per_frame.groupby("index")[["area", "count"]].sum()
    pd.testing.assert_frame_equal(summed, result.table.set_index("index")[["area", "count"]])
    np.testing.assert_allclose(result.table["share"], result.table["area"] / movie[..., 0].size)


def test_a_frame_of_one_value_is_background_and_said_to_be_so(ask: Ask, picture: Picture) -> None:
    movie = np.stack([picture[0], np.full_like(picture[0], 7)])
    result = ask(image=movie, axes="TYXS")
    assert result.labels[0].any()
    assert not result.labels[1].any()
    assert any("same value (7)" in note for note in result.provenance["notes"])
    assert result.at_threshold(0.1).labels[1].max() == 0


def test_a_run_that_is_closed_leaves_whole_frames(
    picture: Picture, taught: nk.Vocabulary, cache: FeatureCache
) -> None:
    movie = np.stack([picture[0]] * 3)
    job = iter_segment_classes(movie, NAMES, vocabulary=taught, axes="TYXS", cache=cache)
    partial = next(event for event in job if isinstance(event, Partial))
    job.close()
    assert partial.index == (0,)
    assert partial.table["name"].tolist() == list(NAMES)
    assert partial.table["area"].tolist() == [(partial.labels == kind).sum() for kind in (1, 2)]


@pytest.mark.parametrize("scheduler", ["threads", "cluster", "a worker dies"])
def test_whoever_looks_at_the_frames_the_labels_are_the_same(
    picture: Picture,
    taught: nk.Vocabulary,
    client: Any,
    tmp_path: Path,
    scheduler: str,
) -> None:
    movie = np.stack([np.roll(picture[0], 7 * shift, 0) for shift in range(5)])
    movie[3] = 9

    def run(folder: str, **more: Any) -> Any:
        cache = FeatureCache(tmp_path / folder)
        return iter_segment_classes(
            movie, NAMES, vocabulary=taught, axes="TYXS", cache=cache, **more
        )

    def kill(event: Any) -> None:
        if scheduler == "a worker dies" and isinstance(event, Partial) and event.index == (0,):
            psutil.Process(next(iter(client.run(os.getpid).values()))).kill()

    alone = finish(run("alone"))
    shared = finish(run("shared", scheduler=client if scheduler != "threads" else scheduler), kill)
    np.testing.assert_array_equal(shared.labels, alone.labels)
    np.testing.assert_array_equal(shared.entities, alone.entities)
    pd.testing.assert_frame_equal(shared.entity_table, alone.entity_table)
    assert shared.provenance["input"] == alone.provenance["input"]
    assert shared.provenance["notes"] == alone.provenance["notes"]
    assert ("thread" if scheduler == "threads" else "Dask worker") in shared.provenance["device"]


def test_axes_that_were_guessed_are_told(
    picture: Picture, taught: nk.Vocabulary, cache: FeatureCache
) -> None:
    events = list(iter_segment_classes(picture[0], NAMES, vocabulary=taught, cache=cache))
    assert any(isinstance(event, Notice) and "YXS" in event.text for event in events)


# -- tables and files -------------------------------------------------------------------------


def test_tables_count_what_the_labels_show(ask: Ask) -> None:
    result = ask()
    for kind, name in enumerate(NAMES, start=1):
        row = result.table.set_index("index").loc[kind]
        things = result.entity_table[result.entity_table["class"] == kind]
        assert row["area"] == (result.labels == kind).sum() == things["area"].sum()
        assert row["count"] == len(things) == len(np.unique(result.entities[result.labels == kind]))
        assert set(things["name"]) == {name}
        np.testing.assert_allclose(row["mean_score"], things["score"].mean(), rtol=1e-6)
        assert row["colour"].startswith("#")
    assert ((result.entities > 0) == (result.labels > 0)).all()


@pytest.mark.parametrize("name", ["classes.tif", "classes.ome.zarr"])
def test_a_saved_result_comes_back_whole(ask: Ask, tmp_path: Path, name: str) -> None:
    result = ask()
    back = nk.load_segmentation(result.save(tmp_path / name))
    assert type(back) is type(result)
    assert (back.ids, back.names) == ("class", NAMES)
    np.testing.assert_array_equal(back.labels, result.labels)
    np.testing.assert_array_equal(back.entities, result.entities)
    for table in ("table", "entity_table", "per_frame"):
        pd.testing.assert_frame_equal(getattr(back, table), getattr(result, table))
    assert back.table["colour"].tolist() == back.provenance["colours"]
    assert back.provenance["vocabulary"]["sha256"] == result.provenance["vocabulary"]["sha256"]
    with pytest.raises(KindredError, match="is there already"):
        result.save(tmp_path / name)
    result.save(tmp_path / name, overwrite=True)
    if name.endswith("tif"):
        things = tifffile.imread(tmp_path / "classes.entities.tif")
        assert len(pd.read_csv(tmp_path / "classes.entities.csv")) == result.entities.max()
        assert pd.read_csv(tmp_path / "classes.frames.csv")["name"].tolist() == list(NAMES)
    else:
        things = np.asarray(zarr.open_group(tmp_path / name, mode="r")["labels/entities/0"])
    np.testing.assert_array_equal(things, result.entities)


def test_a_file_that_cannot_be_written_whole_is_not_there_at_all(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    result = ask()
    monkeypatch.setattr("napari_kindred.results.storage.write_columns", full)
    with pytest.raises(KindredError, match="No space left"):
        result.save(tmp_path / "classes.ome.zarr")
    assert not list(tmp_path.iterdir())


# -- wrong input ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "options", "kind", "sentence"),
    [
        ([], {}, OptionError, "No class is named"),
        (["red", "Red"], {}, OptionError, "named twice"),
        (["\x07"], {}, OptionError, "cannot be shown"),
        (["purple"], {}, OptionError, "purple"),
        (NAMES, {"clip": "ViT-B-32/openai"}, OptionError, "not both"),
        (NAMES, {"proposals": "entities"}, OptionError, "trained with proposals='regions'"),
        (NAMES, {"threshold": 1.5}, OptionError, "at most 1"),
        (NAMES, {"encoder": "efficientnet"}, OptionError, "[0-9a-f]{8}.*[0-9a-f]{8}"),
        (NAMES, {"vocabulary": "no-such-file.kindred"}, KindredError, "no-such-file"),
        (NAMES, {"vocabulary": None, "examples": []}, KindredError, "example"),
        (NAMES, {"channel": 9}, InputError, "channel 9"),
        (NAMES, {"colour": 3}, OptionError, "Unknown option 'colour'"),
    ],
)
def test_wrong_input_is_answered_in_one_sentence(
    ask: Ask,
    names: Any,
    options: dict[str, Any],
    kind: type[Exception],
    sentence: str,
) -> None:
    with pytest.raises(kind, match=sentence) as caught:
        ask(names, **options)
    assert "\n" not in str(caught.value)


def test_a_name_that_no_example_shows_is_told_before_anything_is_learnt(
    picture: Picture, cache: FeatureCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("it learnt")

    monkeypatch.setattr("napari_kindred.classes.vocabulary.teach.iter_teach_classes", never)
    example = nk.Example(picture[0], points={"red": np.array([[20.0, 22.0]])})
    with pytest.raises(OptionError, match=r"No example shows 'green'; the examples show red\."):
        segment_classes(picture[0], NAMES, examples=[example], cache=cache)
