"""What each part of ESC-Net is good for: the paper's ablation, small.

    python benchmarks/classes_escnet.py --data DIR [--sam NAME_OR_PATH] [--out FILE.json]

No CLIP is shipped, so a small one is trained first: windows of the pictures to learn from, of one
class each, against sentences with its name.  It is used here alone.  From it ESC-Net is trained
with parts left out, each with the same CLIP, seed, crops and steps:

* *correlation only*: CLIP's probabilities, its attention fine-tuned;
* *+ pseudo-prompts and SAM block*;
* *+ fusion and decoder*: the whole network;
* the whole network without the SAM block, and with one that nobody trained before.

Measured is the mean IoU over the classes on pictures that neither the CLIP nor the network has
seen.  ``--data`` is a folder as ``napari-kindred train classes`` takes it; one without a
``classes.csv`` needs ``--names``.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import open_clip
import torch
from meanshift import hardware
from tables import keep
from torch.nn import functional as F

from napari_kindred.classes.clip.matching import CONTRAST
from napari_kindred.classes.clip.text import TEMPLATES, contrast_beside
from napari_kindred.classes.escnet.config import EscTrainConfig
from napari_kindred.classes.escnet.dataset import NOTHING, crop_of, load_class_data
from napari_kindred.classes.escnet.train import EscTrainer, iter_score_classes
from napari_kindred.core.events import finish
from napari_kindred.models.trainer import prepared

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_kindred.models.training_data import Example

NAME = Path(__file__).stem

MODEL = "kindred-benchmark"
SIDE, PATCH = 48, 8
"""Of the windows that the small CLIP is shown, in pixels."""

# Its patches are averaged: gathered by a token, they know after so little training no places.
CLIP = {
    "embed_dim": 64,
    "vision_cfg": {
        "image_size": SIDE,
        "patch_size": PATCH,
        "layers": 3,
        "width": 64,
        "head_width": 32,
        "pool_type": "avg",
    },
    "text_cfg": {
        "context_length": 16,
        "vocab_size": 49408,
        "width": 64,
        "heads": 2,
        "layers": 1,
    },
}

PURE = 0.8
"""A window shows a class when at least this share of it is of the class."""

SHOWN = 200
"""Windows of each class that it is shown."""

CONFIG = EscTrainConfig(
    minutes=1e6,
    max_steps=120,
    batch=4,
    learning_rate=1e-3,
    side=64,
    blocks=2,
    hidden=64,
    window=4,
    average=0.97,
    checkpoint_minutes=1e6,
    validate_minutes=1e6,
    device="cpu",
)

VARIANTS = {
    "correlation only": {"sam_block": False, "fusion": False},
    "+ pseudo-prompts and SAM block": {"fusion": False},
    "+ fusion and decoder (the whole)": {},
    "the whole, without the SAM block": {"sam_block": False},
    "the whole, SAM block untrained": {"sam": "random"},
}


def split_folder(source: Path, out: Path, held_out: int, names: Sequence[str]) -> Path:
    """Copy a data folder, with an index that keeps every so many-th picture for measuring."""
    for part in ("images", "labels"):
        shutil.copytree(source / part, out / part)
    stems = sorted(path.stem for path in (out / "images").iterdir())
    kept = set(stems[:: len(stems) // held_out][:held_out])
    rows = [("name", "split"), *((stem, "val" if stem in kept else "train") for stem in stems)]
    with (out / "index.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    if names:
        with (out / "classes.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("value", "name"), *enumerate(names, start=1)])
    else:
        shutil.copy(source / "classes.csv", out)
    return out


# -- a small CLIP -----------------------------------------------------------------------------


def window(example: Example, kind: int, random: np.random.Generator) -> torch.Tensor | None:
    """Cut a window that shows a class, (3, SIDE, SIDE), or None where none is found."""
    rows, columns = np.nonzero(example.labels == kind)
    shape = example.labels.shape
    for _ in range(20 if len(rows) else 0):
        i = random.integers(len(rows))
        length = int(min(shape) * random.uniform(0.1, 0.45))
        top = int(np.clip(rows[i] - random.integers(length), 0, shape[0] - length))
        left = int(np.clip(columns[i] - random.integers(length), 0, shape[1] - length))
        place = (slice(top, top + length), slice(left, left + length))
        if (example.labels[place] == kind).mean() >= PURE:
            return crop_of(example.pyramid[0][:, *place], example.labels[place], SIDE)[0]
    return None


def shown(examples: Sequence[Example], kind: int, seed: int) -> torch.Tensor:
    """Cut windows of a class out of all pictures in turn, (SHOWN, 3, SIDE, SIDE)."""
    random = np.random.default_rng((seed, abs(kind)))
    found: list[torch.Tensor] = []
    for turn in range(10 * SHOWN):
        cut = window(examples[turn % len(examples)], kind, random)
        found += [] if cut is None else [cut]
        if len(found) == SHOWN:
            break
    return torch.stack(found)


def train_clip(examples: Sequence[Example], names: Sequence[str], steps: int, seed: int) -> dict:
    """Train a small CLIP on windows of classes; returns its tensors."""
    torch.manual_seed(seed)
    network = open_clip.create_model(MODEL).train()
    tokenizer = open_clip.get_tokenizer(MODEL)
    kinds = dict(enumerate(names))
    for word in contrast_beside(names, CONTRAST):
        kinds[NOTHING] = word
    kinds = {k: v for k, v in kinds.items() if any((e.labels == k).any() for e in examples)}
    mean, deviation = (
        torch.tensor(v).view(1, 3, 1, 1)
        for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD)
    )
    parts = [(shown(examples, kind, seed) - mean) / deviation for kind in kinds]
    pictures = torch.cat(parts)
    targets = torch.arange(len(parts)).repeat_interleave(torch.tensor([len(p) for p in parts]))
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-3, total_steps=steps)
    right = []
    for step in range(steps):
        some = torch.randint(len(pictures), (48,))
        template = TEMPLATES[step % len(TEMPLATES)]
        words = tokenizer([template.replace("{}", name) for name in kinds.values()])
        texts = network.encode_text(words, normalize=True)
        seen = network.encode_image(pictures[some].flip(3 if step % 2 else 2), normalize=True)
        cosines = network.logit_scale.exp() * seen @ texts.T
        loss = F.cross_entropy(cosines, targets[some])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        right.append(float((cosines.argmax(1) == targets[some]).float().mean()))
    print(f"CLIP, seed {seed}: {np.mean(right[-20:]):.2f} of the windows named right", flush=True)
    return network.state_dict()


# -- the ablation -----------------------------------------------------------------------------


def run(folder: Path, config: EscTrainConfig, seeds: int, clip_steps: int, only: str) -> dict:
    """Train every variant with every seed and measure it."""
    data = load_class_data(folder)
    rows: list[dict] = []
    with tempfile.TemporaryDirectory() as place:
        known = Path(place) / f"{MODEL}.json"
        known.write_text(json.dumps(CLIP))
        open_clip.add_model_config(known)
        for seed in range(seeds):
            file = Path(place) / f"clip_{seed}.pt"
            torch.save(train_clip(data.train, data.names, clip_steps, seed), file)
            for name, parts in VARIANTS.items():
                if only not in name:
                    continue
                own = replace(config, seed=seed, clip=f"{MODEL}/{file}", **parts)
                start = time.perf_counter()
                with prepared(Path(place) / f"{seed}_{len(rows)}", 0) as out:
                    trainer = EscTrainer(data, out, own)
                    while trainer.share_done() < 1:
                        terms = trainer.train_step()
                    scores = finish(
                        iter_score_classes(trainer.classifier(), data.validation, data.names)
                    )
                seconds = time.perf_counter() - start
                rows.append({
                    "variant": name, "seed": seed, "seconds": round(seconds, 1),
                    "loss": terms["loss"], **scores,
                })  # fmt: skip
                print(f"{name:34} seed {seed}  mIoU {scores['mIoU']:.3f}  "
                      f"loss {terms['loss']:.3f}  {seconds:.0f} s", flush=True)  # fmt: skip
    return {
        "hardware": hardware(),
        "classes": list(data.names),
        "pictures": {"train": len(data.train), "held out": len(data.validation)},
        "sam": Path(config.sam).name,
        "clip_steps": clip_steps,
        "config": {k: getattr(config, k) for k in (
            "max_steps", "batch", "learning_rate", "pretrained_rate", "side", "blocks", "hidden",
            "heads", "window", "regions", "above")},
        "runs": rows,
    }  # fmt: skip


def markdown(result: dict) -> str:
    """Table of means over the seeds, with the smallest and largest in brackets."""
    rows = ["| network | mIoU on pictures not seen | " + " | ".join(result["classes"]) + " |"]
    rows.append("|---|---|" + "---|" * len(result["classes"]))
    for name in VARIANTS:
        own = [row for row in result["runs"] if row["variant"] == name]
        if not own:
            continue
        values = [row["mIoU"] for row in own]
        cells = [f"{np.mean(values):.3f} [{min(values):.3f}, {max(values):.3f}]"]
        cells += [
            f"{np.mean([row.get(f'IoU {kind}', np.nan) for row in own]):.3f}"
            for kind in result["classes"]
        ]
        rows.append(f"| {name} | {' | '.join(cells)} |")
    config, pictures = result["config"], result["pictures"]
    seeds = len({row["seed"] for row in result["runs"]})
    slowest = max(row["seconds"] for row in result["runs"])
    notes = [
        f"Mean over {seeds} seeds [smallest, largest]; {pictures['train']} pictures to learn from,",
        f"{pictures['held out']} to measure on; a CLIP of 3 layers trained for",
        f"{result['clip_steps']} steps on windows of the former, then {config['max_steps']}",
        f"steps of {config['batch']} crops of {config['side']}² pixels ({config['blocks']} blocks,",
        f"hidden {config['hidden']}); at most {slowest:.0f} s a run.",
    ]
    return "\n".join([*rows, "", " ".join(notes)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="a folder with classes")
    parser.add_argument("--names", default="", help="names of labels 1, 2, …, with commas")
    parser.add_argument("--held-out", type=int, default=20, help="pictures to measure on")
    parser.add_argument("--sam", default="kindred-sam", help="name or path")
    parser.add_argument("--steps", type=int, default=CONFIG.max_steps)
    parser.add_argument("--clip-steps", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="variants with this in their name")
    parser.add_argument("--device", default=CONFIG.device)
    parser.add_argument(
        "--out", type=Path, help="another JSON file; the pages then stay as they are"
    )
    given = parser.parse_args()
    torch.set_flush_denormal(True)
    config = replace(CONFIG, max_steps=given.steps, sam=given.sam, device=given.device)
    names = [name.strip() for name in given.names.split(",") if name.strip()]
    with tempfile.TemporaryDirectory() as place:
        folder = split_folder(given.data, Path(place) / given.data.name, given.held_out, names)
        result = run(folder, config, given.seeds, given.clip_steps, given.only)
    result["data"] = given.data.name
    keep(NAME, result, markdown(result), given.out)


if __name__ == "__main__":
    main()
