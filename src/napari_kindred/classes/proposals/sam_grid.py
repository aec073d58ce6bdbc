"""Proposals from a SAM prompted at the points of a grid, each with its mask tokens.

U-SAM, section on mask embeddings: 10 x 10 points, and for each the decoder's four mask tokens of
256 numbers, concatenated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ...compute.device import halving, inference
from ...core.errors import OptionError
from ...core.events import Notice, Progress, within_stack
from ...encoders.base import fitted_shape
from ...encoders.encode import to_batch
from ...encoders.sam import open_sam
from ...images.tiling import tiles
from ...models.spec import absolute
from ..pixels import check_pixels
from ..sam.decoder import decode
from .base import SPACE, Proposals, ProposerSpec
from .masks import Masks

if TYPE_CHECKING:
    from collections.abc import Generator

    from numpy.typing import ArrayLike, NDArray

    from ...encoders.sam import SamEncoder

BATCH = 32
"""Largest number of points that are decoded together."""

CACHED = 8 << 20
"""Bytes of tokens that are decoded together on a CPU."""

MOST = 10_000
"""Largest number of points of a grid."""

MARGIN = 0.2
"""Width of a tile's margin, in which the next tile's points are decoded, as a share of its side."""

Choice = Literal["best", "all"]
Large = Literal["resize", "tiles"]


@dataclass(frozen=True)
class Predictions:
    """A decoder's output for P points.

    Coarse mask ``logits`` (P, 3, h, w), the predicted IoU of each, ``quality`` (P, 3), and
    ``tokens`` (P, 4, C) of the single mask, then of the three.
    """

    logits: Tensor
    quality: Tensor
    tokens: Tensor


class SamGridSpec(ProposerSpec):
    """How masks of a SAM are proposed."""

    kind = "sam"

    def _open(self, device: str | torch.device) -> SamGrid:
        names = ("points", "masks", "large")
        chosen = {key: self.options[key] for key in names if key in self.options}
        return SamGrid(open_sam(self.encoder, device), **chosen)


class SamGrid:
    """Proposes a SAM's masks at the points of a grid; see :class:`.base.Proposer`.

    The nearest square number of ``points`` is taken, 10 x 10 in the paper.  Of the three ``masks``
    of a point, ``"best"`` takes the one of best predicted quality with the four tokens in their own
    order; ``"all"`` takes each of them, its own token before the three others.  An image larger
    than the SAM's input is scaled down to it (``large="resize"``, as in the paper), or cut into
    overlapping ``"tiles"`` of that size with a grid each, which keeps small objects.
    """

    def __init__(
        self,
        encoder: SamEncoder,
        points: int = 100,
        masks: Choice = "best",
        large: Large = "resize",
    ) -> None:
        if not 1 <= points <= MOST:
            raise OptionError(f"points={points!r} is not possible; use 1 to {MOST}.")
        if masks not in ("best", "all"):
            raise OptionError(f"masks={masks!r} is not possible; use 'best' or 'all'.")
        if large not in ("resize", "tiles"):
            raise OptionError(f"large={large!r} is not possible; use 'resize' or 'tiles'.")
        self._encoder, self._all, self._large = encoder, masks == "all", large
        self._side = max(1, round(points**0.5))
        space = "mask tokens, own first" if self._all else "mask tokens"
        options = {SPACE: space, "points": points, "masks": masks, "large": large}
        self.spec: ProposerSpec = SamGridSpec(absolute(encoder.name), encoder.sha256, options)

    def iter_propose(
        self, pixels: NDArray[np.float32]
    ) -> Generator[Progress | Notice, None, Proposals]:
        """Query every point of the grid; see :meth:`.base.Proposer.iter_propose`.

        Points without a mask give no proposal.
        """
        check_pixels(pixels)
        shape = (pixels.shape[0], pixels.shape[1])
        windows = self._windows(shape)
        parts: list[Proposals] = []
        for number, (window, inner) in enumerate(windows):
            corner = np.array([window[0].start, window[1].start], np.float32)
            job = self._iter_window(pixels[window], grid_points(inner, self._side) - corner)
            part = yield from within_stack(job, number, len(windows))
            boxes = part.masks.boxes + np.tile(corner, 2).astype(np.int32)
            masks = Masks(shape, boxes, part.masks.crops)
            parts.append(replace(part, masks=masks, points=part.points + corner))
        return Proposals.joined(parts)

    def _windows(self, shape: tuple[int, int]) -> list[tuple[Any, Any]]:
        """Return windows to encode, and the part of each in which points are queried."""
        side = self._encoder.input_size
        if self._large == "resize" or side is None or max(shape) <= side:
            whole = (slice(0, shape[0]), slice(0, shape[1]))
            return [(whole, whole)]
        return [(tile.outer, tile.inner) for tile in tiles(shape, side, int(MARGIN * side))]

    def _iter_window(
        self, pixels: NDArray[np.float32], points: NDArray[np.float32]
    ) -> Generator[Progress | Notice, None, Proposals]:
        """Encode a window (h, w, C) once, and decode all of its points (P, 2) in batches."""
        shape = (pixels.shape[0], pixels.shape[1])
        yield Progress(0, 1, "encoding")
        embedding = self._encoder.encode(to_batch(pixels)).values.permute(0, 3, 1, 2)
        enlarge = Enlarger(shape, self._encoder.input_size or 0)
        found: list[Proposals] = []
        start = 0

        def decode_batches(size: int) -> Generator[Progress, None, None]:
            nonlocal start
            while start < len(points):
                yield Progress(0.4 + 0.6 * start / len(points), 1, "asking the SAM")
                some = points[start : start + size]
                predictions = predict_masks(self._encoder.sam, embedding, some, shape)
                found.append(self._choose(predictions, some, enlarge))
                start += len(some)

        yield from halving(
            decode_batches,
            _at_once(embedding),
            smallest=1,
            unit="{} points at a time",
            device=embedding.device,
            advice="choose a smaller SAM or device='cpu'",
        )
        return Proposals.joined(found)

    def _choose(
        self, predictions: Predictions, points: NDArray[np.float32], enlarge: Enlarger
    ) -> Proposals:
        """Take the best mask of each point, or all, and leave out empty ones."""
        count, candidates = predictions.quality.shape
        if self._all:
            rows = torch.arange(count).repeat_interleave(candidates)
            columns = torch.arange(candidates).repeat(count)
            orders = [[k + 1, *(i for i in range(candidates + 1) if i != k + 1)] for k in range(3)]
            tokens = predictions.tokens[rows[:, None], torch.tensor(orders)[columns]]
        else:
            rows, columns = torch.arange(count), predictions.quality.argmax(1)
            tokens = predictions.tokens
        masks = enlarge(predictions.logits[rows, columns].numpy())
        filled = masks.areas > 0
        return Proposals(
            masks.take(filled),
            tokens.flatten(1).numpy()[filled],
            predictions.quality[rows, columns].clamp(0, 1).numpy()[filled],
            points[rows.numpy()][filled],
            self.spec,
        )


def grid_points(inner: tuple[slice, slice], side: int) -> NDArray[np.float32]:
    """Return a grid's points (y, x) in the middles of ``side`` x ``side`` equal parts, (P, 2)."""
    rows, columns = (
        part.start + (np.arange(side) + 0.5) / side * (part.stop - part.start) - 0.5
        for part in inner
    )
    grid = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1)
    return grid.reshape(-1, 2).astype(np.float32)


