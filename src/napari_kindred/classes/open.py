"""Opening of classifiers; only the weights that are needed are loaded."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.background import iter_in_background
from ..core.errors import OptionError
from ..core.options import shown
from .classifiers import ClipMaskClassifier, MaskClassifier, PixelClassifier, VocabularyClassifier
from .config import ClassesConfig, TeachConfig
from .names import key
from .pixelwise.classifier import VocabularyPixelClassifier
from .proposals.open import DEFAULT_ENCODER, open_proposer

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from ..core.events import Event
    from ..models.feature_cache import FeatureCache
    from .classifiers import Classifier
    from .vocabulary.examples import Example
    from .vocabulary.vocabulary import Vocabulary


OURS = (MaskClassifier, PixelClassifier, VocabularyPixelClassifier)
"""Classifiers that can be closed and opened; a user's own need not."""

SHIPPED = "microscopy"
"""The vocabulary that defines names if nothing else does."""


def iter_open_classifier(
    names: Sequence[str],
    vocabulary: Vocabulary | str | Path | None = None,
    examples: Sequence[Example] | str | Path | None = None,
    clip: str | None = None,
    *,
    config: ClassesConfig,
    cache: FeatureCache | None = None,
) -> Generator[Event, None, Classifier]:
    """Open the classifier of one of a vocabulary, examples, or CLIP.

    Parameters
    ----------
    names : sequence of str
        Classes that it will be asked for; checked before anything large is loaded.
    vocabulary, examples, clip
        As in :func:`napari_kindred.segment_classes`.
    config : ClassesConfig
    cache : FeatureCache, optional

    Raises
    ------
    KindredError
        When more than one source is given, or the one cannot be opened.
    """
    given = [
        word
        for word, value in (("vocabulary", vocabulary), ("examples", examples), ("clip", clip))
        if value is not None
    ]
    if len(given) > 1:
        raise OptionError(
            f"Give {given[0]} or {given[1]}, not both: names are defined by one of them."
        )
    _check_kinds(vocabulary, clip)
    if clip is not None:
        step = partial(_by_clip, names, str(clip), config, cache)
        return (yield from iter_in_background(step, "loading the CLIP"))
    if examples is not None:
        from .vocabulary.examples import as_examples, class_names
        from .vocabulary.teach import iter_teach_classes

        examples = as_examples(examples)
        _check_shown(names, class_names(examples))
        vocabulary = yield from iter_teach_classes(
            examples, config=teaching_config(config), cache=cache
        )
    step = partial(_by_vocabulary, names, vocabulary or SHIPPED, config, cache)
    return (yield from iter_in_background(step, "loading the vocabulary"))


def _check_kinds(vocabulary: Any, clip: Any) -> None:
    """Raise OptionError for a vocabulary or CLIP of a wrong type."""
    from .vocabulary.vocabulary import Vocabulary as VocabularyFile

    if not isinstance(vocabulary, str | Path | VocabularyFile | None):
        raise OptionError(
            f"vocabulary={shown(vocabulary)} must be a Vocabulary, the path of a file, or the name "
            "of a shipped one."
        )
    if not isinstance(clip, str | Path | None):
        raise OptionError(
            f"clip={shown(clip)} must be the name of a CLIP, such as ViT-B-16/openai, or the path "
            "of a file written by 'train classes'."
        )


def _check_shown(names: Sequence[str], available: Sequence[str]) -> None:
    """Refuse names that no example shows, before training."""
    keys = {key(name) for name in available}
    missing = [name for name in names if key(name) not in keys]
    if missing:
        raise OptionError(
            f"No example shows {missing[0]!r}; the examples show {', '.join(available)}. Mark some "
            "of it, take a vocabulary that knows it, or ask CLIP."
        )


