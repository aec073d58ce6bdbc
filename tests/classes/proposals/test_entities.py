"""Entities and superpixels as proposals, with the shipped weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_kindred.classes.proposals import entities as pooled
from napari_kindred.classes.proposals.entities import regions
from napari_kindred.classes.proposals.open import open_proposer
from napari_kindred.classes.proposals.pooling import (
    cell_shares,
    describe,
    inner_points,
    shapes,
    touching,
)
from napari_kindred.core.errors import InputError, OptionError
from napari_kindred.core.events import finish
from napari_kindred.encoders.encode import FrameTokens
from napari_kindred.encoders.registry import open_encoder
from napari_kindred.entities.config import EntityConfig
from napari_kindred.entities.network import EntityNetwork
from napari_kindred.images.stack import normalise


def tokens_of(values: np.ndarray, step: tuple[float, float]) -> FrameTokens:
    return FrameTokens(values.astype(np.float32), np.ones(values.shape[:2], bool), step)


@pytest.fixture
def labels() -> np.ndarray:
    """Two squares that touch, one apart, and one inside a frame, (20, 30)."""
    labels = np.zeros((20, 30), np.int32)
    labels[2:8, 2:8], labels[2:8, 8:14], labels[12:18, 3:9] = 1, 2, 3
    labels[10:20, 15:30], labels[13:17, 20:25] = 4, 5
    return labels


@pytest.mark.parametrize(("step", "size"), [(1, (20, 30)), (4, (5, 8))])
def test_cells_count_by_the_pixels_they_share(
    labels: np.ndarray, step: int, size: tuple[int, int]
) -> None:
    values = np.random.default_rng(0).random((*size, 2))
    fine = values.repeat(step, 0).repeat(step, 1)[:20, :30]
    shares = cell_shares(labels, 5, size, (float(step), float(step)))
    expected = [fine[labels == number].mean(0) for number in range(1, 6)]
    np.testing.assert_allclose(shares @ values.reshape(-1, 2), expected, rtol=1e-5)


def test_surroundings_are_background_nearby_or_else_neighbours(labels: np.ndarray) -> None:
    kinds = np.array([0.0, 1, 2, 3, 4, 5])[labels]
    kinds[:, 14] = 9  # nearest to label 2 alone, three pixels away at most
    found = describe(
        np.zeros((20, 30, 1), np.float32), labels, tokens_of(kinds[..., None], (1, 1)), 1.0
    )
    inside, around = found[:, 0], found[:, 1]
    np.testing.assert_allclose(inside, [1, 2, 3, 4, 5], rtol=1e-5)
    assert around[0] == 0
    assert around[1] > 0
    assert around[4] == pytest.approx(4, rel=1e-5)  # no background: what it lies in


def test_a_label_that_fills_the_picture_is_its_own_surroundings() -> None:
    values = np.random.default_rng(0).random((6, 6, 2))
    found = describe(
        np.ones((6, 6, 3), np.float32), np.ones((6, 6), np.int32), tokens_of(values, (1, 1)), 2.0
    )
    np.testing.assert_allclose(found[0, :2], found[0, 2:4], rtol=1e-5)


def test_intensities_are_told_for_three_channels(labels: np.ndarray) -> None:
    pixels = np.random.default_rng(1).random((20, 30, 3), np.float32)
    found = describe(pixels, labels, tokens_of(np.zeros((20, 30, 1)), (1, 1)), 2.0)[:, 2 + 4 :]
    mine = pixels[labels == 3]
    np.testing.assert_allclose(found[2, :3], mine.mean(0), rtol=1e-5)
    np.testing.assert_allclose(found[2, 3:6], mine.std(0), rtol=1e-4)
    np.testing.assert_allclose(found[2, 9:], found[2, :3] - found[2, 6:9], rtol=1e-4)


def test_labels_touch_along_their_edges(labels: np.ndarray) -> None:
    found = touching(labels, 5).toarray()
    assert found[0, 1] == found[1, 0] == 6
    assert found[3, 4] == 2 * (4 + 5)
    assert found.sum() == 2 * (6 + 18)


def test_shapes_tell_discs_from_ellipses_and_crosses() -> None:
    rows, columns = np.mgrid[:80, :240]
    labels = np.zeros(rows.shape, np.int32)
    labels[(rows - 40) ** 2 + (columns - 40) ** 2 < 30**2] = 1
    labels[((rows - 40) / 15) ** 2 + ((columns - 120) / 30) ** 2 < 1] = 2
    labels[36:44, 170:230], labels[10:70, 196:204] = 3, 3
    area, eccentricity, ellipse, roundness = shapes(labels).T
    np.testing.assert_allclose(np.exp(area), np.bincount(labels.ravel())[1:])
    assert eccentricity[0] < 0.1
    assert eccentricity[1] == pytest.approx(np.sqrt(0.75), abs=0.02)
    np.testing.assert_allclose(ellipse[:2], 1, atol=0.02)
    assert ellipse[2] < 0.7
    assert roundness[0] == pytest.approx(1, abs=0.08)
    assert roundness[0] > roundness[1] > roundness[2]


def test_inner_points_lie_inside_even_of_rings() -> None:
    rows, columns = np.mgrid[:30, :60]
    radius = np.hypot(rows - 15, columns - 15)
    labels = ((radius > 6) & (radius < 12)).astype(np.int32)
    labels[10:15, 40:45] = 2
    points = inner_points(labels).astype(int)
    assert labels[tuple(points.T)].tolist() == [1, 2]
    assert points[1].tolist() == [12, 42]


def test_entities_are_proposed_whole(discs: tuple[np.ndarray, np.ndarray]) -> None:
    image, truth = discs
    pixels = normalise(image[..., None].astype(np.float32))
    found = finish(open_proposer("entities", device="cpu").iter_propose(pixels))
    assert len(found) == 6
    assert found.embeddings.shape == (6, 2 * 224 + 16)
    labels = found.masks.paint(np.arange(1, 7))
    assert np.mean((labels > 0) == (truth > 0)) > 0.97
    assert found.masks.contain(found.points).diagonal().all()
    assert (found.quality > 0.6).all()


def test_an_empty_picture_has_no_entities() -> None:
    proposer = open_proposer("entities", device="cpu")
    found = finish(proposer.iter_propose(np.zeros((64, 64, 1), np.float32)))
    assert len(found) == 0
    assert found.embeddings.shape == (0, 2 * 224 + 16)


def test_grey_and_colour_pictures_give_vectors_of_one_space(
    discs: tuple[np.ndarray, np.ndarray],
) -> None:
    grey = normalise(discs[0][..., None].astype(np.float32))
    proposer = open_proposer("regions", device="cpu")
    one = finish(proposer.iter_propose(grey)).embeddings
    three = finish(proposer.iter_propose(grey.repeat(3, 2))).embeddings
    assert one.shape[1] == three.shape[1]


def test_regions_cover_every_pixel_once_and_follow_edges() -> None:
    pixels = np.zeros((64, 64, 1), np.float32)
    pixels[:, 30:] = 1
    labels = regions(pixels, 16)
    assert labels.min() == 1
    assert 8 <= labels.max() <= 24
    assert not set(np.unique(labels[:, :30])) & set(np.unique(labels[:, 30:]))
    assert regions(np.zeros((5, 7, 3), np.float32), 16).max() == 1, "smaller than a region"


@pytest.mark.parametrize("kind", ["entities", "regions"])
def test_a_picture_is_looked_at_once_where_cells_and_tokens_are_of_one_network(
    kind: str, discs: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = normalise(discs[0][..., None].astype(np.float32))
    seen, real = [], EntityNetwork.features

    def counted(self: EntityNetwork, image: Any) -> dict[str, Any]:
        seen.append(image.shape)
        return real(self, image)

    monkeypatch.setattr(EntityNetwork, "features", counted)
    proposer = open_proposer(kind, entity_config=EntityConfig(scale=1.0), device="cpu")
    seen.clear()
    once = finish(proposer.iter_propose(pixels))
    assert len(seen) == 1
    monkeypatch.setattr(pooled, "sharing_features", lambda network, encoder, _: (network, encoder))
    twice = finish(proposer.iter_propose(pixels))
    assert len(seen) == 1 + (2 if kind == "entities" else 1)
    np.testing.assert_allclose(once.embeddings, twice.embeddings, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(once.masks.boxes, twice.masks.boxes)


def test_another_encoder_looks_for_itself(discs: tuple[np.ndarray, np.ndarray]) -> None:
    pixels = normalise(discs[0][..., None].astype(np.float32))
    config = EntityConfig(scale=1.0)
    found = finish(
        open_proposer("entities", "efficientnet", entity_config=config).iter_propose(pixels)
    )
    expected = finish(open_proposer("entities", entity_config=config).iter_propose(pixels))
    np.testing.assert_array_equal(found.masks.boxes, expected.masks.boxes)
    assert found.embeddings.shape[1] == 2 * open_encoder("efficientnet").dimension + 16


def test_spec_open_the_same_proposer_again() -> None:
    config = EntityConfig(scale=0.5, min_area=40)
    for proposer in (
        open_proposer("regions", region_size=9),
        open_proposer("entities", entity_config=config),
    ):
        assert proposer.spec.open().spec == proposer.spec


def test_an_image_of_two_channels_or_a_region_without_size_is_refused() -> None:
    with pytest.raises(InputError, match="image must be"):
        finish(open_proposer("regions").iter_propose(np.zeros((8, 8, 2), np.float32)))
    with pytest.raises(OptionError, match="region_size"):
        open_proposer("regions", region_size=0)
