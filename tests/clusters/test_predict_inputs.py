"""Short movies, odd types, damaged frames, wrong options: a result, or one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

from napari_kindred.clusters.model import HierarchicalClustering
from napari_kindred.clusters.predict import cluster_stack, iter_cluster_stack
from napari_kindred.core.errors import InputError, KindredError, OptionError, WeightsError
from napari_kindred.core.events import Notice, Partial, finish
from napari_kindred.images.samples import open_sample
from napari_kindred.models import download
from napari_kindred.results.metrics import consistency

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SIX: dict[str, Any] = {"axes": "TYX", "n_clusters": 6}


def agreement(labels: Any, truth: np.ndarray) -> float:
    return float(adjusted_rand_score(truth.ravel(), np.asarray(labels).ravel()))


def said(kind: type[KindredError], *arguments: Any, **options: Any) -> str:
    """What a run that cannot be says, which must be one sentence."""
    with pytest.raises(kind) as caught:
        cluster_stack(*arguments, **options)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    return text


def notices(job: Any) -> tuple[list[str], list[str], Any]:
    """What a run told, the notes of its final frames, and its result."""
    events: list[Any] = []
    result = finish(job, events.append)
    told = [event.text for event in events if isinstance(event, Notice)]
    notes = {event.index: event.note for event in events if isinstance(event, Partial)}
    return told, [notes[index] for index in sorted(notes)], result


# -- short movies ----------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_one_frame_is_clustered_with_a_word_about_time(
    by_grey: Any, movie: Any, preset: str
) -> None:
    movie.pixels.flags.writeable = False
    for image, axes in ((movie.pixels[0], "YX"), (movie.pixels[:1], "TYX")):
        told, _, result = notices(iter_cluster_stack(image, axes=axes, n_clusters=6, preset=preset))
        assert len(told) == 1
        assert "only one frame" in told[0]
        assert result.labels.shape == image.shape
        assert result.axes == axes
        assert agreement(result.labels, movie.truth[:1]) > 0.97


# -- movies with nothing in them -------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "what"),
    [(0, "the same value (0)"), (7.5, "the same value (7.5)"), (np.nan, "no finite value")],
)
@pytest.mark.parametrize("preset", ["default", "paper"])
def test_a_constant_movie_is_refused_with_its_value(
    by_grey: Any, value: float, what: str, preset: str
) -> None:
    movie = np.full((5, 24, 32), value)
    text = said(InputError, movie, axes="TYX", preset=preset)
    assert what in text
    assert "check channel and axes" in text


def test_frames_that_differ_in_brightness_only_are_told_apart_or_refused(by_grey: Any) -> None:
    movie = np.zeros((6, 24, 32), np.float32) + np.arange(6)[:, None, None]
    assert "only 6 different tokens" in said(InputError, movie, axes="TYX", n_clusters=7)
    labels = cluster_stack(movie, axes="TYX", n_clusters=3).labels
    assert [len(np.unique(frame)) for frame in labels] == [1] * 6
    assert np.unique(labels).tolist() == [1, 2, 3]


@pytest.mark.parametrize("preset", ["default", "paper"])
@pytest.mark.parametrize("dark", [[3], [0, 1, 2, 3], [8, 9, 10, 11]])
def test_frames_of_nan_are_named_and_do_not_spoil_the_others(
    by_grey: Any, draw: Callable[..., Any], preset: str, dark: list[int]
) -> None:
    movie = draw(frames=12)
    pixels = movie.pixels.astype(np.float64)
    pixels[dark] = np.nan
    told, notes, result = notices(iter_cluster_stack(pixels, preset=preset, **SIX))
    named = [f"Frame T={t} has no finite value" for t in dark]
    for text in named:
        assert sum(one.startswith(text) for one in told) == 1
    assert told == result.provenance["notes"]
    assert [t for t, note in enumerate(notes) if note] == dark
    bright = [t for t in range(12) if t not in dark]
    assert agreement(result.labels[bright], movie.truth[bright]) > 0.97
    assert all(len(np.unique(result.labels[t])) == 1 for t in dark)


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_a_whole_black_batch_neither_stops_the_shipped_network_nor_hides_nuclei(
    preset: str,
) -> None:
    sample = open_sample("nuclei")
    assert sample.truth is not None
    pixels, truth = sample.data[:4, :128, :128].copy(), sample.truth[:2, :128, :128]
    pixels[2:] = 0
    labels = cluster_stack(pixels, batch_size=2, preset=preset, device="cpu", **SIX).labels
    # Where objects are found, black is background like what lies between them.
    background = {0} if preset == "default" else set()
    assert not set(np.unique(labels[:2])) & set(np.unique(labels[2:])) - background
    assert consistency(truth, labels[:2])["best_iou"] > 0.6


# -- kinds of numbers ------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_every_type_of_number_gives_the_same_labels(by_grey: Any, movie: Any, dtype: str) -> None:
    known = cluster_stack(movie.pixels, **SIX)
    result = cluster_stack(movie.pixels.astype(dtype), **SIX)
    np.testing.assert_array_equal(result.labels, known.labels)
    assert result.provenance["input"]["dtype"] == dtype


def test_a_movie_of_true_and_false_has_two_clusters(by_grey: Any, movie: Any) -> None:
    mask = movie.truth > 0
    result = cluster_stack(mask, axes="TYX", n_clusters=2)
    np.testing.assert_array_equal(result.labels, mask + 1)
    assert result.table["mean_intensity"].tolist() == [0, 1]


def test_a_movie_in_colour_is_told_apart_by_colour(by_grey: Any, movie: Any) -> None:
    colours = np.array([[90, 0, 0], [0, 90, 0], [0, 0, 90], [90, 90, 0], [0, 90, 90], [90, 0, 90]])
    pixels = colours[movie.truth].astype(np.uint8)
    result = cluster_stack(pixels, axes="TYXS", n_clusters=6)
    assert result.labels.shape == movie.truth.shape
    assert agreement(result.labels, movie.truth) > 0.97
    known = pixels.mean(-1)[np.asarray(result.labels) == 1].mean()
    assert result.table["mean_intensity"][0] == pytest.approx(known)
    # One of the colours by itself sees but half of it.
    assert (
        agreement(cluster_stack(pixels, axes="TYXS", channel=0, n_clusters=2).labels, movie.truth)
        < 0.8
    )


def test_stacks_in_depth_and_time_keep_their_axes(by_grey: Any, draw: Callable[..., Any]) -> None:
    movie = draw(frames=6)
    result = cluster_stack(movie.pixels.reshape(2, 3, 48, 64), axes="TZYX", n_clusters=6)
    assert (result.axes, result.labels.shape) == ("TZYX", (2, 3, 48, 64))
    np.testing.assert_array_equal(
        np.reshape(result.labels, (6, 48, 64)), cluster_stack(movie.pixels, **SIX).labels
    )
    assert result.table["last_frame"].max() == 5
    assert result.at_level(2).labels.shape == (2, 3, 48, 64)


# -- what cannot be --------------------------------------------------------------------------


def test_axes_that_are_not_clear_are_asked_for(by_grey: Any, movie: Any) -> None:
    assert "axes=" in said(InputError, movie.pixels[:2])
    told, _, result = notices(iter_cluster_stack(movie.pixels, n_clusters=6))
    assert result.axes == "TYX"
    assert len(told) == 1
    assert "TYX" in told[0]
    assert notices(iter_cluster_stack(movie.pixels[:2], metadata_axes="TYX"))[2].axes == "TYX"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"n_clusters": 1}, "n_clusters=1 must be at least 2"),
        ({"n_clusters": 2.5}, "n_clusters=2.5 must be a whole number"),
        ({"stride": 3}, "stride=3 must be one of 2, 4, 8"),
        ({"colour": "red"}, "Unknown option 'colour'"),
        ({"device": "abacus"}, "device='abacus' must be one of"),
        ({"refinement": "decoder"}, "choose a SAM, or refinement='edges'"),
    ],
)
def test_an_option_that_cannot_be_is_named(
    by_grey: Any, movie: Any, options: dict[str, Any], complaint: str
) -> None:
    assert complaint in said(OptionError, movie.pixels, **{"axes": "TYX", **options})


# -- encoders and models that are not here ---------------------------------------------------


@pytest.mark.parametrize(
    ("encoder", "kind", "complaint"),
    [
        ("nonsense", OptionError, "There is no encoder 'nonsense'"),
        ("nowhere/sam.pth", WeightsError, "There is no file 'nowhere/sam.pth'"),
        ("timm:test_vit.r160_in1k", WeightsError, "could not be downloaded (no network)"),
        ("timm:no_such_model", OptionError, "no_such_model"),
        ("clip:ViT-B-16/openai", WeightsError, "could not be downloaded"),
        ("sam_vit_b", WeightsError, "sam_vit_b"),
    ],
)
def test_an_encoder_that_is_not_on_this_machine_is_named(
    movie: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    encoder: str,
    kind: type[KindredError],
    complaint: str,
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    monkeypatch.setenv(download.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(download, "urlopen", refuse)
    assert complaint in said(kind, movie.pixels, encoder=encoder, **SIX)


def test_a_model_that_is_not_there_or_not_fitted_or_of_other_tokens_is_refused(
    by_grey: Any, movie: Any, planted: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "none.safetensors"
    assert "check the path" in said(WeightsError, movie.pixels, model=path, **SIX)
    bare = HierarchicalClustering()
    assert "not fitted" in said(InputError, movie.pixels, model=bare, **SIX)
    other = HierarchicalClustering(5).fit(planted().tokens)
    text = said(OptionError, movie.pixels, model=other, **SIX)
    assert "tokens of 24 values" in text
    assert "have 6" in text


def test_too_little_memory_for_the_tiles_means_smaller_ones(by_grey: Any, movie: Any) -> None:
    wide = np.tile(movie.pixels[:2], (1, 1, -(-600 // movie.pixels.shape[2])))
    told, _, _ = notices(iter_cluster_stack(wide, memory=0.25, **SIX))
    assert any("tiles of 512 pixels" in text for text in told)
    told, _, _ = notices(iter_cluster_stack(movie.pixels[:2], memory=0.25, **SIX))
    assert not any("Memory" in text for text in told)
