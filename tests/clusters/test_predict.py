"""Whole runs: the same labels however the movie comes, events in order, nothing left on disk."""

from __future__ import annotations

import dataclasses
import gc
import tempfile
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import pytest
import torch
import zarr
from sklearn.metrics import adjusted_rand_score

from napari_kindred.clusters import assembly as assembly_module
from napari_kindred.clusters import pipeline
from napari_kindred.clusters.config import ClusterConfig
from napari_kindred.clusters.model import HierarchicalClustering
from napari_kindred.clusters.predict import cluster_stack, iter_cluster_stack
from napari_kindred.core.errors import OptionError
from napari_kindred.core.events import Event, Notice, Partial, Progress, finish
from napari_kindred.images.image_file import ImageFile
from napari_kindred.results.spill import SpillFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from napari_kindred.clusters.result import ClusterSegmentation

SIX: dict[str, Any] = {"axes": "TYX", "n_clusters": 6}


def events_of(job: Any) -> tuple[list[Event], ClusterSegmentation]:
    events: list[Event] = []
    result = finish(job, events.append)
    return events, result


def agreement(labels: Any, truth: np.ndarray) -> float:
    return float(adjusted_rand_score(truth.ravel(), np.asarray(labels).ravel()))


# -- what is found ---------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["default", "paper"])
@pytest.mark.parametrize("refinement", ["auto", "none"])
def test_kinds_of_grey_get_one_label_each_in_all_frames(
    by_grey: Any, movie: Any, preset: str, refinement: str
) -> None:
    result = cluster_stack(movie.pixels, preset=preset, refinement=refinement, **SIX)
    assert result.labels.shape == movie.pixels.shape
    assert result.labels.dtype == np.int32
    assert result.axes == "TYX"
    # Tokens are right to the last one; edges round off corners.
    assert agreement(result.labels, movie.truth) >= (1 if refinement == "none" else 0.98)
    assert (np.diff(result.table["area"]) <= 0).all()
    assert result.table["index"].tolist() == [1, 2, 3, 4, 5, 6]


def test_a_decoder_draws_the_outlines_when_asked(by_grey: Any, draw: Callable[..., Any]) -> None:
    movie = draw(noise=0)
    result = cluster_stack(movie.pixels, encoder="grey with decoder", refinement="decoder", **SIX)
    assert agreement(result.labels, movie.truth) == 1


def test_a_decoder_draws_the_outlines_of_frames_in_tiles(
    by_grey: Any, draw: Callable[..., Any]
) -> None:
    movie = draw(frames=2, size=(160, 224), noise=0)
    options = {"encoder": "grey with decoder", "refinement": "decoder", **SIX}
    result = cluster_stack(movie.pixels, tile=128, **options)
    assert max(map(max, by_grey[0].seen)) <= 128
    assert agreement(result.labels, movie.truth) == 1


def test_the_paper_s_outlines_are_those_of_its_decoder(
    by_grey: Any, draw: Callable[..., Any]
) -> None:
    movie = draw(noise=0)
    paper = cluster_stack(movie.pixels, encoder="grey with decoder", preset="paper", **SIX)
    assert agreement(paper.labels, movie.truth) == 1
    without = cluster_stack(movie.pixels, preset="paper", **SIX)
    grid = cluster_stack(movie.pixels, preset="paper", refinement="none", **SIX)
    np.testing.assert_array_equal(without.labels, grid.labels)


def test_the_shipped_network_tells_the_same_labels_from_numpy_dask_and_zarr(
    draw: Callable[..., Any], tmp_path: Path
) -> None:
    """The whole way, with the real encoder: bit-identical labels on every run."""
    pixels = draw(frames=2).pixels
    on_disk = zarr.create_array(tmp_path / "a.zarr", data=pixels, chunks=(1, 32, 32))
    movies = [pixels, da.from_array(pixels, (2, 20, 30)), on_disk]
    results = [cluster_stack(image, device="cpu", **SIX) for image in movies]
    for other in results[1:]:
        np.testing.assert_array_equal(results[0].labels, other.labels)
        np.testing.assert_array_equal(results[0].leaves, other.leaves)
        assert results[0].provenance["input"]["content"] == other.provenance["input"]["content"]
    assert results[0].provenance["weights"]["name"] == "kindred"
    assert len(results[0].provenance["weights"]["sha256"]) == 64
    path = results[0].model.save(tmp_path / "kinds.safetensors")
    applied = cluster_stack(pixels, model=path, axes="TYX", device="cpu")
    np.testing.assert_array_equal(applied.labels, results[0].labels)


