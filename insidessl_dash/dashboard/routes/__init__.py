"""HTTP, translated: each file turns requests of one kind into a call, and the answer into JSON."""
