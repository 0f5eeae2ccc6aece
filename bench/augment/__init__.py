"""Random changes of examples, for whole batches: one file per policy."""
