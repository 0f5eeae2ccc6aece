"""Meta-learning algorithms: one file per method, the name in a suite."""
