"""Every loss agrees with its formula, followed pixel by pixel in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from napari_kindred.entities import losses
from napari_kindred.entities.projective import target_lines


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def sphere(count, dimensions=5, seed=0):
    """Random unit vectors, double precision."""
    return unit(np.random.default_rng(seed).normal(size=(count, dimensions)))


def tensor(array, gradient=False):
    return torch.tensor(array, dtype=torch.float64, requires_grad=gradient)


@pytest.fixture
def scene():
    """Pixels, their entities (one of which has a single pixel), background and target lines."""
    ids = np.array([0, 0, 0, 1, 1, 2, 1, 0, 3, 3])
    return sphere(10, seed=1), ids, sphere(6, seed=2), sphere(4, seed=3)


def test_regularisation_is_the_mean_squared_distance_of_lengths_from_one():
    raw = np.random.default_rng(0).normal(size=(7, 3))
    expected = sum((math.sqrt(sum(x * x for x in f)) - 1) ** 2 for f in raw) / 7
    assert losses.norm_regularisation(tensor(raw)).item() == pytest.approx(expected)


def test_target_line_is_the_first_eigenvector_of_the_sum_of_outer_products():
    rng = np.random.default_rng(0)
    ids = np.repeat([0, 1, 2], [30, 20, 1])
    # Signs are random, so that plain means would cancel.
    features = unit(sphere(3, seed=4)[ids] + 0.3 * rng.normal(size=(51, 5)))
    features *= rng.choice([-1, 1], (51, 1))
    lines = target_lines(tensor(features), torch.from_numpy(ids), 3).numpy()
    for i in range(3):
        total = sum(np.outer(f, f) for f in features[ids == i])
        first = np.linalg.eigh(total)[1][:, -1]
        assert abs(first @ lines[i]) == pytest.approx(1, abs=1e-6)


def test_attraction_is_the_mean_over_entities_of_their_mean_distance(scene):
    features, ids, _, lines = scene
    expected = 0.0
    for i in range(4):
        inside = [p for p in range(len(ids)) if ids[p] == i]
        expected += sum(1 - abs(features[p] @ lines[i]) for p in inside) / len(inside) / 4
    own = tensor([features[p] @ lines[ids[p]] for p in range(len(ids))])
    assert losses.attraction(own, torch.from_numpy(ids), 4).item() == pytest.approx(expected)
    without_pixels = losses.attraction(own, torch.from_numpy(ids), 6)
    assert without_pixels.item() == pytest.approx(expected)


def literal_repulsion(features, ids, lines, background, background_line):
    n = len(lines)
    total = 0.0
    for i in range(n):
        inside = [p for p in range(len(ids)) if ids[p] == i]
        for j in range(n):
            if j != i:
                total += sum(abs(features[p] @ lines[j]) for p in inside) / len(inside)
        total += sum(abs(features[p] @ background_line) for p in inside) / len(inside)
    for j in range(n):
        if len(background):
            total += sum(abs(f @ lines[j]) for f in background) / len(background)
    return total / n


def test_repulsion_is_from_other_entities_and_between_entities_and_background(scene):
    features, ids, background, lines = scene
    background_line = sphere(1, seed=9)[0]
    for some in (background, background[:0]):
        found = losses.repulsion(
            tensor(features @ lines.T),
            torch.from_numpy(ids),
            tensor(some @ lines.T),
            tensor(features @ background_line),
        )
        expected = literal_repulsion(features, ids, lines, some, background_line)
        assert found.item() == pytest.approx(expected)


def literal_reco(scores, gram, ids, temperature, negatives):
    """ReCo with its random choices replaced by what they are on average.

    A draw of many negatives contains each in proportion to its probability.
    """
    terms = []
    for i in range(len(gram)):
        others = [j for j in range(len(gram)) if j != i]
        weight = {j: math.exp(abs(gram[i][j]) / temperature) for j in others}
        values = []
        for q in [p for p in range(len(ids)) if ids[p] == i]:
            own = math.exp(abs(scores[q][i]) / temperature)
            if scores[q][i] ** 2 / sum(s**2 for s in scores[q]) >= 0.97:
                continue
            against = 0.0
            for j in others:
                share = weight[j] / sum(weight.values())
                against += negatives * share * math.exp(abs(scores[q][j]) / temperature)
            values.append(-math.log(own / (own + against)))
        if values:
            terms.append(sum(values) / len(values))
    return sum(terms) / len(terms)


def test_regional_contrast_is_the_cross_entropy_against_drawn_negatives(scene):
    features, ids, _, lines = scene
    scores, gram = features @ lines.T, lines @ lines.T
    generator = torch.Generator().manual_seed(0)
    found = losses.reco(
        tensor(scores),
        tensor(gram),
        torch.from_numpy(ids),
        generator,
        queries=3000,
        negatives=800,
    )
    expected = literal_reco(scores, gram, ids, losses.RECO_TEMPERATURE, 800)
    assert found.item() == pytest.approx(expected, rel=0.01)


def test_regional_contrast_asks_only_about_pixels_that_are_in_doubt():
    """At a low temperature the first pixel is sure of its entity and is left alone."""
    scores = np.array([[1.0, 0.0], [0.52, 0.5], [0.45, 0.55]])
    ids, gram = np.array([0, 0, 1]), np.eye(2)
    found = losses.reco(
        tensor(scores), tensor(gram), torch.from_numpy(ids), negatives=3, temperature=0.1
    )
    expected = literal_reco(scores, gram, ids, 0.1, 3)
    assert found.item() == pytest.approx(expected)


def test_regional_contrast_of_a_single_entity_or_without_doubt_is_zero():
    one = losses.reco(tensor(np.ones((3, 1))), tensor(np.eye(1)), torch.zeros(3, dtype=torch.long))
    sure = losses.reco(tensor(np.eye(2)), tensor(np.eye(2)), torch.arange(2), temperature=0.01)
    assert one.item() == sure.item() == 0


@pytest.mark.parametrize("entities", [2, 3])
def test_regional_contrast_draws_no_negatives_from_entities_without_pixels(entities):
    """All negatives are of the other entity with a pixel; a third has a target line only."""
    scores = np.array([[0.9, -0.2, 0.7], [0.4, 0.5, 0.6]])[:, :entities]
    gram, ids = np.eye(entities), torch.tensor([0, 1])
    found = losses.reco(tensor(scores), tensor(gram), ids, negatives=7)
    expected = [
        -math.log(math.exp(own / 0.5) / (math.exp(own / 0.5) + 7 * math.exp(other / 0.5)))
        for own, other in ((0.9, 0.2), (0.5, 0.4))
    ]
    assert found.item() == pytest.approx(sum(expected) / 2)
    alone = losses.reco(tensor(scores[:1]), tensor(gram), ids[:1])
    assert alone.item() == 0


def test_segment_space_is_the_left_inverse_of_the_target_lines(scene):
    features, _, _, lines = scene
    T = lines.T
    M = np.linalg.inv(T.T @ T) @ T.T
    expected = np.array([np.abs(M @ f) for f in features])
    found = losses.segment_space(tensor(features @ T), tensor(T.T @ T))
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-10)


@pytest.mark.parametrize(("smallest", "skipped"), [(0.0, True), (0.5, True), (2.0, False)])
def test_segment_space_is_skipped_where_target_lines_nearly_coincide(smallest, skipped):
    """Two lines with cosine c have the eigenvalues 1 - c and 1 + c."""
    c = 1 - smallest * losses.SMALLEST_EIGENVALUE
    gram = np.array([[1, c], [c, 1]])
    assert (losses.segment_space(tensor(gram), tensor(gram)) is None) == skipped


def test_segment_error_is_the_sum_over_entities_of_mean_squared_errors():
    rng = np.random.default_rng(0)
    segments, truth = rng.random((12, 3)), rng.integers(0, 2, (12, 3))
    expected = sum(
        sum((segments[p, i] - truth[p, i]) ** 2 for p in range(12)) / 12 for i in range(3)
    )
    found = losses.segment_error(tensor(segments), tensor(truth))
    assert found.item() == pytest.approx(expected)


def literal_gradient(difference, scales):
    total = 0.0
    for plane in difference:
        for _ in range(scales):
            height, width = plane.shape
            if min(height, width) < 2:
                break
            down = [
                abs(plane[y + 1, x] - plane[y, x]) for y in range(height - 1) for x in range(width)
            ]
            right = [
                abs(plane[y, x + 1] - plane[y, x]) for y in range(height) for x in range(width - 1)
            ]
            total += sum(down) / len(down) + sum(right) / len(right)
            plane = np.array(
                [
                    [plane[2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean() for x in range(width // 2)]
                    for y in range(height // 2)
                ]
            )
    return total


@pytest.mark.parametrize("shape", [(16, 16), (13, 18), (2, 30), (3, 3)])
def test_gradient_term_compares_slopes_at_every_scale(shape):
    rng = np.random.default_rng(0)
    segments, truth = rng.random((2, *shape)), rng.integers(0, 2, (2, *shape))
    for scales in (1, 4):
        found = losses.segment_gradient(tensor(segments), tensor(truth), scales)
        assert found.item() == pytest.approx(literal_gradient(segments - truth, scales))


def test_gradient_term_takes_no_notice_of_pixels_that_take_no_part():
    rng = np.random.default_rng(0)
    segments, truth = rng.random((2, 9, 9)), rng.integers(0, 2, (2, 9, 9))
    valid = rng.random((9, 9)) < 0.7
    elsewhere = segments + 5 * ~valid
    first, second = (
        losses.segment_gradient(tensor(s), tensor(truth), valid=torch.from_numpy(valid)).item()
        for s in (segments, elsewhere)
    )
    assert first == pytest.approx(second)
    assert first == pytest.approx(literal_gradient((segments - truth) * valid, 4))


def test_background_error_is_the_cross_entropy_of_the_squared_sine():
    logits = np.array([-3.0, 0.2, 1.5, 4.0, -0.7])
    background = np.array([False, True, True, False, False])
    weight = np.array([1.0, 1, 0, 1, 0])
    terms = []
    for logit, is_background in zip(logits, background, strict=True):
        squared_sine = 1 / (1 + math.exp(-logit))
        terms.append(-math.log(squared_sine if is_background else 1 - squared_sine))
    args = tensor(logits), torch.from_numpy(background)
    assert losses.background_error(*args).item() == pytest.approx(sum(terms) / 5)
    expected = (terms[0] + terms[1] + terms[3]) / 3
    assert losses.background_error(*args, tensor(weight)).item() == pytest.approx(expected)


def all_losses(features, ids, background, lines):
    """Every loss that a pixel's feature has a part in, from raw vectors on."""
    f = features / features.norm(dim=1, keepdim=True).clamp_min(1e-8)
    cosines, gram = f @ lines.T, lines @ lines.T
    own = cosines.gather(1, ids[:, None])[:, 0]
    truth = torch.nn.functional.one_hot(ids, len(lines)).to(f)
    generator = torch.Generator().manual_seed(0)
    segments = losses.segment_space(cosines, gram)
    return {
        "norm": losses.norm_regularisation(features),
        "attraction": losses.attraction(own, ids, len(lines)),
        "repulsion": losses.repulsion(cosines, ids, background @ lines.T, f[:, 0]),
        "reco": losses.reco(cosines, gram, ids, generator, queries=20, negatives=30),
        "segment": losses.segment_error(segments, truth),
        "gradient": losses.segment_gradient(
            segments.T.reshape(-1, 2, 5), truth.T.reshape(-1, 2, 5)
        ),
        "background": losses.background_error(f[:, 0] * 80, ids > 1),
    }


