"""Synthetic images: repeatable, labelled whole objects, and unlike from kind to kind."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.measure import label

from napari_kindred.models.synthetic import KINDS, draw_synthetic


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_generator_draws_the_same_image_and_another_one_another(kind):
    first, again, other = (
        draw_synthetic(kind, 96, np.random.default_rng(seed)) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.labels, again.labels)
    assert not np.array_equal(first.labels, other.labels)


@pytest.mark.parametrize("kind", KINDS)
def test_images_are_finite_in_the_usual_range_and_show_objects(kind):
    for seed in range(4):
        drawn = draw_synthetic(kind, 128, np.random.default_rng(seed))
        assert drawn.image.shape == (3, 128, 128)
        assert drawn.labels.shape == (128, 128)
        assert np.isfinite(drawn.image).all()
        assert abs(np.quantile(drawn.image, 0.5)) < 1.5
        assert len(np.unique(drawn.labels)) > 2, (kind, seed)
        if drawn.grey:
            np.testing.assert_array_equal(drawn.image[0], drawn.image[2])


@pytest.mark.parametrize("kind", ["phase", "dic"])
def test_every_object_of_a_tissue_is_connected(kind):
    labels = draw_synthetic(kind, 128, np.random.default_rng(3)).labels
    for number in np.unique(labels[labels > 0]):
        assert label(labels == number, connectivity=1).max() == 1


def test_cells_come_in_two_channels_in_any_order_and_the_third_is_empty():
    empty = set()
    for seed in range(30):
        drawn = draw_synthetic("cells", 64, np.random.default_rng(seed))
        if not drawn.grey:
            flat = [channel.std() < 1e-6 for channel in drawn.image]
            assert sum(flat) == 1
            empty.add(flat.index(True))
    assert empty == {0, 1, 2}
