"""Classes by name with CLIP."""