# -- models ----------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"preset": "paper"}, {"reassign": False}])
def test_new_frames_are_labelled_by_the_model_without_clustering(
    by_grey: Any,
    draw: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
) -> None:
    movie = draw(frames=9)
    start = cluster_stack(movie.pixels[:6], **SIX, **options)
    model, labels = start.model, []
    monkeypatch.setattr(HierarchicalClustering, "partial_fit", None)
    path = model.save(tmp_path / "kinds.safetensors")
    for given in (model, path, str(path)):
        rest = cluster_stack(movie.pixels[6:], model=given, **SIX, **options)
        assert rest.labels.shape == (3, 48, 64)
        labels.append(np.concatenate([start.labels, rest.labels]))
        assert agreement(labels[-1], movie.truth) > 0.97
    np.testing.assert_array_equal(labels[0], labels[1])
    np.testing.assert_array_equal(labels[0], labels[2])


def test_a_model_labels_a_movie_of_another_size_and_number_of_frames(
    by_grey: Any, draw: Callable[..., Any]
) -> None:
    for options in ({}, {"preset": "paper"}):
        model = cluster_stack(draw(frames=2).pixels, **SIX, **options).model
        other = draw(frames=7, size=(56, 80), seed=5)
        result = cluster_stack(other.pixels, axes="TYX", model=model)
        assert agreement(result.labels, other.truth) > 0.97


def test_a_model_s_intensities_hold_for_another_movie_unless_they_do_not_fit(
    by_grey: Any, draw: Callable[..., Any]
) -> None:
    movie = draw()
    model = cluster_stack(movie.pixels, **SIX).model
    low, high = model.intensity_ or (0, 0)
    brighter = movie.pixels + np.uint8(5)
    events, result = events_of(iter_cluster_stack(brighter, model=model, **SIX))
    assert result.provenance["intensity_range"] == [low, high]
    assert not [event for event in events if isinstance(event, Notice)]
    for gain, offset in ((100, 0), (1, 5000), (0.1, 0)):
        other = movie.pixels * np.float32(gain) + np.float32(offset)
        events, result = events_of(iter_cluster_stack(other, model=model, **SIX))
        assert agreement(result.labels, movie.truth) > 0.97
        told = [event.text for event in events if isinstance(event, Notice)]
        assert len(told) == 1
        assert "intensities differ" in told[0]
        assert told == result.provenance["notes"]


@pytest.mark.parametrize(
    ("fact", "value"), [("name", "efficientnet"), ("sha256", "1" * 64), ("stride", 8)]
)
def test_a_model_of_another_latent_space_is_refused(
    by_grey: Any, movie: Any, fact: str, value: Any
) -> None:
    model = cluster_stack(movie.pixels, **SIX).model
    model.encoder_[fact] = value
    with pytest.raises(OptionError, match="choose that encoder"):
        cluster_stack(movie.pixels, axes="TYX", model=model)


# -- events ----------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["default", "paper"])
def test_the_bar_never_goes_back_and_ends_at_its_end(
    by_grey: Any, draw: Callable[..., Any], preset: str
) -> None:
    events, _ = events_of(iter_cluster_stack(draw(frames=11).pixels, preset=preset, **SIX))
    all_steps = [event for event in events if isinstance(event, Progress)]
    steps = [step for step in all_steps if step.what != "loading the encoder"]
    assert all(step.done == 0 for step in all_steps if step not in steps)
    done = [step.done for step in steps]
    assert done == sorted(done)
    assert len({step.total for step in steps}) == 1
    assert done[-1] == pytest.approx(steps[-1].total)
    stages = list(dict.fromkeys(step.what for step in all_steps))
    known = ["loading the encoder", "measuring the intensities"]
    known += ["sampling"] if preset == "default" else []
    assert [stage for stage in stages if stage not in ("clustering", "encoding")] == [
        *known,
        "labelling",
    ]
    assert {"clustering", "encoding"} < set(stages)
    assert all(0 <= step.frame <= step.frames == 11 for step in steps)


def test_every_frame_comes_twice_in_order_and_the_second_time_as_it_stays(
    by_grey: Any, draw: Callable[..., Any]
) -> None:
    movie = draw(frames=7)
    events, result = events_of(iter_cluster_stack(movie.pixels, **SIX))
    partials = [event for event in events if isinstance(event, Partial)]
    assert [partial.index for partial in partials] == 2 * [(t,) for t in range(7)]
    first, final = (np.stack([p.labels for p in part]) for part in (partials[:7], partials[7:]))
    assert first.dtype == final.dtype == np.int32
    np.testing.assert_array_equal(final, result.labels)
    # The first labels mean the same in all frames as well.
    finer = [len(np.unique(movie.truth[first == label])) for label in np.unique(first)]
    assert finer == [1] * len(finer)
    for partial in partials[7:]:
        areas = dict(zip(*np.unique(partial.labels, return_counts=True), strict=True))
        assert dict(zip(partial.table["index"], partial.table["area"], strict=True)) == areas


def test_the_first_labels_come_while_the_movie_is_still_being_encoded(
    by_grey: Any, draw: Callable[..., Any]
) -> None:
    job = iter_cluster_stack(draw(frames=40).pixels, **SIX)
    assert any(isinstance(event, Partial) for event in job)  # stops at the first
    assert len(by_grey[0].seen) <= 6 + 4  # the first look and a batch
    job.close()


