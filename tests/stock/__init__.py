"""Unmodified clients of other people against a running `aura serve`: `python -m tests.stock --help`."""
