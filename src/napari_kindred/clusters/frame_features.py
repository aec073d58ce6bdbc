"""Features of a frame: its tokens, encoded or from the cache.

Tokens are rounded to half precision at once, and those in the movie's own space once more, so that
they have the same bits from the cache, from another machine, and in a run after a killed one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from .._version import __version__
from ..compute.device import describe, fitting_side, memory_budget, select
from ..core.errors import InputError, OptionError
from ..core.events import Notice, Progress
from ..encoders.convnets import sharing_features
from ..encoders.encode import SMALLEST_TILE, Large, iter_encode
from ..entities.segment import iter_dense_bounded, resize
from ..models.feature_cache import content_of, key_of
from .foreground import ObjectNetwork
from .kmeans import Basis
from .prepass import Sample

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from ..encoders.base import Encoder
    from ..encoders.registry import EncoderSpec
    from ..entities.checkpoint import EntityNetSpec
    from ..images.intensity import Levels
    from ..images.stack import ImageStack
    from ..models.feature_cache import FeatureCache
    from .config import ClusterConfig


Halves = NDArray[np.float16]


TILE_BYTES = 600
"""Bytes per pixel of a tile of an encoder that takes any size.  Measured as the rise of a process's
peak on a CPU: 141 for efficientnet and 204 for kindred at stride 4, 526 for kindred at stride 2."""


@dataclass(frozen=True)
class Encoding:
    """Options of encoding a frame."""

    device: str
    large: Large
    tile: int
    embedding: bool
    """Whether a mask decoder needs the whole embedding."""

    @classmethod
    def of(cls, config: ClusterConfig) -> Encoding:
        """Return the options in a config; ``tile`` is smaller if memory is short."""
        budget = memory_budget(config.memory, select(config.device))
        smallest = min(SMALLEST_TILE, config.tile)
        return cls(
            config.device,
            config.large,
            fitting_side(config.tile, budget, TILE_BYTES, smallest),
            config.refinement == "decoder",
        )

    def for_encoder(self, config: ClusterConfig, encoder: Encoder) -> Encoding:
        """Return the options for an encoder; those of the paper depend on what it can do.

        The paper scales frames to the encoder's input, and draws outlines with its decoder.
        """
        if config.refinement == "decoder" and encoder.decoder is None:
            raise OptionError(
                f"refinement='decoder' needs an encoder with a mask decoder, which "
                f"{config.encoder!r} does not have; choose a SAM, or refinement='edges'."
            )
        if config.preset != "paper":
            return self
        decoder = config.refinement == "auto" and encoder.decoder is not None
        return replace(self, large="resize", embedding=self.embedding or decoder)


@dataclass(frozen=True)
class FrameFeatures:
    """Features of one frame."""

    tokens: Halves
    """Reduced, (h, w, n), or whole, (h, w, D)."""
    valid: NDArray[np.bool_]
    step: tuple[float, float]
    """Pixels per token."""
    embedding: Halves | None = None
    """The mask decoder's, (N, h', w', D)."""
    maps: Halves | None = None
    """Raw maps in which objects are found, (4, h", w")."""
    full_tiles: bool = True
    """False if memory was short and tiles were smaller, which changes the last bits."""

    def values(self) -> NDArray[np.float32]:
        """Return the tokens in single precision."""
        return self.tokens.astype(np.float32)

    def reduced(self, basis: Basis) -> FrameFeatures:
        """Return the same frame with its whole tokens projected to the movie's own space."""
        tokens = basis.reduce(self.values()).astype(np.float16)
        return replace(self, tokens=tokens)


def encode_frame(
    encoder: Encoder,
    pixels: NDArray[np.float32],
    how: Encoding,
    basis: Basis | None,
    sampled: bool = False,
    objects: ObjectNetwork | None = None,
) -> Generator[Progress | Notice, None, FrameFeatures]:
    """Encode a frame, (H, W, C) float32, on its own: one task; ``objects`` adds raw maps."""
    network = None
    if objects is not None:
        network, encoder = sharing_features(objects.network, encoder, objects.sha256)
    components = None if basis is None or sampled else basis.components
    found = yield from iter_encode(
        encoder,
        pixels,
        large=how.large,
        tile=how.tile,
        components=components,
        embedding=how.embedding,
    )
    embedding = None if found.embedding is None else found.embedding.astype(np.float16)
    values = found.values if basis is None or sampled else basis.centred(found.values)
    maps = None
    if network is not None:
        dense = yield from iter_dense_bounded(network, resize(pixels, 1.0), how.tile)
        maps = dense.astype(np.float16)
    features = FrameFeatures(values.astype(np.float16), found.valid, found.step, embedding, maps)
    return features.reduced(basis) if basis is not None and sampled else features


