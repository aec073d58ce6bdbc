"""Points and masks from correlation maps: as the paper says it, and as a slow loop would do it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans

from napari_kindred.classes.escnet.pseudo_prompts import cluster, pseudo_prompts


def by_hand(plane, regions, above):
    """One map (h, w), pixel by pixel: points (x, y) and masks (h, w) of its regions."""
    height, width = plane.shape
    powers = np.exp(plane.astype(np.float64))
    density = powers / powers.sum() * height * width
    places = [(y, x) for y in range(height) for x in range(width) if density[y, x] > above]
    if not places:
        return [], []
    middles = np.array([(x + 0.5, y + 0.5) for y, x in places], np.float32)
    values = np.array([density[place] for place in places])
    centres = [middles[values.argmax()]]
    while len(centres) < regions:
        distance = [min(((m - c) ** 2).sum() for c in centres) for m in middles]
        if max(distance) == 0:
            break
        centres.append(middles[int(np.argmax(distance))])
    centres = np.array(centres, np.float32)
    for _ in range(10):
        region = [int(((m - centres) ** 2).sum(1).argmin()) for m in middles]
        for number in range(len(centres)):
            own = [m for m, r in zip(middles, region, strict=True) if r == number]
            centres[number] = np.sum(own, axis=0) / np.float32(len(own))
    region = np.array([int(((m - centres) ** 2).sum(1).argmin()) for m in middles])
    points, masks = [], []
    for number in range(len(centres)):
        inside = np.where(region == number, values, 0)
        mask = np.zeros((height, width))
        for place, value in zip(places, inside, strict=True):
            mask[place] = max(0.0, (value - above) / (inside.max() - above))
        points.append(middles[inside.argmax()])
        masks.append(mask)
    return points, masks


def blobs(seed, shape=(9, 11)):
    """A smooth random map with a few hills."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    plane = np.zeros(shape)
    for _ in range(4):
        y, x = random.uniform(0, shape[0]), random.uniform(0, shape[1])
        plane += random.uniform(0.3, 1) * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 4)
    return plane + 0.01 * random.random(shape)


@pytest.mark.parametrize("regions", [1, 3, 5])
def test_all_classes_at_once_give_what_a_loop_over_pixels_gives(regions):
    planes = np.array([blobs(seed) for seed in range(6)]).reshape(2, 3, 9, 11)
    found = pseudo_prompts(torch.from_numpy(planes).float(), regions, above=1.2)
    for picture in range(2):
        for kind in range(3):
            points, masks = by_hand(planes[picture, kind], regions, 1.2)
            assert found.valid[picture, kind].tolist() == [i < len(points) for i in range(regions)]
            for number, (point, mask) in enumerate(zip(points, masks, strict=True)):
                np.testing.assert_allclose(found.points[picture, kind, number], point)
                got = found.masks[picture, kind, number].numpy()
                np.testing.assert_allclose(got, mask, atol=2e-4)


def test_three_things_get_a_point_each_and_masks_that_do_not_overlap():
    plane = torch.zeros(1, 1, 12, 12)
    for y, x in ((1, 1), (1, 9), (9, 5)):
        plane[0, 0, y : y + 2, x : x + 2] = 3.0
        plane[0, 0, y, x] = 3.5  # the highest place of each
    found = pseudo_prompts(plane, 3)
    assert found.valid.all()
    points = sorted(tuple(p) for p in found.points[0, 0].tolist())
    assert points == [(1.5, 1.5), (5.5, 9.5), (9.5, 1.5)]
    assert (found.masks[0, 0] > 0).sum((1, 2)).tolist() == [4, 4, 4]
    assert (found.masks[0, 0] > 0).sum(0).max() == 1
    assert found.masks.amax((3, 4)).eq(1).all()


def test_a_class_with_fewer_places_than_regions_has_fewer_regions():
    plane = torch.zeros(1, 1, 6, 6)
    plane[0, 0, 2, 3] = plane[0, 0, 5, 0] = 4.0
    found = pseudo_prompts(plane, 5)
    assert found.valid[0, 0].tolist() == [True, True, False, False, False]
    assert not found.masks[0, 0, 2:].any()


def test_a_flat_map_has_no_prompts_and_no_gradients():
    found = pseudo_prompts(torch.full((1, 2, 7, 7), 0.3, requires_grad=True), 4)
    assert not found.masks.requires_grad
    assert not found.valid.any()
    assert not found.masks.any()
    assert found.points.isfinite().all()


def test_a_higher_threshold_leaves_less_foreground():
    planes = torch.from_numpy(blobs(3)).float()[None, None]
    area = [int((pseudo_prompts(planes, 3, above).masks > 0).sum()) for above in (1.04, 1.2)]
    assert area[0] > area[1] > 0


def test_clusters_are_no_worse_than_scikit_learn_s_own():
    """Within-cluster squares, next to ten random beginnings."""
    random = np.random.default_rng(0)
    places = torch.from_numpy(random.uniform(0, 20, (80, 2))).float()
    foreground = torch.ones(1, 80, dtype=torch.bool)
    region, valid = cluster(places, foreground, torch.rand(1, 80), 4)
    assert valid.all()
    spread = sum(
        float((places[region[0] == n] - places[region[0] == n].mean(0)).square().sum())
        for n in range(4)
    )
    best = KMeans(4, n_init=10, random_state=0).fit(places.numpy()).inertia_
    assert spread < 1.3 * best
