"""Objects followed over time: links between frames, gaps, divisions, tracks."""
