"""What every peer's script ends with: answer requests, one line of JSON each, until there are none.

It runs in the peer's own environment, which has NumPy but not this project.
"""

import json
import os
import sys
import time
import traceback
from pathlib import Path

import numpy as np

THREADS = int(os.environ.get("PEER_THREADS", "2"))


def peak():
    """Return the largest resident size of this process by now, in MB; None where it is not told."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024 / 1e6


class Clock:
    """Adds up the time that passes in named parts."""

    def __init__(self):
        self.seconds = {}

    def timed(self, name, function):
        """Return ``function`` with its time added to ``name``."""

        def call(*args, **options):
            start = time.perf_counter()
            try:
                return function(*args, **options)
            finally:
                spent = time.perf_counter() - start
                self.seconds[name] = self.seconds.get(name, 0.0) + spent

        return call


def serve(functions):
    """Answer requests from standard input.

    Parameters
    ----------
    functions : dict of str to callable
        Each takes values and arrays by name and returns a dict of numbers, words and arrays.
    """
    # Libraries print what they like; only answers may reach the other side.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = _answer(functions, request)
        except Exception as error:  # noqa: BLE001 - told to whoever asked
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}".splitlines()[0][:300]}
        print(json.dumps(answer), file=answers, flush=True)


def _answer(functions, request):
    if request["what"] == "ready":
        return {"values": {}, "arrays": {}}
    arrays = {key: np.load(path) for key, path in request["arrays"].items()}
    found = functions[request["what"]](**request["values"], **arrays)
    answer = {"values": {}, "arrays": {}}
    for key, value in found.items():
        if isinstance(value, np.ndarray):
            path = Path(request["folder"]) / f"out_{key}.npy"
            np.save(path, value)
            answer["arrays"][key] = str(path)
        else:
            answer["values"][key] = value
    return answer
