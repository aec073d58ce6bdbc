"""Proposals: masks of an image that may be objects, each with one embedding.

They come from one of three sources: entities, regions (superpixels) or a SAM prompted at the
points of a grid (U-SAM, section on mask embeddings).  :func:`.open_proposer` opens any of them.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self

import numpy as np

from ...core.errors import InputError, WeightsError
from ...core.events import Notice, Progress
from ...models.feature_cache import key_of
from ...models.spec import Spec, check_hash
from .masks import Masks

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    import torch
    from numpy.typing import NDArray

    from ...models.feature_cache import FeatureCache

Kind = Literal["entities", "regions", "sam", "pixels"]

SPACE = "embedding"
"""The option of a spec that names how embeddings are made; the others only choose the masks."""


class Proposer(Protocol):
    """Finds the proposals of images."""

    spec: ProposerSpec

    def iter_propose(
        self, pixels: NDArray[np.float32]
    ) -> Generator[Progress | Notice, None, Proposals]:
        """Find the proposals of an image (H, W, 1 or 3), normalised to about 0..1."""
        ...


@dataclass(frozen=True)
class ProposerSpec(Spec[Any]):
    """How proposals are made, or pixels described: a subclass for each ``kind``.

    ``encoder`` is a latent space, or a SAM's name or path; ``sha256`` the hash of the weights that
    make the embeddings; other ``options`` are numbers, texts and truth values.
    """

    kind: ClassVar[Kind]

    encoder: str
    sha256: str
    options: dict[str, Any] = field(default_factory=dict, hash=False)

    def as_dict(self) -> dict[str, Any]:
        """Return this as a dict that JSON can hold; see :func:`.open.read_spec`."""
        return {"kind": self.kind, **asdict(self)}

    def matches(self, other: ProposerSpec) -> bool:
        """Whether embeddings of both lie in the same space and may be compared."""
        mine, theirs = ((spec.kind, spec.sha256, spec.options.get(SPACE)) for spec in (self, other))
        return mine == theirs

    def open(self, device: str | torch.device = "auto") -> Any:
        """Load the weights; see :meth:`.Spec.open`."""
        other = WeightsError("The proposals were made by another version; run again.")
        try:
            opened = self._open(device)
        except (KeyError, TypeError) as error:  # options that are missing, or unknown here
            raise other from error
        if not opened.spec.matches(self):
            check_hash(self.encoder, opened.spec.sha256, self.sha256)
            raise other
        return opened

    @abstractmethod
    def _open(self, device: str | torch.device) -> Any:
        """Open the proposer without comparing its spec."""


@dataclass(frozen=True, eq=False)
class Proposals:
    """Proposals of an image: N masks of at least one pixel each, with ``embeddings`` (N, D).

    ``quality`` (N,) is 0..1: a SAM's predicted IoU, an entity's score, 1 for regions; ``points``
    (N, 2) are (y, x): the point that prompted the SAM, or an inner point of the mask.
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

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the proposals of one or more sets of one image, one after the other."""
        embeddings, quality, points = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("embeddings", "quality", "points")
        )
        masks = Masks.joined([part.masks for part in parts])
        return cls(masks, embeddings, quality, points, parts[0].spec)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return everything but the spec as arrays, for a cache; see :meth:`from_arrays`."""
        return {
            **self.masks.arrays(),
            "embeddings": self.embeddings,
            "quality": self.quality,
            "points": self.points,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], spec: ProposerSpec) -> Proposals:
        """Build proposals from the result of :meth:`arrays`; InputError if they do not fit."""
        try:
            masks = Masks.from_arrays(arrays)
            return cls(masks, arrays["embeddings"], arrays["quality"], arrays["points"], spec)
        except (KeyError, ValueError) as error:
            raise InputError(f"These arrays are no proposals: {error}.") from error


def iter_propose(
    proposer: Proposer, pixels: NDArray[np.float32], cache: FeatureCache | None = None
) -> Generator[Progress | Notice, None, Proposals]:
    """Find the proposals of an image (H, W, 1 or 3), or take them from the cache."""
    if cache is None:
        return (yield from proposer.iter_propose(pixels))
    key = key_of(pixels, proposer.spec.as_dict())
    cached = cache.get(key)
    if cached is not None:
        yield Progress(1, 1, "proposals known")
        return Proposals.from_arrays(cached, proposer.spec)
    found = yield from proposer.iter_propose(pixels)
    cache.put(key, found.arrays())
    return found
