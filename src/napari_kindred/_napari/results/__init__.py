"""Results in the window: painted, saved, compared, plotted."""
