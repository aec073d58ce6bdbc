"""How long a 1024 × 1024 frame takes, end to end, and where the time goes.

    python benchmarks/entities_speed.py [--image FILE] [--weights NAME_OR_FILE] [--sklearn]

The picture is FILE (one frame, cut or mirrored to 1024 × 1024), or a frame of the shipped sample,
mirrored over the plane.  Two things are timed, each as the median of three runs after one that is
not counted: the segmentation at a given scale, divided into network, clustering (votes and
features to labels, with upsampling, connected components and hole filling) and the rest (reading,
normalising, measuring); and what the automatic choice of the scale takes on top.

The ratio to scikit-learn's mean-shift is what ``benchmarks/meanshift.py`` measured last;
``--sklearn`` measures it again, in this process, which takes minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import numpy as np
import torch
from meanshift import compare, hardware
from tables import keep

from napari_kindred import EntityConfig, iter_segment_entities
from napari_kindred.compute.device import select
from napari_kindred.core.events import Notice, Progress
from napari_kindred.entities import segment as planes
from napari_kindred.entities.checkpoint import load_network
from napari_kindred.images.samples import open_sample
from napari_kindred.images.stack import ImageStack, read_image

if TYPE_CHECKING:
    from collections.abc import Iterator

NAME = "entities_speed"
SIDE = 1024
REPEATS = 3


class Clock:
    """Adds up the time that passes in named parts of a run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._start = 0.0

    def timed(self, name: str, function: Any) -> Any:
        """Return ``function`` with its time added to ``name``."""

        def call(*args: Any, **options: Any) -> Any:
            start = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                self._add(name, start)

        return call

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Time every look of the network and everything that turns its maps into labels."""
        timed = {
            "look": patch.object(planes, "_seen", self.timed("network", planes._seen)),
            "labels": patch.object(planes, "labels_of", self.timed("clustering", planes.labels_of)),
            "merge": patch.object(planes, "merge", self.timed("clustering", planes.merge)),
        }
        for each in timed.values():
            each.start()
        try:
            yield
        finally:
            for each in timed.values():
                each.stop()

    def _add(self, name: str, start: float) -> None:
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


def picture(file: Path | None) -> tuple[np.ndarray, str]:
    """Return one frame of 1024 × 1024 pixels, as it is in the file, and its axes."""
    if file is None:
        plane, axes = open_sample("nuclei").data[0], "YX"
    else:
        image = read_image(file)
        frames = ImageStack.open(image.data, metadata_axes=image.axes)
        if frames.leading_axes:
            raise SystemExit(f"{file.name} is a stack; give a single frame.")
        axes = "YXS" if frames.rgb else "YX"
        plane = np.asarray(image.data)
        plane = plane if frames.rgb else plane.reshape(frames.plane_shape)
    plane = plane[:SIDE, :SIDE]
    while min(plane.shape[:2]) < SIDE:  # mirrored, so that no seam is seen
        room = [min(n, SIDE - n) for n in plane.shape[:2]]
        plane = np.pad(plane, [(0, n) for n in room] + [(0, 0)] * (plane.ndim - 2), "symmetric")
    return plane, axes


def run(pixels: np.ndarray, config: EntityConfig, model: Any) -> dict[str, float]:
    """Segment the picture once; returns seconds in total and by part, and what was found."""
    clock = Clock()
    start = time.perf_counter()
    looked = begun = 0.0
    with clock.watch():
        job = iter_segment_entities(pixels, config=config, model=model)
        while True:
            try:
                event = next(job)
            except StopIteration as stop:
                result = stop.value
                break
            now = time.perf_counter()
            if isinstance(event, Progress) and event.what.startswith("measuring") and not begun:
                begun = now
            if isinstance(event, Notice) and event.text.startswith("Scale") and begun:
                looked = now - begun
                clock.seconds.clear()  # the looks' share is told apart
    total = time.perf_counter() - start
    parts = {name: clock.seconds.get(name, 0.0) for name in ("network", "clustering")}
    return {
        "total": total,
        "scale choice": looked,
        **parts,
        "rest": total - looked - sum(parts.values()),
        "entities": len(result.table),
        "scale": float(result.provenance["scale_used"]),
    }


def median(runs: list[dict[str, float]]) -> dict[str, float]:
    return {key: round(float(np.median([one[key] for one in runs])), 3) for key in runs[0]}


def measure(pixels: np.ndarray, axes: str, weights: str, device: str) -> dict[str, Any]:
    """Time both kinds of run."""
    config = EntityConfig(weights=weights, axes=axes, device=device)
    start = time.perf_counter()
    model = load_network(weights, select(device))
    loading = time.perf_counter() - start
    automatic = median([run(pixels, config, model) for _ in range(REPEATS + 1)][1:])
    fixed = EntityConfig(weights=weights, axes=axes, device=device, scale=automatic["scale"])
    own_size = EntityConfig(weights=weights, axes=axes, device=device, scale=1.0)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "automatic": automatic,
        "fixed": median([run(pixels, fixed, model) for _ in range(REPEATS + 1)][1:]),
        "scale 1": median([run(pixels, own_size, model) for _ in range(REPEATS + 1)][1:]),
        "loading": round(loading, 3),
        # Kilobytes on Linux, bytes on macOS.
        "peak GB": round(peak / (1 << 30 if sys.platform == "darwin" else 1 << 20), 2),
    }


def sklearn_ratio(again: bool) -> dict[str, Any] | None:
    """Return the comparison with scikit-learn's mean-shift, measured now or before."""
    if again:
        result = compare(128)
        (Path(__file__).parent / "meanshift.json").write_text(json.dumps(result, indent=1) + "\n")
        return result
    path = Path(__file__).parent / "meanshift.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else None


