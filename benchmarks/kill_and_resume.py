"""Whether a run that is killed and started again goes on where it was, to the same labels.

    python benchmarks/kill_and_resume.py                # ten kills; a quarter of an hour
    python benchmarks/kill_and_resume.py --kills 2

The shipped movie of nuclei is clustered with default options, in processes of their own that share
one empty cache.  Each is killed (SIGKILL) at a random moment after it began to encode; the next
goes on from there, and one that comes to its end is followed by one with an empty cache again.
The last is left to end, and its labels are compared with those of a run without any cache.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

NAME = "kill_and_resume"


def one_run(out: str) -> None:
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
    told = f"{result['kills']} kills at random moments of a movie of {result['frames']} frames; "
    told += "labels are compared with those of a run that kept nothing. A frame is encoded twice "
    told += f"where the kill came between its last token and the disk. {result['hardware']}."
    return "\n".join([*lines, "", told])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one_run(given.one)
        return
    from entities_speed import hardware
    from tables import keep

    result = {**measure(given.kills, given.seed), "hardware": hardware()}
    keep(NAME, result, markdown(result), given.out)


if __name__ == "__main__":
    main()
