"""Proposals from entities and from superpixels, with vectors pooled from any latent space."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.segmentation import relabel_sequential, slic

from ...compute.device import select
from ...core.errors import InputError, OptionError
from ...core.events import Notice, Progress
from ...encoders.convnets import PyramidEncoder
from ...encoders.encode import FrameTokens, iter_encode
from ...encoders.registry import DEFAULT, open_encoder
from ...entities.auto_scale import choose_scale
from ...entities.checkpoint import load_network
from ...entities.config import EntityConfig
from ...entities.segment import iter_plane, quick_segmenter, resize
from ...models.spec import absolute
from .base import SPACE, Proposals, ProposerSpec
from .masks import Masks
from .pooling import MEASURES, describe, inner_points

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ...encoders.base import Encoder
    from ...entities.network import EntityNetwork

RING = 6.0
"""Width of the ring around an entity, in pixels of the picture as the network looks at it."""

REGION = 12.0
"""Side of a region unless told otherwise: three of the encoder's tokens."""

SMALLEST = 3.0
"""Regions have at least this side in the picture's own pixels."""

COMPACTNESS = 0.1
"""How much superpixels prefer being square to following intensities of 0..1."""

LIKELY = 0.1
"""Entities that are right with a smaller chance are no proposals.  What the network was not taught,
as platelets, looks unlikely to it, and what is nothing is none of the classes."""

IGNORED = ("axes", "channel", "device", "memory", "tile")
"""Entity options that say nothing of what is found in a plane."""

Found = Generator[Progress | Notice, None, Proposals]


class EntityProposer:
    """Proposes the cells and nuclei that the entity network finds; see :class:`.Proposer`.

    Parameters
    ----------
    network : EntityNetwork
    encoder : Encoder
        Makes the tokens that are pooled; on the network's device.
    config : EntityConfig
        How entities are found.
    weights : str
        SHA-256 of the network's weights.
    """

    def __init__(
        self, network: EntityNetwork, encoder: Encoder, config: EntityConfig, weights: str
    ) -> None:
        self._network, self._encoder, self._config = network, encoder, config
        self._weights = weights
        self.spec = ProposerSpec(
            "entities",
            absolute(encoder.name),
            _joint_hash(weights, encoder.sha256),
            {SPACE: _space(encoder), "entities": _options(config)},
        )

    @classmethod
    def open(
        cls,
        encoder: str = DEFAULT,
        config: EntityConfig | None = None,
        *,
        device: str | torch.device = "auto",
    ) -> EntityProposer:
        """Load the weights; see :func:`.open_proposer`."""
        return cls(*_opened(encoder, config, device))

    def iter_propose(self, pixels: NDArray[np.float32]) -> Found:
        """Find a picture's entities; see :meth:`.Proposer.iter_propose`."""
        _check(pixels)
        network, encoder = _looking_once(self._network, self._encoder, self._weights)
        scale = yield from _iter_scale(pixels, network, self._config)
        plane = yield from iter_plane(network, pixels, self._config, scale)
        labels, _, _ = relabel_sequential(plane.labels)
        tokens = yield from _iter_tokens(encoder, pixels, scale)
        vectors = describe(pixels, labels, tokens, max(2.0, RING / scale))
        masks = Masks.from_labels(labels)
        return Proposals(masks, vectors, plane.scores, inner_points(labels), self.spec)


