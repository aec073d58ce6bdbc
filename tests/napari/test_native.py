from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import napari, numpy as np
viewer = napari.Viewer()
viewer.add_image(np.zeros((64, 64)))
viewer.screenshot(canvas_only=True, flash=False)  # OpenGL's driver is loaded by now
from napari_kindred.entities.checkpoint import load_network
load_network("kindred-entities", "cpu")
import timm, torchvision
viewer.screenshot(canvas_only=True, flash=False)
viewer.close()
print("alive")
"""


def test_the_network_can_be_loaded_after_a_window_was_drawn() -> None:
    """Software OpenGL and triton each bring an LLVM along; mixed up, the process crashes."""
    command = [sys.executable, "-X", "faulthandler", "-c", PROGRAM]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split()[-1] == "alive"
