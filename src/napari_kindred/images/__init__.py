"""Images: anything array-like in, frames of float32 out."""
