"""Entities: a label per object; network, losses, mean-shift, prediction and training."""
