"""A forest says what scikit-learn's says, also when it is read from arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

from napari_kindred.classes.pixelwise.forest import DEPTH, TREES, Forest, grow


@pytest.fixture(scope="module")
def grown() -> tuple[Forest, np.ndarray, np.ndarray, np.ndarray]:
    """A forest, and the vectors, classes 0 and 2 of three, and weights that it was grown on."""
    random = np.random.default_rng(0)
    vectors = random.normal(size=(60, 5)).astype(np.float32)
    codes = 2 * (vectors[:, 0] + vectors[:, 1] > 0)
    weights = random.uniform(0.5, 2, 60).astype(np.float32)
    return grow(vectors, codes, weights, 3, seed=4), vectors, codes, weights


def test_it_says_what_scikit_learn_says(grown: Any) -> None:
    forest, vectors, codes, weights = grown
    theirs = [
        kind(TREES // 2, max_depth=DEPTH, random_state=4).fit(vectors, codes, weights)
        for kind in (ExtraTreesClassifier, RandomForestClassifier)
    ]
    others = np.random.default_rng(1).normal(size=(9000, 5)).astype(np.float32)
    # Some lie exactly on a threshold.
    others[:50, :] = np.resize(forest.threshold[np.isfinite(forest.threshold)], (50, 5))
    found = forest.probabilities(others)
    wanted = np.mean([one.predict_proba(others) for one in theirs], axis=0)
    assert np.allclose(found[:, [0, 2]], wanted, atol=1e-6)
    assert not found[:, 1].any()


def test_arrays_hold_all_of_it(grown: Any) -> None:
    forest, vectors, *_ = grown
    again = Forest.from_arrays(forest.arrays(), 5, 3)
    assert np.array_equal(again.probabilities(vectors), forest.probabilities(vectors))
    assert again.depth <= DEPTH


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("feature", 5),  # beyond a vector's end
        ("feature", -1),
        ("following", 0),  # back to the root, for ever
        ("following", 10**6),
        ("roots", -1),
        ("threshold", np.nan),
        ("shares", np.inf),
    ],
)
def test_damaged_arrays_are_refused(grown: Any, name: str, value: float) -> None:
    arrays = {key: array.copy() for key, array in grown[0].arrays().items()}
    arrays[name].flat[1] = value
    with pytest.raises(ValueError, match="forest"):
        Forest.from_arrays(arrays, 5, 3)
