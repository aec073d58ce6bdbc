"""Everything that may import napari or Qt."""
