"""Jobs: plan, shards, merge, store; on Dask workers or in this process."""

import os

# Read when distributed is first imported, here and in the workers that it starts.
os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "warning")
# oneDNN keeps compiled kernels of the last 1024 shapes. Nearly every utterance has a length of its
# own, so that cache only grows: 180 MB more after an hour of speech. One pass reuses few.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "8")