# -- disk ------------------------------------------------------------------------------------


@pytest.fixture
def spills(monkeypatch: pytest.MonkeyPatch) -> list[SpillFile]:
    made: list[SpillFile] = []

    class Watched(SpillFile):
        def __init__(self) -> None:
            super().__init__()
            made.append(self)

    monkeypatch.setattr(pipeline, "SpillFile", Watched)
    return made


@pytest.mark.parametrize("place", [1, 2, 10, 25, 45, "an error", "the end"])
def test_nothing_is_left_on_disk_wherever_a_run_stops(
    by_grey: Any,
    draw: Callable[..., Any],
    spills: list[SpillFile],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    place: Any,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(assembly_module, "IN_MEMORY", 0)  # labels on disk as well
    job = iter_cluster_stack(draw(frames=9).pixels, **SIX)
    if place == "an error":
        monkeypatch.setattr(HierarchicalClustering, "finish", None)
        with pytest.raises(TypeError):
            events_of(job)
    elif place == "the end":
        events_of(job)
    else:
        for _ in range(place):
            next(job)
        job.close()
    assert spills
    assert all(spill._file.closed for spill in spills)
    del job
    gc.collect()
    assert not list(tmp_path.iterdir())


def test_frames_are_read_one_by_one(by_grey: Any, draw: Callable[..., Any]) -> None:
    pixels = draw(frames=12).pixels
    largest = 0

    class Source:
        shape, dtype = pixels.shape, pixels.dtype

        def __getitem__(self, picks: Any) -> np.ndarray:
            nonlocal largest
            largest = max(largest, pixels[picks].size)
            return pixels[picks]

    cluster_stack(Source(), **SIX)
    assert largest == 48 * 64


# -- options ---------------------------------------------------------------------------------

NOISY: dict[str, dict[str, Any]] = {
    "refinement": {"refinement": "none"},
    "stride": {"stride": 8},
    "objects": {"objects": False},
    "background": {"background": "largest"},
    "n_clusters": {"n_clusters": 4},
    "preset": {"preset": "paper"},
    "batch_size": {"batch_size": 2},
    "n_local": {"n_local": 20},
    "n_components": {"n_components": 2},
    "carry_over": {"carry_over": False},
    "reassign": {"reassign": False},
    "seed": {"seed": 1},
}
"""Each option with a value that must show in the labels, or in the prototypes behind them."""


@pytest.mark.parametrize("name", NOISY)
def test_every_option_of_the_method_changes_the_result(
    by_grey: Any, draw: Callable[..., Any], name: str
) -> None:
    pixels = draw(frames=6, size=(96, 128), noise=90).pixels
    plain, other = (cluster_stack(pixels, **SIX | more) for more in ({}, NOISY[name]))
    same = np.array_equal(plain.labels, other.labels)
    assert not (same and np.array_equal(plain.model.prototypes_, other.model.prototypes_))
    assert other.provenance["config"][name] == NOISY[name][name]


def test_every_other_option_decides_what_is_read_and_by_what(
    by_grey: Any, draw: Callable[..., Any]
) -> None:
    pixels = draw(frames=2, size=(200, 160)).pixels
    both = np.stack([pixels[:, ::-1], pixels], 1)
    for channel in (0, 1):
        result = cluster_stack(both, axes="TCYX", channel=channel, n_clusters=6)
        alone = cluster_stack(both[:, channel], **SIX)
        np.testing.assert_array_equal(result.labels, alone.labels)
    assert cluster_stack(pixels, axes="ZYX", n_clusters=6).axes == "ZYX"
    cluster_stack(pixels, encoder="another", device="cpu", **SIX)
    assert (by_grey[-1].name, by_grey[-1].device) == ("another", torch.device("cpu"))
    assert set(by_grey[-1].seen) == {(200, 160)}
    cluster_stack(pixels, tile=128, **SIX)
    assert max(by_grey[-1].seen) <= (128, 128)
    assert len(by_grey[-1].seen) > 2
    cluster_stack(pixels, tile=128, large="resize", **SIX)
    assert set(by_grey[-1].seen) == {(128, 102)}


def test_labels_lie_where_the_image_lies(by_grey: Any, movie: Any) -> None:
    image = ImageFile(movie.pixels, "TYX", (1.0, 0.5, 0.5), translate=(0.0, 10.0, 20.0))
    result = cluster_stack(image, **{**SIX, "axes": None})
    assert result.translate == (0.0, 10.0, 20.0)
    assert result.at_level(2).translate == (0.0, 10.0, 20.0)


def test_no_option_is_left_out_here() -> None:
    # kinds counts where objects are found, which simulated grey levels are not: test_object_kinds.
    elsewhere = {"axes", "channel", "encoder", "device", "tile", "large", "memory", "kinds"}
    assert {item.name for item in dataclasses.fields(ClusterConfig)} == elsewhere | set(NOISY)
