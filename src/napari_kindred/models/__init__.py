"""Weights, and training them."""
