"""Reading audio: decode, validate, resample, perturb, within stated limits."""
