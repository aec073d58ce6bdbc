"""Recipes tell which vectors compare; proposals survive a cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_kindred.classes.proposals.base import Proposals, ProposerSpec, iter_propose
from napari_kindred.classes.proposals.masks import Masks
from napari_kindred.classes.proposals.open import open_proposer
from napari_kindred.core.errors import InputError, OptionError
from napari_kindred.core.events import Progress, finish
from napari_kindred.models.feature_cache import FeatureCache

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

SPEC = ProposerSpec("regions", "kindred", "ab" * 32, {"embedding": "mean", "region_size": 9.0})


def proposals(count: int = 3) -> Proposals:
    labels = np.zeros((8, 12), np.int32)
    for number in range(count):
        labels[:, 4 * number : 4 * number + 3] = number + 1
    random = np.random.default_rng(0)
    return Proposals(
        Masks.from_labels(labels),
        random.random((count, 5), np.float32),
        random.random(count, np.float32),
        random.random((count, 2), np.float32),
        SPEC,
    )


class Drawn:
    """Proposes always the same, and counts how often it is asked."""

    spec = SPEC
    asked = 0

    def iter_propose(self, _pixels: Any) -> Generator[Progress, None, Proposals]:
        self.asked += 1
        yield Progress(1, 1, "drawing")
        return proposals()


def same(first: Proposals, second: Proposals) -> bool:
    mine, theirs = first.arrays(), second.arrays()
    return mine.keys() == theirs.keys() and all(
        np.array_equal(mine[name], theirs[name]) for name in mine
    )


@pytest.mark.parametrize("count", [0, 3])
def test_proposals_survive_as_arrays(count: int) -> None:
    before = proposals(count)
    again = Proposals.from_arrays(before.arrays())
    assert same(before, again)
    assert again.spec == SPEC


def test_some_are_taken_with_all_that_is_known_of_them() -> None:
    every = proposals()
    some = every.take(np.array([False, False, True]))
    assert len(some) == 1
    np.testing.assert_array_equal(some.embeddings[0], every.embeddings[2])
    np.testing.assert_array_equal(some.masks.dense(0), every.masks.dense(2))


def test_vectors_without_masks_are_refused() -> None:
    found = proposals()
    with pytest.raises(InputError, match="3 masks need"):
        Proposals(found.masks, found.embeddings[:2], found.quality, found.points, SPEC)


def test_arrays_of_something_else_are_refused() -> None:
    arrays = proposals().arrays()
    del arrays["quality"]
    with pytest.raises(InputError, match="no proposals"):
        Proposals.from_arrays(arrays)


def test_vectors_compare_when_weights_and_making_are_the_same() -> None:
    moved = ProposerSpec("regions", "a/copy.safetensors", SPEC.sha256, {**SPEC.options})
    coarser = ProposerSpec("regions", "kindred", SPEC.sha256, {**SPEC.options, "region_size": 20.0})
    others = [
        ProposerSpec("entities", "kindred", SPEC.sha256, SPEC.options),
        ProposerSpec("regions", "kindred", "cd" * 32, SPEC.options),
        ProposerSpec("regions", "kindred", SPEC.sha256, {"embedding": "ring"}),
    ]
    assert SPEC.matches(moved)
    assert SPEC.matches(coarser)
    assert not any(SPEC.matches(other) for other in others)


def test_spec_survive_as_dicts() -> None:
    assert ProposerSpec.from_dict(SPEC.as_dict()) == SPEC


@pytest.mark.parametrize(
    "change", [{"kind": "guesses"}, {"sha256": 5}, {"options": None}, {"encoder": None}]
)
def test_what_is_no_spec_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="no spec"):
        ProposerSpec.from_dict({**SPEC.as_dict(), **change})


def test_a_picture_seen_before_is_not_looked_at_again(tmp_path: Path) -> None:
    cache, drawn = FeatureCache(tmp_path), Drawn()
    pixels = np.zeros((8, 12, 1), np.float32)
    first = finish(iter_propose(drawn, pixels, cache))
    again = finish(iter_propose(drawn, pixels, cache))
    assert drawn.asked == 1
    assert same(first, again)
    finish(iter_propose(drawn, pixels + 1, cache))
    assert drawn.asked == 2


def test_without_a_cache_every_picture_is_looked_at() -> None:
    drawn = Drawn()
    for _ in range(2):
        finish(iter_propose(drawn, np.zeros((8, 12, 1), np.float32)))
    assert drawn.asked == 2


def test_a_kind_that_is_none_is_named() -> None:
    with pytest.raises(OptionError, match="entities, regions, sam"):
        open_proposer("guesses")  # type: ignore[arg-type]
