"""Consistent clustering of a movie: the public function and its generator.

Two passes.  The first encodes every frame that no earlier run has cached, clusters batch by batch,
and spills a frame's reduced tokens to disk; the second labels them.  Memory holds one batch.
"""

from __future__ import annotations

import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..compute.dask_cluster import open_workers
from ..core.background import iter_in_background
from ..core.events import Event, finish
from ..core.options import must_be, with_options
from ..entities.channels import fit_channels
from ..images.stack import ImageStack
from ..models.feature_cache import FeatureCache
from ..results.segmentation import provenance
from .config import ClusterConfig
from .model import HierarchicalClustering
from .pipeline import Run

if TYPE_CHECKING:
    from collections.abc import Generator

    from .result import ClusterSegmentation


def make_model(config: ClusterConfig) -> HierarchicalClustering:
    """Return the estimator, not fitted, that a config describes."""
    names = HierarchicalClustering().get_params()
    return HierarchicalClustering(**{name: getattr(config, name) for name in names})


def iter_cluster_stack(
    image: Any,
    *,
    config: ClusterConfig | None = None,
    model: HierarchicalClustering | str | Path | None = None,
    cache: FeatureCache | None = None,
    metadata_axes: str | None = None,
    scheduler: Any = None,
    **options: Any,
) -> Generator[Event, None, ClusterSegmentation]:
    """Cluster a movie, yielding events.

    Same as :func:`cluster_stack`, as a generator.  Yields
    :class:`~napari_kindred.core.events.Progress`, :class:`~napari_kindred.core.events.Notice` and
    :class:`~napari_kindred.core.events.Partial`: each frame first with provisional labels, which
    come from frames sampled over the movie and mean the same in all frames, and later with its
    final ones.

    Parameters
    ----------
    image, config, model, scheduler, **options
        As in :func:`cluster_stack`.
    cache : FeatureCache, optional
        As in :func:`cluster_stack`.
    metadata_axes : str, optional
        What a file or layer says about the axes; weighed when ``axes`` are guessed.
    """
    start = time.perf_counter()
    config = with_options(ClusterConfig, config, options)
    frames = ImageStack.open(image, config.axes, config.channel, metadata_axes)
    with (
        open_workers(scheduler, config.device) as workers,
        closing(Run(frames, config, workers)) as run,
    ):
        for note in frames.notes:
            yield run.note(note)
        if len(frames) == 1:
            yield run.note("There is only one frame, so there is no time to be consistent over.")
        if run.how.tile < min(config.tile, max(frames.plane_shape)):
            yield run.note(
                f"Memory is short: frames are encoded in tiles of {run.how.tile} pixels."
            )
        given = HierarchicalClustering.load(model) if isinstance(model, str | Path) else model
        must_be("model", given, HierarchicalClustering, "give a fitted one or its file")
        run.facts = lambda: provenance(
            method="clusters",
            config=config,
            frames=frames,
            weights={"name": run.spec.name, "sha256": run.spec.sha256},
            seconds=time.perf_counter() - start,
            device=workers.describe(),
            notes=run.notes,
            encoder=run.encoder.name,
            licence=run.encoder.licence,
            arguments={"model": str(model)} if isinstance(model, str | Path) else {},
            intensity_range=list(run.reader.range),
        )
        opened = partial(run.open, FeatureCache.of(cache), given)
        yield from iter_in_background(opened, "loading the encoder")
        if run.objects is not None or run.encoder.name == "kindred":
            averaged = fit_channels(frames)
            if averaged:
                yield run.note(averaged)
        if given is not None:
            given.check_encoder(run.encoder, run.spec.as_dict())
        yield from run.choose_range(given)
        if given is None:
            fitted = make_model(config)
            yield from run.fit(fitted)
        else:
            fitted = given
            yield from run.encode_all(fitted)
        assembly = yield from run.label(fitted, fitted_here=given is None)
    result: Any = assembly.result({"clusters": fitted.n_labels_})
    return result  # type: ignore[no-any-return]


def cluster_stack(
    image: Any,
    *,
    config: ClusterConfig | None = None,
    model: HierarchicalClustering | str | Path | None = None,
    cache: FeatureCache | None = None,
    metadata_axes: str | None = None,
    scheduler: Any = None,
    **options: Any,
) -> ClusterSegmentation:
    """Give objects of the same kind the same label in every frame of a movie, without training.

    Consistent hierarchical clustering (BYOCL) of an encoder's tokens, sharpened to pixels; memory
    does not grow with the movie.

    Parameters
    ----------
    image : array-like
        numpy, dask, zarr or anything with ``shape``, ``dtype`` and slicing; bool, integer or
        float; ``TYX``, ``TCYX``, ``ZYX``, ``YX`` or with RGB(A) samples.
    config : ClusterConfig, optional
        All options at once.
    model : HierarchicalClustering or path, optional
        A fitted model: nothing is clustered, frames are labelled by its stored clusters.  For new
        frames of a running acquisition, or another movie of the same kind.
    cache : FeatureCache, optional
        Cache of encoded frames; the shared one if left out.  A run that was stopped or killed
        resumes from it, and one with other options of the clustering encodes nothing; the labels
        are the same with and without it.
    metadata_axes : str, optional
        What a file or layer says about the axes; weighed when ``axes`` are guessed.
    scheduler : None, "threads", str, Path, Executor or distributed.Client
        Who encodes the frames: this process; up to four of its threads; or the workers of a Dask
        cluster, by the address of its scheduler, its scheduler file, or a client.  Clusters are
        found here, and the labels are the same.
    **options
        Single fields of :class:`~napari_kindred.clusters.config.ClusterConfig`, for example
        ``axes="TYX"``, ``n_clusters=8``, ``encoder="efficientnet"``.

    Returns
    -------
    ClusterSegmentation
        Labels 1 … n, 1 the largest cluster; a table with a row per cluster; the model, and the
        leaves for :meth:`~.result.ClusterSegmentation.at_level`.

    Raises
    ------
    InputError
        When the movie, its axes or its channel cannot be used, or hold too little to cluster.
    OptionError
        When an option has a value that it cannot take.
    WeightsError
        When the encoder's weights are missing or damaged.

    Examples
    --------
    >>> import napari_kindred as nk
    >>> result = nk.cluster_stack(movie, axes="TYX", n_clusters=12)  # doctest: +SKIP
    >>> coarse = result.at_level(4)  # doctest: +SKIP
    """
    return finish(
        iter_cluster_stack(
            image,
            config=config,
            model=model,
            cache=cache,
            metadata_axes=metadata_axes,
            scheduler=scheduler,
            **options,
        )
    )