def markdown(result: dict) -> str:
    """Return the table of one measurement."""
    frame = result["frame"]
    what = f"{result['picture']}, {SIDE} × {SIDE}"
    rows = [
        f"| {what} | seconds | network | clustering | rest | entities |",
        "|---|---|---|---|---|---|",
    ]
    for key, name in (("fixed", "scale {scale:g} given"), ("scale 1", "scale 1 given")):
        own = frame[key]
        shares = " | ".join(
            f"{100 * own[part] / own['total']:.0f} %" for part in ("network", "clustering", "rest")
        )
        rows.append(
            f"| {name.format(**own)} | {own['total']:.2f} | {shares} | {own['entities']:.0f} |"
        )
    own = frame["automatic"]
    rows.append(
        f"| scale {own['scale']:g} chosen automatically, which takes {own['scale choice']:.2f} s "
        f"| {own['total']:.2f} | | | | {own['entities']:.0f} |"
    )
    notes = [
        f"Median of {REPEATS} runs.",
        f"Loading the weights takes {frame['loading']:.2f} s, once;",
        f"memory of the process at most {frame['peak GB']:.1f} GB.",
        f"{result['hardware']}.",
    ]
    return "\n".join([*rows, "", " ".join(notes), *comparison(result.get("meanshift"))])


def comparison(ratio: dict | None) -> list[str]:
    """Say in a sentence how scikit-learn compares."""
    if not ratio:
        return []
    side = ratio["map"].split(",")[0].replace("x", "×")
    words = [
        f"Mean-shift on a {side} feature map: {ratio['kindred']['seconds']:.2f} s here,",
        f"{ratio['sklearn']['seconds']:.0f} s with scikit-learn, {ratio['ratio']:.0f} times as",
        f"long; adjusted Rand index between the two {ratio['ari_between']:.4f}",
        f"({ratio['hardware']}).",
    ]
    return ["", " ".join(words)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", type=Path, help="one frame [the shipped sample, mirrored]")
    parser.add_argument("--weights", default=EntityConfig().weights, metavar="NAME_OR_FILE")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="[all cores]")
    parser.add_argument("--sklearn", action="store_true", help="time scikit-learn again; minutes")
    parser.add_argument(
        "--out", type=Path, help="another JSON file; the pages then stay as they are"
    )
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    pixels, axes = picture(given.image)
    result = {
        "picture": f"`{given.image.name}`" if given.image else "shipped sample, mirrored",
        "hardware": hardware(),
        "date": time.strftime("%Y-%m-%d"),
        "frame": measure(pixels, axes, given.weights, given.device),
        "meanshift": sklearn_ratio(given.sklearn),
    }
    keep(NAME, result, markdown(result), given.out)


if __name__ == "__main__":
    main()
