"""Weights and training runs."""
