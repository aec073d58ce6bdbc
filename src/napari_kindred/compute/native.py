"""Native libraries that must be loaded in a certain way, lest the process die."""

from __future__ import annotations

import os
import sys
from contextlib import suppress


def load_triton_apart() -> None:
    """Load triton so that it uses its own copy of LLVM, before timm and torchvision load it.

    On Linux, Mesa's drivers (software OpenGL, and many graphics cards) put the system's LLVM where
    every library loaded later finds it. Triton carries another LLVM; bound to the system's one, it
    crashes while it is imported, and napari's window with it. ``RTLD_DEEPBIND`` makes a library
    look into itself first.
    """
    if "triton" in sys.modules or not hasattr(os, "RTLD_DEEPBIND"):
        return
    before = sys.getdlopenflags()
    sys.setdlopenflags(before | os.RTLD_DEEPBIND)
    try:
        # Triton comes with PyTorch for CUDA only; without it there is nothing to keep apart.
        with suppress(ImportError):
            import triton  # noqa: F401
    finally:
        sys.setdlopenflags(before)
