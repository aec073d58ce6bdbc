"""Networks stay open between runs and tasks, each for one user at a time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

import napari_kindred as nk
from napari_kindred.core.events import Partial
from napari_kindred.entities import open_networks
from napari_kindred.entities.checkpoint import load_network, save_weights
from napari_kindred.images.samples import open_sample

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

CPU = torch.device("cpu")
NAME = "kindred-entities"


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> Generator[list[str]]:
    """Names of the networks that were read from a file."""
    names: list[str] = []

    def load(name: Any, device: Any) -> Any:
        names.append(str(name))
        return load_network(name, device)

    open_networks.close_all()
    monkeypatch.setattr(open_networks, "load_network", load)
    yield names
    open_networks.close_all()


@pytest.fixture(scope="module")
def movie() -> np.ndarray:
    return np.asarray(open_sample("nuclei").data)[:4, :96, :96]


def test_a_second_run_reads_no_weights(movie: np.ndarray, loaded: list[str]) -> None:
    first = nk.segment_entities(movie, axes="TYX", scale=1.0)
    assert loaded == [NAME]
    again = nk.segment_entities(movie, axes="TYX", scale=1.0)
    assert loaded == [NAME]
    np.testing.assert_array_equal(first.labels, again.labels)


def test_threads_of_a_second_run_read_no_weights(
    movie: np.ndarray, loaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dask.system.CPU_COUNT", 2)
    first = nk.segment_entities(movie, axes="TYX", scale=1.0, scheduler="threads")
    assert 2 <= len(loaded) <= 3  # that of the run, and one for each thread that got a frame
    before = len(loaded)
    again = nk.segment_entities(movie, axes="TYX", scale=1.0, scheduler="threads")
    assert len(loaded) - before <= 3 - before  # a thread may get its first frame only now
    np.testing.assert_array_equal(first.labels, again.labels)


def test_two_users_at_once_get_two_networks(loaded: list[str]) -> None:
    with open_networks.borrowed(NAME, CPU) as (one, _), open_networks.borrowed(NAME, CPU) as other:
        assert one is not other[0]
    assert len(loaded) == 2
    with open_networks.borrowed(NAME, CPU) as (again, _):
        assert again in (one, other[0])
    assert len(loaded) == 2


def test_a_run_that_is_cancelled_gives_its_network_back(
    movie: np.ndarray, loaded: list[str]
) -> None:
    job = nk.iter_segment_entities(movie, axes="TYX", scale=1.0)
    for event in job:
        if isinstance(event, Partial):
            break
    job.close()
    nk.segment_entities(movie[:1], axes="TYX", scale=1.0)
    assert loaded == [NAME]


def test_weights_that_changed_are_read_again(tmp_path: Path, loaded: list[str]) -> None:
    path = tmp_path / "mine.safetensors"
    network, info = load_network(NAME, for_training=True)
    save_weights(network, path, info)
    for later in (0, 10):
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime + later))
        with open_networks.borrowed(str(path), CPU):
            pass
    assert loaded == [str(path)] * 2


def test_only_a_few_stay_open(tmp_path: Path, loaded: list[str]) -> None:
    pairs = [open_networks.take(NAME, CPU) for _ in range(open_networks.MOST + 1)]
    for pair in pairs:
        open_networks.give_back(pair)
        open_networks.give_back(pair)  # twice is no harm
    loaded.clear()
    again = [open_networks.take(NAME, CPU) for _ in range(open_networks.MOST + 1)]
    assert len(loaded) == 1
    assert len({id(network) for network, _ in again}) == open_networks.MOST + 1
