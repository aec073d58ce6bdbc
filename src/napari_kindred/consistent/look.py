"""The first look at a movie: a few of its frames, spread over it, and the components in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InputError
from .latent import FITTED, Basis, fit_basis, sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .latent import Floats
    from .spool import Spool

    Halves = NDArray[np.float16]


def look_at(count: int, looks: int = 6) -> list[int]:
    """Return the frames, evenly spread over a movie of ``count``, that a first look sees."""
    return sorted({int(i) for i in np.linspace(0, count - 1, min(looks, count)).round()})


def first_look(frames: Sequence[Floats] | Spool, n_components: int) -> tuple[Basis, Halves]:
    """Find components in a few frames spread over a movie.

    Parameters
    ----------
    frames : sequence of ndarray, (h, w, D)
        Gone through once; none is held.
    n_components : int

    Returns
    -------
    basis : Basis
    tokens : ndarray of float16, (N, n)
        A sample of the frames' tokens in its space.
    """
    # The seed of the clustering does not matter: with another one, nothing is encoded again.
    random = np.random.default_rng(0)
    share = max(1, FITTED // max(1, len(frames)))
    tokens = np.concatenate(
        [sample(flattened(frames[i]), share, random) for i in range(len(frames))]
    )
    basis = fit_basis(tokens, n_components)
    return basis, basis.reduce(tokens).astype(np.float16)


def halved(values: Floats) -> Floats:
    """Return values rounded to half precision, in single precision."""
    return values.astype(np.float16).astype(np.float32)


def flattened(frame: Floats) -> Floats:
    """Return the tokens (h, w, D) of a frame as (N, D), single precision."""
    tokens = np.asarray(frame, np.float32)
    if tokens.ndim < 2:
        raise InputError(f"Tokens of a frame must be (h, w, D), not {tokens.shape}.")
    return tokens.reshape(-1, tokens.shape[-1])
