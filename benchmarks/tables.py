"""Write measured tables into README.md and docs, between ``<!-- table: NAME -->`` markers.

    python benchmarks/tables.py            # all tables, from benchmarks/results/*.json
    python benchmarks/tables.py --check    # fails when a page shows something else

Each benchmark calls :func:`paste` with its own table when it has run, so no number in a page is
copied by hand.  A table reaches from its marker to the ``<!-- end: NAME -->`` marker.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_kindred.classes.config import ClassesConfig, TeachConfig
from napari_kindred.classes.escnet.config import EscTrainConfig
from napari_kindred.clusters.config import ClusterConfig
from napari_kindred.core.options import visible
from napari_kindred.entities.config import EntityConfig, TrainConfig
from napari_kindred.entities.learning.config import LearnConfig
from napari_kindred.models.download import file_sha256
from napari_kindred.models.weights import resolve

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results"


def pages() -> list[Path]:
    """Return the pages that may hold tables."""
    return [
        ROOT / "README.md",
        ROOT / "benchmarks" / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted((ROOT / "src" / "napari_kindred" / "models" / "weights_data").glob("*.md")),
    ]


def replaced(text: str, name: str, table: str) -> str:
    """Return a page's text with a table put between its markers; unchanged without them."""
    pattern = re.compile(
        rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end: {re.escape(name)} -->)", re.DOTALL
    )
    return pattern.sub(lambda found: f"{found[1]}\n{table.strip()}\n\n{found[2]}", text)


def paste(name: str, table: str, where: Iterable[Path] | None = None) -> list[Path]:
    """Write a table into every page that has its markers; returns the pages that changed."""
    changed = []
    for page in pages() if where is None else where:
        if not page.exists():
            continue
        before = page.read_text("utf-8")
        after = replaced(before, name, table)
        if after != before:
            page.write_text(after, "utf-8")
            changed.append(page)
    return changed


def measured_before(name: str, out: Path | None = None) -> dict[str, Any]:
    """Return what a benchmark that is measured in parts has measured by now."""
    path = out or RESULTS / f"{name}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else {}


def keep(
    name: str, result: dict[str, Any], shown: str | dict[str, str], out: Path | None = None
) -> None:
    """Print what a benchmark measured, and keep it.

    Parameters
    ----------
    name : str
        Of the benchmark: the numbers go to ``results/NAME.json``.
    result : dict
    shown : str or dict
        Its table, or several by name; each goes into the pages that have a place for it.
    out : Path, optional
        Another JSON file; the pages then stay as they are.
    """
    path = out or RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    for title, table in (shown if isinstance(shown, dict) else {name: shown}).items():
        print(f"\n{table}")
        if out is None:
            paste(title, table)


def options(config: Any) -> str:
    """Return the table of a config's options, as its fields describe themselves."""
    rows = ["| option | default | what it does |", "|---|---|---|"]
    for item in visible(config):
        default = "" if item.default is None else f"`{item.default}`"
        rows.append(f"| `{item.name}` | {default} | {item.metadata['help']} |")
    return "\n".join(rows)


def weights(name: str) -> str:
    """Return the table of what a weights file tells about itself."""
    from napari_kindred.entities.checkpoint import load_network

    network, info = load_network(name)
    defaults = {item.name: item.default for item in dataclasses.fields(TrainConfig)}
    left_out = {"threads", "validate_minutes", "validate_images", "checkpoint_minutes"}
    changed_options = {
        key: value
        for key, value in info["train_config"].items()
        if key in defaults.keys() - left_out and value != defaults[key]
    }
    facts = {
        "encoder": f"{network.config.encoder}, decoder {network.config.width} channels wide",
        "features": network.config.features,
        "parameters": f"{sum(p.numel() for p in network.parameters()) / 1e6:.1f} million",
        "file": f"{resolve(name).stat().st_size / 1e6:.1f} MB, half precision",
        "sha256": f"`{info['sha256']}`",
        "trained on": f"{info['pictures']} pictures, {', '.join(info['groups'])}",
        "training": f"{info['steps']} steps in {info['minutes']:.0f} minutes on {info['device']}",
        "options changed": ", ".join(f"`{k}={v}`" for k, v in changed_options.items()) or "none",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in facts.items())])


