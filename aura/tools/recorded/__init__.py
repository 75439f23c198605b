"""`aura recordings`: find, show, delete and export recorded conversations."""
