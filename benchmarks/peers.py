"""Peers to measure against: each in a virtual environment of its own, asked through a subprocess.

Peers ask for versions of libraries that clash with ours and with each other's, so each is installed
from PyPI, with its version pinned, into ``FOLDER/NAME`` (``--peers FOLDER``); what is there already
is not installed again.  A peer is then driven by its script in ``peer_scripts``, which stays open,
so that loading is not timed: a request is a line of JSON, arrays travel as ``.npy`` files, and
times are taken within the peer.  A peer that cannot be installed or run is told with the reason.

Nothing runs while something else is timed: ours and the peers take turns, with the same number of
threads on the same processors, and what is quoted is the ratio within each round.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Iterable
    from types import TracebackType

SCRIPTS = Path(__file__).parent / "peer_scripts"
DONE = "installed.json"

REQUIREMENTS: dict[str, tuple[str, ...]] = {
    "stardist": ("stardist==0.9.2", "tensorflow-cpu==2.15.1"),
    "cellpose": ("cellpose==4.2.1.1",),
    "cellpose3": ("cellpose==3.1.1.3",),
    "convpaint": ("napari-convpaint==1.2.0", "PyQt6==6.11.0"),  # importing it needs Qt
}
"""What is installed for each peer, in one go; the rest of its versions is written down."""


class PeerError(Exception):
    """A peer cannot be measured; the message says why, in one line."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options that all comparisons share."""
    parser.add_argument(
        "--peers", type=Path, default=Path("out/peers"), metavar="FOLDER", help="[out/peers]"
    )
    parser.add_argument("--threads", type=int, default=2, help="of each [2]")
    parser.add_argument("--repeats", type=int, default=5, help="rounds that are counted [5]")
    parser.add_argument(
        "--out", type=Path, help="another JSON file; the pages then stay as they are"
    )


