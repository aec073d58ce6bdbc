"""One run of consistent clustering: frames are read, encoded, clustered, and labelled."""

from __future__ import annotations

from collections import deque
from contextlib import closing
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from ..compute.device import trim
from ..core.errors import InputError
from ..core.events import Event, Notice, Progress
from ..encoders.registry import EncoderSpec, open_encoder
from ..images.frame import faint_note, frame_name
from ..images.intensity import is_wide
from ..images.ranges import alike, intensity_range
from ..models.feature_cache import content_of
from ..results.spill import SpillFile
from .assembly import ClusterAssembly
from .foreground import shipped_network
from .frame_features import (
    Encoding,
    FeatureLookup,
    FrameFeatures,
    TaskContext,
    iter_features,
)
from .kmeans import nearest
from .labelling import Labeller
from .object_labelling import ObjectLabeller
from .object_stage import FOUND, NOT_FOUND, ObjectStage
from .orientation import iter_without_orientation
from .prefetch import Frame, Reader
from .prepass import fit_on_sample, sample_places
from .refine import refine_none
from .refine_sam import DecoderOutlines
from .result import count_pixels

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    from ..compute.workers import Job, Workers
    from ..encoders.base import Encoder
    from ..entities.checkpoint import EntityNetSpec
    from ..images.stack import ImageStack
    from ..models.feature_cache import FeatureCache
    from .config import ClusterConfig
    from .kmeans import Basis
    from .model import HierarchicalClustering
    from .prepass import Sample

TRIMMED = 16
"""Number of frames after which freed memory is given back, if they come one by one."""

LABELLING = 0.3
"""Cost of labelling a frame compared with encoding it; for the progress bar only."""


