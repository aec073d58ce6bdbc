"""The window of classes by name."""
