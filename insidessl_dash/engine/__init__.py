"""Jobs: plan, shards on Dask workers, merge, store; with progress, cancel and resume."""

import os

# Read when distributed is first imported, here and in the workers that it starts.
os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "warning")
