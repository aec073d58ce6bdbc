"""The window of clusters."""
