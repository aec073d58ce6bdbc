"""Whoever segments frames, or the blocks of a large one, the labels are the same."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import psutil
import pytest
import zarr

import napari_kindred as nk
from napari_kindred.core.errors import KindredError
from napari_kindred.core.events import Partial, finish
from napari_kindred.entities import frame_tasks
from napari_kindred.images.samples import open_sample

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def movie() -> np.ndarray:
    """An empty frame, one of one value, and three with nuclei; (5, 128, 144)."""
    nuclei = np.asarray(open_sample("nuclei").data)[:3, :128, :144]
    return np.concatenate([np.zeros_like(nuclei[:1]), np.full_like(nuclei[:1], 7), nuclei])


@pytest.fixture(scope="module")
def alone(movie: np.ndarray) -> Any:
    return nk.segment_entities(movie, axes="TYX")


def same(one: Any, other: Any) -> None:
    np.testing.assert_array_equal(one.labels, other.labels)
    pd.testing.assert_frame_equal(one.table, other.table)
    for fact in ("input", "notes", "scale_used", "typical_diameter", "complete"):
        assert one.provenance[fact] == other.provenance[fact]


class Killer:
    """Kills a worker when the first frame, or block of one, is there."""

    def __init__(self, client: Any) -> None:
        self._client, self.killed = client, False

    def __call__(self, event: Any) -> None:
        if isinstance(event, Partial) and not self.killed:
            self.killed = True
            psutil.Process(next(iter(self._client.run(os.getpid).values()))).kill()


def test_frames_in_threads(movie: np.ndarray, alone: Any) -> None:
    result = nk.segment_entities(movie, axes="TYX", scheduler="threads")
    same(result, alone)
    assert "thread" in result.provenance["device"]


def test_frames_on_workers_one_of_which_dies(movie: np.ndarray, alone: Any, client: Any) -> None:
    kill = Killer(client)
    same(finish(nk.iter_segment_entities(movie, axes="TYX", scheduler=client), kill), alone)
    assert kill.killed


@pytest.mark.parametrize("sent", [False, True])
def test_blocks_of_a_large_plane_on_workers_one_of_which_dies(
    client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: bool
) -> None:
    monkeypatch.setattr(frame_tasks, "BLOCK", 160)
    pixels = np.asarray(open_sample("nuclei").data)[0, :230, :250]
    plane = zarr.create_array(tmp_path / "plane.zarr", data=pixels, chunks=(64, 64))
    alone = nk.segment_entities(pixels, axes="YX", scale=1.0)
    kill = Killer(client)
    job = nk.iter_segment_entities(
        pixels if sent else plane, axes="YX", scale=1.0, scheduler=client
    )
    result = finish(job, None if sent else kill)
    same(result, alone)
    assert len(result.table) > 3
    assert kill.killed is not sent


def test_a_network_without_a_file_of_its_own_is_refused_by_workers(
    movie: np.ndarray, client: Any
) -> None:
    from napari_kindred.entities.checkpoint import load_network

    network, info = load_network(nk.EntityConfig().weights)
    model = network, {**info, "sha256": "0" * 64}
    with pytest.raises(KindredError, match="put the same file everywhere"):
        nk.segment_entities(movie, axes="TYX", model=model, scheduler=client)
