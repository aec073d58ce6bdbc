"""Threshold and minimum score are chosen on annotated images."""

from __future__ import annotations

import numpy as np
import pytest

from napari_kindred.core.events import finish
from napari_kindred.entities import validate
from napari_kindred.entities.validate import CUTS, SCORES, SettingCounts, iter_choose_settings
from napari_kindred.results.metrics import THRESHOLDS


def counted(right, wrong, missed):
    """Counts that are the same at every setting and IoU, (cuts, scores, IoUs, 3)."""
    return np.broadcast_to(
        np.array([right, wrong, missed], float), (len(CUTS), len(SCORES), len(THRESHOLDS), 3)
    ).copy()


def test_every_group_counts_the_same_however_many_objects_it_has():
    counts = SettingCounts()
    counts.counts = {"large": counted(500, 500, 0), "small": counted(1, 1, 0)}
    counts.images = {"large": 100, "small": 1}
    counts.counts["large"][1, 2] = (600, 400, 0)  # 0.5 to 0.6
    counts.counts["small"][3, 4] = (2, 0, 0)  # 0.5 to 1
    best = counts.best()
    assert (best.threshold, best.min_score) == (CUTS[3], SCORES[4])
    assert best.values[3, 4] == pytest.approx((0.5 + 1) / 2)
    assert best.values[1, 2] == pytest.approx((0.6 + 0.5) / 2)
    assert best.accuracy["small"] == {"AP50": 1.0, "mSA": 1.0, "images": 1, "objects": 2}


def test_a_threshold_above_the_objects_foreground_is_not_chosen(monkeypatch):
    """The network is sure of a square by 0.47 only: cuts above it find nothing."""
    from napari_kindred.entities.decode import InstanceMap

    truth = np.zeros((40, 40), np.int32)
    truth[10:30, 10:30] = 1

    class Example:
        group, labels, complete = "squares", truth, True

    def instances(network, dense, mapping, config):
        labels = truth * (config.threshold <= 0.47)
        quality = (labels * 0.47).astype(np.float32)
        return InstanceMap(labels.astype(np.int32), quality, quality, None)

    class Network:
        scoring = None

    monkeypatch.setattr(validate, "_pixels", lambda example: None)
    monkeypatch.setattr(validate, "_dense", lambda *_: (1.0, None, None))
    monkeypatch.setattr(validate, "instances_of", instances)
    settings = finish(iter_choose_settings(Network(), [Example(), Example()]))
    assert settings.threshold <= 0.45
    assert settings.min_score <= 0.45
    assert settings.accuracy["squares"]["AP50"] == 1
    assert settings.accuracy["squares"]["images"] == 2
    cut = CUTS.index(0.5)
    assert settings.values[cut].max() == 0
    assert finish(iter_choose_settings(Network(), [])) is None
