"""The statistics of comparisons: pure functions of arrays, which know nothing of a report."""
