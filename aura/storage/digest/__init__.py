"""Recordings as people look at them: what the session page shows of a folder, read without running anything again."""
