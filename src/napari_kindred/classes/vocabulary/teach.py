"""Training of a vocabulary: images become proposals, annotations their classes (U-SAM)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ...core.background import iter_in_background
from ...core.colors import hexadecimal
from ...core.errors import InputError
from ...core.events import Event, Notice, Progress, finish, within_stack
from ...core.options import with_options
from ...entities.channels import fit_channels
from ...images.stack import ImageStack, is_constant
from ...models.data_folder import few
from ...models.feature_cache import FeatureCache
from ..config import TeachConfig
from ..names import key
from ..proposals.base import Kind, Proposals, iter_propose
from ..proposals.open import open_proposer
from .annotations import MaskCodes, annotate
from .entry import Entry
from .examples import Example, as_examples, check_marks, class_names, is_background, numbers
from .mil import Bag
from .pixel_bags import iter_pixel_bags, parted
from .quality import own_threshold
from .vocabulary import Vocabulary, iter_fit

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


ENOUGH = 0.5
"""Share of each class's annotations that must lie on entities for entities to be classified: some
cells are always missed, but of a class that is no cell nearly all annotations are."""

NEARLY = 0.8
"""The same without boxes: points and strokes teach single pixels as well."""

EMPTY = 0.1
"""Share of the images in which there may be no entity at all."""


@dataclass(frozen=True)
class ExampleImage:
    """An example ready for inference: its pixels (H, W, C) of about 0..1."""

    example: Example
    pixels: NDArray[np.float32]
    note: str = ""


def iter_teach_classes(
    examples: Sequence[Example] | str | Path,
    *,
    config: TeachConfig | None = None,
    cache: FeatureCache | None = None,
    **options: Any,
) -> Generator[Event, None, Vocabulary]:
    """Train classes by examples as :func:`teach_classes`, yielding progress and notices."""
    config = with_options(TeachConfig, config, options)
    cache = FeatureCache.of(cache)
    examples = as_examples(examples)
    names = class_names(examples)
    warnings = list(_iter_warnings(examples, names))
    images = [_open(example, config) for example in examples]
    yield from warnings
    for note in few([(image.example.source, image.note) for image in images if image.note]):
        yield Notice(note)
    chosen = yield from _iter_proposals(images, names, config, cache)
    if chosen is None:
        pairs = [(image.example, image.pixels) for image in images]
        spec, bags = yield from iter_pixel_bags(pairs, names, config)
        lost = sum(int(bag.lost_marks(len(names)).sum()) for bag in bags)
        if lost:
            yield Notice(f"{lost} marks lie on those of another class, and are left out.")
    else:
        found, coded = chosen
        spec = found[0].spec
        total = sum(one.total for one in coded)
        lost = total - sum(one.found for one in coded)
        if lost:
            yield Notice(
                f"{lost} of {total} marks lie on nothing that was found, or on what others mark "
                "as another class, and are left out."
            )
        random = np.random.default_rng(config.seed)
        bags = [
            bag
            for image, proposals, one in zip(images, found, coded, strict=True)
            for bag in _bags(
                image.example, proposals, one, names, config.kept, random, len(images) == 1
            )
        ]
    threshold = own_threshold(config, spec)
    entries = [
        Entry(name, (), hexadecimal(number), threshold, _extent(examples, name))
        for number, name in enumerate(names)
    ]
    marked = sum(example.marked for example in examples)
    origin = f"{len(examples)} examples, {marked} of them marked"
    return (yield from iter_fit(entries, spec, bags, config, origin))


def teach_classes(
    examples: Sequence[Example] | str | Path,
    *,
    config: TeachConfig | None = None,
    cache: FeatureCache | None = None,
    **options: Any,
) -> Vocabulary:
    """Train classes by examples: images that are named as a whole, or annotated (U-SAM).

    Parameters
    ----------
    examples : sequence of Example, str or Path
        Images with names, points, boxes or labels; or a folder, see :func:`.read_examples`.
    config : TeachConfig, optional
        All options at once.
    cache : FeatureCache, optional
        Where proposals are cached, so that training again takes seconds; the shared one by
        default.
    **options
        Single fields of :class:`~napari_kindred.classes.config.TeachConfig`, for example
        ``proposals="regions"``.

    Returns
    -------
    Vocabulary

    Raises
    ------
    InputError
        When there are no examples, one cannot be used, annotations lie outside their image, or
        nothing tells the classes apart.
    OptionError
        When an option has a value that it cannot take.
    WeightsError
        When weights are missing, damaged or made for something else.

    Examples
    --------
    >>> import napari_kindred as nk
    >>> example = nk.Example(smear, points={"red cell": [(40, 60)], "white cell": [(90, 20)]})
    ... # doctest: +SKIP
    >>> nk.teach_classes([example]).save("blood.kindred")  # doctest: +SKIP
    """
    return finish(iter_teach_classes(examples, config=config, cache=cache, **options))


def _iter_warnings(
    examples: Sequence[Example], names: tuple[str, ...]
) -> Generator[Notice, None, None]:
    """Refuse examples from which nothing can be learned, and warn of those that say little."""
    marked = any(example.marked for example in examples)
    if marked and len(names) == 1 and not any(map(_tells_the_rest, examples)):
        yield Notice(
            f"Only {names[0]!r} is marked, so what looks alike may be taken for it; mark some of "
            "what it is not as 'background', or as a class of its own."
        )
    alike = {frozenset(map(key, example.names)) for example in examples}
    if len(alike) > 1 or marked:
        return
    if len(names) > 1:
        raise InputError(
            f"Every example is named {' and '.join(names)}, so nothing tells these apart; mark "
            "some of each, or add images without one of them."
        )
    yield Notice(
        f"Every example is named {names[0]!r}, so everything that is found will be taken for it; "
        "mark some background, or add images named 'background'."
    )


def _extent(examples: Sequence[Example], name: str) -> float:
    """Return the median diameter of the boxes of a class, 0 without any."""
    sides = [
        np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(1))
        for example in examples
        for word, given in example.boxes.items()
        if key(word) == key(name)
        for boxes in [numbers(given, 4, word, example.source)]
    ]
    every = np.concatenate([np.zeros(0), *sides])
    return round(float(np.median(every)), 2) if len(every) else 0.0


def _tells_the_rest(example: Example) -> bool:
    """Whether an example tells what is no class."""
    named = (*example.names, *example.points, *example.boxes, *example.label_names.values())
    return example.complete or any(map(is_background, named))


def _open(example: Example, config: TeachConfig) -> ExampleImage:
    """Read an example's image, and check its annotations against it."""
    frames = ImageStack.open(example.image, example.axes, config.channel)
    averaged = "" if config.proposals == "sam" else fit_channels(frames)
    if len(frames) != 1:
        raise InputError(
            f"The example {example.source!r} holds {len(frames)} images; give them one by one."
        )
    check_marks(example, frames.plane_shape)
    raw = frames.read(next(frames.indices()))
    if is_constant(raw.pixels):
        raise InputError(
            f"The example {example.source!r} has the same value everywhere; leave it out."
        )
    notes = [
        note
        for note in (*frames.notes, averaged, raw.note)
        if note and not note.startswith("Axes ")
    ]
    return ExampleImage(example, raw.normalised(), " ".join(notes))


