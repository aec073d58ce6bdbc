"""Bottom-up, class-agnostic entity segmentation: network, losses, clustering, training."""
