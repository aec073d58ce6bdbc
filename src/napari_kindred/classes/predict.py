"""Classes by name: the public function and its generator."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..compute.dask_cluster import open_workers
from ..core.events import Event, Notice, Progress, finish, within_stack
from ..core.options import must_be, with_options
from ..entities.channels import fit_channels
from ..images.frame import faint_note, frame_name
from ..images.stack import ImageStack
from ..models.feature_cache import FeatureCache
from ..results.assembly import location_for
from ..results.segmentation import provenance
from ..results.spill import SpillStore
from .classifiers import Classifier
from .config import ClassesConfig
from .names import check_names
from .open import SHIPPED, closed, iter_open_classifier, opened
from .result import ClassAssembly, ClassSegmentation, thresholds_of
from .saved_state import Observations

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from ..compute.tasks import FrameAt
    from ..results.spill import Arrays
    from .vocabulary.examples import Example
    from .vocabulary.vocabulary import Vocabulary


POOLED = ("entities", "regions", "pixels")
"""Proposals that the entity network makes."""


def iter_segment_classes(
    image: Any,
    names: Sequence[str] | str,
    *,
    vocabulary: Vocabulary | str | Path | None = None,
    examples: Sequence[Example] | str | Path | None = None,
    clip: str | None = None,
    classifier: Classifier | None = None,
    config: ClassesConfig | None = None,
    cache: FeatureCache | None = None,
    metadata_axes: str | None = None,
    scheduler: Any = None,
    **options: Any,
) -> Generator[Event, None, ClassSegmentation]:
    """Find classes by name, yielding progress; as :func:`segment_classes`.

    Yields :class:`.Progress`, :class:`.Notice` and, for each finished frame, :class:`.Partial`,
    whose table has a row per class.  Closing it cancels; yielded frames stay valid.
    """
    start = time.perf_counter()
    config = with_options(ClassesConfig, config, options)
    names = check_names(names)
    arguments = _as_written(vocabulary, examples, clip, classifier)
    must_be("classifier", classifier, Classifier, "open one, or give a vocabulary")
    frames = ImageStack.open(image, config.axes, config.channel, metadata_axes)
    notes = list(frames.notes)
    for note in notes:
        yield Notice(note)
    yield Progress(0, len(frames), "loading the weights", 0, len(frames))
    cache = FeatureCache.of(cache)
    with open_workers(scheduler, config.device) as workers:
        if classifier is None:
            here = replace(config, device=str(workers.device))
            classifier = yield from iter_open_classifier(
                names, vocabulary, examples, clip, config=here, cache=cache
            )
        if getattr(getattr(classifier, "spec", None), "kind", "") in POOLED:
            averaged = fit_channels(frames)
            if averaged:
                notes.append(averaged)
                yield Notice(averaged)
        colours = classifier.check(names)
        thresholds = classifier.thresholds(names, config.threshold)
        store = SpillStore()
        assembly = ClassAssembly(
            frames.output_shape,
            frames.output_axes,
            names,
            colours,
            location_for(frames, "classes", "class"),
            config.memory,
            frames.scale,
            frames.units,
        )
        assembly.translate = frames.translate
        if assembly.note:
            notes.append(assembly.note)
            yield Notice(assembly.note)
        indices = tuple(frames.indices())

        assembly.observations = Observations(classifier, store, indices, frames.output_shape)
        assembly.facts = lambda: provenance(
            method="classes",
            config=config,
            frames=frames,
            seconds=time.perf_counter() - start,
            device=workers.describe(),
            notes=notes,
            names=names,
            colours=colours,
            thresholds=thresholds_of(thresholds),
            arguments=arguments,
            **classifier.provenance(),
        )
        jobs = workers.jobs(
            iter_observe,
            (classifier, frames),
            partial(_open, closed(classifier), config.device, workers.image(frames)),
            ((workers.frame(frames, index),) for index in indices),
        )
        for number, (index, job) in enumerate(zip(indices, jobs, strict=True)):
            observed = yield from within_stack(job, number, len(frames))
            frames.add_digest(index, observed.digest)
            store.put(number, observed.observations)
            found = classifier.resolve(observed.observations, names, thresholds)
            note = observed.note
            if observed.faint and not note and found.labels.any():
                note = faint_note(frame_name(number if len(frames) > 1 else None))
            if note:
                notes.append(note)
                yield Notice(note)
            yield assembly.add(number, index, found, note)
            yield Progress(number + 1, len(frames), "done", number + 1, len(frames))
        return assembly.result()


def _as_written(vocabulary: Any, examples: Any, clip: Any, classifier: Any) -> dict[str, str]:
    """Return the name or path that defines the names, if there is one."""
    arguments = {"vocabulary": vocabulary, "examples": examples, "clip": clip}
    if classifier is None and all(value is None for value in arguments.values()):
        arguments["vocabulary"] = SHIPPED
    return {kind: str(value) for kind, value in arguments.items() if isinstance(value, str | Path)}


@dataclass(frozen=True)
class ObservedFrame:
    """Observations of a frame, a note on it, and its part of the input's signature."""

    observations: Arrays
    note: str
    digest: bytes
    faint: bool


