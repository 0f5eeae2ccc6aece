"""How a stream is learned: one file per strategy, the name in a suite."""
