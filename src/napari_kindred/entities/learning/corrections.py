"""Corrected frames become examples to learn from, and some to measure on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import ndimage

from ...core.errors import InputError
from ...core.events import Notice, Progress
from ...images.label_files import as_labels
from ...images.stack import ImageStack
from ...models.augment import IGNORE
from ...models.training_data import Example, example_of
from ..channels import fit_channels

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import NDArray

    Ids = NDArray[np.int32]
    Mask = NDArray[np.bool_]

LEAST = 4
"""Smallest number of objects to learn from and to measure on."""

FEW = 6
"""Fewer objects held back tell little: so many are, but at most a third of a region's."""

MOST_FRAMES = 64
"""Largest number of frames that are learnt from; of more, some are taken evenly."""

MARGIN = 48
"""Pixels around a checked region that are looked at, for they are its surroundings."""


@dataclass(frozen=True)
class Corrections:
    """What is learnt from, and what is measured on.

    Attributes
    ----------
    train, held : list of Example
        Labels are ``IGNORE`` where nothing counts.
    objects, held_objects, frames : int
        Objects that are learnt from, objects held back, frames.
    """

    train: list[Example]
    held: list[Example]
    objects: int
    held_objects: int
    frames: int


def as_list(images: Any, labels: Any, checked: Any) -> list[tuple[Any, Any, Any]]:
    """Return triples of an image, its labels and what of it is checked."""
    if not isinstance(images, list | tuple):
        images, labels, checked = [images], [labels], [checked]
    elif not isinstance(labels, list | tuple) or len(labels) != len(images):
        raise InputError(f"There are {len(images)} images; give a list of as many label images.")
    if checked is None:
        checked = [None] * len(images)
    if not isinstance(checked, list | tuple) or len(checked) != len(images):
        raise InputError(f"There are {len(images)} images; give what is checked of each, or None.")
    if not images:
        raise InputError("There is no image to learn from.")
    return list(zip(images, labels, checked, strict=True))


def iter_corrections(
    triples: Sequence[tuple[Any, Any, Any]],
    axes: str | None,
    channel: Any,
    weights: str,
    network: Mapping[str, Any],
    share: float,
    random: np.random.Generator,
) -> Generator[Progress | Notice, None, Corrections]:
    """Read what is checked, and hold back a share of its objects.

    ``network`` is the shape of the one that the weights are of.
    InputError if images, labels and what is checked do not fit, or too few objects are checked.
    """
    frames = []
    for number, (image, labels, checked) in enumerate(triples):
        name = f"image {number}"
        stack = image if isinstance(image, ImageStack) else ImageStack.open(image, axes, channel)
        averaged = fit_channels(stack, weights, network)
        if averaged:
            yield Notice(averaged)
        truth = _labels_of(labels, stack, name)
        for index, mask in _checked_frames(checked, truth, stack, name).items():
            frames.append((f"{name} {index}" if index else name, stack, index, truth[index], mask))
    if len(frames) > MOST_FRAMES:
        yield Notice(f"Of {len(frames)} checked frames, {MOST_FRAMES} are used.")
        frames = [frames[i] for i in np.linspace(0, len(frames) - 1, MOST_FRAMES).astype(int)]
    train, held, seen = [], [], 0
    for number, (name, stack, index, truth, mask) in enumerate(frames):
        yield Progress(number, len(frames), "reading the corrections")
        raw = stack.read(index)
        if raw.empty:
            yield Notice(raw.note or f"{name} has nothing to see and is not used.")
            continue
        plane, seen = raw.normalised(), seen + 1
        for place, region in regions(as_labels(np.asarray(truth), name), mask):
            learnt, kept = hold_back(region, share, random)
            train.append(example_of(name, plane[place], learnt, group="corrections"))
            if kept is not None:
                inside = _around(kept != IGNORE, 2 * MARGIN)
                pixels = plane[place][inside]
                held.append(example_of(name, pixels, kept[inside], group="corrections"))
    counts = [sum(_count(example.labels) for example in some) for some in (train, held)]
    if not held or sum(counts) < LEAST:
        raise InputError(
            f"{sum(counts)} objects are checked, but at least {LEAST} in one place are needed to "
            "learn from; correct a few more."
        )
    return Corrections(train, held, counts[0], counts[1], seen)


def _labels_of(labels: Any, stack: ImageStack, name: str) -> Any:
    """Return labels in the shape of an image's frames; they are read frame by frame."""
    labels = labels if hasattr(labels, "shape") else np.asarray(labels)
    if tuple(labels.shape) != stack.output_shape:
        raise InputError(
            f"The labels of {name} are {tuple(labels.shape)}, but it needs {stack.output_shape}, "
            f"axes {stack.output_axes}; give labels of the same frames."
        )
    if np.dtype(labels.dtype).kind not in "iu":
        raise InputError(f"The labels of {name} are {labels.dtype}; give whole numbers.")
    return labels


