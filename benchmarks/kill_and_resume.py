"""Whether a run that is killed and started again goes on where it was, to the same result.

    python benchmarks/kill_and_resume.py                # ten kills of each; half an hour
    python benchmarks/kill_and_resume.py --kills 2 --only entities,train

The shipped movie of nuclei is clustered with default options, in processes of their own that share
one empty cache.  Each is killed (SIGKILL) at a random moment after it began to encode; the next
goes on from there, and one that comes to its end is followed by one with an empty cache again.
The last is left to end, and its labels are compared with those of a run without any cache.

A folder of images is segmented with ``--resume``, and a small network is trained; each is killed
likewise, a training after its first checkpoint.  All labels and tables, and all weights, are
compared with those of a run that nobody disturbed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NAME = "kill_and_resume"


def one_run(out: Path) -> None:
    """Cluster the movie in this process; print each frame that is encoded, keep the labels."""
    import numpy as np

    from napari_kindred.clusters import pipeline
    from napari_kindred.clusters.predict import iter_cluster_stack
    from napari_kindred.core.events import finish
    from napari_kindred.images.samples import open_sample

    opened = pipeline.open_encoder

    def counting(*arguments: Any, **options: Any) -> Any:
        encoder = opened(*arguments, **options)
        encode = encoder.encode

        def told(*pixels: Any) -> Any:
            tokens = encode(*pixels)
            print("encoded", flush=True)
            return tokens

        encoder.encode = told
        print("begun", flush=True)
        return encoder

    pipeline.open_encoder = counting
    result = finish(iter_cluster_stack(np.asarray(open_sample("nuclei").data), axes="TYX"))
    np.save(out, result.labels)


def attempt(folder: Path, after: float | None, cache: dict[str, str]) -> dict[str, Any]:
    """Run until the end, or until ``after`` seconds of work; return what was encoded."""
    out = folder / "labels.npy"
    out.unlink(missing_ok=True)
    command = [sys.executable, __file__, "--one", str(out)]
    start = time.perf_counter()
    with (folder / "told").open("w+") as told:
        running = subprocess.Popen(command, stdout=told, env={**os.environ, **cache})
        while "begun" not in (folder / "told").read_text() and running.poll() is None:
            time.sleep(0.02)
        begun = time.perf_counter()
        if after is not None:
            try:
                running.wait(after)
            except subprocess.TimeoutExpired:
                running.kill()
        running.wait()
        told.seek(0)
        encoded = told.read().count("encoded")
    return {
        "killed": not out.exists(),
        "encoded": encoded,
        "seconds": round(time.perf_counter() - begun, 2),
        "opening": round(begun - start, 2),
    }


STEPS = 60
"""Of the training."""


def entities(folder: Path) -> None:
    """Segment a folder of images in this process, going on with what is there."""
    from napari_kindred.cli.main import main as command

    print("begun", flush=True)
    pictures, out = str(folder / "pictures"), str(folder / "out")
    sys.exit(command(["entities", pictures, "--out", out, "--resume", "--scale", "1"]))


def train(folder: Path) -> None:
    """Train a small network in this process, going on from its checkpoint."""
    from napari_kindred.entities.config import TrainConfig
    from napari_kindred.entities.train import iter_train

    config = TrainConfig(
        minutes=None, max_steps=STEPS, checkpoint_minutes=0.01, batch=2, crop=64, width=8,
        foreground=0, init="random", score_images=0, validate_images=1, threads=1, device="cpu",
    )  # fmt: skip
    for _ in iter_train([folder / "data"], folder / "out", config):
        if (folder / "out" / "last.pt").exists():
            print("begun", flush=True)


def draw(folder: Path) -> None:
    """Write the images that are segmented, and those that are trained on."""
    import numpy as np
    import tifffile

    from napari_kindred.images.samples import open_sample

    sample = open_sample("nuclei")
    for name in ("pictures", "data/images", "data/labels"):
        (folder / name).mkdir(parents=True)
    for number, frame in enumerate(np.asarray(sample.data)):
        tifffile.imwrite(folder / "pictures" / f"{number}.tif", frame)
        tifffile.imwrite(folder / "data" / "images" / f"{number}.tif", frame[:128, :128])
        labels = np.asarray(sample.truth)[number, :128, :128].astype(np.uint16)
        tifffile.imwrite(folder / "data" / "labels" / f"{number}.tif", labels)


def content_of(out: Path) -> dict[str, bytes]:
    """Return what has to be the same: labels and tables, or the weights."""
    import numpy as np
    from safetensors.numpy import load_file

    found = {path.name: path.read_bytes() for path in out.glob("*.csv") if path.stem != "log"}
    found |= {path.name: path.read_bytes() for path in out.glob("*.tif")}
    for path in out.glob("last.safetensors"):
        found |= {key: np.asarray(value).tobytes() for key, value in load_file(path).items()}
    return found


def run_once(name: str, folder: Path, after: float | None) -> float | None:
    """Run until the end, or kill it so many seconds after it began; returns seconds of its work."""
    command = [sys.executable, __file__, "--one", str(folder), "--only", name]
    with (folder / "told").open("w") as told:
        running = subprocess.Popen(command, stdout=told, stderr=subprocess.DEVNULL)
        while "begun" not in (folder / "told").read_text() and running.poll() is None:
            time.sleep(0.02)
        begun = time.perf_counter()
        try:
            running.wait(after)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
            return None
    if running.returncode:
        raise SystemExit(f"{name} ended with {running.returncode}")
    return time.perf_counter() - begun


def measure_other(name: str, kills: int, seed: int) -> dict[str, Any]:
    """Kill runs of entities or of a training until one comes to its end, again and again."""
    import numpy as np

    chance = np.random.default_rng(seed)
    series: list[int] = []
    same = killed = 0
    with tempfile.TemporaryDirectory(prefix="napari-kindred-") as place:
        folder = Path(place)
        draw(folder)
        seconds = run_once(name, folder, None) or 0.0
        wanted = content_of(folder / "out")
        while killed < kills:
            shutil.rmtree(folder / "out")
            series.append(0)
            while True:
                left = kills - killed
                after = float(chance.uniform(0, 0.6 * seconds)) if left > 0 else None
                if run_once(name, folder, after) is not None:
                    break
                killed += 1
                series[-1] += 1
            same += content_of(folder / "out") == wanted
            print(name, series, same, flush=True)
    return {"kills": killed, "series": series, "same": same, "seconds": round(seconds, 1)}


def measure(kills: int, seed: int) -> dict[str, Any]:
    """Kill a number of runs, let the last one end, and compare it with one without a cache."""
    import numpy as np

    from napari_kindred.images.samples import open_sample

    frames = len(open_sample("nuclei").data)
    chance = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory(prefix="napari-kindred-") as name:
        folder = Path(name)
        whole = attempt(folder, None, {"NAPARI_KINDRED_CACHE_LIMIT": "0"})
        labels = np.load(folder / "labels.npy")
        cache = {"NAPARI_KINDRED_CACHE": str(folder / "cache")}
        rows: list[dict[str, Any]] = []
        killed = series = 0
        while True:
            # Now and then beyond what a whole run took: its end is a moment like any other.
            after = None if killed >= kills else float(chance.uniform(0, 0.6 * whole["seconds"]))
            row = {"series": series, **attempt(folder, after, cache)}
            if not row["killed"]:
                row["same"] = bool((np.load(folder / "labels.npy") == labels).all())
            rows.append(row)
            print(row, flush=True)
            killed += row["killed"]
            if not row["killed"]:
                if killed >= kills:
                    break
                shutil.rmtree(folder / "cache", ignore_errors=True)
                series += 1
    return {"frames": frames, "kills": killed, "seed": seed, "whole": whole, "rows": rows}


def markdown(result: dict[str, Any]) -> str:
    """Return a row per run that came to its end, after how many kills."""
    lines = [
        "| series | runs killed | frames encoded in each run | twice | labels |",
        "|---|---|---|---|---|",
    ]
    rows = result["rows"]
    for series in range(rows[-1]["series"] + 1):
        mine = [row for row in rows if row["series"] == series]
        encoded = [row["encoded"] for row in mine]
        again = sum(encoded) - result["frames"]
        verdict = "the same" if mine[-1].get("same") else "OTHERS"
        shown = " + ".join(map(str, encoded))
        lines.append(f"| {series + 1} | {len(mine) - 1} | {shown} | {again} | {verdict} |")
    lines += [
        "",
        "| what | runs killed before one came to its end | killed | results |",
        "|---|---|---|---|",
    ]
    whats = {
        "entities": "a folder of 12 images, `--resume`: labels, tables, summary",
        "train": f"training of {STEPS} steps: all weights",
    }
    for name, about in whats.items():
        found = result.get(name)
        if found:
            verdict = "the same" if found["same"] == len(found["series"]) else "OTHERS"
            shown = ", ".join(map(str, found["series"]))
            lines.append(f"| {about} | {shown} | {found['kills']} | {verdict} |")
    told = f"{result['kills']} kills of each, at random moments; the movie has {result['frames']} "
    told += "frames, and its labels are compared with those of a run that kept nothing. A frame is "
    told += "encoded twice "
    told += f"where the kill came between its last token and the disk. {result['hardware']}."
    return "\n".join([*lines, "", told])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", help="of clusters, entities, train; the others stay as they are")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        {"entities": entities, "train": train}.get(given.only, one_run)(Path(given.one))
        return
    from entities_speed import hardware
    from tables import keep

    names = (given.only or "clusters,entities,train").split(",")
    known = Path(__file__).parent / "results" / f"{NAME}.json"
    result: dict[str, Any] = json.loads(known.read_text()) if known.exists() else {}
    if "clusters" in names:
        result |= {**measure(given.kills, given.seed), "hardware": hardware()}
    for name in {"entities", "train"} & set(names):
        result[name] = measure_other(name, given.kills, given.seed)
    keep(NAME, result, markdown(result), given.out)


if __name__ == "__main__":
    main()