def same_cores(threads: int) -> list[int] | None:
    """Keep this process, and those it starts, to as many processors; None where that cannot be."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    cores = sorted(os.sched_getaffinity(0))[:threads]
    os.sched_setaffinity(0, cores)
    return cores


def machine() -> str:
    """Return processor, threads, versions, and how busy the machine is before anything begins."""
    from meanshift import hardware

    if not hasattr(os, "getloadavg"):
        return hardware()
    return f"{hardware()}, load average {os.getloadavg()[1]:.1f} at the start"


def install(name: str, folder: Path) -> tuple[Path, dict[str, str]]:
    """Make a peer's environment, unless it is there.

    Returns
    -------
    python : Path
        Its interpreter.
    versions : dict of str to str
        Of everything installed.

    Raises
    ------
    PeerError
        When it cannot be made.
    """
    place = (folder / name).absolute()
    python = place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    done = place / DONE
    if done.exists():
        known = json.loads(done.read_text("utf-8"))
        if known["requirements"] == list(REQUIREMENTS[name]):
            return python, known["versions"]
    print(f"Installing {' '.join(REQUIREMENTS[name])} into {name} …", flush=True)
    _call([sys.executable, "-m", "venv", str(place)])
    _call([str(python), "-m", "pip", "install", "--quiet", *REQUIREMENTS[name]])
    listed = json.loads(_call([str(python), "-m", "pip", "list", "--format", "json"]))
    versions = {one["name"].lower(): one["version"] for one in listed}
    known = {"requirements": list(REQUIREMENTS[name]), "versions": versions}
    done.write_text(json.dumps(known, indent=1) + "\n", "utf-8")
    return python, versions


def _call(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise PeerError(_last_line(done.stderr) or f"{command[0]} ended with {done.returncode}")
    return done.stdout


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


class Peer:
    """An open peer; a context manager.

    Parameters
    ----------
    name : str
        Of its environment.
    folder : Path
        That holds the environments.
    threads : int
        It may use.
    script : str, optional
        In ``peer_scripts``, without its ending [its name].

    Raises
    ------
    PeerError
        When it cannot be installed or started.
    """

    def __init__(self, name: str, folder: Path, threads: int, script: str | None = None) -> None:
        self.name = name
        python, self.versions = install(name, folder)
        self._arrays = tempfile.TemporaryDirectory()
        self._log = (folder / f"{name}.log").open("w+", encoding="utf-8")
        limits = dict.fromkeys(
            (
                "OMP_NUM_THREADS",
                "MKL_NUM_THREADS",
                "OPENBLAS_NUM_THREADS",
                "NUMBA_NUM_THREADS",
                "TF_NUM_INTRAOP_THREADS",
                "PEER_THREADS",
            ),
            str(threads),
        )
        own = {
            "CUDA_VISIBLE_DEVICES": "",
            "QT_QPA_PLATFORM": "offscreen",
            "TF_CPP_MIN_LOG_LEVEL": "2",
        }
        self._process = subprocess.Popen(
            [str(python), str(SCRIPTS / f"{script or name}.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **limits, **own},
        )
        try:
            self.ask("ready")
        except PeerError:
            self.close()
            raise

    def version(self, *packages: str) -> str:
        """Return ``package 1.2, other 3.4``."""
        return ", ".join(f"{one} {self.versions[one]}" for one in packages)

    def ask(self, what: str, **values: Any) -> dict[str, Any]:
        """Call one of the script's functions; arrays go there and come back as files.

        Raises
        ------
        PeerError
            With the last line of what went wrong there.
        """
        folder = Path(self._arrays.name)
        request: dict[str, Any] = {"what": what, "folder": str(folder), "arrays": {}, "values": {}}
        for key, value in values.items():
            if isinstance(value, np.ndarray):
                np.save(folder / f"in_{key}.npy", value)
                request["arrays"][key] = str(folder / f"in_{key}.npy")
            else:
                request["values"][key] = value
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise PeerError(self._why()) from None
        line = self._process.stdout.readline()
        if not line:
            raise PeerError(self._why())
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerError(answer["error"])
        return {
            **answer["values"],
            **{key: np.load(path) for key, path in answer["arrays"].items()},
        }

    def _why(self) -> str:
        self._process.wait()
        self._log.seek(0)
        return _last_line(self._log.read()) or f"it ended with {self._process.returncode}"

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with suppress(BrokenPipeError):  # it may have ended by itself
            self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._log.close()
        self._arrays.cleanup()

    def __enter__(self) -> Peer:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@dataclass(frozen=True)
class ValueRange:
    """The middle, smallest and largest of some numbers."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, numbers: Iterable[float]) -> ValueRange:
        """Return the spread of at least one number."""
        found = np.asarray(list(numbers), float)
        return cls(*(round(float(f(found)), 4) for f in (np.median, np.min, np.max)))

    def __str__(self) -> str:
        digits = 2 if self.median < 10 else 1 if self.median < 100 else 0
        middle, *ends = (f"{x:.{digits}f}" for x in (self.median, self.least, self.most))
        return f"{middle} ({ends[0]}–{ends[1]})"


def in_turns(
    ways: dict[str, Callable[[], dict[str, float]]], repeats: int, warm: bool = True
) -> dict[str, list[dict[str, float]]]:
    """Run every way once a round, after a round that is not counted; every other round backwards.

    A way that fails with a PeerError drops out; its reason is printed and it is left out of what
    is returned.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in ways}
    for number in range(0 if warm else 1, repeats + 1):
        order = list(found) if number % 2 else list(found)[::-1]
        for name in order:
            try:
                seconds = ways[name]()
            except PeerError as error:
                print(f"{name}: {error}", flush=True)
                del found[name]
                continue
            print(number, name, {k: round(v, 3) for k, v in seconds.items()}, flush=True)
            if number:
                found[name].append(seconds)
    return found


def ratios(theirs: list[dict[str, float]], ours: list[dict[str, float]], key: str) -> ValueRange:
    """Return how many times as long as ours a peer took, round by round."""
    return ValueRange.of(a[key] / b[key] for a, b in zip(theirs, ours, strict=True))
