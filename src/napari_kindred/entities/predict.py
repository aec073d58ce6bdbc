"""Segmentation of images and stacks into entities: the public function and its generator."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import EntityConfig
from ..device import describe, select
from ..events import Event, Notice, Partial, Progress, finish, within_stack
from ..images import Frames, is_constant, normalise
from ..options import with_options
from ..results import Assembly, Segmentation, measure, provenance
from .checkpoint import load_network
from .plane import iter_plane, look
from .scale import choose_scale

if TYPE_CHECKING:
    from .network import EntityNetwork


def iter_segment_entities(
    image: Any,
    *,
    config: EntityConfig | None = None,
    model: tuple[EntityNetwork, Mapping[str, Any]] | None = None,
    metadata_axes: str | None = None,
    **options: Any,
) -> Generator[Event, None, Segmentation]:
    """Segment cells or nuclei, telling what happens on the way.

    Same as :func:`segment_entities`, as a generator: yields
    :class:`~napari_kindred.events.Progress`, :class:`~napari_kindred.events.Notice` and, for each
    finished frame, :class:`~napari_kindred.events.Partial`; returns the whole
    :class:`~napari_kindred.results.Segmentation`.  Closing it cancels; frames yielded stay valid.

    Parameters
    ----------
    image, config, **options
        As in :func:`segment_entities`.
    model : tuple of network and info, optional
        From :func:`~napari_kindred.entities.checkpoint.load_network`, in place of
        ``config.weights``.
    metadata_axes : str, optional
        What a file or layer says about the axes; weighed when ``axes`` are guessed.
    """
    start = time.perf_counter()
    config = with_options(config or EntityConfig(), options)
    frames = Frames.open(image, config.axes, config.channel, metadata_axes)
    notes = [frames.axes_note] if frames.axes_note else []
    for note in notes:
        yield Notice(note)
    device = select(config.device)
    yield Progress(0, len(frames), "loading the weights", 0, len(frames))
    network, info = model or load_network(config.weights, device)
    assembly = Assembly(frames)
    scale = None if config.scale == "auto" else float(config.scale)
    diameter: float | None = None
    for number, index in enumerate(frames.indices()):
        raw = frames.read(index)
        pixels = normalise(raw.pixels)
        place = (number, len(frames))
        if scale is None and not is_constant(raw.pixels):
            chosen = choose_scale(pixels, look(network, config))
            scale, diameter = yield from within_stack(chosen, *place)
            yield Notice(_scale_note(scale, diameter))
            if not diameter:  # nothing seen in this frame: the next one may tell
                scale = None
        if raw.note:
            notes.append(raw.note)
            yield Notice(raw.note)
        if is_constant(raw.pixels):
            labels, scores = np.zeros(frames.plane_shape, np.int32), np.zeros(0, np.float32)
        else:
            plane = yield from within_stack(
                iter_plane(network, pixels, config, scale or 1.0), *place
            )
            labels, scores = plane.labels, plane.scores
        table = measure(labels, raw.pixels, scores, number if frames.leading_axes else None)
        partial = Partial(index, labels, table, raw.note)
        assembly.add(partial)
        yield partial
        yield Progress(number + 1, len(frames), "done", number + 1, len(frames))
    facts = provenance(
        method="entities",
        config=config,
        frames=frames,
        weights={"name": config.weights, "sha256": info["sha256"]},
        seconds=time.perf_counter() - start,
        device=describe(device),
        notes=notes,
        encoder=network.config.encoder,
        features=network.config.features,
        scale_used=scale or 1.0,
        typical_diameter=None if diameter is None else round(diameter, 1),
    )
    return assembly.segmentation(facts)


def _scale_note(scale: float, diameter: float) -> str:
    if not diameter:
        return "No entities seen at any scale; looking at the image as it is."
    return f"Scale {scale:g}: entities are about {diameter:.0f} pixels across."


def segment_entities(
    image: Any,
    *,
    config: EntityConfig | None = None,
    model: tuple[EntityNetwork, Mapping[str, Any]] | None = None,
    metadata_axes: str | None = None,
    **options: Any,
) -> Segmentation:
    """Segment every cell or nucleus of an image or stack: each its own label.

    Projective-sphere features from a network, clustered by mean-shift (Bottom-Up class-agnostic
    segmentation, sections 3 and 4).  A stack is segmented frame by frame and read lazily.

    Parameters
    ----------
    image : array-like
        numpy, dask, zarr or anything with ``shape``, ``dtype`` and slicing; bool, integer or
        float; ``YX``, ``CYX``, ``TYX``, ``TCYX``, ``ZYX`` (slice by slice) or RGB(A).
    config : EntityConfig, optional
        All options at once.
    model : tuple of network and info, optional
        From :func:`~napari_kindred.entities.checkpoint.load_network`.
    metadata_axes : str, optional
        What a file or layer says about the axes; weighed when ``axes`` are guessed.
    **options
        Single fields of :class:`~napari_kindred.config.EntityConfig`, for example ``axes="TYX"``,
        ``channel=0``, ``scale=0.5``.

    Returns
    -------
    Segmentation
        Labels of the image's time, slice and plane axes, int32; a table with a row per entity;
        provenance.

    Raises
    ------
    InputError
        When the image, its axes or its channel cannot be used.
    OptionError
        When an option has a value that it cannot take.
    WeightsError
        When the weights are missing, damaged or made for something else.

    Examples
    --------
    >>> import napari_kindred as nk
    >>> result = nk.segment_entities(movie, axes="TYX")  # doctest: +SKIP
    >>> result.save("cells.tif")  # doctest: +SKIP
    """
    return finish(
        iter_segment_entities(
            image, config=config, model=model, metadata_axes=metadata_axes, **options
        )
    )
