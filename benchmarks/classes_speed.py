"""How long classes by name take for a 1024 × 1024 picture, and for another threshold or name.

    python benchmarks/classes_speed.py [--image FILE] [--sam NAME_OR_FILE] [--clip]

The picture is FILE (one frame, cut or mirrored to 1024 × 1024), or a frame of the shipped sample,
mirrored over the plane.  Every way is timed as the median of three runs after one that is not
counted, those with CLIP once; without cache.  ``networks`` is the time within the networks,
``rest`` everything else.  Then the finished result is given another threshold and other names.

``--clip`` adds the ways that ask CLIP, with a ViT-B-16 of random weights, and an ESC-Net trained on
it for a single step: what comes out means nothing, the time is that of real weights.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from entities_speed import SIDE, picture
from meanshift import hardware
from tables import keep
from torch.nn.modules import module as hooks

import napari_kindred as nk
from napari_kindred.classes.escnet.config import EscTrainConfig
from napari_kindred.classes.escnet.train import train_escnet
from napari_kindred.models.feature_cache import FeatureCache

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from napari_kindred.classes.result import ClassSegmentation

NAME = "classes_speed"
REPEATS = 3
NAMES = ("thing", "other")


class Clock:
    """Adds up the time within calls of networks, whichever they are."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._depth, self._start = 0, 0.0

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Count while within."""
        handles = [
            hooks.register_module_forward_pre_hook(self._enter),
            hooks.register_module_forward_hook(self._leave),
        ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, *_: Any) -> None:
        if not self._depth:
            self._start = time.perf_counter()
        self._depth += 1

    def _leave(self, *_: Any) -> None:
        self._depth -= 1
        if not self._depth:
            self.seconds += time.perf_counter() - self._start


def taught(pixels: np.ndarray, axes: str, **options: Any) -> nk.Vocabulary:
    """Return a vocabulary of two names, of points that lie anywhere."""
    places = np.linspace(40, SIDE - 40, 12)
    grid = np.stack(np.meshgrid(places, places, indexing="ij"), -1).reshape(-1, 2)
    marks = {name: grid[number :: len(NAMES)] for number, name in enumerate(NAMES)}
    example = nk.Example(pixels, axes=axes, points=marks)
    return nk.teach_classes([example], folds=0, device="cpu", **options)


def random_clip(folder: Path) -> str:
    """Write a ViT-B-16 with random weights; returns its name."""
    import open_clip

    torch.manual_seed(0)
    path = folder / "random.pt"
    torch.save(open_clip.create_model("ViT-B-16").state_dict(), path)
    return f"ViT-B-16/{path}"


def hardly_trained(folder: Path, clip: str, pixels: np.ndarray) -> str:
    """Train an ESC-Net for one step; returns its file."""
    import tifffile

    grey = pixels.reshape(SIDE, SIDE, -1)[..., 0]
    labels = (grey > np.median(grey)).astype(np.uint8)
    for part, plane in (("images", grey), ("labels", labels)):
        (folder / part).mkdir()
        for name in ("train", "val"):
            tifffile.imwrite(folder / part / f"{name}.tif", plane[:336, :336])
    (folder / "classes.csv").write_text("value,name\n1,thing\n")
    config = EscTrainConfig(clip=clip, max_steps=1, batch=1, device="cpu")
    return str(train_escnet([folder], folder / "run", config))


def run(ask: Callable[[FeatureCache], ClassSegmentation]) -> tuple[dict[str, float], Any]:
    """Ask once, without what is known from before; returns seconds, and the result."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, clock.watch():
        start = time.perf_counter()
        result = ask(FeatureCache(Path(folder)))
        total = time.perf_counter() - start
    return {"total": total, "networks": clock.seconds, "rest": total - clock.seconds}, result


def again(change: Callable[[], Any]) -> float:
    """Return the median seconds of a change of a finished result."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        change()
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))


def measure(name: str, ask: Callable[[FeatureCache], ClassSegmentation]) -> dict[str, Any]:
    """Time one way."""
    runs = [run(ask)] if "CLIP" in name else [run(ask) for _ in range(REPEATS + 1)][1:]
    result = runs[-1][1]
    median = {key: float(np.median([one[key] for one, _ in runs])) for key in runs[0][0]}
    row = {
        "way": name,
        **median,
        "things": len(result.entity_table),
        "threshold": again(lambda: result.at_threshold(0.3)),
        "names": again(lambda: result.with_names(NAMES[::-1])),
    }
    told = {key: value if key == "way" else round(value, 3) for key, value in row.items()}
    print(told, flush=True)
    return row


def ways(
    pixels: np.ndarray, axes: str, sam: str, clip: str | None, net: str | None
) -> dict[str, Callable[[FeatureCache], ClassSegmentation]]:
    """Return the ways to ask, by name."""

    def ask(**options: Any) -> Callable[[FeatureCache], ClassSegmentation]:
        return lambda cache: nk.segment_classes(
            pixels, NAMES, axes=axes, device="cpu", cache=cache, **options
        )

    found = {
        f"vocabulary, {kind}": ask(vocabulary=taught(pixels, axes, proposals=kind, encoder=encoder))
        for kind, encoder in (("entities", ""), ("regions", ""), ("sam", sam))
    }
    if clip:
        found["CLIP, masks of sam"] = ask(clip=clip, encoder=sam)
        found["CLIP, pixels"] = ask(clip=clip, clip_mode="pixels", encoder=sam)
    if net:
        found["CLIP, ESC-Net"] = ask(clip=net)
    return found


def markdown(result: dict[str, Any]) -> str:
    """Return the table of one measurement."""
    what = f"{result['picture']}, {SIDE} × {SIDE}"
    rows = [
        f"| {what} | seconds | networks | rest | another threshold, s | other names, s |",
        "|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        cells = (f"{row[key]:.2f}" for key in ("total", "networks", "rest", "threshold", "names"))
        rows.append(f"| {row['way']} | {' | '.join(cells)} |")
    note = f"Median of {REPEATS} runs, loading included, without cache. {result['hardware']}."
    if any("CLIP" in row["way"] for row in result["rows"]):
        note += (
            " With CLIP a single run; it is a ViT-B-16 with random weights, so only the time means "
            "something."
        )
    if any("ESC-Net" in row["way"] for row in result["rows"]):
        note += " ESC-Net was trained for one step."
    return "\n".join([*rows, "", note])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", type=Path, help="one frame [the shipped sample, mirrored]")
    parser.add_argument("--sam", default="kindred-sam", metavar="NAME_OR_FILE")
    parser.add_argument("--clip", action="store_true", help="time CLIP too; writes 600 MB for it")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="[all cores]")
    parser.add_argument(
        "--out", type=Path, help="another JSON file; the pages then stay as they are"
    )
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    pixels, axes = picture(given.image)
    with tempfile.TemporaryDirectory() as folder:
        clip = random_clip(Path(folder)) if given.clip else None
        net = hardly_trained(Path(folder), clip, pixels) if clip else None
        asked = ways(pixels, axes, given.sam, clip, net)
        rows = [measure(name, ask) for name, ask in asked.items()]
    result = {
        "picture": f"`{given.image.name}`" if given.image else "shipped sample, mirrored",
        "hardware": hardware(),
        "date": time.strftime("%Y-%m-%d"),
        "rows": rows,
    }
    keep(NAME, result, markdown(result), given.out)


if __name__ == "__main__":
    main()