def iter_observe(
    tool: tuple[Classifier, ImageStack | None], frame: FrameAt
) -> Generator[Progress | Notice, None, ObservedFrame]:
    """Run inference on one frame; the task of :func:`iter_segment_classes`."""
    classifier, frames = tool
    raw = frame.read(frames)
    if raw.empty:
        observations = classifier.nothing((raw.pixels.shape[0], raw.pixels.shape[1]))
    else:
        observations = yield from classifier.iter_observe(raw.normalised())
    return ObservedFrame(observations, raw.note, raw.digest, raw.faint)


def _open(
    classifier: Classifier, device: str, frames: ImageStack | None
) -> tuple[Classifier, ImageStack | None]:
    return opened(classifier, device), frames


def segment_classes(
    image: Any,
    names: Sequence[str] | str,
    *,
    vocabulary: Vocabulary | str | Path | None = None,
    examples: Sequence[Example] | str | Path | None = None,
    clip: str | None = None,
    classifier: Classifier | None = None,
    config: ClassesConfig | None = None,
    cache: FeatureCache | None = None,
    metadata_axes: str | None = None,
    scheduler: Any = None,
    **options: Any,
) -> ClassSegmentation:
    """Find the pixels and objects of the named classes.

    Names are defined in one of three ways: by a vocabulary that was trained on examples (U-SAM), by
    examples given here, or by CLIP (SAM+CLIP, ESC-Net).

    Parameters
    ----------
    image : array-like
        numpy, dask, zarr or anything with ``shape``, ``dtype`` and slicing; bool, integer or
        float; ``YX``, ``CYX``, ``TYX``, ``TCYX``, ``ZYX`` (slice by slice) or RGB(A).
    names : sequence of str, or str
        Names of classes, or one text with commas.  The first becomes label 1, and so on; the rest
        is 0.
    vocabulary : Vocabulary, str or Path, optional
        Trained before: a file, or the name of a shipped one.  ``"microscopy"`` if nothing else
        defines the names.
    examples : sequence of Example, str or Path, optional
        Annotated images, or a folder of them, to train on first.
    clip : str, optional
        A CLIP of open_clip, ``<model>/<pretrained>``, or a file written by ``train classes``.
    classifier : Classifier, optional
        Opened before, in place of these three; see :func:`.open.iter_open_classifier`.
    config : ClassesConfig, optional
        All options at once.
    cache : FeatureCache, optional
        Where proposals are cached, so that a second run of the same image is fast; the shared one
        by default.
    metadata_axes : str, optional
        Axes by the metadata of a file or layer, for the guess of ``axes``.
    scheduler : None, "threads", str, Path, Executor or distributed.Client
        Where frames are processed: in this process; in up to four of its threads; or by the
        workers of a Dask cluster, by the address of its scheduler, its scheduler file, or a
        client.  The labels are the same.
    **options
        Single fields of :class:`~napari_kindred.classes.config.ClassesConfig`, for example
        ``threshold=0.5``.

    Returns
    -------
    ClassSegmentation
        Its ``at_threshold`` and ``with_names`` change it at once.

    Raises
    ------
    InputError
        When the image, its axes or its channel, or the examples cannot be used.
    OptionError
        When an option has a value that it cannot take, or a name is not defined.
    WeightsError
        When weights are missing, damaged or made for something else.

    Examples
    --------
    >>> import napari_kindred as nk
    >>> result = nk.segment_classes(smear, ["red cell", "white cell"])  # doctest: +SKIP
    >>> result.at_threshold(0.9).save("cells.tif")  # doctest: +SKIP
    """
    return finish(
        iter_segment_classes(
            image,
            names,
            vocabulary=vocabulary,
            examples=examples,
            clip=clip,
            classifier=classifier,
            config=config,
            cache=cache,
            metadata_axes=metadata_axes,
            scheduler=scheduler,
            **options,
        )
    )
