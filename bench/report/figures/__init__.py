"""The figures of a report, each from results and comparisons to a picture."""
