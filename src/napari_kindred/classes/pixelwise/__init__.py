"""Classes of single pixels: the image's own filters and an encoder's tokens."""
