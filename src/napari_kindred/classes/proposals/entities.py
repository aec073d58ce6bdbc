"""Proposals from entities and from superpixels, with vectors pooled from any latent space."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING

import numpy as np
from skimage.segmentation import relabel_sequential, slic

from ...compute.device import select
from ...core.errors import OptionError
from ...core.events import Notice, Progress
from ...encoders.convnets import sharing_features
from ...encoders.encode import FrameTokens, iter_encode
from ...encoders.registry import open_encoder
from ...entities.auto_scale import choose_scale
from ...entities.checkpoint import load_network
from ...entities.config import EntityConfig
from ...entities.segment import iter_plane, quick_segmenter, resize
from ...models.spec import absolute
from ..pixels import check_pixels
from .base import SPACE, Proposals, ProposerSpec
from .masks import Masks
from .pooling import MEASURES, describe, inner_points

if TYPE_CHECKING:
    from collections.abc import Generator

    import torch
    from numpy.typing import NDArray

    from ...encoders.base import Encoder
    from ...entities.network import EntityNetwork

RING = 6.0
"""Width of the ring around an entity, in pixels of the image as the network gets it."""

REGION = 12.0
"""Default side of a region: three of the encoder's tokens."""

SMALLEST = 3.0
"""Smallest side of a region, in the image's own pixels."""

COMPACTNESS = 0.1
"""How much superpixels prefer being square to following intensities of 0..1."""

LIKELY = 0.1
"""Lowest score of an entity that is proposed.  Objects that the network was not trained on, such as
platelets, score low, and what is no object belongs to none of the classes."""

IGNORED = ("axes", "channel", "device", "memory", "tile")
"""Entity options that do not change what is found in a plane."""


class EntitySpec(ProposerSpec):
    """How entities are proposed."""

    kind = "entities"

    def _open(self, device: str | torch.device) -> PooledProposer:
        config = EntityConfig(**self.options["entities"])
        return PooledProposer.open(self.encoder, config, device=device)


class RegionSpec(ProposerSpec):
    """How regions are proposed."""

    kind = "regions"

    def _open(self, device: str | torch.device) -> PooledProposer:
        config, side = EntityConfig(**self.options["entities"]), self.options["region_size"]
        return PooledProposer.open(self.encoder, config, region_size=side, device=device)


class PooledProposer:
    """Proposes entities or superpixels, with an encoder's tokens pooled in each.

    Entities are the cells and nuclei that the entity network finds.  Superpixels, with a
    ``region_size`` in pixels of the image as the network gets it, are for objects that are not
    cells: every pixel belongs to one.  If there are cells or nuclei, their size follows that of the
    cells (unless ``config`` sets a scale), so that classes trained at one magnification are found
    at another.  ``weights`` is the SHA-256 of the network's weights.
    """

    def __init__(
        self,
        network: EntityNetwork,
        encoder: Encoder,
        config: EntityConfig,
        weights: str,
        region_size: float | None = None,
    ) -> None:
        self._network, self._encoder, self._config = network, encoder, config
        self._weights, self._region_size = weights, region_size
        name, sha256 = absolute(encoder.name), joint_hash(weights, encoder.sha256)
        # The name of how embeddings are made, so that those made otherwise are told apart.
        space = f"mean, ring and measures 1, stride {encoder.stride}"
        chosen = dataclasses.asdict(config)
        options = {key: value for key, value in chosen.items() if key not in IGNORED}
        self.spec: ProposerSpec
        if region_size is None:
            self.spec = EntitySpec(name, sha256, {SPACE: space, "entities": options})
        else:
            scaled = {SPACE: f"{space}, scaled", "region_size": float(region_size)}
            self.spec = RegionSpec(name, sha256, {**scaled, "entities": options})

    @classmethod
    def open(
        cls,
        encoder: str,
        config: EntityConfig | None = None,
        *,
        region_size: float | None = None,
        device: str | torch.device = "auto",
    ) -> PooledProposer:
        """Load the weights; see :func:`.open_proposer`."""
        if region_size is not None and not 2 <= region_size <= 4096:
            raise OptionError(f"region_size={region_size!r} is not possible; use 2 to 4096 pixels.")
        config = config or EntityConfig(min_score=LIKELY)
        chosen = select(device)
        network, info = load_network(config.weights, chosen)
        return cls(
            network, open_encoder(encoder, device=chosen), config, info["sha256"], region_size
        )

    def iter_propose(
        self, pixels: NDArray[np.float32]
    ) -> Generator[Progress | Notice, None, Proposals]:
        """Find an image's entities or regions; see :meth:`.Proposer.iter_propose`."""
        check_pixels(pixels)
        network, encoder = sharing_features(self._network, self._encoder, self._weights)
        scale = yield from iter_scale(pixels, network, self._config)
        if self._region_size is None:
            plane = yield from iter_plane(network, pixels, self._config, scale)
            labels, ring = relabel_sequential(plane.labels)[0], max(2.0, RING / scale)
            quality = plane.scores
        else:
            yield Progress(0, 1, "regions")
            labels, ring = regions(pixels, max(SMALLEST, self._region_size / scale)), 1.0
            quality = np.ones(labels.max(), np.float32)
        tokens = yield from _iter_tokens(encoder, pixels, scale)
        vectors = describe(pixels, labels, tokens, ring)
        if self._region_size is not None:
            vectors[:, -MEASURES] += 2 * np.log(scale)  # areas, too, as the network gets them
        masks = Masks.from_labels(labels)
        return Proposals(masks, vectors, quality, inner_points(labels), self.spec)


def regions(pixels: NDArray[np.float32], side: float) -> NDArray[np.int32]:
    """Cut an image (H, W, 1 or 3) into superpixels of similar intensity or colour, (H, W)."""
    count = max(1, round(pixels.shape[0] * pixels.shape[1] / side**2))
    if count == 1:
        return np.ones(pixels.shape[:2], np.int32)
    labels = slic(
        pixels,
        n_segments=count,
        compactness=COMPACTNESS * (100 if pixels.shape[2] == 3 else 1),
        convert2lab=pixels.shape[2] == 3,
        channel_axis=-1,
        start_label=1,
        max_num_iter=5,
    )
    found: NDArray[np.int32] = relabel_sequential(labels)[0].astype(np.int32)
    return found


def _iter_tokens(
    encoder: Encoder, pixels: NDArray[np.float32], scale: float
) -> Generator[Progress | Notice, None, FrameTokens]:
    """Encode an image enlarged by ``scale``; its tokens are placed in the image's own pixels."""
    image = resize(pixels, scale)[0, : pixels.shape[2]].numpy().transpose(1, 2, 0)
    tokens = yield from iter_encode(encoder, np.ascontiguousarray(image))
    step = tuple(
        cell * length / scaled
        for cell, length, scaled in zip(tokens.step, pixels.shape[:2], image.shape[:2], strict=True)
    )
    return dataclasses.replace(tokens, step=(step[0], step[1]), embedding=None)


def iter_scale(
    pixels: NDArray[np.float32], network: EntityNetwork, config: EntityConfig
) -> Generator[Progress, None, float]:
    """Return the scale at which the network gets an image: the given one, or the chosen one."""
    if config.scale != "auto":
        return float(config.scale)
    scale, _ = yield from choose_scale(pixels, quick_segmenter(network, config))
    return scale


def joint_hash(*parts: str) -> str:
    """Return one hash for the weights of several networks; a single one's own."""
    distinct = list(dict.fromkeys(parts))
    if len(distinct) == 1:
        return distinct[0]
    return hashlib.sha256("".join(distinct).encode()).hexdigest()
