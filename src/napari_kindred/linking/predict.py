"""Linking of labels over time: the public function and its generator."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..core.errors import InputError, OptionError, reason_of
from ..core.events import Event, Notice, Progress, finish
from ..core.options import shown, with_options
from ..images.arrays import as_array
from ..images.readers import ImageFile
from ..images.stack import ImageStack
from ..results.segmentation import Segmentation, provenance
from .assembly import LinkAssembly
from .config import LinkConfig


def iter_link(
    labels: Any,
    image: Any = None,
    *,
    config: LinkConfig | None = None,
    spacing: Sequence[float] | None = None,
    **options: Any,
) -> Generator[Event, None, Segmentation]:
    """Link labels over time and report progress.

    Same as :func:`link`, as a generator: yields :class:`.Progress`, :class:`.Notice` and, for each
    frame, :class:`.Partial`; returns the whole :class:`.Segmentation`.  If it is closed, the frames
    that were yielded stay valid.
    """
    start = time.perf_counter()
    config = with_options(LinkConfig, config, options)
    stack, data = _opened(labels, config.axes)
    pixels = None if image is None else _intensities(image, stack)
    assembly = LinkAssembly(stack, config, _checked(spacing, stack))
    notes = [note for note in (*stack.notes, assembly.note) if note]
    assembly.facts = lambda: provenance(
        method="link",
        config=config,
        frames=stack,
        seconds=time.perf_counter() - start,
        notes=notes,
    )
    for note in notes:
        yield Notice(note)
    count = assembly.frames
    for frame in range(count):
        yield Progress(frame, count, "linking", frame, count)
        grey = None if pixels is None else np.asarray(pixels[frame], float)
        yield assembly.add(_labels_of(data, frame), grey)
    yield Progress(count, count, "linking", count, count)
    result = assembly.result()
    return _with_measurements(result, labels) if isinstance(labels, Segmentation) else result


def _with_measurements(result: Segmentation, before: Segmentation) -> Segmentation:
    """Add the columns that the table had before, such as scores."""
    if not {"index", "frame"} <= set(before.table):
        return result
    new = [name for name in before.table if name not in (*result.table, "id_in_frame")]
    rows = before.table[["frame", "index", *new]].rename(columns={"index": "id_in_frame"})
    rows = rows.drop_duplicates(["frame", "id_in_frame"])
    facts = {"image": before.provenance.get("image"), "before": before.provenance}
    return replace(
        result,
        table=result.table.merge(rows, "left", on=["frame", "id_in_frame"]),
        provenance={**result.provenance, **{key: one for key, one in facts.items() if one}},
    )


def _opened(labels: Any, axes: str | None) -> tuple[ImageStack, Any]:
    """Return labels as a stack, for their axes and sizes, and as an array."""
    if isinstance(labels, Segmentation):
        file = ImageFile(
            labels.labels, labels.axes, labels.scale, labels.units, translate=labels.translate
        )
    else:
        file = labels if isinstance(labels, ImageFile) else ImageFile(labels)
    data = as_array(file.data)
    if np.dtype(data.dtype).kind not in "bui":
        raise InputError(
            f"Labels are whole numbers, but these are {data.dtype}; give the labels, not the image."
        )
    # Labels have no channels, so that three axes are a movie and four one of volumes.
    axes = axes or file.axes or {3: "TYX", 4: "TZYX"}.get(len(data.shape))
    stack = ImageStack.open(replace(file, data=data, axes=axes), axes)
    if stack.axes not in ("TYX", "TZYX"):
        raise InputError(
            f"Linking takes labels of the axes TYX or TZYX, not {stack.axes}; give axes='TYX' if "
            "the first axis is time."
        )
    return stack, data


def _intensities(image: Any, stack: ImageStack) -> Any:
    """Return the image that the labels are of, as an array of their shape."""
    data = as_array(image.data if isinstance(image, ImageFile) else image)
    if tuple(data.shape) != stack.shape:
        raise InputError(
            f"The image has the shape {tuple(data.shape)}, but the labels {stack.shape}; give one "
            "channel of the image that the labels are of."
        )
    return data


def _checked(spacing: Sequence[float] | None, stack: ImageStack) -> tuple[float, ...] | None:
    """Return the size of a pixel along the spatial axes; None if it is not known."""
    count = len(stack.axes) - 1
    if spacing is None:
        return None if stack.scale is None else tuple(stack.scale[1:])
    steps = tuple(float(step) for step in spacing)
    if len(steps) != count or not all(0 < step < math.inf for step in steps):
        raise OptionError(
            f"spacing={shown(spacing)} must be {count} numbers above 0, one for each of the axes "
            f"{stack.axes[1:]}."
        )
    return steps


def _labels_of(data: Any, frame: int) -> np.ndarray:
    """Read the labels of a frame."""
    try:
        labels = np.asarray(data[frame])
    except Exception as error:
        raise InputError(
            f"Frame {frame} of the labels cannot be read ({reason_of(error)}); check their source."
        ) from error
    if labels.size and labels.dtype.kind == "i" and labels.min() < 0:
        raise InputError(f"Frame {frame} has negative labels; use 0 for background and ids above.")
    return labels


def link(
    labels: Any,
    image: Any = None,
    *,
    config: LinkConfig | None = None,
    spacing: Sequence[float] | None = None,
    **options: Any,
) -> Segmentation:
    """Follow objects over time: the same object gets the same label in every frame.

    Frame by frame, objects are matched by how much they overlap, how far apart they are in
    multiples of their diameter and how their areas compare, after a drift or turn of the whole
    field is corrected.  An object that is missing in a few frames keeps its label; an object that
    divides ends, and both daughters begin tracks of their own.

    Parameters
    ----------
    labels : array-like of int, or Segmentation
        ``TYX``, or ``TZYX`` for objects of three dimensions: numpy, dask or zarr, read frame by
        frame.  Ids may be anything; only 0 is background.
    image : array-like, optional
        The image of the same shape; adds ``mean_intensity`` to the table.
    config : LinkConfig, optional
        All options at once.
    spacing : sequence of float, optional
        Size of a pixel along each spatial axis, for example ``(2.0, 0.5, 0.5)`` for ``ZYX``;
        that of the labels' file if left out, else equal.
    **options
        Single fields of :class:`~napari_kindred.LinkConfig`, for example ``max_gap=1``.

    Returns
    -------
    Segmentation
        ``ids="track"``; ``tracks`` is a table with a row per track, and ``table`` has a row per
        object and frame with its ``track``, that track's ``parent`` (0 for none), and the id it
        came with, ``id_in_frame``.

    Raises
    ------
    InputError
        If the labels or their axes cannot be used, or the image does not fit them.
    OptionError
        If an option has a value that it cannot take.

    Examples
    --------
    >>> import napari_kindred as nk
    >>> result = nk.link(labels, axes="TYX")  # doctest: +SKIP
    >>> result.tracks  # doctest: +SKIP
    """
    return finish(iter_link(labels, image, config=config, spacing=spacing, **options))
