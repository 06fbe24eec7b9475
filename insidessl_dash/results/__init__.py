"""Results: a table with its provenance, where it is stored, and what it is exported to."""
