"""Whoever encodes a movie's frames, its labels are the same."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import dask.array as da
import numpy as np
import psutil
import pytest

from napari_kindred.clusters.predict import cluster_stack, iter_cluster_stack
from napari_kindred.core.events import Partial, Progress, finish
from napari_kindred.models.feature_cache import FeatureCache

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OPTIONS: dict[str, Any] = {"axes": "TYX", "n_clusters": 5, "batch_size": 3}


@pytest.fixture(scope="module")
def movie() -> np.ndarray:
    """Noise with bright discs that move, (8, 64, 72): labels would show a change of last bits."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:64, :72]
    frames = random.integers(0, 90, (8, 64, 72))
    for time, frame in enumerate(frames):
        for y, x in ((16, 20), (44, 50)):
            frame[(rows - y - time) ** 2 + (columns - x) ** 2 < 11**2] += 120
    return frames.astype(np.uint8)


@pytest.fixture(scope="module")
def alone(movie: np.ndarray) -> Any:
    return cluster_stack(movie, cache=FeatureCache(limit=0), **OPTIONS)


@pytest.fixture
def run(movie: np.ndarray, alone: Any, tmp_path: Path) -> Callable[..., list[Any]]:
    """Cluster the movie elsewhere, compare it with what was done here, and list the events."""

    def compare(scheduler: Any, image: Any = movie, report: Any = None) -> list[Any]:
        events: list[Any] = []

        def hear(event: Any) -> None:
            events.append(event)
            if report is not None:
                report(event)

        cache = FeatureCache(tmp_path / "features")
        result = finish(
            iter_cluster_stack(image, cache=cache, scheduler=scheduler, **OPTIONS), hear
        )
        np.testing.assert_array_equal(result.labels, alone.labels)
        np.testing.assert_array_equal(result.leaves, alone.leaves)
        np.testing.assert_array_equal(result.model.prototypes_, alone.model.prototypes_)
        assert result.provenance["input"] == alone.provenance["input"]
        return events

    return compare


def test_in_threads(run: Callable[..., list[Any]]) -> None:
    run("threads")


def test_on_workers_that_read_the_movie_themselves_and_then_from_the_cache_that_they_share(
    run: Callable[..., list[Any]], movie: np.ndarray, client: Any, tmp_path: Path
) -> None:
    import zarr

    kept = zarr.create_array(tmp_path / "movie.zarr", shape=movie.shape, dtype=movie.dtype)
    kept[:] = movie
    run(client, kept)
    told = {event.what for event in run(client, kept) if isinstance(event, Progress)}
    assert "cached" in told
    lazy = da.from_zarr(tmp_path / "movie.zarr")
    run(client, lazy)


def test_on_workers_one_of_which_dies(run: Callable[..., list[Any]], client: Any) -> None:
    seen = []

    def kill(event: Any) -> None:
        if isinstance(event, Partial) and not seen:
            seen.append(next(iter(client.run(os.getpid).values())))
            psutil.Process(seen[0]).kill()

    run(client, report=kill)
    assert seen
