"""The page a visitor sees: pure functions that return components; one file a section."""
