"""Objects of a volume in three dimensions, by a network of two."""
