"""Corpora: folders and manifests of speech, the demo corpus, and downloads by name."""