def predict_masks(
    sam: Any, embedding: Tensor, points: NDArray[np.float32], shape: tuple[int, int]
) -> Predictions:
    """Decode points (P, 2), (y, x), of an embedded (1, C, h, w) image, each by itself."""
    size = fitted_shape(shape, sam.image_encoder.img_size)
    scaled = points * np.array([size[0] / shape[0], size[1] / shape[1]])
    places = torch.tensor(scaled[:, None, ::-1].copy(), dtype=torch.float32, device=sam.device)
    inside = torch.ones(len(points), 1, dtype=torch.int, device=sam.device)
    with inference():
        sparse, dense = sam.prompt_encoder(points=(places, inside), boxes=None, masks=None)
        found = decode(sam, embedding, sparse, dense)
    return Predictions(*(value.float().cpu() for value in found))


def _at_once(embedding: Tensor) -> int:
    """Return how many points are decoded together."""
    if embedding.device.type != "cpu":
        return BATCH
    # The image's tokens are changed for each point; together they should stay in the cache.
    return max(1, min(BATCH, CACHED // (4 * embedding.numel())))


class Enlarger:
    """Enlarges coarse logits to an image's ``shape`` as SAM does, but only where masks are.

    SAM enlarges to its input of ``side`` pixels, cuts the padding off and scales to the image's
    size, both times bilinearly.  Along each axis that is one matrix.
    """

    def __init__(self, shape: tuple[int, int], side: int) -> None:
        self.shape, self._side = shape, side
        self._fitted = fitted_shape(shape, side)
        self._matrices: dict[int, list[NDArray[np.float32]]] = {}

    def __call__(self, logits: NDArray[np.float32]) -> Masks:
        """Return the masks (h, w) of logits (N, h, w), h equal to w, as large as the image."""
        cells = logits.shape[-1]
        if cells not in self._matrices:
            self._matrices[cells] = [
                _interpolation(cells, self._side, fitted, length)
                for fitted, length in zip(self._fitted, self.shape, strict=True)
            ]
        matrices = self._matrices[cells]
        boxes, crops = np.zeros((len(logits), 4), np.int32), []
        for number, coarse in enumerate(logits):
            inside = coarse > 0
            # Nothing is positive where no positive cell counts.
            used = inside.any(axis=1), inside.any(axis=0)
            spans = [
                _span(matrix[:, counts].any(axis=1))
                for matrix, counts in zip(matrices, used, strict=True)
            ]
            rows, columns = (matrix[span] for matrix, span in zip(matrices, spans, strict=True))
            mask = rows @ coarse @ columns.T > 0
            tight = [_span(mask.any(axis=1)), _span(mask.any(axis=0))]
            for axis, (span, part) in enumerate(zip(spans, tight, strict=True)):
                start = span.start + part.start
                boxes[number, [axis, axis + 2]] = start, start + part.stop - part.start
            crops.append(mask[tuple(tight)].copy())
        return Masks(self.shape, boxes, tuple(crops))


def _interpolation(cells: int, side: int, fitted: int, length: int) -> NDArray[np.float32]:
    """Return the matrix (length, cells) of SAM's two steps of interpolation along one axis."""
    one = F.interpolate(torch.eye(cells)[None], side, mode="linear")[..., :fitted]
    matrix: NDArray[np.float32] = F.interpolate(one, length, mode="linear")[0].T.numpy()
    return matrix


def _span(flags: ArrayLike) -> slice:
    """Return the slice from the first to the last that is True; an empty one if none is."""
    places = np.flatnonzero(flags)
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 0)
