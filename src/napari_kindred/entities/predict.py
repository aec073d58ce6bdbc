"""Segmentation of images and stacks into entities: the public function and its generator."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..compute.dask_cluster import open_workers
from ..compute.device import memory_budget
from ..core.errors import OptionError
from ..core.events import Event, Notice, Partial, Progress, finish, within_stack
from ..core.options import shown, with_options
from ..images.stack import ImageStack
from ..linking.config import LinkConfig
from ..results.segmentation import Segmentation, provenance
from .assembly import EntityAssembly
from .channels import fit_channels
from .checkpoint import EntityNetSpec
from .config import EntityConfig
from .diameter import at_diameter
from .engine import described, name_of, with_engine
from .frame_tasks import (
    Crew,
    Frame,
    TaskContext,
    fits,
    image_at_scale,
    iter_whole,
    put_frame,
    within_budget,
)
from .map_cache import keeping
from .open_networks import borrowed
from .scale_choice import iter_scale, scale_note
from .volumes.assembly import VolumeAssembly
from .volumes.run import VolumeRun
from .volumes.way import way_of

if TYPE_CHECKING:
    from ..compute.workers import Workers
    from ..images.intensity import Levels
    from .map_cache import MapCache
    from .network import EntityNetwork
    from .open_networks import Pair


LINK_BYTES = 40
"""Memory of linking per pixel of a frame."""


def iter_segment_entities(
    image: Any,
    *,
    config: EntityConfig | None = None,
    model: tuple[EntityNetwork, Mapping[str, Any]] | None = None,
    metadata_axes: str | None = None,
    scheduler: Any = None,
    unique_ids: bool = False,
    maps: MapCache | None = None,
    **options: Any,
) -> Generator[Event, None, Segmentation]:
    """Segment cells or nuclei, telling what happens on the way.

    Same as :func:`segment_entities`, as a generator: yields :class:`.Progress`,
    :class:`.Notice` and, for each finished frame or block of a large one, :class:`.Partial`;
    returns the whole :class:`.Segmentation`.  Closing it cancels; what was yielded stays valid.

    Parameters
    ----------
    image, config, scheduler, unique_ids, **options
        As in :func:`segment_entities`.
    model : tuple of network and info, optional
        From :func:`~napari_kindred.entities.checkpoint.load_network`, in place of
        ``config.weights``.
    metadata_axes : str, optional
        What a file or layer says about the axes; weighed when ``axes`` are guessed.
    maps : MapCache, optional
        Keeps the network's maps of frames that this process segments; a run on the same frames with
        another threshold, area or score then needs no network.
    """
    start = time.perf_counter()
    asked = with_options(EntityConfig, config, options)
    frames = ImageStack.open(image, asked.axes, asked.channel, metadata_axes)
    config = at_diameter(asked, frames.scale, frames.units)
    link = _link_config(config, frames)
    notes = list(frames.notes)
    for note in notes:
        yield Notice(note)
    yield Progress(0, len(frames), "loading the weights", 0, len(frames))
    with (
        open_workers(scheduler, config.device) as workers,
        _opened(model, config.weights, workers) as (network, info),
    ):
        network = keeping(with_engine(network, config.engine, workers.device), maps)
        engine = name_of(network)
        averaged = fit_channels(frames, config.weights, asdict(network.config))
        way = way_of(config, frames, network)
        assembly: EntityAssembly = (
            EntityAssembly(frames, config.memory, unique_ids)
            if way.name == "slices"
            else VolumeAssembly(frames, config.memory)
        )
        fitting, side, smaller = within_budget(config, workers.device, frames.plane_shape, engine)
        for note in filter(None, (averaged, *way.notes, assembly.note, smaller)):
            notes.append(note)
            yield Notice(note)
        context = TaskContext(network, fitting, frames)
        spec = EntityNetSpec.of(info, config.weights)
        same = replace(fitting, engine=engine)  # others would choose their own
        opener = partial(TaskContext.open, spec, same, workers.image(frames), config.device)
        crew = Crew(workers, context, opener, assembly)
        found: dict[str, Any] = {"learnt": info["learning"]["name"]} if info.get("learning") else {}
        assembly.facts = lambda: provenance(
            method="entities",
            config=asked,
            frames=frames,
            weights=spec.as_dict(),
            seconds=time.perf_counter() - start,
            device=workers.describe(),
            engine=described(network),
            notes=notes,
            encoder=network.config.encoder,
            features=network.config.features,
            **found,
        )
        volumes: VolumeRun | None = None
        if isinstance(assembly, VolumeAssembly):
            found |= {"link_used": way.name, "spacing_used": list(way.spacing)}
            volumes = VolumeRun(frames, network, fitting, way, assembly)
            first, scale, diameter = yield from volumes.iter_scale()
            if diameter is not None:
                yield Notice(scale_note(frames, scale, diameter))
        else:
            first, scale, diameter = yield from iter_scale(frames, context, side)
        found["scale_used"] = scale
        found["typical_diameter"] = None if diameter is None else round(diameter, 1)
        image_at_scale(frames, scale, fitting)
        if frames.level_note:
            notes.append(frames.level_note)
            yield Notice(frames.level_note)
        if volumes is not None:
            job = _iter_volumes(frames, crew, volumes, scale, side)
        else:
            job = _iter_frames(frames, crew, [1.0] * first + [scale] * (len(frames) - first), side)
        for event in job:
            if isinstance(event, Partial) and event.note and event.note not in notes:
                notes.append(event.note)
                yield Notice(event.note)
            yield event
        fault = _fault_in_linking(frames, config)
        if link is not None and fault:
            notes.append(fault)
            yield Notice(fault)
        elif link is not None:
            found["link"] = link
            steps = None if frames.scale is None else frames.scale[1:]
            yield from assembly.iter_link(link, steps if volumes is None else way.spacing)
    return assembly.result()


def _link_config(config: EntityConfig, frames: ImageStack) -> LinkConfig | None:
    """Return the options by which frames are linked, None if they are not."""
    if config.link in ("off", "z", "3-D"):
        return None
    if config.link == "auto":
        return LinkConfig(memory=config.memory) if "T" in frames.leading_axes else None
    if frames.leading_axes != "T":
        raise OptionError(
            f"link='time' needs a movie of planes, TYX, but the frames of this image are those of "
            f"{frames.leading_axes or 'a single plane'}; give link='auto'."
        )
    return LinkConfig(memory=config.memory)


def _fault_in_linking(frames: ImageStack, config: EntityConfig) -> str:
    """Return why frames cannot be linked, one sentence, if so."""
    shape = [
        n for n, axis in zip(frames.output_shape, frames.output_axes, strict=True) if axis != "T"
    ]
    needed = LINK_BYTES * math.prod(shape)
    if needed <= memory_budget(config.memory):
        return ""
    return (
        f"Frames are not linked: that would take {needed / 2**30:.1f} GB; allow more memory, or "
        "link labels of lower resolution."
    )


def _opened(model: Any, weights: str, workers: Workers) -> AbstractContextManager[Pair]:
    """Return the network that was given, or one that is open or loaded, and what is known of it."""
    if model is None:
        return borrowed(weights, workers.device)
    match model:
        case (network, Mapping()) if hasattr(network, "scoring"):
            return nullcontext(model)
    raise OptionError(f"model={shown(model)} is not the pair that load_network returns.")


def _iter_volumes(
    frames: ImageStack, crew: Crew, volumes: VolumeRun, scale: float, side: int
) -> Generator[Event, None, None]:
    """Segment all volumes, in 3-D or by stitching their slices."""
    if volumes.way.name == "3-D":
        yield from volumes.iter_views(scale)
        return
    levels = yield from volumes.iter_levels()
    yield from _iter_frames(frames, crew, [scale] * len(frames), side, levels)
    yield from volumes.iter_stitched()


def _iter_frames(
    frames: ImageStack,
    crew: Crew,
    scales: Sequence[float],
    side: int,
    levels: Mapping[tuple[int, ...], Levels] | None = None,
) -> Generator[Event, None, None]:
    """Segment all frames, each at its scale; ``levels`` become 0 and 1, by default its own."""
    indices, config = list(frames.indices()), crew.context.config
    levels = levels or {}
    all_frames = [Frame(frames, index, side, levels=levels.get(index)) for index in indices]
    whole = {scale: fits(frames, scale, config, side) for scale in set(scales)}

    def calls() -> Iterator[tuple[Any, ...]]:
        for frame, scale in zip(all_frames, scales, strict=True):
            if whole[scale]:
                image = image_at_scale(frames, scale, config)
                at = crew.workers.frame(image, frame.index)
                yield at, frame.number, scale, frames.plane_shape, frame.levels

    jobs = crew.jobs(iter_whole, calls())
    for number, (frame, scale) in enumerate(zip(all_frames, scales, strict=True)):
        place = (number, len(frames))
        job = next(jobs) if whole[scale] else None
        yield Progress(number, len(frames), "reading", *place)
        put = put_frame(frame.at_scale(scale, config), crew, scale, job)
        yield (yield from within_stack(put, *place))
        yield Progress(number + 1, len(frames), "done", number + 1, len(frames))


def segment_entities(
    image: Any,
    *,
    config: EntityConfig | None = None,
    model: tuple[EntityNetwork, Mapping[str, Any]] | None = None,
    metadata_axes: str | None = None,
    scheduler: Any = None,
    unique_ids: bool = False,
    **options: Any,
) -> Segmentation:
    """Segment every cell or nucleus of an image or stack: each its own label.

    Projective-sphere features from a network, clustered by mean-shift (Bottom-Up class-agnostic
    segmentation, sections 3 and 4).  Images are read lazily.  A movie is segmented frame by frame,
    and a frame larger than 4096 pixels, or than memory allows, block by block; an object of a
    stack of slices (``Z``) has one label, found in 3-D or stitched, see ``link``.

    Parameters
    ----------
    image : array-like
        numpy, dask, zarr or anything with ``shape``, ``dtype`` and slicing; bool, integer or
        float; ``YX``, ``CYX``, ``TYX``, ``TCYX``, ``ZYX``, ``TZYX`` or RGB(A).  Also what
        :func:`~napari_kindred.images.stack.read_image` returns, or a list of the same image at
        lower and lower resolutions: then what ``scale`` asks for is read, the labels have full
        size.
    config : EntityConfig, optional
        All options at once.
    model : tuple of network and info, optional
        From :func:`~napari_kindred.entities.checkpoint.load_network`.
    metadata_axes : str, optional
        What a file or layer says about the axes; weighed when ``axes`` are guessed.
    scheduler : None, "threads", str, Path, Executor or distributed.Client
        Who segments the frames, or the blocks of large ones: this process; up to four of its
        threads; or the workers of a Dask cluster, by the address of its scheduler, its scheduler
        file, or a client.  The labels are the same.
    unique_ids : bool
        Whether ids that are not linked count on from frame to frame, as in a layer of napari, and
        not from 1 in each.
    **options
        Single fields of :class:`~napari_kindred.entities.config.EntityConfig`, for example
        ``axes="TYX"``, ``channel=0``, ``scale=0.5``, ``spacing=(2, 0.5, 0.5)``.

    Returns
    -------
    Segmentation
        Labels of the image's time, slice and plane axes, int32; a table with a row per entity;
        provenance. Those of a movie are linked: an id is that of a track, and ``tracks`` has a
        row per track.  Objects of slices have a ``volume`` in voxels, a ``surface`` in pixels
        squared and a ``centroid_z`` instead of an ``area``.

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
            image,
            config=config,
            model=model,
            metadata_axes=metadata_axes,
            scheduler=scheduler,
            unique_ids=unique_ids,
            **options,
        )
    )
