"""Consistent clustering of a movie: the public function and its generator.

Two passes.  The first encodes every frame once, clusters batch by batch, and keeps a frame's
reduced tokens on disk; the second labels them.  Memory holds one batch, whatever the movie.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..config import ConsistentConfig
from ..device import describe, select
from ..encoders.grid import iter_encode
from ..encoders.registry import open_encoder
from ..errors import InputError, OptionError
from ..events import Event, Notice, Partial, Progress, finish
from ..images import Frames, intensity_range, normalise_to
from ..options import with_options
from ..results import provenance
from .hierarchy import HierarchicalClustering, look_at
from .labelling import Labeller
from .result import ClusterAssembly, ClusterSegmentation, count_pixels
from .spool import Spool

if TYPE_CHECKING:
    from ..encoders.base import Encoder
    from ..encoders.grid import FrameTokens

LABELLING = 0.3
"""What labelling a frame costs, compared with encoding it; for the progress bar only."""

_ESTIMATOR = (
    "n_clusters", "batch_size", "n_local", "n_components", "preset", "overlap", "weighting",
    "carry_over", "reassign", "background", "seed",
)  # fmt: skip


def make_model(config: ConsistentConfig) -> HierarchicalClustering:
    """Return the estimator, not fitted, that a config describes."""
    return HierarchicalClustering(**{name: getattr(config, name) for name in _ESTIMATOR})


def iter_cluster_stack(
    image: Any,
    *,
    config: ConsistentConfig | None = None,
    model: HierarchicalClustering | str | Path | None = None,
    metadata_axes: str | None = None,
    **options: Any,
) -> Generator[Event, None, ClusterSegmentation]:
    """Cluster a movie, telling what happens on the way.

    Same as :func:`cluster_stack`, as a generator.  Yields
    :class:`~napari_kindred.events.Progress`, :class:`~napari_kindred.events.Notice` and
    :class:`~napari_kindred.events.Partial`: each frame first with provisional labels, which a
    first look at frames spread over the movie decides and which mean the same in all frames, and
    later with its final ones.

    Parameters
    ----------
    image, config, model, **options
        As in :func:`cluster_stack`.
    metadata_axes : str, optional
        What a file or layer says about the axes; weighed when ``axes`` are guessed.
    """
    start = time.perf_counter()
    config = with_options(config or ConsistentConfig(), options)
    frames = Frames.open(image, config.axes, config.channel, metadata_axes)
    run = _Run(frames, config)
    try:
        if frames.axes_note:
            yield run.note(frames.axes_note)
        if len(frames) == 1:
            yield run.note("There is only one frame, so there is no time to be consistent over.")
        yield run.progress(0, "loading the encoder")
        given = HierarchicalClustering.load(model) if isinstance(model, str | Path) else model
        device = select(config.device)
        run.encoder = open_encoder(config.encoder, stride=config.stride, device=device)
        if config.refinement == "decoder" and run.encoder.decoder is None:
            raise OptionError(
                f"refinement='decoder' needs an encoder with a mask decoder, which "
                f"{config.encoder!r} has not; choose a SAM, or refinement='edges'."
            )
        if given is not None:
            run.check_model(given)
        yield from run.choose_range(given)
        if given is None:
            fitted = make_model(config)
            yield from run.fit(fitted)
        else:
            fitted = given
            yield from run.encode_all(fitted)
        assembly = yield from run.label(fitted, fitted_here=given is None)
    finally:
        run.close()
    facts = provenance(
        method="consistent",
        config=config,
        frames=frames,
        weights={"name": config.encoder, "sha256": run.encoder.sha256},
        seconds=time.perf_counter() - start,
        device=describe(device),
        notes=run.notes,
        encoder=run.encoder.name,
        licence=run.encoder.licence,
        clusters=fitted.n_labels_,
        intensity_range=list(run.range),
    )
    return assembly.segmentation(facts)


class _Run:
    """One run over one movie."""

    encoder: Encoder

    def __init__(self, frames: Frames, config: ConsistentConfig) -> None:
        self.frames, self.config = frames, config
        self.indices = list(frames.indices())
        self.notes: list[str] = []
        self.range = (0.0, 0.0)
        self._reduced, self._embeddings = Spool(), Spool()
        self._step = (1.0, 1.0)
        self._valid: np.ndarray | None = None

    def close(self) -> None:
        """Delete what is on disk."""
        self._reduced.close()
        self._embeddings.close()

    # -- telling ----------------------------------------------------------------------------

    def note(self, text: str) -> Notice:
        self.notes.append(text)
        return Notice(text)

    def progress(self, done: float, what: str, frame: int = 0) -> Progress:
        count = len(self.indices)
        return Progress(done, count * (1 + LABELLING) + 1e-9, what, frame, count)

    # -- reading ----------------------------------------------------------------------------

    def choose_range(self, model: HierarchicalClustering | None) -> Generator[Event, None, None]:
        """Decide which intensities become 0 and 1: the model's own, unless they do not fit."""
        yield self.progress(0, "measuring the intensities")
        low, high = intensity_range(self.frames)
        if not high > low:
            empty = "no finite value" in self.frames.read(self.indices[0]).note
            what = "no finite value" if empty else f"the same value ({low:g}) everywhere"
            raise InputError(
                f"The movie has {what}, so there is nothing to tell apart; check channel and axes."
            )
        self.range = (low, high)
        stored = model.intensity_ if model is not None else None
        if stored is None:
            return
        width = max(stored[1] - stored[0], 1e-12)
        if 0.5 < (high - low) / width < 2 and abs(low - stored[0]) < 0.5 * width:
            self.range = stored
        else:
            yield self.note(
                "The intensities differ from those that the model was made with, so the movie's "
                "own range is used."
            )

    def read(self, number: int) -> tuple[np.ndarray, np.ndarray, str]:
        """Return a frame normalised (H, W, C), its grey intensities (H, W), and a note."""
        raw = self.frames.read(self.indices[number])
        return normalise_to(raw.pixels, *self.range), raw.pixels.mean(-1), raw.note

    def encode(
        self, number: int, done: float, what: str, frame: int
    ) -> Generator[Event, None, tuple[FrameTokens, np.ndarray]]:
        """Encode a frame; progress counts from ``done`` to ``done + 1``."""
        pixels, grey, note = self.read(number)
        if note and note not in self.notes:
            yield self.note(note)
        job = iter_encode(self.encoder, pixels, large=self.config.large, tile=self.config.tile)
        while True:
            try:
                event = next(job)
            except StopIteration as stop:
                tokens: FrameTokens = stop.value
                break
            if isinstance(event, Notice):
                yield self.note(event.text)
            else:
                share = event.done / max(event.total, 1e-9)
                yield self.progress(done + 0.99 * share, what, frame)
        self._step, self._valid = tokens.step, tokens.valid
        return tokens, grey

    # -- first pass -------------------------------------------------------------------------

    def fit(self, model: HierarchicalClustering) -> Generator[Event, None, None]:
        """Encode all frames, cluster them batch by batch, keep their reduced tokens."""
        count, size = len(self.indices), self.config.batch_size
        model.reset()
        model.intensity_ = self.range
        model.encoder_ = {
            "name": self.encoder.name,
            "sha256": self.encoder.sha256,
            "stride": self.encoder.stride,
            "dimension": self.encoder.dimension,
        }
        known: dict[int, FrameTokens] = {}
        encoded = 0
        if model.preset == "default":
            for number in look_at(count):
                known[number], _ = yield from self.encode(number, encoded, "looking", 0)
                encoded += 1
                yield self.progress(encoded, "looking")
            model.look([_tokens(known[number]) for number in known])
        for first in range(0, count, size):
            batch, greys = [], []
            for number in range(first, min(first + size, count)):
                if number in known:
                    tokens, grey = known.pop(number), self.read(number)[1]
                    self._step, self._valid = tokens.step, tokens.valid
                else:
                    tokens, grey = yield from self.encode(number, encoded, "encoding", first)
                    encoded += 1
                batch.append(_tokens(tokens))
                greys.append(grey)
                self._keep(tokens)
            yield self.progress(encoded, "clustering", first)
            model.partial_fit(batch)
            for kept in model.reduced_ or batch:
                self._reduced.append(kept)
            for place, (reduced, grey) in enumerate(zip(model.reduced_, greys, strict=False)):
                yield self._provisional(first + place, model, reduced, grey)
            yield self.progress(encoded, "encoding", first + len(batch))
        yield self.progress(count, "clustering", count)
        model.finish()

    def _keep(self, tokens: FrameTokens) -> None:
        if self.config.refinement == "decoder":
            if tokens.embedding is None:
                raise OptionError(
                    "refinement='decoder' needs frames encoded in one go; choose large='resize'."
                )
            self._embeddings.append(tokens.embedding)

    def _provisional(
        self, number: int, model: HierarchicalClustering, reduced: np.ndarray, grey: np.ndarray
    ) -> Partial:
        from .labelling import provisional

        labels = provisional(model, reduced, self.frames.plane_shape, self._step)
        table = count_pixels(labels, grey, number)
        return Partial(self.indices[number], labels, table)

    def check_model(self, model: HierarchicalClustering) -> None:
        """Raise InputError or OptionError for a model that cannot label here."""
        if not hasattr(model, "centres_") or model.basis_ is None:
            raise InputError("The model is not fitted; call fit first, or load one.")
        made, here = model.encoder_, self.encoder
        for what, value in (("name", here.name), ("sha256", here.sha256), ("stride", here.stride)):
            if made and made.get(what) != value:
                raise OptionError(
                    f"The model was made with the encoder {made.get('name')!r} at stride "
                    f"{made.get('stride')}, other weights do not fit it; choose that encoder."
                )
        if model.basis_.mean.shape != (here.dimension,):
            raise OptionError(
                f"The model was made of tokens of {len(model.basis_.mean)} values, but those of "
                f"{here.name!r} have {here.dimension}; choose the encoder that it was made with."
            )

    def encode_all(self, model: HierarchicalClustering) -> Generator[Event, None, None]:
        """Encode all frames and keep their reduced tokens; the model is there already."""
        for number in range(len(self.indices)):
            tokens, _ = yield from self.encode(number, number, "encoding", number)
            self._keep(tokens)
            self._reduced.append(model.reduce(_tokens(tokens)))
            yield self.progress(number + 1, "encoding", number + 1)

    # -- second pass ------------------------------------------------------------------------

    def label(
        self, model: HierarchicalClustering, *, fitted_here: bool
    ) -> Generator[Event, None, ClusterAssembly]:
        """Label all frames from their reduced tokens."""
        count = len(self.indices)
        labeller = Labeller(model, self.config, self.encoder.decoder, fitted_here)
        for number in range(count):
            labeller.vote(number, self._reduced.read(number))
            yield self.progress(count + LABELLING * 0.3 * (number + 1), "labelling")
        labeller.decide()
        assembly = ClusterAssembly(self.frames, model)
        for number, index in enumerate(self.indices):
            pixels, grey, note = self.read(number)
            embedding = self._embeddings.read(number) if len(self._embeddings) else None
            leaves = labeller.leaves(
                number, self._reduced.read(number), pixels, self._step, self._valid, embedding
            )
            labels = assembly.add(index, leaves, grey)
            yield Partial(index, labels, assembly.last_rows(), note)
            done = count + LABELLING * (0.3 + 0.7 * (number + 1) / count) * count
            yield self.progress(done, "labelling", number + 1)
        return assembly