def sam_weights(name: str) -> str:
    """Return the table of what a promptable model's file tells about itself."""
    from napari_kindred.classes.sam.model import load_sam

    sam, info = load_sam(name)
    path = resolve(name)
    chosen = info["train_config"]
    ours = {key: value for key, value in chosen.items() if key in _SHAPE}
    facts = {
        "image encoder": ", ".join(f"{key} {value}" for key, value in ours.items()),
        "parameters": f"{sum(p.numel() for p in sam.parameters()) / 1e6:.1f} million",
        "file": f"{path.stat().st_size / 1e6:.1f} MB, half precision",
        "sha256": f"`{file_sha256(path)}`",
        "trained on": f"{info['pictures']} pictures, {', '.join(info['groups'])}",
        "training": f"{info['steps']} steps in {info['minutes']:.0f} minutes on {info['device']}, "
        f"seed {chosen['seed']}",
    }
    return "\n".join(["| | |", "|---|---|", *(f"| {k} | {v} |" for k, v in facts.items())])


_SHAPE = ("side", "patch", "width", "depth", "heads", "window")


COMPARED = {
    "fluorescence": "fluorescence",
    "histology": "histology",
    "brightfield": "brightfield",
    "phase contrast": "phase contrast",
    "histo tnbc": "H&E of another laboratory",
    "livecell sample": "confluent cells",
    "bacteria omnipose": "bacteria",
}
"""Kinds of images in the table next to other packages, and what they are called there."""


def comparison() -> str:
    """Return the table of this package next to Cellpose, StarDist and micro-sam."""
    accuracy = measured_before("entities_accuracy")["accuracy"]
    peers = measured_before("peers_entities")
    ways = peers["pictures"]["DSB 2018, held out"]["ways"]
    seconds = {name: f"{way['total']:.1f}" for name, way in ways.items()}
    scores = ", ".join(
        f"{words} {accuracy['rows'][kind]['AP50']:.2f}" for kind, words in COMPARED.items()
    )
    size = resolve("kindred-entities").stat().st_size / 1e6
    rows = [
        ("", "napari-kindred", "Cellpose", "StarDist", "micro-sam"),
        ("---",) * 5,
        ("AP50 on held-out images", scores, *("not measured here",) * 3),
        ("weights", f"{size:.1f} MB, in the package", *("downloaded when first used",) * 3),
        (
            f"CPU seconds, {peers['side']}² pixels, {peers['threads']} thread",
            f"{seconds['ours']}; {seconds['ours, scale 1']} with `scale=1`",
            f"{seconds['Cellpose 3']} (version 3)",
            seconds["StarDist"],
            "not measured",
        ),
        (
            "what it has and we have not",
            "",
            "models trained on many kinds of images, image restoration",
            "networks trained in 3-D, models for H&E, plugins for Fiji and QuPath",
            "interactive prompts in 3-D and over time, models for electron microscopy",
        ),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def tables() -> dict[str, str]:
    """Return every table by name: those measured, from their JSON files, and the options."""
    found = {
        "options": options(EntityConfig),
        "cluster_options": options(ClusterConfig),
        "class_options": options(ClassesConfig),
        "teach_options": options(TeachConfig),
        "esc_options": options(EscTrainConfig),
        "train_options": options(TrainConfig),
        "learn_options": options(LearnConfig),
    }
    if (ROOT / "src/napari_kindred/models/weights_data/kindred-entities.safetensors").exists():
        found["weights"] = weights("kindred-entities")
        found["sam_weights"] = sam_weights("kindred-sam")
        found["comparison"] = comparison()
    for path in sorted(RESULTS.glob("*.json")):
        module = importlib.import_module(path.stem)
        result = json.loads(path.read_text("utf-8"))
        table = module.markdown(result)
        found |= table if isinstance(table, dict) else {path.stem: table}
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="change nothing, say what would")
    given = parser.parse_args()
    stale = []
    for name, table in tables().items():
        if given.check:
            stale += [
                f"{page.relative_to(ROOT)}: table {name} is out of date; run benchmarks/tables.py"
                for page in pages()
                if page.exists()
                and replaced(page.read_text("utf-8"), name, table) != page.read_text("utf-8")
            ]
        else:
            for page in paste(name, table):
                print(f"{page.relative_to(ROOT)}: {name}")
    print("\n".join(stale))
    return 1 if stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
