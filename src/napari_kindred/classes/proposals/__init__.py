"""Regions that may be objects."""
