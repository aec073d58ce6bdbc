"""Segmentation of images and stacks into entities: the public function and its generator."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

from ..config import EntityConfig
from ..device import describe, select
from ..events import Event, Notice, Progress, finish, within_stack
from ..images import Frames
from ..options import with_options
from ..results import Assembly, Segmentation, provenance
from .checkpoint import load_network
from .frame import Frame, segment_frame, within_budget
from .plane import look
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
    finished frame or block of a large one, :class:`~napari_kindred.events.Partial`; returns the
    whole :class:`~napari_kindred.results.Segmentation`.  Closing it cancels; what was yielded
    stays valid.

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
    assembly = Assembly(frames, config.memory)
    if assembly.note:
        notes.append(assembly.note)
        yield Notice(assembly.note)
    fitting, side, note = within_budget(config, device)
    if note:
        notes.append(note)
        yield Notice(note)
    scale = None if config.scale == "auto" else float(config.scale)
    diameter: float | None = None
    for number, index in enumerate(frames.indices()):
        place = (number, len(frames))
        frame = Frame(frames, index, side)
        yield Progress(number, len(frames), "reading", *place)
        if scale is None and not frame.constant:
            chosen = choose_scale(frame.pixels, look(network, fitting), frame.shrunk)
            scale, diameter = yield from within_stack(chosen, *place)
            yield Notice(_scale_note(scale, diameter))
            if not diameter:  # nothing seen in this frame: the next one may tell
                scale = None
        frame = frame.looked_at(scale or 1.0, config)
        if frame.note:
            notes.append(frame.note)
            yield Notice(frame.note)
        job = segment_frame(frame, network, fitting, scale or 1.0, assembly)
        partial = yield from within_stack(job, *place)
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
    segmentation, sections 3 and 4).  A stack is segmented frame by frame and read lazily; a frame
    larger than 4096 pixels, or than memory allows, block by block.

    Parameters
    ----------
    image : array-like
        numpy, dask, zarr or anything with ``shape``, ``dtype`` and slicing; bool, integer or
        float; ``YX``, ``CYX``, ``TYX``, ``TCYX``, ``ZYX`` (slice by slice) or RGB(A).  Also what
        :func:`~napari_kindred.images.read_image` returns, or a list of the same image at lower
        and lower resolutions: then what ``scale`` asks for is read, the labels have full size.
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