class RegionProposer:
    """Proposes superpixels, for things that are no cells; see :class:`.Proposer`.

    Every pixel belongs to one region.  Where there are cells or nuclei, regions are smaller or
    larger with them, so that what was taught at one magnification is found at another.

    Parameters
    ----------
    network : EntityNetwork
        Measures the cells.
    encoder : Encoder
        Makes the tokens that are pooled.
    config : EntityConfig
        Its ``scale`` is what matters: ``"auto"`` measures the cells, a number does not.
    weights : str
        SHA-256 of the network's weights.
    region_size : float
        Side of a region, in pixels of the picture as the network looks at it.
    """

    def __init__(
        self,
        network: EntityNetwork,
        encoder: Encoder,
        config: EntityConfig,
        weights: str,
        region_size: float = REGION,
    ) -> None:
        if not 2 <= region_size <= 4096:
            raise OptionError(f"region_size={region_size!r} is not possible; use 2 to 4096 pixels.")
        self._network, self._encoder, self._config = network, encoder, config
        self._weights = weights
        self._side = float(region_size)
        self.spec = ProposerSpec(
            "regions",
            absolute(encoder.name),
            _joint_hash(weights, encoder.sha256),
            {
                SPACE: f"{_space(encoder)}, scaled",
                "region_size": self._side,
                "entities": _options(config),
            },
        )

    @classmethod
    def open(
        cls,
        encoder: str = DEFAULT,
        config: EntityConfig | None = None,
        *,
        region_size: float = REGION,
        device: str | torch.device = "auto",
    ) -> RegionProposer:
        """Load the weights; see :func:`.open_proposer`."""
        return cls(*_opened(encoder, config, device), region_size)

    def iter_propose(self, pixels: NDArray[np.float32]) -> Found:
        """Cut a picture into regions; see :meth:`.Proposer.iter_propose`."""
        _check(pixels)
        network, encoder = _looking_once(self._network, self._encoder, self._weights)
        scale = yield from _iter_scale(pixels, network, self._config)
        yield Progress(0, 1, "regions")
        labels = regions(pixels, max(SMALLEST, self._side / scale))
        tokens = yield from _iter_tokens(encoder, pixels, scale)
        vectors = describe(pixels, labels, tokens, 1.0)
        vectors[:, -MEASURES] += 2 * np.log(scale)  # areas, too, as the network sees them
        masks = Masks.from_labels(labels)
        quality = np.ones(len(masks), np.float32)
        return Proposals(masks, vectors, quality, inner_points(labels), self.spec)


def regions(pixels: NDArray[np.float32], side: float) -> NDArray[np.int32]:
    """Cut a picture into superpixels of similar intensity or colour.

    ``pixels`` (H, W, 1) float32 or (H, W, 3); returns (H, W) int32.
    """
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
    """Encode a picture enlarged by ``scale``; its tokens are placed in the picture's own pixels."""
    image = resize(pixels, scale)[0, : pixels.shape[2]].numpy().transpose(1, 2, 0)
    tokens = yield from iter_encode(encoder, np.ascontiguousarray(image))
    step = tuple(
        cell * length / scaled
        for cell, length, scaled in zip(tokens.step, pixels.shape[:2], image.shape[:2], strict=True)
    )
    return dataclasses.replace(tokens, step=(step[0], step[1]), embedding=None)


def _opened(
    encoder: str,
    config: EntityConfig | None,
    device: str | torch.device,
) -> tuple[EntityNetwork, Encoder, EntityConfig, str]:
    """Load the entity network and an encoder, on one device."""
    config = config or EntityConfig(min_score=LIKELY)
    chosen = select(device)
    network, info = load_network(config.weights, chosen)
    opened = open_encoder(encoder, device=chosen)
    return network, opened, config, info["sha256"]


def _looking_once(
    network: EntityNetwork, encoder: Encoder, weights: str
) -> tuple[EntityNetwork, Encoder]:
    """Return both such that they look at a picture once, where they are one network."""
    if not isinstance(encoder, PyramidEncoder) or encoder.sha256 != weights:
        return network, encoder
    once = network.remembering()
    return once, encoder.looking_through(once.features)


def _options(config: EntityConfig) -> dict[str, Any]:
    """Return what a spec says of how entities are found."""
    chosen = dataclasses.asdict(config)
    return {key: value for key, value in chosen.items() if key not in IGNORED}


def _iter_scale(
    pixels: NDArray[np.float32], network: EntityNetwork, config: EntityConfig
) -> Generator[Progress, None, float]:
    """Return the scale at which to look at a picture: the one that was given, or that suits."""
    if config.scale != "auto":
        return float(config.scale)
    scale, _ = yield from choose_scale(pixels, quick_segmenter(network, config))
    return scale


def _space(encoder: Encoder) -> str:
    """Name how vectors are made, so that those made otherwise are told apart."""
    return f"mean, ring and measures 1, stride {encoder.stride}"


def _joint_hash(*parts: str) -> str:
    """Return one hash for the weights of several networks; a single one's own."""
    distinct = list(dict.fromkeys(parts))
    if len(distinct) == 1:
        return distinct[0]
    return hashlib.sha256("".join(distinct).encode()).hexdigest()


def _check(pixels: NDArray[Any]) -> None:
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3) or 0 in pixels.shape:
        raise InputError(f"A picture must be (H, W, 1) or (H, W, 3), not {pixels.shape}.")
