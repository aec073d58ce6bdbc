"""Scores of tracks, next to values that were computed by hand."""

from __future__ import annotations

import numpy as np
import pytest

from napari_kindred.linking.metrics import TrackScores, graph_of


def frame(*ids: int) -> np.ndarray:
    """A row of squares of 4 × 4 pixels with these ids; 0 leaves one out."""
    return np.repeat(np.repeat(np.array([ids]), 4, axis=0), 4, axis=1)


def scored(
    truth: list[np.ndarray],
    found: list[np.ndarray],
    true_parents: dict[int, int] | None = None,
    parents: dict[int, int] | None = None,
) -> dict[str, float]:
    scores = TrackScores()
    for one, other in zip(truth, found, strict=True):
        scores.add(one, other)
    return scores.scores(true_parents or {}, parents or {})


def test_the_truth_itself_has_the_best_score_under_any_ids() -> None:
    truth = [frame(1, 2, 0), frame(1, 2, 0), frame(3, 4, 2)]
    found = [frame(7, 5, 0), frame(7, 5, 0), frame(1, 9, 5)]
    scores = scored(truth, found, {3: 1, 4: 1}, {1: 7, 9: 7})
    names = ("TRA", "LNK", "DET", "SEG", "link_F1", "link_found_recall", "division_F1")
    assert [scores[name] for name in names] == [1.0] * 7
    assert (scores["links"], scores["divisions"]) == (5, 1)


def test_an_object_that_was_missed() -> None:
    scores = scored([frame(1, 2), frame(1, 2)], [frame(1, 2), frame(1, 0)])
    # One object (10) and its link (1.5) are added; from nothing it were 4 objects and 2 links.
    assert scores["TRA"] == pytest.approx(1 - (10 + 1.5) / (40 + 3))
    assert scores["LNK"] == pytest.approx(1 - 1.5 / 3)
    assert scores["DET"] == pytest.approx(1 - 10 / 40)
    assert scores["SEG"] == pytest.approx(3 / 4)
    assert (scores["link_recall"], scores["link_found_recall"]) == (0.5, 1.0)
    assert scores["link_precision"] == 1


def test_ids_that_were_swapped() -> None:
    scores = scored([frame(1, 2), frame(1, 2)], [frame(1, 2), frame(2, 1)])
    # Two links are wrong and deleted (1 each), two are added (1.5 each).
    assert scores["LNK"] == pytest.approx(1 - min(2 + 3, 3) / 3)
    assert scores["TRA"] == pytest.approx(1 - (2 + 3) / (40 + 3))
    assert scores["link_F1"] == 0


def test_two_objects_that_were_merged_and_one_that_is_none() -> None:
    scores = scored([frame(1, 2, 0), frame(1, 2, 0)], [frame(1, 1, 5), frame(1, 2, 0)])
    # One split (5), one object too many (1), both links to objects that were merged (1.5 each).
    assert scores["DET"] == pytest.approx(1 - (5 + 1) / 40)
    assert scores["LNK"] == pytest.approx(0)
    assert scores["SEG"] == pytest.approx((0.5 + 0.5 + 1 + 1) / 4)


def test_a_division_that_was_taken_for_a_link() -> None:
    truth = [frame(1, 0), frame(2, 3)]
    scores = scored(truth, [frame(1, 0), frame(1, 3)], {2: 1, 3: 1})
    # The link of one daughter is of another kind (1), that of the other is missing (1.5).
    assert scores["LNK"] == pytest.approx(1 - (1 + 1.5) / 3)
    assert scores["division_F1"] == 0
    assert scores["link_recall"] == 0.5


def test_a_track_goes_on_after_a_gap() -> None:
    graph = graph_of([[1], [], [1], [2, 3]], {2: 1, 3: 1, 1: 0})
    assert graph.links == {
        ((0, 1), (2, 1)): False,
        ((2, 1), (3, 2)): True,
        ((2, 1), (3, 3)): True,
    }
    assert graph.divisions() == {(2, 1): frozenset({(3, 2), (3, 3)})}