def teaching_config(config: ClassesConfig) -> TeachConfig:
    """Return the training options of examples that are given together with an image."""
    return TeachConfig(
        proposals=config.proposals,
        encoder=config.encoder,
        channel=config.channel,
        points=config.points,
        masks=config.masks,
        large=config.large,
        region_size=config.region_size,
        seed=config.seed,
        device=config.device,
        folds=0,  # quality is measured only for vocabularies that are saved
    )


def _by_vocabulary(
    names: Sequence[str],
    vocabulary: Vocabulary | str | Path,
    config: ClassesConfig,
    cache: FeatureCache | None,
) -> Classifier:
    if isinstance(vocabulary, str | Path):
        from .vocabulary.vocabulary import Vocabulary as VocabularyFile

        vocabulary = VocabularyFile.load(vocabulary)
    vocabulary.scores(np.zeros((0, vocabulary.head.dimension), np.float32), names)
    spec = vocabulary.spec
    if config.proposals not in ("auto", spec.kind):
        raise OptionError(
            f"The vocabulary was trained with proposals={spec.kind!r}, not "
            f"{config.proposals!r}; leave proposals at 'auto'."
        )
    if config.encoder:
        check_encoder(vocabulary, config)
    opened = spec.open(config.device)
    if spec.kind == "pixels":
        return VocabularyPixelClassifier(opened, vocabulary, vocabulary.names)
    return VocabularyClassifier(opened, cache, config.nms_box, config.nms_mask, vocabulary)


def check_encoder(vocabulary: Vocabulary, config: ClassesConfig) -> None:
    """Raise OptionError if the chosen encoder is not the one that a vocabulary was taught with."""
    spec = vocabulary.spec
    if spec.kind == "pixels":
        from ..entities.config import EntityConfig
        from .pixelwise.describer import PixelDescriber

        described = PixelDescriber.open(
            config.encoder,
            EntityConfig(**spec.options["entities"]),
            channels=spec.options["channels"],
            device=config.device,
        )
        vocabulary.check(described.spec)
    else:
        proposer = open_proposer(spec.kind, config.encoder, device=config.device)
        vocabulary.check(proposer.spec)


def _by_clip(
    names: Sequence[str], clip: str, config: ClassesConfig, cache: FeatureCache | None
) -> Classifier:
    path = Path(clip)
    if is_network(path):
        from .escnet.predict import open_esc

        return PixelClassifier(open_esc(path, device=config.device), tuple(names))
    if config.clip_mode == "pixels":
        from .escnet.training_free import FreeEscPredictor

        if config.proposals not in ("auto", "sam"):
            raise OptionError(
                f"clip_mode='pixels' looks for no {config.proposals}; leave proposals at 'auto', "
                "or use clip_mode='masks'."
            )
        sam = config.encoder or DEFAULT_ENCODER["sam"]
        return PixelClassifier(FreeEscPredictor(clip, sam, device=config.device), tuple(names))
    from .clip.matching import ClipMatcher

    if config.proposals == "pixels":
        raise OptionError(
            "CLIP classifies no single pixels of proposals; use clip_mode='pixels', or other "
            "proposals."
        )
    matcher = ClipMatcher(clip, device=config.device)
    kind = "sam" if config.proposals == "auto" else config.proposals
    proposer = open_proposer(
        kind,
        config.encoder,
        points=config.points,
        masks=config.masks,
        large=config.large,
        region_size=config.region_size,
        device=config.device,
    )
    return ClipMaskClassifier(proposer, cache, config.nms_box, config.nms_mask, matcher)


def is_network(path: Path) -> bool:
    """Whether this is a file written by ``train classes``, not the name of a CLIP."""
    from .escnet.checkpoint import is_esc

    return path.is_file() and is_esc(path)


def closed(classifier: Classifier) -> Classifier:
    """Return a classifier without its weights, small when pickled; a user's own as it is."""
    return classifier.closed() if isinstance(classifier, OURS) else classifier


def opened(classifier: Classifier, device: str) -> Classifier:
    """Return a classifier with its weights loaded anew; a user's own as it is."""
    return classifier.open(device) if isinstance(classifier, OURS) else classifier
