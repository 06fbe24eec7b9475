"""The web process: pages, figures, callbacks and HTTP routes. It reads results and submits jobs."""
