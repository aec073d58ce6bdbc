"""The model card of a recipe's weights: how they were made, from what, and how good they are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._version import __version__
from ..models.curves import draw_curves
from ..models.download import file_sha256
from ..results.atomic import replacing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .recipe import Recipe
    from .validate import Settings

CARD = "card.md"
CURVES = "curves.svg"


def write_card(
    weights: Path,
    log: Path,
    name: str,
    recipe: Recipe,
    info: Mapping[str, Any],
    settings: Settings | None,
) -> Path:
    """Write the card of trained weights, with their learning curves, into the weights' folder.

    Parameters
    ----------
    weights : path
    log : path
        ``log.csv`` of the run.
    name : str
        Name of the recipe.
    recipe : Recipe
    info : mapping
        Facts in the header of the weights file.
    settings : Settings or None
        Threshold and minimum score chosen on the validation images; None without such images.

    Returns
    -------
    Path
        The card, Markdown.
    """
    folder = weights.parent
    with replacing(folder / CURVES) as part:
        part.write_text(draw_curves(log), "utf-8")
    text = "\n\n".join(
        [
            f"# Model card: {name}",
            _facts(weights, name, info),
            "## Data",
            _sources(recipe),
            "## Accuracy on validation images",
            _accuracy(settings),
            "## Learning curves",
            f"![Losses and scores over steps]({CURVES})",
        ]
    )
    with replacing(folder / CARD) as part:
        part.write_text(text + "\n", "utf-8")
    return folder / CARD


def _facts(weights: Path, name: str, info: Mapping[str, Any]) -> str:
    config = info["train_config"]
    early = f" --finish-at {config['finish_at']}" if config.get("finish_at") else ""
    facts = {
        "command": f"`napari-kindred train entities --recipe {name} DATA_DIR --out DIR{early}`",
        "software": f"napari-kindred {__version__}",
        "file": f"{weights.name}, {weights.stat().st_size / 1e6:.1f} MB",
        "sha256": f"`{file_sha256(weights)}`",
        "data sha256": f"`{info['data_sha256']}`",
        "seed": config["seed"],
        "steps": f"{info['steps']:,} of {config['batch']} crops of {config['crop']} px",
        "hours": f"{info['minutes'] / 60:.1f} on {info['device']}",
        "start": config["init"],
    }
    rows = "\n".join(f"| {key} | {value} |" for key, value in facts.items())
    return f"| | |\n|---|---|\n{rows}"


def _sources(recipe: Recipe) -> str:
    real = 1 - sum(recipe.synthetic.values())
    total = sum(recipe.sources.values())
    rows = [
        f"| {source} | {real * share / total:.1%} | {recipe.origins[source.partition('/')[0]]} |"
        for source, share in recipe.sources.items()
    ]
    rows += [
        f"| synthetic {kind} | {share:.1%} | drawn by the package |"
        for kind, share in recipe.synthetic.items()
    ]
    return "\n".join(
        ["| source | share of the crops | origin and licence |", "|---|---|---|", *rows]
    )


def _accuracy(settings: Settings | None) -> str:
    if settings is None:
        return "There were no validation images."
    rows = [
        f"| {group} | {row['AP50']:.3f} | {row['mSA']:.3f} | {row['images']} | {row['objects']} |"
        for group, row in settings.accuracy.items()
    ]
    choice = (
        f"Of the thresholds and minimum scores compared here, {settings.threshold:g} and "
        f"{settings.min_score:g} have the best mean of AP50 and mSA over the groups; the table is "
        "at that setting, counts pooled over a group's images."
    )
    head = ["| group | AP50 | mSA | images | objects |", "|---|---|---|---|---|"]
    return "\n".join([choice, "", *head, *rows])
