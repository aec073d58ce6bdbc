"""What gives names their meaning, opened again in another process, with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..compute.tasks import absolute, check_same
from .classifiers import ClipMaskMeaning, MapMeaning, MaskMeaning, VocabularyMeaning
from .proposals.base import Recipe, reopen_proposer

if TYPE_CHECKING:
    from ..models.feature_cache import FeatureCache
    from .classifiers import Meaning
    from .clip.matching import ClipMeaning
    from .vocabulary.vocabulary import Vocabulary


def opener_of(meaning: Meaning, device: str) -> Callable[[], Meaning]:
    """Return what opens a meaning again: small when pickled, for weights do not come along.

    Parameters
    ----------
    meaning : Meaning
        One of somebody's own is taken along as it is.
    device : str
        As in the run's options.
    """
    if isinstance(meaning, MapMeaning):
        return partial(reopen_map, meaning.identity(), meaning.names, meaning.threshold, device)
    if isinstance(meaning, VocabularyMeaning):
        return partial(_vocabulary, *_masks(meaning), meaning.vocabulary, device)
    if isinstance(meaning, ClipMaskMeaning):
        return partial(_clip, *_masks(meaning), meaning.clip.identity(), device)
    return partial(_itself, meaning)


def _itself(meaning: Meaning) -> Meaning:
    return meaning


Kept = tuple[Recipe, "FeatureCache | None", float, float]


def _masks(meaning: MaskMeaning) -> Kept:
    recipe = meaning.proposer.recipe
    recipe = replace(recipe, encoder=absolute(recipe.encoder))
    return recipe, meaning.cache, meaning.nms_box, meaning.nms_mask


def _vocabulary(
    recipe: Recipe,
    cache: FeatureCache | None,
    nms_box: float,
    nms_mask: float,
    vocabulary: Vocabulary,
    device: str,
) -> Meaning:
    proposer = reopen_proposer(recipe, device=device)
    return VocabularyMeaning(proposer, cache, nms_box, nms_mask, vocabulary)


def _clip(
    recipe: Recipe,
    cache: FeatureCache | None,
    nms_box: float,
    nms_mask: float,
    known: dict[str, Any],
    device: str,
) -> Meaning:
    proposer = reopen_proposer(recipe, device=device)
    return ClipMaskMeaning(proposer, cache, nms_box, nms_mask, reopen_clip(known, device))


def reopen_clip(known: dict[str, Any], device: str) -> ClipMeaning:
    """Open a CLIP of this identity.

    Raises
    ------
    KindredError
        When it is not on this machine, or has other weights here.
    """
    from .clip.matching import ClipMeaning

    clip = ClipMeaning(
        known["clip"], device=device, templates=known["templates"], contrast=known["contrast"]
    )
    _check(known, clip.identity(), "sha256")
    return clip


def reopen_map(
    identity: dict[str, Any], names: tuple[str, ...], threshold: float, device: str
) -> MapMeaning:
    """Open a network of this identity, to be asked for names.

    Raises
    ------
    KindredError
        When it is not on this machine, or has other weights here.
    """
    weights = absolute(identity["weights"]["name"])
    if identity["network"] == "ESC-Net":
        from .escnet.predict import open_esc

        opened = MapMeaning(
            open_esc(weights, device=device, clip=identity["clip"]), names, threshold
        )
    else:
        from .escnet.training_free import FreeEscMeaning

        network = FreeEscMeaning(
            identity["clip"],
            weights,
            device=device,
            templates=identity["templates"],
            contrast=identity["contrast"],
            regions=identity["regions"],
            above=identity["above"],
        )
        opened = MapMeaning(network, names, threshold)
    _check(identity, opened.identity(), "weights", "clip_sha256")
    return opened


def _check(wanted: dict[str, Any], found: dict[str, Any], *keys: str) -> None:
    """Refuse weights of the same name that are others on this machine."""
    for key in keys:
        check_same(wanted["clip"], found[key], wanted[key])
