"""Weights that were learnt from corrections: their files, names and cards."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...core.errors import WeightsError
from ...core.settings import weights_dir
from ...models.weights import WEIGHTS, read_header

if TYPE_CHECKING:
    from collections.abc import Mapping

CARD = "learning"
"""Key of the card among the facts in the header of a weights file."""

LONGEST_NAME = 60
"""Characters of a name that become a file's."""


@dataclass(frozen=True)
class FineTuned:
    """What was learnt from corrections; taken by ``segment_entities(weights=…)`` as it is.

    Attributes
    ----------
    weights : str
        The file that was written or, if what was learnt was no better and so not kept, the weights
        that learning began with.
    kept : bool
        Whether what was learnt was kept.
    card : dict
        ``name``, ``start``, ``date``, ``minutes``, ``steps``, ``seed``, ``blend``, ``layers``, the
        numbers of ``frames``, ``objects`` and ``held_back``, ``data_sha256`` and ``scores``: of
        the objects held back (``held_back``) and of the control set (``control``), ``before``
        and ``after``, AP50 and mSA each.  ``earlier`` has the cards of the weights that learning
        went on from.
    """

    weights: str
    kept: bool
    card: dict[str, Any]

    def __fspath__(self) -> str:
        return self.weights

    @property
    def name(self) -> str:
        """Name of what was learnt."""
        return str(self.card["name"])

    def score(self, images: str = "held_back", when: str = "after", score: str = "AP50") -> float:
        """Return a score from the card."""
        return float(self.card["scores"][images][when][score])

    def summary(self) -> str:
        """Return the scores before and after and what was kept, two sentences."""
        changes = [
            f"of the {words} {self.score(images, 'before'):.2f} → {self.score(images, 'after'):.2f}"
            for images, words in (("held_back", "objects held back"), ("control", "control set"))
        ]
        kept = f"Kept as {self.name!r}." if self.kept else "Not kept: the weights are as before."
        return f"AP50 {', '.join(changes)}. {kept}"

    def __str__(self) -> str:
        return self.weights

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as a dict that JSON can hold."""
        return asdict(self)


def card_of(path: str | Path) -> dict[str, Any]:
    """Return the card of weights learnt from corrections; empty for others.

    WeightsError if the file is damaged.
    """
    texts = read_header(Path(path)).get("__metadata__") or {}
    try:
        found = json.loads(texts.get("info", "{}")).get(CARD) or {}
    except (AttributeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def learnt_weights() -> dict[str, Path]:
    """Return the files in the folder of learnt weights by name, the newest first."""
    found: list[tuple[float, str, Path]] = []
    for path in weights_dir().glob("*.safetensors"):
        try:
            name = str(card_of(path).get("name") or path.stem)
            found.append((path.stat().st_mtime, name, path))
        except (OSError, WeightsError):  # being written, or somebody else's
            continue
    named: dict[str, Path] = {}
    for _, name, path in sorted(found, reverse=True):
        named[name if name not in named else f"{name} ({path.stem})"] = path
    return named


def free_file(name: str) -> Path:
    """Return a file in the folder of learnt weights that is not there yet, called like a name."""
    stem = re.sub(r"[^\w.-]+", "-", name).strip("-.")[:LONGEST_NAME] or "corrections"
    path, number = weights_dir() / f"{stem}.safetensors", 2
    while path.exists():
        path, number = weights_dir() / f"{stem}-{number}.safetensors", number + 1
    return path


def title_of(weights: str) -> str:
    """Return how weights are called: the name on their card, else that of the file."""
    if weights in WEIGHTS:
        return weights
    try:
        return str(card_of(weights).get("name") or Path(weights).stem)
    except WeightsError:
        return Path(weights).stem


def total(card: Mapping[str, Any], what: str) -> int:
    """Return the sum of a number over a card and those that it went on from."""
    return sum(int(one.get(what, 0)) for one in (card, *card.get("earlier", ())))
