"""Types, errors, settings and the model registry: no torch, nothing heavy."""
