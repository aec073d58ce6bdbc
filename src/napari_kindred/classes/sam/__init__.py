"""The promptable segmentation model."""
