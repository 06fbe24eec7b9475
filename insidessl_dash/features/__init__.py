"""From utterances to layers: batches of equal length and their perturbed views."""
