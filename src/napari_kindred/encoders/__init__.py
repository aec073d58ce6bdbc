"""Latent spaces: every encoder turns pictures into a grid of tokens, behind one small protocol."""

from __future__ import annotations

from ..compute.native import load_triton_apart

load_triton_apart()
