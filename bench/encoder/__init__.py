"""Networks from an example to a vector: one file per encoder."""
