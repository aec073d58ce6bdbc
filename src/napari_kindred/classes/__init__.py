"""Classes by name: proposals, vocabularies, CLIP, SAM and ESC-Net."""
