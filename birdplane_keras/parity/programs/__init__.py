"""Both sides' training steps as programs: recorded operation by operation, aligned by their values, and told."""