@pytest.mark.parametrize(
    "name",
    ["norm", "attraction", "repulsion", "reco", "segment", "gradient", "background"],
)
def test_gradients_are_those_of_the_function_and_finite_where_it_has_a_kink(scene, name):
    features, ids, background, lines = (torch.from_numpy(x) for x in scene)

    def loss(f):
        return all_losses(f, ids, background, lines)[name]

    moved = (features * 1.3).requires_grad_()
    assert torch.autograd.gradcheck(loss, (moved,))
    # Exactly on a line, exactly orthogonal to one, and zero.
    awkward = features.clone()
    awkward[0], awkward[1], awkward[2] = lines[0], torch.linalg.svd(lines)[2][-1], 0
    awkward.requires_grad_()
    loss(awkward).backward()
    assert awkward.grad.isfinite().all()


def test_attraction_pulls_a_pixel_towards_its_line_and_repulsion_away_from_others():
    lines = torch.eye(2, dtype=torch.float64)
    angle = torch.tensor(0.6, dtype=torch.float64, requires_grad=True)
    feature = torch.stack([angle.cos(), angle.sin()])[None]
    cosines, ids = feature @ lines.T, torch.tensor([0])
    pull, push = (
        torch.autograd.grad(value, angle, retain_graph=True)[0].item()
        for value in (
            losses.attraction(cosines[:, 0], ids, 1),
            losses.repulsion(cosines, ids, cosines[:0], torch.zeros(1)),
        )
    )
    assert pull == pytest.approx(math.sin(0.6))
    assert push == pytest.approx(math.cos(0.6) / 2)


def test_the_lovasz_hinge_of_sure_answers_is_one_minus_the_iou():
    """At logits of +-1 each wrong pixel has a hinge of 2, and the right ones none."""
    truth = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0], dtype=torch.bool)
    for said in ([1, 1, 1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 0, 0], [0, 1, 1, 1, 1, 0, 0, 0]):
        positive = torch.tensor(said, dtype=torch.bool)
        iou = (truth & positive).sum() / (truth | positive).sum()
        loss = losses.lovasz_hinge(positive.float() * 2 - 1, truth)
        torch.testing.assert_close(loss, 2 * (1 - iou))


def test_the_lovasz_hinge_of_nothing_to_find_falls_with_the_logits():
    empty = torch.zeros(5, dtype=torch.bool)
    high, low = (losses.lovasz_hinge(torch.full((5,), x), empty) for x in (1.0, -0.5))
    assert high > low > 0
    assert losses.lovasz_hinge(torch.full((5,), -1.0), empty) == 0
