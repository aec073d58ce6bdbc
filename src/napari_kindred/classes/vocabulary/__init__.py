"""Vocabularies of names, and their training."""
