"""Classes of pixels while they are painted: what is in view is classified after every stroke."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ..config import TeachConfig
from ..vocabulary.mil import NOTHING, Bag
from ..vocabulary.vocabulary import halved
from .describer import at_points, on_grid
from .head import iter_train_pixel_head

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from numpy.typing import NDArray

    from ...core.events import Notice, Progress
    from ...encoders.encode import FrameTokens
    from .describer import PixelDescriber

Window = tuple[slice, slice]
Index = tuple[int, ...]

LEARNT = 400
"""Largest number of pixels of a class that are learnt from after a stroke."""

AROUND = 160
"""Pixels around a window that the encoder sees as well."""

SHOWN = 1 << 18
"""Pixels that are classified one by one; of more every second or third, which is what a screen
shows of them."""


@dataclass(frozen=True, eq=False)
class Strokes:
    """Painted pixels of a frame: ``places`` (N, 2), and ``codes`` (N,) from 0, or NOTHING."""

    index: Index
    places: NDArray[np.intp]
    codes: NDArray[np.int16]


@dataclass(frozen=True, eq=False)
class Described:
    """Features of a window of a frame; filters (h, w, F) are in half precision.

    Tokens begin at ``origin``.
    """

    index: Index
    window: Window
    origin: tuple[int, int]
    filters: NDArray[np.float16]
    tokens: FrameTokens

    def covers(self, index: Index, window: Window) -> bool:
        """Whether it holds all of another window."""
        return index == self.index and all(
            mine.start <= theirs.start and theirs.stop <= mine.stop
            for mine, theirs in zip(self.window, window, strict=True)
        )

    def inside(self, places: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which places (N, 2) lie in it."""
        start, stop = ([getattr(part, end) for part in self.window] for end in ("start", "stop"))
        return np.asarray(((places >= start) & (places < stop)).all(1))

    def vectors(self, places: NDArray[np.intp]) -> NDArray[np.float32]:
        """Return the vectors (N, D) of pixels within it."""
        y, x = (places[:, axis] - part.start for axis, part in enumerate(self.window))
        tokens = at_points(self.tokens, (places - self.origin).astype(np.float64))
        return np.concatenate([self.filters[y, x].astype(np.float32), tokens], 1)


