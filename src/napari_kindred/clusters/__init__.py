"""Consistent clusters: the same kind with the same label in every frame of a movie."""