def _checked_frames(
    checked: Any, labels: Any, stack: ImageStack, name: str
) -> dict[tuple[int, ...], Mask | None]:
    """Return the mask of what counts in each frame that is checked; None for all of it.

    Without anything given, all frames that have labels are checked.
    """
    if checked is None:
        some = [index for index in stack.indices() if np.any(np.asarray(labels[index]))]
        return dict.fromkeys(some)
    if isinstance(checked, Mapping):
        return dict(checked)
    given = np.asarray(checked)
    shape = stack.output_shape
    if given.dtype == bool and given.shape in (shape, shape[-2:]):
        masks = np.broadcast_to(given, shape)
        return {index: masks[index] for index in stack.indices() if masks[index].any()}
    if given.dtype == bool or given.dtype.kind not in "iu" or given.ndim not in (0, 1, 2):
        raise InputError(
            f"checked of {name} must be a mask of the shape {shape} or {shape[-2:]}, or numbers of "
            "frames."
        )
    numbers = np.atleast_1d(given)
    rows = numbers[:, None] if numbers.ndim == 1 else numbers
    leading = stack.leading_shape
    if rows.shape[1] != len(leading) or ((rows < 0) | (rows >= leading)).any():
        raise InputError(f"checked names a frame that {name} does not have: it has {leading}.")
    return dict.fromkeys(tuple(int(n) for n in row) for row in rows)


def regions(labels: Ids, mask: Mask | None) -> list[tuple[tuple[slice, slice], Ids]]:
    """Return each checked region of a frame: where it and its surroundings are, and its labels.

    An object counts as a whole: if most of it is inside the region.  What does not count is
    ``IGNORE``.
    """
    if mask is None:
        return [((slice(0, labels.shape[0]), slice(0, labels.shape[1])), labels)]
    size = np.bincount(labels.ravel())
    inside = np.bincount(labels[mask], minlength=len(size)) > size / 2
    inside[0] = False
    found = []
    pieces, count = ndimage.label(mask)
    for number in range(1, count + 1):
        piece = pieces == number
        own = np.zeros(len(size), bool)
        own[np.unique(labels[piece])] = True
        of_it = (own & inside)[labels]
        counts = np.where(of_it, labels, np.where(piece & (labels == 0), 0, IGNORE))
        place = _around(counts != IGNORE, MARGIN)
        found.append((place, np.asarray(counts[place], np.int32)))
    return found


def hold_back(labels: Ids, share: float, random: np.random.Generator) -> tuple[Ids, Ids | None]:
    """Divide a region's labels (H, W) by a straight cut: those to learn from, those held back.

    About ``share`` of the objects lie beyond the cut, none on both sides, and ``FEW`` if a region
    has that many to spare; one with fewer than ``LEAST`` objects stays whole.
    """
    ids = np.unique(labels[labels > 0])
    if len(ids) < LEAST:
        return labels, None
    axis = int(np.argmax(labels.shape))
    centres = np.array(ndimage.center_of_mass(labels > 0, labels, ids))[:, axis]
    number = max(round(share * len(ids)), min(FEW, len(ids) // 3))
    from_end = bool(random.integers(2))
    order = np.argsort(-centres if from_end else centres, kind="stable")
    cut = centres[order[number - 1 : number + 1]].mean()
    beyond = order[:number]
    along = np.arange(labels.shape[axis])
    side = np.expand_dims(along > cut if from_end else along < cut, 1 - axis)
    side = np.broadcast_to(side, labels.shape)
    lookup = np.zeros(int(ids.max()) + 1, bool)
    lookup[ids[beyond]] = True
    object_beyond = lookup[np.maximum(labels, 0)]
    held = np.where(labels > 0, object_beyond, side)
    return (
        np.where(held, IGNORE, labels).astype(np.int32),
        np.where(held, labels, IGNORE).astype(np.int32),
    )


def _around(mask: Mask, margin: int) -> tuple[slice, slice]:
    """Return the rows and columns of a mask's bounding box and a margin."""
    (rows, columns), shape = ndimage.find_objects(mask.astype(np.uint8))[0], mask.shape
    return (
        slice(max(0, rows.start - margin), min(shape[0], rows.stop + margin)),
        slice(max(0, columns.start - margin), min(shape[1], columns.stop + margin)),
    )


def _count(labels: Ids) -> int:
    return len(np.unique(labels[labels > 0]))