class LivePixels:
    """Learns from strokes and classifies a window, keeping what does not change between strokes."""

    def __init__(self, describer: PixelDescriber) -> None:
        self._describer = describer
        self._kept: Described | None = None
        self._scales: dict[Index, float] = {}
        self._vectors: dict[tuple[Index, int, int], NDArray[np.float32]] = {}

    def iter_show(
        self,
        pixels: Callable[[Index], NDArray[np.float32]],
        index: Index,
        window: Window,
        strokes: Sequence[Strokes],
        classes: int,
    ) -> Generator[Progress | Notice, None, NDArray[np.int32]]:
        """Learn from all strokes, and classify a window of a frame.

        Parameters
        ----------
        pixels : callable
            Returns the pixels (H, W, C) of a frame, of about 0..1; called only for what is new.

        Returns
        -------
        ndarray of int32, shape (h, w)
            Of the window: 1 is the first class, 0 none of them.

        Raises
        ------
        InputError
            While a single class is painted.
        """
        if self._kept is None or not self._kept.covers(index, window):
            self._kept = yield from self._iter_describe(pixels(index), index, window)
        kept = self._kept
        bags = []
        for one in strokes:
            chosen = _some(one.codes)
            places = one.places[chosen]
            yield from self._iter_learn_vectors(pixels, one.index, places, kept)
            vectors = [self._vectors[one.index, y, x] for y, x in places.tolist()]
            known = np.ones(classes, bool)
            bags.append(Bag(halved(np.stack(vectors)), one.codes[chosen], None, known))
        head = yield from iter_train_pixel_head(
            bags, classes, self._describer.filters, TeachConfig()
        )
        step = max(1, round((_area(window) / SHOWN) ** 0.5))
        local = tuple(
            slice(part.start - whole.start, part.stop - whole.start, step)
            for part, whole in zip(window, kept.window, strict=True)
        )
        values = kept.filters[local].astype(np.float32)
        # Logits are interpolated, not tokens, which are many times as long.
        short = replace(kept.tokens, values=kept.tokens.values @ head.weights.T)
        logits = on_grid(short, _moved(window, kept.origin), step) + head.bias
        found = head.mixed(values.reshape(-1, values.shape[2]), logits.reshape(-1, len(head.bias)))
        best = found.argmax(1).astype(np.int32) + 1
        best[best > classes] = 0
        coarse = best.reshape(values.shape[:2]).repeat(step, 0).repeat(step, 1)
        height, width = (part.stop - part.start for part in window)
        labels: NDArray[np.int32] = coarse[:height, :width]
        return labels

    def _iter_describe(
        self, pixels: NDArray[np.float32], index: Index, window: Window
    ) -> Generator[Progress | Notice, None, Described]:
        scale = yield from self._iter_scale(pixels, index)
        filters = yield from self._describer.iter_filters(pixels, window)
        y, x = (max(0, part.start - AROUND) for part in window)
        around = pixels[y : window[0].stop + AROUND, x : window[1].stop + AROUND]
        tokens = yield from self._describer.iter_tokens(around, scale=scale)
        return Described(index, window, (y, x), filters, tokens)

    def _iter_scale(
        self, pixels: NDArray[np.float32], index: Index
    ) -> Generator[Progress, None, float]:
        """Return the scale at which a frame is encoded, chosen once."""
        if index not in self._scales:
            scale, sure = yield from self._describer.iter_cells(pixels)
            self._scales[index] = scale if sure else 1.0
        return self._scales[index]

    def _iter_learn_vectors(
        self,
        pixels: Callable[[Index], NDArray[np.float32]],
        index: Index,
        places: NDArray[np.intp],
        kept: Described,
    ) -> Generator[Progress | Notice, None, None]:
        """Describe the pixels of strokes that are new, those out of view from the image."""
        new = np.array([(index, y, x) not in self._vectors for y, x in places.tolist()], bool)
        here = new & kept.inside(places) & (index == kept.index)
        for chosen in (here, new & ~here):
            some = places[chosen]
            if len(some):
                if chosen is here:
                    vectors = kept.vectors(some)
                else:
                    frame = pixels(index)
                    scale = yield from self._iter_scale(frame, index)
                    vectors = yield from self._describer.iter_vectors(frame, some, scale)
                self._vectors |= {
                    (index, y, x): vector
                    for (y, x), vector in zip(some.tolist(), vectors, strict=True)
                }


def _some(codes: NDArray[np.int16]) -> NDArray[np.intp]:
    """Choose at most so many pixels of each class, the same for the same strokes."""
    random = np.random.default_rng(0)
    parts = []
    for code in np.unique(codes):
        places = np.flatnonzero(codes == code)
        parts.append(random.permutation(places)[:LEARNT])
    return np.sort(np.concatenate(parts))


def _area(window: Window) -> int:
    return int(window[0].stop - window[0].start) * int(window[1].stop - window[1].start)


def _moved(window: Window, origin: tuple[int, int]) -> Window:
    rows, columns = (
        slice(part.start - start, part.stop - start)
        for part, start in zip(window, origin, strict=True)
    )
    return rows, columns


def strokes_of(labels: NDArray[np.integer], index: Index, background: int) -> Strokes:
    """Return the strokes of a painted frame (Y, X): 1 is the first class, 0 is not painted.

    ``background`` is the number of what is no class.
    """
    places = np.argwhere(labels > 0)
    codes = labels[tuple(places.T)].astype(np.int16) - 1
    codes[codes == background - 1] = NOTHING
    return Strokes(index, places, codes)
