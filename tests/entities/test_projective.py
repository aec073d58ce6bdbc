"""Lines of the projective sphere: cosines, target lines, the background's share."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from napari_kindred.entities import projective


def places(count, spread=30.0, seed=0):
    """Random places, pixels, and widths from 1 to 12 pixels, double precision."""
    rng = np.random.default_rng(seed)
    where, widths = rng.normal(0, spread, (count, 2)), np.exp(rng.uniform(0, 2.5, count))
    return torch.from_numpy(where), torch.from_numpy(widths)


@pytest.mark.parametrize(
    "second", [((3.0, -2.0), 7.0), ((0.0, 1.0), 7.0), ((9.0, 1.0), 4.0), ((0.0, 1.0), 4.0)]
)
def test_cosines_are_those_of_gaussians_whose_feature_maps_are_integrated_numerically(second):
    """``phi(v, s)`` as the function of x in the plane whose overlaps are the kernel.

    A Gaussian of standard deviation ``s / sqrt 2`` around ``v``, scaled to unit length.
    """
    step = 0.25
    axis = np.arange(-40, 40, step)
    y, x = np.meshgrid(axis, axis, indexing="ij")

    def phi(place, s):
        bell = np.exp(-((y - place[0]) ** 2 + (x - place[1]) ** 2) / s**2)
        return bell / math.sqrt((bell**2).sum() * step**2)

    first = ((0.0, 1.0), 4.0)
    expected = (phi(*first) * phi(*second)).sum() * step**2
    (v, s), (u, r) = first, second
    found = projective.positional_cosines(
        torch.tensor([v]), torch.tensor([s]), torch.tensor([u]), torch.tensor([r])
    )
    assert found.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("spread", [1.0, 10.0, 100.0])
def test_positional_cosines_are_those_of_vectors_in_some_space(spread):
    """That is, their matrix has no negative eigenvalue, whatever the places and widths."""
    where, widths = places(60, spread)
    gram = projective.positional_cosines(where, widths, where, widths).numpy()
    np.testing.assert_allclose(gram, gram.T)
    np.testing.assert_allclose(gram.diagonal(), 1)
    assert np.linalg.eigvalsh(gram).min() > -1e-10
    assert gram.min() >= 0
    assert gram.max() <= 1 + 1e-12


def test_votes_at_45_degrees_are_where_the_constant_s_docstring_says():
    """A flat kernel of 45 degrees around an entity of diameter 40 reaches 0.29 diameters."""
    width = torch.tensor([projective.WIDTH_PER_DIAMETER * 40])
    place = torch.tensor([[0.29 * 40, 0.0]])
    cosine = projective.positional_cosines(place, width, torch.zeros(1, 2), width)
    assert cosine.item() == pytest.approx(math.sqrt(0.5), abs=0.01)


def test_kernel_width_doubles_with_the_diameter():
    widths = projective.kernel_width(torch.tensor([0.0, 1.0, -1.0]))
    expected = [projective.WIDTH_PER_DIAMETER * d for d in (24, 48, 12)]
    np.testing.assert_allclose(widths, expected, rtol=1e-6)


@pytest.mark.parametrize("frequencies", [64, 1024])
def test_fourier_lift_approximates_the_kernel_of_one_width_within_its_stated_error(frequencies):
    where = places(80, spread=10)[0].float()
    width = 8.0
    lifted = projective.fourier_lift(where, torch.full((80,), -100.0), width, frequencies)
    widths = torch.full((80,), width)
    error = lifted @ lifted.T - projective.positional_cosines(where, widths, where, widths)
    assert lifted.shape == (80, 1 + 2 * frequencies)
    assert error.square().mean().sqrt() < frequencies**-0.5
    assert error.abs().max() < 5 * frequencies**-0.5


def test_lifted_features_have_unit_length_and_share_the_background_line():
    where = places(30)[0].float()
    logits = torch.linspace(-6, 6, 30)
    lifted = projective.fourier_lift(where, logits, 5.0)
    np.testing.assert_allclose(lifted.norm(dim=1), 1, rtol=1e-5)
    np.testing.assert_allclose(lifted[:, 0] ** 2, 1 / (1 + np.exp(-logits.numpy())), rtol=1e-5)


def test_squares_of_the_background_split_add_to_one_and_gradients_stay_finite():
    logit = torch.tensor([-200.0, -30, -1, 0, 0.7, 30, 200], requires_grad=True)
    sine, cosine = projective.background_split(logit)
    np.testing.assert_allclose((sine**2 + cosine**2).detach(), 1, rtol=1e-6)
    expected = [math.sqrt(1 / (1 + math.exp(-x))) for x in logit.tolist()]
    np.testing.assert_allclose(sine.detach(), expected, rtol=1e-5, atol=1e-30)
    (sine + cosine).sum().backward()
    assert logit.grad.isfinite().all()


def test_means_by_id_are_the_means_and_zero_for_ids_without_a_pixel():
    values = torch.tensor([[1.0, 10], [3, 30], [5, 7]])
    means = projective.means_by_id(values, torch.tensor([0, 0, 2]), 3)
    assert means.tolist() == [[2, 20], [0, 0], [5, 7]]


def test_unit_scales_to_length_one_and_leaves_zero_finite():
    scaled = projective.unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_allclose(scaled, [[0.6, 0.8], [0, 0]], rtol=1e-6)
