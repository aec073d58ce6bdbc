"""The shipped samples: they open offline, and what is said about them is true."""

from __future__ import annotations

import csv
import itertools
import socket

import numpy as np
import pytest

from napari_kindred.core.errors import InputError
from napari_kindred.images.samples import SAMPLES, available, open_sample, sample_path

MOVIES = ("nuclei", "phase")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("name", list(SAMPLES))
def test_a_sample_opens_without_a_network_and_is_what_it_says(name: str, offline: None) -> None:
    sample = open_sample(name)
    assert len(sample.axes) == sample.data.ndim
    spatial = sample.axes.replace("S", "")
    if sample.scale is not None and sample.units is not None:
        assert len(sample.scale) == len(sample.units) == len(spatial)
    assert name in available()
    assert sample.data.std() > 0


@pytest.mark.parametrize("name", MOVIES)
def test_the_ground_truth_covers_the_bright_or_dark_cells(name: str) -> None:
    sample = open_sample(name)
    assert sample.truth is not None
    assert sample.truth.shape == sample.data.shape
    for frame, labels in zip(sample.data, sample.truth, strict=True):
        inside, outside = frame[labels > 0].mean(), frame[labels == 0].mean()
        assert inside > 1.5 * outside if name == "nuclei" else inside < 0.9 * outside


@pytest.mark.parametrize("name", MOVIES)
def test_a_cell_keeps_its_number_while_it_moves(name: str) -> None:
    truth = open_sample(name).truth
    assert truth is not None
    for before, after in itertools.pairwise(truth):
        kept = np.intersect1d(before[before > 0], after[after > 0])
        overlap = [((before == cell) & (after == cell)).any() for cell in kept]
        assert len(kept) > 10
        assert np.mean(overlap) > 0.9


@pytest.mark.parametrize("name", MOVIES)
def test_daughters_appear_where_and_when_their_mother_vanished(name: str) -> None:
    truth = open_sample(name).truth
    assert truth is not None
    tracks = sample_path(name).with_name(f"{name}_timelapse_tracks.csv")
    with tracks.open() as handle:
        rows = {int(row["id"]): row for row in csv.DictReader(handle)}
    assert set(rows) == set(np.unique(truth)) - {0}
    daughters = [row for row in rows.values() if int(row["parent"])]
    assert len(daughters) >= 8
    for row in daughters:
        mother, first = rows[int(row["parent"])], int(row["first"])
        assert int(mother["last"]) == first - 1
        here = np.argwhere(truth[first] == int(row["id"])).mean(0)
        there = np.argwhere(truth[first - 1] == int(row["parent"])).mean(0)
        assert np.hypot(*(here - there)) < 20


def test_the_movies_stay_small() -> None:
    folder = sample_path("nuclei").parent
    assert sum(file.stat().st_size for file in folder.iterdir()) < 3_000_000


def test_an_unknown_sample_is_refused_with_the_names_of_those_there_are() -> None:
    with pytest.raises(InputError, match="nuclei, phase, stack, ihc, cell"):
        open_sample("mitosis")
