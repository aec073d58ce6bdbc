"""Opening of proposers, by their kind or by their spec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ...core.errors import OptionError, WeightsError
from ...encoders.sam import open_sam
from ...entities.config import EntityConfig
from ...models.spec import check_hash
from .base import KINDS, Kind, Proposer, ProposerSpec
from .entities import EntityProposer, RegionProposer
from .sam_grid import SamGrid

if TYPE_CHECKING:
    import torch

DEFAULT_ENCODER: dict[str, str] = {
    "entities": "kindred",
    "regions": "kindred",
    "sam": "kindred-sam",
}
"""What is taken when no encoder is named."""


def open_proposer(
    kind: Kind,
    encoder: str = "",
    *,
    points: int = 100,
    masks: Literal["best", "all"] = "best",
    large: Literal["resize", "tiles"] = "resize",
    region_size: float = 12.0,
    entity_config: EntityConfig | None = None,
    device: str | torch.device = "auto",
) -> Proposer:
    """Open a proposer.

    Parameters
    ----------
    kind : {"entities", "regions", "sam"}
        Cells and nuclei, whole; superpixels, for things that are none; or what a SAM finds at the
        points of a grid.
    encoder : str
        For entities and regions any latent space, ``"kindred"`` when empty; for ``"sam"`` a SAM by
        name or path, ``"kindred-sam"`` when empty.
    points : int
        Points of the SAM's grid, 10 x 10 in the paper; the nearest square number is taken.
    masks : {"best", "all"}
        Of the three masks that a SAM gives for a point, the one of best predicted quality, or all.
    large : {"resize", "tiles"}
        A picture larger than the SAM's input is scaled down to it, or cut into tiles of that size
        with a grid each.
    region_size : float
        Side of regions, in pixels of the picture as the entity network looks at it.
    entity_config : EntityConfig, optional
        How entities are found, or measured to scale regions; defaults when left out.
    device : str or torch.device

    Raises
    ------
    OptionError
        When an option has a value that it cannot take.
    WeightsError
        When weights are missing, damaged or made for something else.
    """
    if kind not in KINDS:
        raise OptionError(f"proposals={kind!r} is not possible; use one of {', '.join(KINDS)}.")
    encoder = encoder or DEFAULT_ENCODER[kind]
    if kind == "sam":
        return SamGrid(open_sam(encoder, device), points, masks, large)
    if kind == "entities":
        return EntityProposer.open(encoder, entity_config, device=device)
    return RegionProposer.open(encoder, entity_config, region_size=region_size, device=device)


def reopen_proposer(spec: ProposerSpec, device: str | torch.device = "auto") -> Proposer:
    """Open the proposer of a spec.

    Raises
    ------
    WeightsError
        When its weights are not on this machine, or have another hash here.
    """
    options = dict(spec.options)
    entities = options.pop("entities", None)
    names = ("points", "masks", "large", "region_size")
    known = {key: options[key] for key in names if key in options}
    config = EntityConfig(**entities) if entities else None
    opened = open_proposer(spec.kind, spec.encoder, **known, entity_config=config, device=device)
    if not opened.spec.matches(spec):
        check_hash(spec.encoder, opened.spec.sha256, spec.sha256)
        raise WeightsError("The proposals were made by another version; run again.")
    return opened
