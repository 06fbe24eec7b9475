"""From layers back to sound: mel spectrograms, vocoders, their losses, and what survives."""
