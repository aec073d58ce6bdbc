from __future__ import annotations

import numpy as np

from napari_kindred.clusters.label_matching import LabelMatching


def test_each_old_id_becomes_the_new_one_that_shares_most_pixels_with_it() -> None:
    matching = LabelMatching()
    matching.learn(np.array([[1, 1, 1, 2, 2, 0]]), np.array([[3, 3, 1, 1, 1, 0]]))
    matching.learn(np.array([[2, 4, 4]]), np.array([[3, 2, 2]]))
    assert matching.lut(4)[[0, 1, 2, 4]].tolist() == [0, 3, 1, 2]


def test_an_old_id_that_was_never_compared_gets_one_of_its_own() -> None:
    matching = LabelMatching()
    matching.learn(np.array([[1, 3, 6]]), np.array([[2, 1, 0]]))
    lut = matching.lut(6)
    assert lut[[1, 3, 6]].tolist() == [2, 1, 0], "what became background is background"
    assert sorted(lut[[2, 4, 5]].tolist()) == [3, 4, 5]
