"""Specs say which embeddings compare; proposals survive a cache."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from napari_kindred.classes.proposals.base import Proposals, iter_propose
from napari_kindred.classes.proposals.entities import EntitySpec, RegionSpec
from napari_kindred.classes.proposals.masks import Masks
from napari_kindred.classes.proposals.open import open_proposer, read_spec
from napari_kindred.core.errors import InputError, OptionError, WeightsError
from napari_kindred.core.events import Progress, finish
from napari_kindred.models.feature_cache import FeatureCache

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

SPEC = RegionSpec("kindred", "ab" * 32, {"embedding": "mean", "region_size": 9.0})


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
    """Proposes always the same, and counts its images."""

    spec = SPEC
    count = 0

    def iter_propose(self, _pixels: Any) -> Generator[Progress, None, Proposals]:
        self.count += 1
        yield Progress(1, 1, "drawing")
        return proposals()


def assert_same(first: Proposals, second: Proposals) -> None:
    mine, theirs = first.arrays(), second.arrays()
    assert mine.keys() == theirs.keys()
    assert all(np.array_equal(mine[name], theirs[name]) for name in mine)
    assert first.spec == second.spec


@pytest.mark.parametrize("count", [0, 3])
def test_proposals_survive_as_arrays(count: int) -> None:
    before = proposals(count)
    assert_same(before, Proposals.from_arrays(before.arrays(), SPEC))


def test_arrays_that_do_not_fit_each_other_are_refused() -> None:
    found = proposals()
    with pytest.raises(InputError, match="3 masks need"):
        Proposals(found.masks, found.embeddings[:2], found.quality, found.points, SPEC)
    arrays = found.arrays()
    del arrays["quality"]
    with pytest.raises(InputError, match="no proposals"):
        Proposals.from_arrays(arrays, SPEC)


def test_embeddings_compare_if_weights_and_making_are_the_same() -> None:
    moved = replace(SPEC, encoder="a/copy.safetensors")
    coarser = replace(SPEC, options={**SPEC.options, "region_size": 20.0})
    others = [
        EntitySpec("kindred", SPEC.sha256, SPEC.options),
        replace(SPEC, sha256="cd" * 32),
        replace(SPEC, options={"embedding": "ring"}),
    ]
    assert SPEC.matches(moved)
    assert SPEC.matches(coarser)
    assert not any(SPEC.matches(other) for other in others)


def test_a_spec_survives_as_a_dict_with_its_kind() -> None:
    assert read_spec(SPEC.as_dict()) == SPEC
    assert SPEC.as_dict()["kind"] == "regions"


@pytest.mark.parametrize(
    "change",
    [{"kind": "guesses"}, {"kind": []}, {"sha256": 5}, {"options": None}, {"encoder": None}],
)
def test_a_dict_of_something_else_is_no_spec(change: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="no spec"):
        read_spec({**SPEC.as_dict(), **change})


@pytest.mark.parametrize("options", [{}, {"region_size": 9.0, "entities": {"from_later": 1}}])
def test_a_spec_with_options_of_another_version_is_not_opened(options: dict[str, Any]) -> None:
    with pytest.raises(WeightsError, match="another version; run again"):
        replace(SPEC, options=options).open("cpu")


def test_an_image_is_processed_once_with_a_cache_and_each_time_without(tmp_path: Path) -> None:
    cache, drawn = FeatureCache(tmp_path), Drawn()
    pixels = np.zeros((8, 12, 1), np.float32)
    first, again = (finish(iter_propose(drawn, pixels, cache)) for _ in range(2))
    assert drawn.count == 1
    assert_same(first, again)
    finish(iter_propose(drawn, pixels + 1, cache))
    finish(iter_propose(drawn, pixels))
    assert drawn.count == 3


def test_an_unknown_kind_is_answered_with_the_known_ones() -> None:
    with pytest.raises(OptionError, match="entities, regions, sam"):
        open_proposer("guesses")  # type: ignore[arg-type]