class Run:
    """One run over one movie."""

    encoder: Encoder
    spec: EncoderSpec
    lookup: FeatureLookup
    objects: ObjectStage | None = None
    """Finds objects first; None if there are none, which is known once frames were sampled."""
    network_spec: EntityNetSpec | None = None

    def __init__(self, frames: ImageStack, config: ClusterConfig, workers: Workers) -> None:
        self.frames, self.config, self.workers = frames, config, workers  # workers encode
        self.how = Encoding.of(config)
        self.indices = list(frames.indices())
        self.notes: list[str] = []
        self.reader = Reader(frames)
        self.facts: Callable[[], dict[str, Any]] = dict  # provenance of the labels so far
        self._assembly: ClusterAssembly | None = None
        self._reduced, self._embeddings = SpillFile(), SpillFile()
        self._stage: ObjectStage | None = None
        self._places: list[int] = []
        self._sampled: dict[int, FrameFeatures] = {}
        self._passed, self._finished = 0, 0
        self._told_faint = False
        self._step = (1.0, 1.0)
        self._valid: np.ndarray | None = None

    def close(self) -> None:
        """Delete what is on disk, and stop reading."""
        self._reduced.close()
        self._embeddings.close()
        if self._stage is not None:
            self._stage.close()
        self.reader.close()

    def open(self, cache: FeatureCache, model: HierarchicalClustering | None = None) -> None:
        """Open the encoder, the network that finds objects if needed, and the cached features."""
        config = self.config
        self.encoder = open_encoder(
            config.encoder, stride=config.stride, device=self.workers.device
        )
        wanted = config.background in ("auto", "objects") and not config.unfit_for_objects()
        if wanted if model is None else getattr(model, "objects_", False):
            network, self.network_spec = shipped_network(self.workers.device)
            self.objects = self._stage = ObjectStage(network, self.frames.plane_shape)
        self.how = self.how.for_encoder(config, self.encoder)
        self.spec, self._cache = EncoderSpec.of(self.encoder), cache
        weights = "" if self.network_spec is None else self.network_spec.sha256
        self.lookup = FeatureLookup(cache, self.spec, self.how, weights)

    # -- reporting --------------------------------------------------------------------------

    def note(self, text: str) -> Notice:
        """Record a note and return it for the user."""
        self.notes.append(text)
        return Notice(text)

    def progress(self, done: float, what: str, frame: int = 0) -> Progress:
        """Return the progress: frames encoded, then the share of labelling."""
        count = len(self.indices)
        return Progress(done, count * (1 + LABELLING) + 1e-9, what, frame, count)

    # -- reading ----------------------------------------------------------------------------

    def choose_range(self, model: HierarchicalClustering | None) -> Generator[Event, None, None]:
        """Choose the intensities that become 0 and 1: the model's own, unless they do not fit."""
        yield self.progress(0, "measuring the intensities")
        span = intensity_range(self.frames)
        if not is_wide(span):
            empty = "no finite value" in self.frames.read(self.indices[0]).note
            value = float(np.ravel(span)[0])
            what = "no finite value" if empty else f"the same value ({value:g}) everywhere"
            raise InputError(
                f"The movie has {what}, so there is nothing to tell apart; check channel and axes."
            )
        stored = model.intensity_ if model is not None else None
        if stored is not None:
            if alike(span, stored):
                span = stored
            else:
                yield self.note(
                    "The intensities differ from those that the model was made with, so the "
                    "movie's own range is used."
                )
        self.reader.range = span
        read_there = self.workers.remote and not self.workers.sends(self.frames)
        movie = self.frames if read_there else None
        network = None if self.objects is None else self.objects.network
        self._context = TaskContext(self.encoder, self.lookup, self.how, movie, span, network)
        self._opener = partial(
            TaskContext.open, self.spec, self._cache, self.how, movie, span, self.network_spec
        )

    def features(
        self, numbers: Sequence[int], basis: Basis | None
    ) -> Iterator[Generator[Event, None, tuple[FrameFeatures, np.ndarray]]]:
        """Yield a job for each frame: its features, and its intensities (H, W)."""
        read: deque[tuple[np.ndarray, str]] = deque()
        following = dict(zip(numbers, [*numbers[1:], None], strict=True))
        ready = set(self._sampled)

        def calls() -> Iterator[tuple[Any, ...]]:
            for number in numbers:
                if number in ready:
                    continue
                frame = self.reader.read(number, following[number])
                read.append((frame.grey, frame.note or self._faint_note(frame, number)))
                pixels = frame.pixels if self._context.frames is None else None
                sampled, maps = number in self._places, self.objects is not None
                yield self.indices[number], pixels, basis, sampled, maps

        jobs = self.workers.jobs(iter_features, self._context, self._opener, calls())
        for number in numbers:
            if number in ready:
                grey = self.reader.read(number, following[number]).grey
                yield self._encoded(self._sampled.pop(number), grey)
            else:
                yield self._encode(next(jobs), *read.popleft())

    def _faint_note(self, frame: Frame, number: int) -> str:
        """Return what to say of the first frame that is faint; all of them are clustered."""
        if not frame.faint or self._told_faint:
            return ""
        self._told_faint = True
        return faint_note(frame_name(number if len(self.indices) > 1 else None))

    def _encoded(
        self, features: FrameFeatures, grey: np.ndarray
    ) -> Generator[Event, None, tuple[FrameFeatures, np.ndarray]]:
        yield from ()
        return features, grey

    def _encode(
        self, job: Job[tuple[FrameFeatures, bool]], grey: np.ndarray, note: str
    ) -> Generator[Event, None, tuple[FrameFeatures, np.ndarray]]:
        if note and note not in self.notes:
            yield self.note(note)
        while True:
            try:
                event = next(job)
            except StopIteration as stop:
                features, cached = stop.value
                break
            if isinstance(event, Notice):
                yield self.note(event.text)
            elif isinstance(event, Progress):
                share = event.done / max(event.total, 1e-9)
                yield self.progress(self._passed + 0.99 * share, "encoding", self._finished)
        self._step, self._valid = features.step, features.valid
        self._passed += 1
        yield self.progress(self._passed, "cached" if cached else "encoding", self._finished)
        return features, grey

    # -- first pass -------------------------------------------------------------------------

    def fit(self, model: HierarchicalClustering) -> Generator[Event, None, None]:
        """Encode all frames, cluster them batch by batch, and spill their tokens."""
        count, size = len(self.indices), self.config.batch_size
        model.reset()
        model.intensity_ = self.reader.range
        model.encoder_ = {**self.spec.as_dict(), "dimension": self.encoder.dimension}
        reduces = model.preset == "default"
        if reduces:
            yield from self._fit_on_sample(model)
        jobs = self.features(range(count), model.basis_)
        for first in range(0, count, size):
            batch, greys, objects = [], [], []
            self._finished = first
            for job in islice(jobs, size):
                features, grey = yield from job
                self._spill(features)
                batch.append(features.values())
                greys.append(grey)
                if self.objects is not None:
                    objects.append(self.objects.find(features))
            yield self.progress(self._passed, "clustering", first)
            if reduces:
                if self.objects is not None:
                    provisional = self.objects.fit(model, batch, objects, self._step, first)
                else:
                    provisional = self._fit_tokens(model, batch)
                assembly = yield from self._assemble()
                for number, (labels, grey) in enumerate(
                    zip(provisional, greys, strict=True), first
                ):
                    table = count_pixels(labels, grey, number)
                    table = table[table["index"] > 0]
                    yield assembly.add_provisional(self.indices[number], labels, table)
            else:
                model.partial_fit(batch)
            trim()
            yield self.progress(self._passed, "clustering", first + len(batch))
        yield self.progress(count, "clustering", count)
        model.finish()

    def _fit_tokens(
        self, model: HierarchicalClustering, batch: list[np.ndarray]
    ) -> Iterator[np.ndarray]:
        """Cluster the tokens of a batch of frames; yields provisional labels (H, W) of each."""
        model.partial_fit_reduced(batch)
        for reduced in batch:
            nearest_first = nearest(reduced, model.first_) + 1  # 1 the largest
            yield refine_none(nearest_first, self._step, self.frames.plane_shape)

    def _fit_on_sample(self, model: HierarchicalClustering) -> Generator[Event, None, None]:
        """Fit the model on frames spread over the movie, or on the cached sample of them."""
        yield self.progress(0, "sampling")
        self._places = sample_places(len(self.indices))
        contents = [content_of(self.reader.read(place).pixels) for place in self._places]
        wanted = None if self.config.background == "auto" else True
        wanted = False if self.objects is None else wanted
        sample = self.lookup.get_sample(contents, model.n_components, wanted)
        if sample is None:
            sample = yield from self._encode_sample(contents, model.n_components, wanted)
        model.begin(sample)
        if self.objects is not None:
            yield self.note(FOUND if sample.objects else NOT_FOUND)
            if sample.objects:
                self.objects.begin(model)
            else:
                self.objects = None

    def _encode_sample(
        self, contents: list[str], n_components: int, wanted: bool | None
    ) -> Generator[Event, None, Sample]:
        """Encode the sampled frames, whose whole tokens are on disk meanwhile."""
        with closing(SpillFile()) as whole:
            rest = []
            for job in self.features(self._places, None):
                features, _ = yield from job
                whole.append(features.tokens)
                rest.append(replace(features, tokens=features.tokens[:0]))
            objects = None
            if self.objects is not None and self.objects.present(rest, bool(wanted)):
                objects = [self.objects.find(one) for one in rest]
            sample = fit_on_sample(whole, n_components, objects, self._step)
            if objects is not None:
                ends = sorted({0, len(objects) - 1})
                frames = (
                    (self.reader.read(self._places[i]).pixels, whole[i], objects[i]) for i in ends
                )
                sample = yield from iter_without_orientation(
                    self.encoder, self.how, sample, frames, self._step
                )
            for content in contents:  # first, because a small cache has no room for both
                self.lookup.drop_whole(content)
            self.lookup.put_sample(contents, n_components, sample, wanted is None)
            for number, (place, content) in enumerate(zip(self._places, contents, strict=True)):
                features = replace(rest[number], tokens=whole[number].astype(np.float16)).reduced(
                    sample.basis
                )
                self.lookup.put(content, sample.basis, True, features)
                self._sampled[place] = features
        return sample

    def _spill(self, features: FrameFeatures) -> None:
        self._reduced.append(features.tokens)
        if features.embedding is not None:
            self._embeddings.append(features.embedding)

    def _assemble(self) -> Generator[Event, None, ClusterAssembly]:
        """Return the assembly, created with the first labels."""
        if self._assembly is None:
            self._assembly = ClusterAssembly(self.frames)
            self._assembly.facts = self.facts
            if self._assembly.note:
                yield self.note(self._assembly.note)
        return self._assembly

    def encode_all(self, model: HierarchicalClustering) -> Generator[Event, None, None]:
        """Encode all frames and spill their reduced tokens, for a model that is given."""
        jobs = self.features(range(len(self.indices)), model.basis_)
        for self._finished, job in enumerate(jobs):
            features, _ = yield from job
            self._spill(features)
            if self.objects is not None:
                self.objects.put(self.objects.find(features))
            if self._finished % TRIMMED == 0:
                trim()

    # -- second pass ------------------------------------------------------------------------

    def label(
        self, model: HierarchicalClustering, *, fitted_here: bool
    ) -> Generator[Event, None, ClusterAssembly]:
        """Label all frames from their reduced tokens."""
        count = len(self.indices)
        objects = self.objects
        labeller: Labeller | ObjectLabeller
        paper = self.config.preset == "paper"
        outlines = DecoderOutlines.of(self.encoder, self.how, self.frames.plane_shape, paper)
        if objects is not None:
            labeller = ObjectLabeller(
                model, objects, self._step, outlines=self.config.refinement != "none"
            )
        else:
            labeller = Labeller(model, self.config, outlines, fitted_here)
        for number in range(count):
            labeller.vote(number, self._reduced[number])
            yield self.progress(count + LABELLING * 0.3 * (number + 1), "labelling")
        labeller.decide()
        assembly = yield from self._assemble()
        assembly.begin(model)
        for number, index in enumerate(self.indices):
            frame = self.reader.read(number, number + 1)
            embedding = self._embeddings[number] if len(self._embeddings) else None
            leaves = labeller.leaves(
                number, self._reduced[number], frame.pixels, self._step, self._valid, embedding
            )
            yield assembly.add(index, leaves, frame.grey, frame.note)
            if number % TRIMMED == 0:
                trim()
            done = count + LABELLING * (0.3 + 0.7 * (number + 1) / count) * count
            yield self.progress(done, "labelling", number + 1)
        if isinstance(labeller, Labeller) and labeller.note:
            yield self.note(labeller.note)
        if fitted_here:  # a given model has its own numbers
            for index in assembly.count_areas():
                assembly.renumber(index)
                yield self.progress(count * (1 + LABELLING), "numbering", count)
            asked = model.asked
            if asked is not None and assembly.clusters < asked:
                yield self.note(
                    f"{asked} {'kinds' if objects else 'clusters'} were asked for, but only "
                    f"{assembly.clusters} have any pixel; more frames, or options that keep small "
                    "objects, may give more."
                )
        return assembly
