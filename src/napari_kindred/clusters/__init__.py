"""Consistent hierarchical clustering: the same kind of thing, the same label, in every frame."""
