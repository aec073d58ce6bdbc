"""What gives names their meaning, opened again in another process, with the same weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..compute.tasks import absolute, check_same
from .classifiers import ClipMaskClassifier, MaskClassifier, PixelClassifier, VocabularyClassifier
from .proposals.base import Recipe, reopen_proposer

if TYPE_CHECKING:
    from ..models.feature_cache import FeatureCache
    from .classifiers import Classifier
    from .clip.matching import ClipMatcher
    from .vocabulary.vocabulary import Vocabulary


def opener_of(classifier: Classifier, device: str) -> Callable[[], Classifier]:
    """Return what opens a classifier again: small when pickled, for weights do not come along.

    Parameters
    ----------
    classifier : Classifier
        One of somebody's own is taken along as it is.
    device : str
        As in the run's options.
    """
    if isinstance(classifier, PixelClassifier):
        return partial(
            reopen_map, classifier.identity(), classifier.names, classifier.threshold, device
        )
    if isinstance(classifier, VocabularyClassifier):
        return partial(_vocabulary, *_masks(classifier), classifier.vocabulary, device)
    if isinstance(classifier, ClipMaskClassifier):
        return partial(_clip, *_masks(classifier), classifier.clip.identity(), device)
    return partial(_itself, classifier)


def _itself(classifier: Classifier) -> Classifier:
    return classifier


Kept = tuple[Recipe, "FeatureCache | None", float, float]


def _masks(classifier: MaskClassifier) -> Kept:
    recipe = classifier.proposer.recipe
    recipe = replace(recipe, encoder=absolute(recipe.encoder))
    return recipe, classifier.cache, classifier.nms_box, classifier.nms_mask


def _vocabulary(
    recipe: Recipe,
    cache: FeatureCache | None,
    nms_box: float,
    nms_mask: float,
    vocabulary: Vocabulary,
    device: str,
) -> Classifier:
    proposer = reopen_proposer(recipe, device=device)
    return VocabularyClassifier(proposer, cache, nms_box, nms_mask, vocabulary)


def _clip(
    recipe: Recipe,
    cache: FeatureCache | None,
    nms_box: float,
    nms_mask: float,
    known: dict[str, Any],
    device: str,
) -> Classifier:
    proposer = reopen_proposer(recipe, device=device)
    return ClipMaskClassifier(proposer, cache, nms_box, nms_mask, reopen_clip(known, device))


def reopen_clip(known: dict[str, Any], device: str) -> ClipMatcher:
    """Open a CLIP of this identity.

    Raises
    ------
    KindredError
        When it is not on this machine, or has other weights here.
    """
    from .clip.matching import ClipMatcher

    clip = ClipMatcher(
        known["clip"], device=device, templates=known["templates"], contrast=known["contrast"]
    )
    _check(known, clip.identity(), "sha256")
    return clip


def reopen_map(
    identity: dict[str, Any], names: tuple[str, ...], threshold: float, device: str
) -> PixelClassifier:
    """Open a network of this identity, to be asked for names.

    Raises
    ------
    KindredError
        When it is not on this machine, or has other weights here.
    """
    weights = absolute(identity["weights"]["name"])
    if identity["network"] == "ESC-Net":
        from .escnet.predict import open_esc

        opened = PixelClassifier(
            open_esc(weights, device=device, clip=identity["clip"]), names, threshold
        )
    else:
        from .escnet.training_free import FreeEscPredictor

        network = FreeEscPredictor(
            identity["clip"],
            weights,
            device=device,
            templates=identity["templates"],
            contrast=identity["contrast"],
            regions=identity["regions"],
            above=identity["above"],
        )
        opened = PixelClassifier(network, names, threshold)
    _check(identity, opened.identity(), "weights", "clip_sha256")
    return opened


def _check(wanted: dict[str, Any], found: dict[str, Any], *keys: str) -> None:
    """Refuse weights of the same name that are others on this machine."""
    for key in keys:
        check_same(wanted["clip"], found[key], wanted[key])
