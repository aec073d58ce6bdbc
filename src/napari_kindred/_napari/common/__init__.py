"""What the windows of all methods share."""
