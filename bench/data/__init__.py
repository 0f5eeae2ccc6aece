"""Sources of examples: one file per data set, the name in a suite."""
