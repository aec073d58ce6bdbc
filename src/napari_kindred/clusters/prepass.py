"""A few frames sampled over a movie, and the principal components of their tokens."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..core.errors import InputError
from .kmeans import FITTED, Basis, fit_basis, sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from ..results.spill import SpillFile
    from .foreground import FrameObjects
    from .kmeans import Floats

    Halves = NDArray[np.float16]


@dataclass(frozen=True)
class Sample:
    """What sampled frames say about a movie."""

    basis: Basis
    tokens: Halves
    """Some tokens in that basis, or the mean token of each object, (N, n)."""
    objects: bool = False
    """Whether there are objects, which are then clustered in place of tokens."""


SAMPLED = 6
"""Largest number of sampled frames."""

LARGEST = 1e4
"""Largest value of a token; half precision ends at 65,504."""


def sample_places(count: int) -> list[int]:
    """Return the numbers of sampled frames, evenly spread over ``count``."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(SAMPLED, count)).round()})


def fit_on_sample(
    frames: Sequence[Floats] | SpillFile,
    n_components: int,
    objects: Sequence[FrameObjects] | None = None,
    step: tuple[float, float] = (1.0, 1.0),
) -> Sample:
    """Find components in sampled frames, or in their objects if these are given."""
    # Not the seed of the clustering, so that with another one nothing is encoded again.
    random = np.random.default_rng(0)
    share = max(1, FITTED // max(1, len(frames)))
    parts, means = [], []
    for number in range(len(frames)):
        tokens = frames[number]
        if objects is not None:
            inside = objects[number].tokens(step, (tokens.shape[0], tokens.shape[1])).sum(0) > 0
            means.append(objects[number].means(np.asarray(tokens, np.float32), step))
            parts.append(sample(flattened(tokens)[inside], share, random))
        else:
            parts.append(sample(flattened(tokens), share, random))
    basis = fit_basis(np.concatenate(parts), n_components)
    fitted = np.concatenate(parts if objects is None else means)
    return Sample(basis, _short(basis.reduce(fitted)), objects is not None)


def halved(values: Floats) -> Floats:
    """Return values rounded to half precision, in single precision."""
    return _short(values).astype(np.float32)


def _short(values: Floats) -> Halves:
    most = np.finfo(np.float16).max
    return np.clip(values, -most, most).astype(np.float16)


def as_tokens(frame: Any, like: tuple[int, ...] | None = None) -> Floats:
    """Return the tokens (h, w, D) of a frame in single precision."""
    kind: str = ""
    try:
        tokens = np.asarray(frame)
        kind = tokens.dtype.kind
    except (TypeError, ValueError):  # rows of unlike lengths
        tokens = np.zeros(0)
    # Written so that NaN is refused as well.
    sound = kind in ("b", "u", "i", "f") and tokens.ndim == 3 and tokens.size > 0
    if not (sound and tokens.max() <= LARGEST and tokens.min() >= -LARGEST):
        raise InputError(
            f"The tokens of a frame must be numbers up to {LARGEST:g} of shape (h, w, D)."
        )
    tokens = tokens.astype(np.float32, copy=False)
    if like is not None and tokens.shape != like:
        raise InputError(f"A frame has tokens {tokens.shape}, another {like}; give frames alike.")
    return tokens


def flattened(frame: Floats) -> Floats:
    """Return the tokens (h, w, D) of a frame as (N, D), single precision."""
    tokens = np.asarray(frame, np.float32)
    return tokens.reshape(-1, tokens.shape[-1])


def frames_of(frames: Any) -> Any:
    """Return the frames of a movie; raises InputError for anything else."""
    if not isinstance(frames, Iterable) or (isinstance(frames, np.ndarray) and frames.ndim < 2):
        raise InputError("The frames of a movie are an array (T, h, w, D), or one by one.")
    return frames


def alike(frames: Iterable[Any]) -> list[Floats]:
    """Return the tokens of frames, which must have one shape."""
    made: list[Floats] = []
    for frame in frames:
        made.append(as_tokens(frame, made[0].shape if made else None))
    return made
