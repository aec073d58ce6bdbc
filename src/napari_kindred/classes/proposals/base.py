"""Proposals: masks of a picture that may be things, each with one vector that says what it is.

Where they come from is one of three: entities, regions (superpixels) or a grid of points given to
a SAM (U-SAM, section on mask embeddings).  :func:`.open_proposer` opens any of them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from ...core.errors import InputError
from ...core.events import Notice, Progress
from .masks import Masks

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from numpy.typing import ArrayLike, NDArray

    from ...models.feature_cache import FeatureCache

Kind = Literal["entities", "regions", "sam"]

KINDS: tuple[Kind, ...] = ("entities", "regions", "sam")

SPACE = "embedding"
"""The option of a spec that names how vectors are made; other options only choose the masks."""


@dataclass(frozen=True)
class ProposerSpec:
    """How proposals are made: enough to make them again, and to know whether vectors compare.

    :func:`.open.reopen_proposer` opens it.

    Attributes
    ----------
    kind : {"entities", "regions", "sam"}
    encoder : str
        A latent space; for ``"sam"`` a SAM's name or the path of its file.
    sha256 : str
        Of the weights that make the vectors, hexadecimal digits.
    options : dict
        What else was chosen; numbers, texts and truth values.
    """

    kind: Kind
    encoder: str
    sha256: str
    options: dict[str, Any] = field(default_factory=dict, hash=False)

    def as_dict(self) -> dict[str, Any]:
        """Return this as a dict that JSON can hold."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ProposerSpec:
        """Build a spec from what :meth:`as_dict` gave."""
        try:
            kind, encoder = values["kind"], values["encoder"]
            sha256, options = values["sha256"], values["options"]
        except (KeyError, TypeError) as error:
            raise InputError(f"This is no spec of a proposer: {error} is missing.") from error
        texts = all(isinstance(text, str) for text in (encoder, sha256))
        if kind not in KINDS or not texts or not isinstance(options, dict):
            raise InputError(f"This is no spec of a proposer: {dict(values)!r}.")
        return cls(kind, encoder, sha256, dict(options))

    def matches(self, other: ProposerSpec) -> bool:
        """Whether vectors of both lie in the same space and may be compared."""
        return all(
            mine == theirs
            for mine, theirs in (
                (self.kind, other.kind),
                (self.sha256, other.sha256),
                (self.options.get(SPACE), other.options.get(SPACE)),
            )
        )


@dataclass(frozen=True, eq=False)
class Proposals:
    """Proposals of one picture: N masks and what is known of each.

    Attributes
    ----------
    masks : Masks
        N masks of at least one pixel each.
    embeddings : ndarray of float32, shape (N, D)
        The vector of each mask.
    quality : ndarray of float32, shape (N,)
        0 … 1: a SAM's predicted IoU, an entity's score, 1 for regions.
    points : ndarray of float32, shape (N, 2)
        (y, x): the point that the SAM was asked for, or an inner point of the mask.
    spec : ProposerSpec
    """

    masks: Masks
    embeddings: NDArray[np.float32]
    quality: NDArray[np.float32]
    points: NDArray[np.float32]
    spec: ProposerSpec

    def __post_init__(self) -> None:
        count = len(self.masks)
        fits = self.embeddings.ndim == 2 and self.points.shape == (count, 2)
        if not fits or {len(self.embeddings), len(self.quality)} != {count}:
            raise InputError(
                f"{count} masks need as many embeddings, qualities and points, not "
                f"{self.embeddings.shape}, {self.quality.shape} and {self.points.shape}."
            )

    def __len__(self) -> int:
        return len(self.masks)

    def take(self, indices: ArrayLike) -> Proposals:
        """Return some of the proposals, by their numbers or as (N,) bool."""
        chosen = np.asarray(indices)
        chosen = np.flatnonzero(chosen) if chosen.dtype == bool else chosen.astype(np.int64)
        return Proposals(
            self.masks.take(chosen),
            self.embeddings[chosen],
            self.quality[chosen],
            self.points[chosen],
            self.spec,
        )

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return all of it as arrays, for a cache; see :meth:`from_arrays`."""
        text = json.dumps(self.spec.as_dict(), sort_keys=True).encode()
        return {
            **self.masks.arrays(),
            "embeddings": self.embeddings,
            "quality": self.quality,
            "points": self.points,
            "spec": np.frombuffer(text, np.uint8),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Proposals:
        """Build proposals again from what :meth:`arrays` gave.

        Raises
        ------
        InputError
            When arrays are missing or do not belong together.
        """
        try:
            spec = ProposerSpec.from_dict(json.loads(arrays["spec"].tobytes()))
            masks = Masks.from_arrays(arrays)
            return cls(masks, arrays["embeddings"], arrays["quality"], arrays["points"], spec)
        except (KeyError, ValueError) as error:
            raise InputError(f"These arrays are no proposals: {error}.") from error


class Proposer(Protocol):
    """Finds the proposals of pictures.

    Attributes
    ----------
    spec : ProposerSpec
    """

    spec: ProposerSpec

    def iter_propose(
        self, pixels: NDArray[np.float32]
    ) -> Generator[Progress | Notice, None, Proposals]:
        """Find the proposals of one picture.

        Parameters
        ----------
        pixels : ndarray of float32, shape (H, W, 1) or (H, W, 3)
            Normalised to about 0..1, as :func:`napari_kindred.images.stack.normalise` does it.
        """
        ...


def iter_propose(
    proposer: Proposer, pixels: NDArray[np.float32], cache: FeatureCache | None = None
) -> Generator[Progress | Notice, None, Proposals]:
    """Find the proposals of a picture, or take them from the cache when it has them.

    Parameters
    ----------
    proposer : Proposer
    pixels : ndarray of float32, shape (H, W, 1) or (H, W, 3)
        Normalised to about 0..1.
    cache : FeatureCache, optional
    """
    if cache is None:
        return (yield from proposer.iter_propose(pixels))
    from ...models.feature_cache import key_of

    key = key_of(pixels, proposer.spec.as_dict())
    known = cache.get(key)
    if known is not None:
        yield Progress(1, 1, "proposals known")
        return Proposals.from_arrays(known)
    found = yield from proposer.iter_propose(pixels)
    cache.put(key, found.arrays())
    return found
