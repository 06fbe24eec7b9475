"""Jobs: plan, shards on Dask workers, merge, store; with progress, cancel and resume."""
