"""What labels ask of the network, and a crop's loss: zero when given, falling when followed."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_kindred.entities.config import LossWeights, NetworkConfig
from napari_kindred.entities.network import DenseMaps, EntityNetwork
from napari_kindred.entities.objective import (
    BACKGROUND,
    RING,
    between_close,
    crop_loss,
    edge_distance,
    grid_places,
    highest_within,
    make_targets,
)
from napari_kindred.entities.train import maps_of
from napari_kindred.models.augment import IGNORE

WEIGHTS = LossWeights()


def from_drawing(drawing):
    """Labels from a drawing: digits are entities, '.' is background, '#' outside the picture."""
    values = {".": 0, "#": IGNORE}
    rows = drawing.split()
    return torch.tensor([[values.get(c) if c in values else int(c) for c in row] for row in rows])


def blobs(side=64, seed=0):
    """Labels with gaps in their numbers, among them touching and tiny ones."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((side, side), int)
    rows, columns = np.mgrid[:side, :side]
    for number in range(1, 13):
        y, x = rng.uniform(0, side, 2)
        radius = rng.choice([1.2, 4, 7])
        labels[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = 3 * number
    return torch.from_numpy(labels)


def discs(side=64, apart=32, radius=9):
    labels = np.zeros((side, side), int)
    rows, columns = np.mgrid[:side, :side]
    centres = range(apart // 2, side, apart)
    for number, (y, x) in enumerate(((y, x) for y in centres for x in centres), start=1):
        labels[(rows - y) ** 2 + (columns - x) ** 2 <= radius**2] = number
    return torch.from_numpy(labels)


def test_a_ring_around_each_entity_takes_no_part():
    labels = from_drawing(
        """
        ..........
        .5555.....
        .5555777..
        .5555777..
        .5555777..
        ..........
        """
    )
    expected = from_drawing(
        """
        ..........
        .####.....
        .#11####..
        .#11##2#..
        .########.
        ..........
        """
    )
    expected[4, 8] = 0  # background is not eroded
    expected[4, 1:8] = IGNORE
    ids = make_targets(labels, 1).ids
    wanted = torch.where(expected == IGNORE, RING, torch.where(expected == 0, -1, expected - 1))
    assert ids.tolist() == wanted.tolist()


def test_an_entity_that_erosion_would_remove_keeps_its_pixels():
    labels = from_drawing("...... .33... .33... ...... ....4.")
    ids = make_targets(labels, 1).ids
    assert ids.tolist() == torch.where(labels == 0, BACKGROUND, labels - 3).tolist()


def test_outside_the_picture_takes_no_part_and_an_entity_cut_by_it_is_eroded_there():
    labels = from_drawing("##1111 ##1111 ##1111 ######")
    assert make_targets(labels, 1).ids.tolist() == [
        [RING, RING, RING, 0, 0, 0],
        [RING, RING, RING, 0, 0, 0],
        [RING, RING, RING, RING, RING, RING],
        [RING] * 6,
    ]


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_targets_are_those_of_scipy_s_erosion_centres_and_areas(seed, stride):
    labels = blobs(seed=seed).numpy()
    targets = make_targets(torch.from_numpy(labels), stride)
    numbers = [n for n in np.unique(labels) if n > 0]
    expected = np.where(labels == 0, BACKGROUND, RING)[::stride, ::stride]
    for i, number in enumerate(numbers):
        mask = labels == number
        eroded = ndimage.binary_erosion(mask, np.ones((3, 3)), border_value=1)[::stride, ::stride]
        expected[eroded if eroded.any() else mask[::stride, ::stride]] = i
    np.testing.assert_array_equal(targets.ids, expected)
    centres = ndimage.center_of_mass(labels > 0, labels, numbers)
    np.testing.assert_allclose(targets.centres, centres, rtol=1e-5)
    areas = ndimage.sum_labels(np.ones_like(labels), labels, numbers)
    np.testing.assert_allclose(targets.diameters, np.sqrt(4 * areas / np.pi), rtol=1e-5)


def perfect(labels, stride):
    """The maps that follow from labels directly: every pixel knows its entity."""
    shape = (labels.shape[0] // stride, labels.shape[1] // stride)
    values = labels.numpy()[::stride, ::stride]
    background = np.where(values > 0, -30.0, 30.0)
    offset, size = np.zeros((2, *shape)), np.zeros(shape)
    places = (np.indices(shape) + 0.5) * stride - 0.5
    for number in np.unique(values[values > 0]):
        mask = labels.numpy() == number
        here = values == number
        centre = np.array(ndimage.center_of_mass(mask))
        offset[:, here] = centre[:, None] - places[:, here]
        size[here] = math.log2(math.sqrt(4 * mask.sum() / math.pi) / 24)
    tensors = (torch.from_numpy(x).float() for x in (background[None], offset, size[None]))
    return DenseMaps(*tensors, None)


def loss(maps, labels, complete=True, weights=WEIGHTS, stride=1, seed=0):
    return crop_loss(maps, labels, complete, weights, stride, np.random.default_rng(seed))


@pytest.mark.parametrize("stride", [1, 2])
def test_maps_that_follow_from_the_labels_cost_next_to_nothing(stride):
    labels = discs()
    maps = perfect(labels, stride)
    terms = loss(maps, labels, stride=stride)
    assert set(terms) >= {"attraction", "repulsion", "segment", "gradient", "offset", "size"}
    # Half of a background pixel's block may lie in an entity, at stride 2 only.
    allowed = {"background": 0.5 if stride == 2 else 1e-5, "gradient": 0.05, "segment": 0.01}
    for name, value in terms.items():
        assert 0 <= value.item() < allowed.get(name, 2e-3), name


@pytest.mark.parametrize("stride", [1, 2])
def test_offset_and_size_errors_cost_what_their_units_say(stride):
    labels = discs()
    maps = perfect(labels, stride)
    shifted = maps._replace(offset=maps.offset + torch.tensor([3.0, -1.0])[:, None, None])
    terms = loss(shifted._replace(size=maps.size + 1), labels, stride=stride)
    assert terms["offset"].item() == pytest.approx(WEIGHTS.offset * 2 / 16, rel=1e-4)
    assert terms["size"].item() == pytest.approx(WEIGHTS.size, rel=1e-4)


def test_undecided_background_costs_the_logarithm_of_two():
    labels = discs()
    maps = perfect(labels, 1)
    flat = maps._replace(background=maps.background * 0)
    for complete in (True, False):
        terms = loss(flat, labels, complete)
        assert terms["background"].item() == pytest.approx(math.log(2), rel=1e-5)


def test_features_that_point_to_the_neighbour_are_attracted_and_repelled():
    labels = discs(apart=32)
    maps = perfect(labels, 1)
    swapped = maps._replace(offset=maps.offset.clone())
    # Half of the first entity votes for the second one's centre, 32 pixels to the right.
    half = (labels == 1) & (torch.arange(64)[:, None] < 16)
    swapped.offset[1][half] += 32
    good, bad = loss(maps, labels), loss(swapped, labels)
    for name in ("attraction", "repulsion", "segment", "gradient", "offset"):
        assert bad[name] > good[name] + 1e-3, name


def leaves(labels, stride=2, features="positional", seed=0):
    """Random maps that gradients can be asked for."""
    generator = torch.Generator().manual_seed(seed)
    shape = (labels.shape[0] // stride, labels.shape[1] // stride)

    def random(channels, scale=1.0):
        values = torch.randn(channels, *shape, generator=generator) * scale
        return values.requires_grad_()

    positional, content = features != "content", features != "positional"
    return DenseMaps(
        random(1),
        random(2, 6.0) if positional else None,
        random(1, 0.5) if positional else None,
        random(5) if content else None,
    )


def gradients(terms, maps):
    there = [m for m in maps if m is not None]
    found = torch.autograd.grad(sum(terms.values()), there, allow_unused=True)
    return [torch.zeros_like(m) if g is None else g for g, m in zip(found, there, strict=True)]


def away_from_entities(labels):
    return torch.from_numpy(ndimage.binary_dilation(labels > 0, iterations=3)).logical_not()


@pytest.mark.parametrize("complete", [True, False])
def test_background_that_may_hide_entities_takes_part_in_repulsion_only(complete):
    """Not in the background's own term, which complete annotation enters."""
    labels = discs()
    weights = LossWeights(segment=0.0, gradient=0.0, attraction=0.0)
    maps = leaves(labels, stride=1)
    terms = loss(maps, labels, complete, weights)
    far = away_from_entities(labels)
    (own,) = torch.autograd.grad(terms["background"], maps.background, retain_graph=True)
    assert bool(own[0][far].any()) == complete
    assert own[0][labels > 0].all()
    (votes,) = torch.autograd.grad(terms["repulsion"], maps.offset)
    assert votes[:, far].any()


CROPS = {
    "nothing": torch.zeros(64, 64, dtype=torch.long),
    "all outside": torch.full((64, 64), IGNORE),
    "one": (discs() == 1).long() * 7,
    "one pixel that the stride steps over": torch.zeros(64, 64, dtype=torch.long).index_put(
        (torch.tensor([5]), torch.tensor([5])), torch.tensor(1)
    ),
    "everything one entity": torch.ones(64, 64, dtype=torch.long),
    "many and touching": (torch.arange(64)[:, None] // 9) * 8 + torch.arange(64) // 9 + 1,
    "drawn": blobs(),
    "half outside": torch.where(torch.arange(64) < 30, IGNORE, discs()),
}


@pytest.mark.parametrize("features", ["positional", "content", "both"])
@pytest.mark.parametrize("complete", [True, False])
@pytest.mark.parametrize("name", CROPS)
def test_losses_and_gradients_are_finite_whatever_is_in_a_crop(name, complete, features):
    labels = CROPS[name]
    weights = LossWeights(reco=0.1)
    maps = leaves(labels, features=features)
    terms = loss(maps, labels, complete, weights, stride=2)
    assert all(bool(torch.isfinite(v)) for v in terms.values())
    found = gradients(terms, maps)
    assert all(bool(g.isfinite().all()) for g in found)
    if name in ("nothing", "all outside"):
        assert set(terms) == {"background"}
    if name == "all outside":
        assert not any(bool(g.any()) for g in found)
    elif name in ("one", "many and touching", "drawn", "half outside"):
        assert all(bool(g.any()) for g in found), "some map is not trained at all"


def test_nothing_is_learnt_from_outside_the_picture():
    """Apart from the pixels next to it, by interpolation of the background map."""
    labels = CROPS["half outside"]
    maps = leaves(labels, stride=1)
    outside = torch.arange(64) < 30
    for gradient in gradients(loss(maps, labels), maps):
        assert not gradient[:, :, outside].any()
        assert gradient[:, :, ~outside].any()


def test_entities_whose_votes_coincide_have_no_segment_space_but_finite_gradients():
    labels = discs()
    there = grid_places(32, 32, 2, "cpu")
    together = (torch.full((2, 32, 32), 20.0) - there.permute(2, 0, 1)).requires_grad_()
    maps = leaves(labels)._replace(offset=together)
    terms = loss(maps, labels, stride=2)
    assert "segment" not in terms
    assert "repulsion" in terms
    assert all(bool(g.isfinite().all()) for g in gradients(terms, maps))


def test_a_weight_of_zero_leaves_its_term_out_and_others_scale_theirs():
    labels = discs()
    maps = leaves(labels, features="both")
    names = ("attraction", "repulsion", "segment", "gradient", "norm", "background", "offset")
    once = loss(maps, labels, stride=2)
    doubled = LossWeights(**{name: 2 * getattr(WEIGHTS, name) for name in names})
    twice = loss(maps, labels, weights=doubled, stride=2)
    for name in names:
        assert twice[name].item() == pytest.approx(2 * once[name].item(), rel=1e-5), name
    without = loss(maps, labels, weights=LossWeights(attraction=0.0), stride=2)
    assert set(once) - set(without) == {"attraction"}


def test_the_same_random_numbers_give_the_same_loss_and_others_another_one():
    """ReCo draws its queries, and of many entities those near to one are chosen."""
    labels = CROPS["many and touching"]
    weights = LossWeights(reco=0.1)
    maps = leaves(labels)
    first, again, other = (loss(maps, labels, True, weights, 2, seed) for seed in (1, 1, 2))
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["reco"], other["reco"])


@pytest.mark.parametrize("features", ["positional", "content", "both"])
def test_a_network_that_sees_one_crop_again_and_again_learns_it(features):
    torch.manual_seed(0)
    config = NetworkConfig(encoder="test_resnet", width=16, features=features, content_dim=8)
    network = EntityNetwork(config).train()
    labels = discs()
    image = ((labels > 0) * 0.8 + 0.1).float().expand(1, 3, 64, 64)
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3)
    history = []
    for step in range(40):
        total = sum(loss(maps_of(network(image), 0), labels, stride=2, seed=step).values())
        optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 2.0)
        optimiser.step()
        history.append(total.item())
    assert np.mean(history[-3:]) < 0.5 * np.mean(history[:3])


def test_pixels_between_close_entities_are_those_that_see_two():
    labels = blobs(48)
    ids = labels.numpy()
    expected = np.zeros(ids.shape, bool)
    for row in range(48):
        for column in range(48):
            window = ids[max(row - 3, 0) : row + 4, max(column - 3, 0) : column + 4]
            expected[row, column] = len(np.unique(window[window > 0])) > 1
    assert expected.any()
    np.testing.assert_array_equal(between_close(labels).numpy(), expected)


@pytest.mark.parametrize("reach", [1, 3])
def test_the_highest_nearby_is_that_of_a_maximum_filter(reach):
    values = torch.randint(-5, 9, (17, 23), generator=torch.Generator().manual_seed(0))
    expected = ndimage.maximum_filter(values.numpy(), 2 * reach + 1, mode="constant", cval=-99)
    np.testing.assert_array_equal(highest_within(values, reach).numpy(), expected)


def test_the_distance_to_the_edge_is_one_in_a_discs_middle_and_small_at_its_rim():
    labels = discs()
    distance = edge_distance(labels).numpy()
    ids = labels.numpy()
    assert (distance[ids == 0] == 0).all()
    for number in np.unique(ids[ids > 0]):
        inside = ids == number
        radius = math.sqrt(inside.sum() / math.pi)
        true = ndimage.distance_transform_edt(np.pad(inside, 1))[1:-1, 1:-1]
        np.testing.assert_allclose(
            distance[inside], (true[inside] / radius).clip(0, 1), atol=1.1 / radius
        )


def test_the_picture_s_end_is_no_edge_of_an_entity():
    labels = from_drawing("1111.... 1111.... 1111.... ####....")
    distance = edge_distance(labels)
    assert distance[0, 0] > distance[0, 3]
    assert distance[2, 0] == distance[0, 0], "outside the picture nothing is known"


def with_branch(maps, labels, stride):
    distance = edge_distance(labels)[::stride, ::stride]
    return maps._replace(distance=distance[None].clone())


def test_a_branch_of_its_own_costs_nothing_when_right_and_learns_from_its_own_losses_only():
    labels = discs()
    right = loss(with_branch(perfect(labels, 1), labels, 1), labels)
    assert right["lovasz"].item() == 0
    assert right["distance"].item() == 0
    maps = with_branch(leaves(labels, stride=1), labels, 1)
    terms = loss(maps, labels)
    lines = terms["attraction"] + terms["repulsion"] + terms["segment"] + terms["gradient"]
    (grad,) = torch.autograd.grad(lines, [maps.background], allow_unused=True)
    assert grad is None or not grad.any()
    own = terms["background"] + terms["lovasz"]
    (grad,) = torch.autograd.grad(own, [maps.background])
    assert grad.any()


def test_errors_between_close_entities_cost_three_times_as_much():
    labels = from_drawing(" ".join(["11111.22222"] * 11))
    flat = with_branch(perfect(labels, 1), labels, 1)
    logit = torch.where(labels > 0, -30.0, 30.0)
    between = between_close(labels)
    wrong = logit.clone()
    wrong[:, 5] = -2.0
    cost = loss(flat._replace(background=wrong[None]), labels)["background"].item()
    weight = torch.where(between, 3.0, 1.0)
    one = math.log1p(math.exp(2))  # cross-entropy of a logit of -2 that should be positive
    assert cost == pytest.approx(one * float(weight[:, 5].sum() / weight.sum()), rel=1e-4)
