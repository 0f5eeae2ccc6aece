"""Where meta-training tasks come from: one file per source, the name in a suite."""
