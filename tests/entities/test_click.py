"""Objects from clicks and boxes, on discs that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_kindred.core.errors import InputError
from napari_kindred.entities.checkpoint import load_network
from napari_kindred.entities.click import Clicker, Outline
from napari_kindred.entities.config import NetworkConfig
from napari_kindred.entities.network import EntityNetwork
from napari_kindred.entities.regions import Prompt
from napari_kindred.images.stack import normalise


@pytest.fixture(scope="module")
def network() -> EntityNetwork:
    return load_network("kindred-entities")[0]


@pytest.fixture
def clicker(network: EntityNetwork, discs: tuple[np.ndarray, np.ndarray]) -> Clicker:
    return Clicker(network, normalise(discs[0][..., None].astype(np.float32)))


def on_plane(outline: Outline, shape: tuple[int, ...]) -> np.ndarray:
    plane = np.zeros(shape, bool)
    plane[outline.place] = outline.mask
    return plane


@pytest.mark.parametrize(
    "prompt",
    [
        Prompt(inside=((24, 64),)),
        Prompt(inside=((24, 64), (30, 70))),
        Prompt(inside=((24, 64),), outside=((24, 86),)),
        Prompt(box=(13, 53, 36, 76)),
        Prompt(box=(36, 76, 13, 53)),  # dragged the other way
    ],
    ids=["a click", "two clicks", "one outside", "a box", "upwards"],
)
def test_a_disc_is_found_from(
    clicker: Clicker, discs: tuple[np.ndarray, np.ndarray], prompt: Prompt
) -> None:
    best = clicker(prompt)[0]
    mask, truth = on_plane(best, discs[1].shape), discs[1] == 2
    assert (mask & truth).sum() / (mask | truth).sum() > 0.75


def test_outlines_hold_what_is_inside_and_not_what_is_outside(clicker: Clicker) -> None:
    prompt = Prompt(inside=((24, 64),), outside=((24, 72),))
    for outline in clicker(prompt):
        plane = on_plane(outline, (96, 128))
        assert plane[24, 64]
        assert not plane[24, 72]


def test_a_box_where_the_network_sees_nothing_gives_its_ellipse(network: EntityNetwork) -> None:
    clicker = Clicker(network, np.full((80, 80, 1), 0.5, np.float32))
    (outline,) = clicker(Prompt(box=(10, 20, 30, 60)))
    assert outline.mask.sum() == pytest.approx(np.pi * 10 * 20, rel=0.05)


def test_the_same_place_needs_the_network_once(
    clicker: Clicker, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not clicker.knows(24, 64)
    first = clicker(Prompt(inside=((24, 64),)))[0]
    assert clicker.knows(24, 64)
    monkeypatch.setattr(clicker._looks, "look", None)
    again = clicker(Prompt(inside=((24, 64),)))[0]
    np.testing.assert_array_equal(first.mask, again.mask)


@pytest.mark.parametrize("features", ["content", "both"])
def test_networks_with_content_features_answer_too(
    features: Any, discs: tuple[np.ndarray, np.ndarray]
) -> None:
    network = EntityNetwork(NetworkConfig(features=features, content_dim=8, width=16)).eval()
    clicker = Clicker(network, normalise(discs[0][..., None].astype(np.float32)))
    assert all(outline.mask.any() for outline in clicker(Prompt(inside=((24, 64),))))


@pytest.mark.parametrize(
    "ask",
    [
        lambda _: Prompt(),
        lambda clicker: clicker(Prompt(inside=((-3, 5),))),
        lambda clicker: clicker(Prompt(box=(5, 5, 5.5, 30))),
    ],
)
def test_what_cannot_be_meant_is_said(clicker: Clicker, ask: Any) -> None:
    with pytest.raises(InputError, match=r"^[A-Z][^.]+\.$"):
        ask(clicker)