class FeatureLookup:
    """Cached features of frames with equal pixels that were encoded the same way."""

    def __init__(
        self, cache: FeatureCache, spec: EncoderSpec, how: Encoding, objects: str = ""
    ) -> None:
        self._cache, self._embedding = cache, how.embedding
        self._objects = objects  # hash of the network that finds them
        self._about = {
            "version": __version__,
            "torch": torch.__version__,
            "device": describe(select(how.device)),
            "encoder": spec.as_dict(),
            "large": how.large,
            "tile": how.tile,
        }

    def get(
        self, content: str, basis: Basis | None, sampled: bool = False, maps: bool = False
    ) -> FrameFeatures | None:
        """Return the cached features of the frame with a :func:`.content_of`, if any."""
        found = self._cache.get(self._tokens_key(content, basis, sampled))
        if found is None:
            return None
        embedding = None
        if self._embedding:
            whole = self._cache.get(self._key([content], what="embeddings"))
            if whole is None:
                return None
            embedding = whole["embedding"]
        raw = self._cache.get(self._maps_key(content)) if maps else None
        if maps and raw is None:
            return None
        step = found["step"]
        return FrameFeatures(
            found["tokens"],
            found["valid"],
            (float(step[0]), float(step[1])),
            embedding,
            None if raw is None else raw["maps"],
        )

    def put(
        self, content: str, basis: Basis | None, sampled: bool, features: FrameFeatures
    ) -> None:
        """Cache the features of a frame, unless memory was short."""
        if not features.full_tiles:
            return
        arrays = {
            "tokens": features.tokens,
            "valid": features.valid,
            "step": np.array(features.step),
        }
        self._cache.put(self._tokens_key(content, basis, sampled), arrays)
        if features.embedding is not None:
            key = self._key([content], what="embeddings")
            self._cache.put(key, {"embedding": features.embedding})
        if features.maps is not None:
            self._cache.put(self._maps_key(content), {"maps": features.maps})

    def drop_whole(self, content: str) -> None:
        """Delete the whole tokens of a frame, which are large."""
        self._cache.drop(self._tokens_key(content, None, False))

    def get_sample(
        self, contents: Sequence[str], n_components: int, objects: bool | None
    ) -> Sample | None:
        """Return what was found in sampled frames; None looks up whether they show objects."""
        if objects is None:
            present = self._cache.get(self._key(contents, what="present", weights=self._objects))
            if present is None:
                return None
            objects = bool(present["present"])
        found = self._cache.get(self._sample_key(contents, n_components, objects))
        if found is None:
            return None
        return Sample(Basis(found["mean"], found["components"]), found["tokens"], objects)

    def put_sample(
        self, contents: Sequence[str], n_components: int, sample: Sample, judged: bool
    ) -> None:
        """Cache what was found in sampled frames, and whether they show objects if judged."""
        arrays: dict[str, NDArray[Any]] = {
            "mean": sample.basis.mean,
            "components": sample.basis.components,
            "tokens": sample.tokens,
        }
        self._cache.put(self._sample_key(contents, n_components, sample.objects), arrays)
        if judged:
            key = self._key(contents, what="present", weights=self._objects)
            self._cache.put(key, {"present": np.array([sample.objects])})

    def _sample_key(self, contents: Sequence[str], n_components: int, objects: bool) -> str:
        about = {"objects": self._objects if objects else ""}
        return self._key(contents, what="first look", n_components=n_components, **about)

    def _maps_key(self, content: str) -> str:
        return self._key([content], what="maps", weights=self._objects)

    def _tokens_key(self, content: str, basis: Basis | None, sampled: bool) -> str:
        space = [] if basis is None else [content_of(basis.mean), content_of(basis.components)]
        sampled = sampled and basis is not None
        return self._key([content], what="tokens", space=space, sampled=sampled)

    def _key(self, contents: Sequence[str], **more: Any) -> str:
        return key_of(contents, {**self._about, **more})


@dataclass(frozen=True)
class TaskContext:
    """Common context of the tasks of a run."""

    encoder: Encoder
    lookup: FeatureLookup
    how: Encoding
    frames: ImageStack | None
    """The movie, if tasks read it themselves."""
    range: Levels
    """Intensities that become 0 and 1."""
    objects: ObjectNetwork | None = None
    """The network that finds objects, if any task may want them."""

    @classmethod
    def open(
        cls,
        spec: EncoderSpec,
        cache: FeatureCache,
        how: Encoding,
        frames: ImageStack | None,
        span: Levels,
        objects: EntityNetSpec | None = None,
    ) -> TaskContext:
        """Open the encoder, and the network that finds objects, in another thread or process."""
        encoder, network, weights = spec.open(how.device), None, ""
        if objects is not None:
            network, weights = ObjectNetwork.open(objects, how.device), objects.sha256
        return cls(encoder, FeatureLookup(cache, spec, how, weights), how, frames, span, network)


def iter_features(
    context: TaskContext,
    index: tuple[int, ...],
    pixels: NDArray[np.float32] | None,
    basis: Basis | None,
    sampled: bool,
    maps: bool = False,
) -> Generator[Progress | Notice, None, tuple[FrameFeatures, bool]]:
    """Return the features of a frame (H, W, C), and whether an earlier run cached them."""
    if pixels is None:
        if context.frames is None:
            raise InputError("A frame came without its pixels; give the movie itself.")
        pixels = context.frames.read(index).normalised(context.range)
    content = content_of(pixels)
    features = context.lookup.get(content, basis, sampled, maps)
    if features is not None:
        return features, True
    objects = context.objects if maps else None
    job = encode_frame(context.encoder, pixels, context.how, basis, sampled, objects)
    full_tiles = True
    while True:
        try:
            event = next(job)
        except StopIteration as stop:
            features = replace(stop.value, full_tiles=full_tiles)
            break
        full_tiles = full_tiles and not isinstance(event, Notice)
        yield event
    context.lookup.put(content, basis, sampled, features)
    return features, False
