"""Anything array-like in, frames of float32 out."""
