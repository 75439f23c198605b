"""`aura replay`: run a recorded conversation again, exactly or with something changed."""
