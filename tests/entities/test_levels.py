"""Images at several resolutions: the one that the scale asks for is read, labels have full size."""

from __future__ import annotations

import numpy as np
import pytest

import napari_kindred as nk
from counting import Counting
from napari_kindred.core.events import Partial, finish
from napari_kindred.entities import frame_tasks
from napari_kindred.entities.checkpoint import load_network
from napari_kindred.images.samples import open_sample
from napari_kindred.results.metrics import average_precision


@pytest.fixture(scope="module")
def network():
    return load_network("kindred-entities")


@pytest.fixture
def levels() -> list[Counting]:
    """Two frames of nuclei at four times their size, and what makes smaller ones of it."""
    sample = np.asarray(open_sample("nuclei").data[:2])
    return [Counting(sample.repeat(n, 1).repeat(n, 2)) for n in (4, 2, 1)]


@pytest.mark.parametrize("block", [4096, 512])
def test_a_lower_resolution_gives_the_same_entities_at_full_size(
    network, levels, block, monkeypatch
):
    monkeypatch.setattr(frame_tasks, "BLOCK", block)
    full = levels[0].data
    known = nk.segment_entities(full, axes="TYX", model=network, scale=0.25)
    found = nk.segment_entities(levels, axes="TYX", model=network, scale=0.25)
    assert found.labels.shape == full.shape
    result = average_precision(zip(known.labels, found.labels, strict=True))
    assert result["AP50"] == 1.0
    assert result["mSA"] > 0.9
    np.testing.assert_allclose(
        found.table["mean_intensity"].mean(), known.table["mean_intensity"].mean(), rtol=0.02
    )
    assert [level.read for level in levels[:2]] == [0, 0]
    assert levels[2].read >= full.size / 16


def test_blocks_of_a_lower_resolution_are_those_of_it_whole(network, levels, monkeypatch):
    whole = nk.segment_entities(levels, axes="TYX", model=network, scale=0.25)
    monkeypatch.setattr(frame_tasks, "BLOCK", 512)
    job = nk.iter_segment_entities(levels, axes="TYX", model=network, scale=0.25)
    seen = []
    found = finish(job, seen.append)
    assert any(isinstance(event, Partial) and event.block for event in seen)
    result = average_precision(zip(whole.labels, found.labels, strict=True))
    assert result["AP50"] == 1.0
    assert result["mSA"] > 0.97


def test_several_resolutions_of_the_network_read_what_its_finest_needs(network, levels):
    nk.segment_entities(levels, axes="TYX", model=network, scale=0.25, resolutions=2)
    # Once to see that it was ever filled, once to be segmented.
    assert [level.read for level in levels] == [0, 2 * levels[1].data.size, 0]


def test_the_scale_is_chosen_once_and_then_only_that_resolution_is_read(network, levels):
    result = nk.segment_entities(levels, axes="TYX", model=network)
    assert result.provenance["scale_used"] < 0.6
    assert levels[0].read <= levels[0].data[0].size
    assert result.labels.shape == levels[0].shape
