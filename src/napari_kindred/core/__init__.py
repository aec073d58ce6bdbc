"""What everything speaks: errors, events, options, settings, colours."""
