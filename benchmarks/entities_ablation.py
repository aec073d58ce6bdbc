"""What each loss does to content features: the ablation of the paper's Table 5, on small data.

    python benchmarks/entities_ablation.py [--data DIR ...] [--out FILE.json]

Three trainings from the same seed, initial weights and crops, for the same number of steps: the
contrastive losses alone (attraction, repulsion, ReCo); with the segment-space error; with its
multi-scale gradient term as well.  On pictures held out of training it measures

* *inter-mean similarity*: mean ``|cos|`` between the target lines of all pairs of entities in a
  window, 0 when they are orthogonal;
* *intra-entity similarity*: mean ``|cos|`` of an entity's pixels with its target line, mean over
  the entities, 1 when they are parallel.

Without ``--data`` it draws its pictures, coloured shapes that cover each other (the paper trains on
simple geometric shapes among other things), so that anyone can run it: they can be told apart by
their content, unlike look-alike nuclei, which take content features far longer.  ``--data`` names
folders as ``napari-kindred train`` takes them.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import tifffile
import torch
from meanshift import hardware
from scipy import ndimage
from tables import keep
from torch.nn import functional as F

from napari_kindred.entities.config import LOSSES, LossWeights, TrainConfig
from napari_kindred.entities.projective import target_lines, unit
from napari_kindred.entities.train import Trainer
from napari_kindred.models.training_data import Example, load_examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_kindred.entities.network import EntityNetwork

NAME = "entities_ablation"

CONFIG = TrainConfig(
    features="content",
    content_dim=32,
    width=32,
    crop=96,
    batch=4,
    max_steps=120,
    minutes=1e6,  # the steps are the budget: the same for all, whatever else the machine does
    diameter_low=24.0,
    diameter_high=36.0,
    learning_rate=3e-3,
    average=0.98,
    losses="paper",
)
"""A small network, few entities in a crop."""

WEIGHTS = LOSSES["paper"]

VARIANTS = {
    "attraction + repulsion + ReCo": replace(WEIGHTS, segment=0.0, gradient=0.0),
    "… + segment space": replace(WEIGHTS, gradient=0.0),
    "… + multi-scale gradient": WEIGHTS,
}

WINDOW = 96
"""Side of the windows in which pairs of entities are compared, pixels."""

SMALLEST = 16
"""Entities with fewer pixels (at the network's stride) in a window do not count."""


def shape_mask(random: np.random.Generator, side: int) -> np.ndarray:
    """Draw an ellipse, box or triangle somewhere in a picture."""
    y, x = np.mgrid[:side, :side] - random.uniform(0, side, 2)[:, None, None]
    angle = random.uniform(0, 2 * np.pi)
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    a, b = random.uniform(12, 26, 2)
    kind = random.integers(3)
    if kind == 0:
        return (along / a) ** 2 + (across / b) ** 2 < 1
    if kind == 1:
        return (abs(along) < 0.9 * a) & (abs(across) < 0.9 * b)
    corners = np.deg2rad([90, 210, 330])
    return np.all([np.cos(c) * along + np.sin(c) * across < 0.6 * a for c in corners], axis=0)


def surface(random: np.random.Generator, side: int) -> np.ndarray:
    """Draw a coloured surface, lit from one side and grained, (side, side, 3)."""
    y, x = np.mgrid[:side, :side] / side - 0.5
    light = 1 + random.uniform(-0.6, 0.6) * x + random.uniform(-0.6, 0.6) * y
    grain = ndimage.gaussian_filter(random.normal(size=(side, side)), random.uniform(0.5, 3))
    grain *= random.uniform(0, 0.25) / grain.std()
    return random.uniform(0.1, 1, 3) * (light + grain)[..., None]


def draw_shapes(random: np.random.Generator, side: int = 192) -> tuple[np.ndarray, np.ndarray]:
    """Draw a picture of shapes that cover each other, uint8 RGB, and its labels."""
    picture, labels = surface(random, side), np.zeros((side, side), np.uint16)
    for number in range(1, int(random.integers(14, 22))):
        mask = shape_mask(random, side)
        picture[mask], labels[mask] = surface(random, side)[mask], number
    picture = ndimage.gaussian_filter(picture, (0.7, 0.7, 0)) * 200
    noise = random.normal(scale=6, size=picture.shape)
    return np.clip(picture + noise, 0, 255).astype(np.uint8), labels


def write_shapes(folder: Path) -> list[Path]:
    """Write drawn pictures as training data and as held-out pictures."""
    here = folder / "shapes"
    for kind in ("images", "labels"):
        (here / kind).mkdir(parents=True, exist_ok=True)
    for split, count, seed in (("train", 64, 0), ("val", 12, 1)):
        for number in range(count):
            planes = draw_shapes(np.random.default_rng((seed, number)))
            for kind, plane in zip(("images", "labels"), planes, strict=True):
                tifffile.imwrite(here / kind / f"{split}_{number:02d}.tif", plane)
    return [here]


def windows(example: Example, diameter: float, side: int):
    """Yield windows of a picture scaled so that its median diameter is ``diameter``.

    Yields
    ------
    image : Tensor, (1, 3, side, side)
    labels : Tensor, (side, side) int64
    """
    scale = diameter / example.diameter if example.diameter else 1.0
    size = [max(side, round(n * scale)) for n in example.labels.shape]
    source = torch.from_numpy(example.pyramid[0].astype(np.float32))[None]
    image = F.interpolate(source, size=size, mode="bilinear", antialias=True)
    plane = torch.from_numpy(example.labels)[None, None].double()
    labels = F.interpolate(plane, size=size, mode="nearest-exact")[0, 0].long()
    for top in range(0, size[0] - side + 1, side):
        for left in range(0, size[1] - side + 1, side):
            place = (slice(top, top + side), slice(left, left + side))
            yield image[..., place[0], place[1]], labels[place]


def similarities(
    content: torch.Tensor, labels: torch.Tensor, stride: int
) -> tuple[list[float], list[float]]:
    """Compare lines within and between the entities of one window.

    Parameters
    ----------
    content : Tensor, (D, h, w)
        Features, of any length.
    labels : Tensor, (H, W) int64

    Returns
    -------
    inter : list of float
        One mean ``|cos|`` over all pairs of entities; empty with fewer than two.
    intra : list of float
        Mean ``|cos|`` of each entity's pixels with its line.
    """
    ids = labels[::stride, ::stride]
    values, compact, area = torch.unique(ids, return_inverse=True, return_counts=True)
    usable = (values > 0) & (area >= SMALLEST)
    number = torch.cumsum(usable, 0) - 1
    inside = usable[compact]
    own, count = number[compact[inside]], int(usable.sum())
    if not count:
        return [], []
    features = unit(content.permute(1, 2, 0)[inside])
    lines = target_lines(features, own, count, iterations=64)
    cosine = (features * lines[own]).sum(1).abs()
    intra = torch.zeros(count).index_add_(0, own, cosine) / torch.bincount(own, minlength=count)
    if count < 2:
        return [], intra.tolist()
    row, column = torch.triu_indices(count, count, 1)
    return [float((lines @ lines.T).abs()[row, column].mean())], intra.tolist()


@torch.inference_mode()
def measure(
    network: EntityNetwork, examples: Sequence[Example], diameter: float
) -> dict[str, float]:
    """Measure both similarities on held-out pictures, and in how many windows and entities."""
    device = next(network.parameters()).device
    inter, intra, count = [], [], 0
    for example in examples:
        for image, labels in windows(example, diameter, WINDOW):
            content = network(image.to(device)).content
            assert content is not None
            pairs, own = similarities(
                content[0].float().cpu(), labels, network.config.output_stride
            )
            inter += pairs
            intra += own
            count += bool(pairs)
    return {
        "inter": float(np.mean(inter)),
        "intra": float(np.mean(intra)),
        "windows": count,
        "entities": len(intra),
    }


def train(
    config: TrainConfig, weights: LossWeights, examples: Sequence[Example], out: Path
) -> tuple[EntityNetwork, dict[str, float]]:
    """Train for the config's steps; returns the averaged network and the last loss terms."""
    trainer = Trainer(examples, [], out, config)
    trainer.weights = weights
    recent: dict[str, float] = {}
    while trainer.share_done() < 1:
        for name, value in trainer.train_step().items():
            recent[name] = 0.95 * recent.get(name, value) + 0.05 * value
    return trainer.averaged(), recent


def run(folders: Sequence[Path], config: TrainConfig, seeds: int, held_out: int) -> dict:
    """Train every variant with every seed and measure it."""
    examples = load_examples(folders, "train")
    # Pictures of all kinds, evenly picked, whatever their order.
    validation = load_examples(folders, "val")
    step = max(1, len(validation) // held_out)
    validation = validation[::step][:held_out]
    diameter = math.sqrt(config.diameter_low * config.diameter_high)
    rows: list[dict] = []
    for seed in range(seeds):
        for name, weights in VARIANTS.items():
            own = replace(config, seed=seed)
            start = time.perf_counter()
            with tempfile.TemporaryDirectory() as folder:
                network, terms = train(own, weights, examples, Path(folder))
            result = measure(network, validation, diameter)
            seconds = time.perf_counter() - start
            rows.append({"losses": name, "seed": seed, "seconds": round(seconds, 1), **result})
            print(f"{name:32} seed {seed}  inter {result['inter']:.3f}  "
                  f"intra {result['intra']:.3f}  {seconds:.0f} s  "
                  + " ".join(f"{k} {v:.3f}" for k, v in terms.items()), flush=True)  # fmt: skip
    return {
        "hardware": hardware(),
        "data": [folder.name for folder in folders],
        "pictures": {"train": len(examples), "held out": len(validation)},
        "config": {k: getattr(config, k) for k in (
            "content_dim", "width", "crop", "batch", "max_steps", "learning_rate", "init")},
        "weights": asdict(WEIGHTS),
        "runs": rows,
    }  # fmt: skip


def degrees(cosine: float) -> str:
    return f"{math.degrees(math.acos(min(1.0, cosine))):.1f}°"


def markdown(result: dict) -> str:
    """Table of means over the seeds, with the smallest and largest in brackets."""
    rows = [
        "| losses | inter-mean similarity (0 is best) | intra-entity similarity (1 is best) |",
        "|---|---|---|",
    ]
    for name in VARIANTS:
        own = [row for row in result["runs"] if row["losses"] == name]
        cells = []
        for key in ("inter", "intra"):
            values = [row[key] for row in own]
            mean = float(np.mean(values))
            spread = f" [{min(values):.3f}, {max(values):.3f}]" if len(values) > 1 else ""
            cells.append(f"{mean:.3f} ({degrees(mean)}){spread}")
        rows.append(f"| {name} | {' | '.join(cells)} |")
    first, config = result["runs"][0], result["config"]
    seeds = len({row["seed"] for row in result["runs"]})
    notes = [
        f"{config['max_steps']} steps of {config['batch']} crops of {config['crop']}² pixels each;",
        f"mean over {seeds} seeds [smallest, largest];",
        f"{first['entities']} entities in {first['windows']} windows of",
        f"{result['pictures']['held out']} pictures not trained on",
        f"(data: {', '.join(result['data'])}).",
    ]
    return "\n".join([*rows, "", " ".join(notes)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, nargs="+", help="data folders [drawn shapes]")
    parser.add_argument("--steps", type=int, default=CONFIG.max_steps)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--held-out", type=int, default=12, help="pictures to measure on")
    parser.add_argument("--init", default=CONFIG.init, help="imagenet or random")
    parser.add_argument("--device", default="auto")
    parser.add_argument(
        "--out", type=Path, help="another JSON file; the pages then stay as they are"
    )
    given = parser.parse_args()
    torch.set_flush_denormal(True)
    config = replace(CONFIG, max_steps=given.steps, init=given.init, device=given.device)
    with tempfile.TemporaryDirectory() as folder:
        folders = given.data or write_shapes(Path(folder))
        result = run(folders, config, given.seeds, given.held_out)
    keep(NAME, result, markdown(result), given.out)


if __name__ == "__main__":
    main()
