"""One run of consistent clustering: frames are read, encoded, clustered, and labelled."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ..device import select
from ..encoders.registry import open_encoder
from ..errors import InputError, OptionError
from ..events import Event, Notice, Partial, Progress
from ..features import content_of
from ..images import intensity_range
from .encoding import Encoding, Halves, Kept, Known, encode_frame
from .labelling import Labeller, provisional
from .look import first_look, look_at
from .reading import Reader
from .result import ClusterAssembly, count_pixels
from .spool import Spool

if TYPE_CHECKING:
    from collections.abc import Generator

    from ..config import ConsistentConfig
    from ..encoders.base import Encoder
    from ..features import FeatureCache
    from ..images import Frames
    from .hierarchy import HierarchicalClustering
    from .latent import Basis

LABELLING = 0.3
"""What labelling a frame costs, compared with encoding it; for the progress bar only."""


class Run:
    """One run over one movie.

    Parameters
    ----------
    frames : Frames
    config : ConsistentConfig

    Attributes
    ----------
    encoder : Encoder
        Open; after :meth:`open`.
    notes : list of str
        What the user was told.
    reader : Reader
    """

    encoder: Encoder
    known: Known

    def __init__(self, frames: Frames, config: ConsistentConfig) -> None:
        self.frames, self.config = frames, config
        self.how = Encoding.of(config)
        self.indices = list(frames.indices())
        self.notes: list[str] = []
        self.reader = Reader(frames)
        self._reduced, self._embeddings = Spool(), Spool()
        self._places: list[int] = []
        self._looked: dict[int, Kept] = {}
        self._passed = 0
        self._step = (1.0, 1.0)
        self._valid: np.ndarray | None = None

    def close(self) -> None:
        """Delete what is on disk, and read nothing more."""
        self._reduced.close()
        self._embeddings.close()
        self.reader.close()

    def open(self, cache: FeatureCache) -> None:
        """Open the encoder, and what is known of its tokens."""
        config = self.config
        device = select(config.device)
        self.encoder = open_encoder(config.encoder, stride=config.stride, device=device)
        if config.refinement == "decoder" and self.encoder.decoder is None:
            raise OptionError(
                f"refinement='decoder' needs an encoder with a mask decoder, which "
                f"{config.encoder!r} has not; choose a SAM, or refinement='edges'."
            )
        self.known = Known(cache, self.encoder, self.how)

    # -- telling ----------------------------------------------------------------------------

    def note(self, text: str) -> Notice:
        """Remember what the user is told."""
        self.notes.append(text)
        return Notice(text)

    def progress(self, done: float, what: str, frame: int = 0) -> Progress:
        """Count frames encoded, and then what is done of labelling them."""
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
        self.reader.range = (low, high)
        stored = model.intensity_ if model is not None else None
        if stored is not None:
            width = max(stored[1] - stored[0], 1e-12)
            if 0.5 < (high - low) / width < 2 and abs(low - stored[0]) < 0.5 * width:
                self.reader.range = stored
            else:
                yield self.note(
                    "The intensities differ from those that the model was made with, so the "
                    "movie's own range is used."
                )

    def frame(
        self, number: int, basis: Basis | None, finished: int, following: int | None
    ) -> Generator[Event, None, tuple[Kept, np.ndarray]]:
        """Return what is kept of a frame, known or encoded, and its intensities (H, W).

        Parameters
        ----------
        number : int
        basis : Basis or None
            The movie's own space; None keeps whole tokens.
        finished : int
            Frames that are done, for the progress.
        following : int or None
            The frame that will be asked for next.
        """
        frame = self.reader.read(number, following)
        if number in self._looked:
            return self._looked.pop(number), frame.grey
        if frame.note and frame.note not in self.notes:
            yield self.note(frame.note)
        content, looked = content_of(frame.pixels), number in self._places
        kept = self.known.get(content, basis, looked)
        what = "encoding" if kept is None else "known"
        if kept is None:
            job = encode_frame(self.encoder, frame.pixels, self.how, basis, looked)
            kept = yield from self._encode(job, finished)
            self.known.put(content, basis, looked, kept)
        self._step, self._valid = kept.step, kept.valid
        self._passed += 1
        yield self.progress(self._passed, what, finished)
        return kept, frame.grey

    def _encode(
        self, job: Generator[Progress | Notice, None, Kept], finished: int
    ) -> Generator[Event, None, Kept]:
        as_asked = True
        while True:
            try:
                event = next(job)
            except StopIteration as stop:
                kept: Kept = stop.value
                return replace(kept, as_asked=as_asked)
            if isinstance(event, Notice):
                as_asked = False
                yield self.note(event.text)
            else:
                share = event.done / max(event.total, 1e-9)
                yield self.progress(self._passed + 0.99 * share, "encoding", finished)

    # -- first pass -------------------------------------------------------------------------

    def fit(self, model: HierarchicalClustering) -> Generator[Event, None, None]:
        """Encode all frames, cluster them batch by batch, keep their tokens."""
        count, size = len(self.indices), self.config.batch_size
        model.reset()
        model.intensity_ = self.reader.range
        model.encoder_ = {
            "name": self.encoder.name,
            "sha256": self.encoder.sha256,
            "stride": self.encoder.stride,
            "dimension": self.encoder.dimension,
        }
        reduces = model.preset == "default"
        if reduces:
            yield from self._look(model)
        for first in range(0, count, size):
            batch, greys = [], []
            for number in range(first, min(first + size, count)):
                kept, grey = yield from self.frame(number, model.basis_, first, number + 1)
                self._keep(kept)
                batch.append(kept.values())
                greys.append(grey)
            yield self.progress(self._passed, "clustering", first)
            if reduces:
                model.partial_fit_reduced(batch)
                for place, (reduced, grey) in enumerate(zip(batch, greys, strict=True)):
                    yield self._provisional(first + place, model, reduced, grey)
            else:
                model.partial_fit(batch)
            yield self.progress(self._passed, "clustering", first + len(batch))
        yield self.progress(count, "clustering", count)
        model.finish()

    def _look(self, model: HierarchicalClustering) -> Generator[Event, None, None]:
        """Let the model look at frames spread over the movie, or take what an earlier look saw."""
        yield self.progress(0, "looking")
        self._places = look_at(len(self.indices))
        contents = [content_of(self.reader.read(place).pixels) for place in self._places]
        seen = self.known.get_look(contents, model.n_components)
        if seen is None:
            seen = yield from self._look_anew(contents, model.n_components)
        basis, tokens = seen
        model.begin(basis, tokens)

    def _look_anew(
        self, contents: list[str], n_components: int
    ) -> Generator[Event, None, tuple[Basis, Halves]]:
        """Encode the frames that are looked at, whose whole tokens are on disk meanwhile."""
        with closing(Spool()) as whole:
            rest = []
            for number, place in enumerate(self._places):
                following = [*self._places, None][number + 1]
                kept, _ = yield from self.frame(place, None, 0, following)
                whole.append(kept.tokens)
                rest.append(replace(kept, tokens=kept.tokens[:0]))
            basis, tokens = first_look(whole, n_components)
            for number, (place, content) in enumerate(zip(self._places, contents, strict=True)):
                kept = replace(rest[number], tokens=whole[number].astype(np.float16)).reduced(basis)
                self.known.put(content, basis, True, kept)
                self._looked[place] = kept
        self.known.put_look(contents, n_components, basis, tokens)
        for content in contents:
            self.known.drop_whole(content)
        return basis, tokens

    def _keep(self, kept: Kept) -> None:
        self._reduced.append(kept.tokens)
        if kept.embedding is not None:
            self._embeddings.append(kept.embedding)

    def _provisional(
        self, number: int, model: HierarchicalClustering, reduced: np.ndarray, grey: np.ndarray
    ) -> Partial:
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
            kept, _ = yield from self.frame(number, model.basis_, number, number + 1)
            self._keep(kept)

    # -- second pass ------------------------------------------------------------------------

    def label(
        self, model: HierarchicalClustering, *, fitted_here: bool
    ) -> Generator[Event, None, ClusterAssembly]:
        """Label all frames from their reduced tokens."""
        count = len(self.indices)
        labeller = Labeller(model, self.config, self.encoder.decoder, fitted_here)
        for number in range(count):
            labeller.vote(number, self._reduced[number])
            yield self.progress(count + LABELLING * 0.3 * (number + 1), "labelling")
        labeller.decide()
        assembly = ClusterAssembly(self.frames, model)
        for number, index in enumerate(self.indices):
            frame = self.reader.read(number, number + 1)
            embedding = self._embeddings[number] if len(self._embeddings) else None
            leaves = labeller.leaves(
                number, self._reduced[number], frame.pixels, self._step, self._valid, embedding
            )
            labels = assembly.add(index, leaves, frame.grey)
            yield Partial(index, labels, assembly.last_rows(), frame.note)
            done = count + LABELLING * (0.3 + 0.7 * (number + 1) / count) * count
            yield self.progress(done, "labelling", number + 1)
        return assembly
