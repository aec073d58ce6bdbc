"""The window of entities."""
