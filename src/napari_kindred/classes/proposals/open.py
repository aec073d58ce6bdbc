"""Opening of proposers by their kind, and reading of their specs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from ...core.errors import InputError, OptionError
from ...encoders.sam import open_sam
from ..pixelwise.describer import PixelSpec
from .entities import REGION, EntitySpec, PooledProposer, RegionSpec
from .sam_grid import SamGrid, SamGridSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from ...entities.config import EntityConfig
    from .base import Kind, Proposer, ProposerSpec

SPECS: dict[str, type[ProposerSpec]] = {
    spec.kind: spec for spec in (EntitySpec, RegionSpec, SamGridSpec, PixelSpec)
}
"""Kinds of proposers, and what describes pixels."""

DEFAULT_ENCODER = {
    "entities": "kindred",
    "regions": "kindred",
    "sam": "kindred-sam",
    "pixels": "efficientnet",
}
"""Encoder of each kind if none is named."""


def open_proposer(
    kind: Kind,
    encoder: str = "",
    *,
    points: int = 100,
    masks: Literal["best", "all"] = "best",
    large: Literal["resize", "tiles"] = "resize",
    region_size: float = REGION,
    entity_config: EntityConfig | None = None,
    device: str | torch.device = "auto",
) -> Proposer:
    """Open a proposer; options as in :class:`.SamGrid` and :class:`.PooledProposer`.

    ``kind`` is cells and nuclei, whole (``"entities"``); superpixels, for objects that are neither
    (``"regions"``); or the masks of a SAM at the points of a grid (``"sam"``).  ``encoder`` is any
    latent space, or a SAM by name or path; :data:`DEFAULT_ENCODER` if empty.
    """
    kinds = [known for known in SPECS if known != "pixels"]
    if kind not in kinds:
        raise OptionError(f"proposals={kind!r} is not possible; use one of {', '.join(kinds)}.")
    encoder = encoder or DEFAULT_ENCODER[kind]
    if kind == "sam":
        return SamGrid(open_sam(encoder, device), points, masks, large)
    side = region_size if kind == "regions" else None
    return PooledProposer.open(encoder, entity_config, region_size=side, device=device)


def read_spec(values: Mapping[str, Any]) -> ProposerSpec:
    """Build a spec from what :meth:`.ProposerSpec.as_dict` gave; InputError if it is none."""
    try:
        kind, encoder = values["kind"], values["encoder"]
        sha256, options = values["sha256"], values["options"]
    except (KeyError, TypeError) as error:
        raise InputError(f"This is no spec of a proposer: {error} is missing.") from error
    texts = all(isinstance(text, str) for text in (kind, encoder, sha256))
    if not texts or kind not in SPECS or not isinstance(options, dict):
        raise InputError(f"This is no spec of a proposer: {dict(values)!r}.")
    return SPECS[kind](encoder, sha256, dict(options))
