"""Self-supervised pretext tasks: one file per method, the name in a suite."""