def _tokens(tokens: FrameTokens) -> np.ndarray:
    """Return a frame's tokens in single precision."""
    return tokens.values.astype(np.float32, copy=False)


def cluster_stack(
    image: Any,
    *,
    config: ConsistentConfig | None = None,
    model: HierarchicalClustering | str | Path | None = None,
    metadata_axes: str | None = None,
    **options: Any,
) -> ClusterSegmentation:
    """Give the same kind of thing the same label in every frame of a movie, without training.

    Consistent hierarchical clustering (BYOCL) of an encoder's tokens, sharpened to pixels; memory
    does not grow with the movie.

    Parameters
    ----------
    image : array-like
        numpy, dask, zarr or anything with ``shape``, ``dtype`` and slicing; bool, integer or
        float; ``TYX``, ``TCYX``, ``ZYX``, ``YX`` or with RGB(A) samples.
    config : ConsistentConfig, optional
        All options at once.
    model : HierarchicalClustering or path, optional
        A fitted model: nothing is clustered, frames are labelled by its stored clusters.  For new
        frames of a running acquisition, or another movie of the same kind.
    metadata_axes : str, optional
        What a file or layer says about the axes; weighed when ``axes`` are guessed.
    **options
        Single fields of :class:`~napari_kindred.config.ConsistentConfig`, for example
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
            image, config=config, model=model, metadata_axes=metadata_axes, **options
        )
    )
