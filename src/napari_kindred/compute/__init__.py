"""Where work is done: devices, workers, clusters of computers."""