def _iter_proposals(
    images: Sequence[ExampleImage],
    names: tuple[str, ...],
    config: TeachConfig,
    cache: FeatureCache | None,
) -> Generator[Event, None, tuple[list[Proposals], list[MaskCodes]] | None]:
    """Find proposals that fit the annotations, and the classes of their masks; None for pixels."""
    classes = {key(name): number for number, name in enumerate(names)}
    if config.proposals == "pixels":
        _check_pixels(images)
        return None
    if config.proposals != "auto":
        return (yield from _iter_kind(config.proposals, images, classes, config, cache))
    found, coded = yield from _iter_kind("entities", images, classes, config, cache)
    boxed = any(image.example.boxes for image in images)
    empty = sum(not len(proposals) for proposals in found)
    reason = f"{empty} of {len(found)} images have none" if empty > EMPTY * len(found) else ""
    for number, name in enumerate(names):
        counts = [one.hits.get(number, (0, 0)) for one in coded]
        hits, marks = (sum(column) for column in zip(*counts, strict=True))
        if hits < (ENOUGH if boxed else NEARLY) * marks:
            reason = f"{hits} of {marks} marks of {name!r} lie on one"
    if not reason:
        return found, coded
    pixels = not boxed and all(image.example.marked for image in images)
    instead = "pixels" if pixels else "regions"
    yield Notice(f"These are no whole cells or nuclei ({reason}), so {instead} are named instead.")
    if pixels:
        return None
    return (yield from _iter_kind("regions", images, classes, config, cache))


def _check_pixels(images: Sequence[ExampleImage]) -> None:
    """Raise InputError for examples of which no pixel is marked."""
    for image in images:
        if not image.example.marked:
            raise InputError(
                f"Of {image.example.source!r} only the classes are named, which teaches no pixels; "
                "mark some of each, or leave proposals at 'auto'."
            )


def _iter_kind(
    kind: Kind,
    images: Sequence[ExampleImage],
    classes: dict[str, int],
    config: TeachConfig,
    cache: FeatureCache | None,
) -> Generator[Event, None, tuple[list[Proposals], list[MaskCodes]]]:
    """Find proposals of one kind."""
    total = len(images)
    opened = partial(
        open_proposer,
        kind,
        config.encoder,
        points=config.points,
        masks=config.masks,
        large=config.large,
        region_size=config.region_size,
        device=config.device,
    )
    proposer = yield from iter_in_background(opened, "loading the weights")
    found = []
    for number, image in enumerate(images):
        yield Progress(number, total, f"looking for {kind}", number, total)
        job = iter_propose(proposer, image.pixels, cache)
        found.append((yield from within_stack(job, number, total)))
    coded = [
        annotate(proposals, image.example, classes)
        for image, proposals in zip(images, found, strict=True)
    ]
    return found, coded


def _bags(
    example: Example,
    proposals: Proposals,
    coded: MaskCodes,
    names: tuple[str, ...],
    most: int,
    random: np.random.Generator,
    only: bool,
) -> list[Bag]:
    """Return an example's bag of at most ``most`` masks: annotated ones, then random others.

    The ``only`` example's is split into several, each of another part of the image.
    """
    present = None
    present_names = {key(name) for name in example.names if not is_background(name)}
    if present_names:
        present = np.array([key(name) in present_names for name in names])
    lost = np.zeros(len(names), np.int16)
    for number, (found, total) in coded.hits.items():
        lost[number] = total - found
    known = np.ones(len(names), bool)
    bag = Bag(proposals.embeddings, coded.codes, present, known, example.source, lost)
    places = (proposals.masks.boxes[:, :2] + proposals.masks.boxes[:, 2:]) / 2
    if len(bag) > most:
        order = random.permutation(len(bag))
        order = order[np.argsort(bag.instances[order] < 0, kind="stable")]
        chosen = np.sort(order[:most])
        bag, places = bag.take(chosen), places[chosen]
    return parted(bag, places) if only else [bag]
