"""Results: labels, table and provenance; saved, measured and compared."""
