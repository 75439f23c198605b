"""`aura logs`: what happened in conversations, read from structured logs and journals."""
