"""Vocabularies of names, and how they are taught."""
