"""Devices, workers and Dask clusters."""
