"""Opens what finds proposals, by its kind or as it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from ...core.errors import OptionError, WeightsError
from ...entities.config import EntityConfig
from .base import KINDS, Kind, Proposer, Recipe
from .entities import EntityProposer, RegionProposer
from .sam_grid import SamGrid

if TYPE_CHECKING:
    from collections.abc import Callable

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
    progress: Callable[[int, int], None] | None = None,
) -> Proposer:
    """Open what finds proposals.

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
    progress : callable, optional
        Told the bytes done and in total while weights are downloaded.

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
        return SamGrid.open(
            encoder, points=points, masks=masks, large=large, device=device, progress=progress
        )
    if kind == "entities":
        return EntityProposer.open(encoder, entity_config, device=device, progress=progress)
    return RegionProposer.open(
        encoder, entity_config, region_size=region_size, device=device, progress=progress
    )


def reopen_proposer(
    recipe: Recipe,
    *,
    device: str | torch.device = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Proposer:
    """Open what made proposals, to find those of other pictures in the same way.

    Raises
    ------
    WeightsError
        When the weights of that name are others by now, or are not here.
    """
    options = dict(recipe.options)
    entities = options.pop("entities", None)
    names = ("points", "masks", "large", "region_size")
    known = {key: options[key] for key in names if key in options}
    config = EntityConfig(**entities) if entities else None
    opened = open_proposer(
        recipe.kind, recipe.encoder, **known, entity_config=config, device=device, progress=progress
    )
    if not opened.recipe.matches(recipe):
        raise WeightsError(
            f"The proposals were made with {recipe.encoder} of sha256 {recipe.sha256[:12]}, but "
            f"here it is {opened.recipe.sha256[:12]}; give those weights by their path."
        )
    return opened
