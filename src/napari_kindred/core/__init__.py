"""Errors, events, options, settings and colours, which everything else uses."""
