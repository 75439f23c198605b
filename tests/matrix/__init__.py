"""The fault matrix: what a caller hears when a provider fails in each of twelve ways. `python -m tests.matrix`."""
