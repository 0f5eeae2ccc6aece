"""Ways to look at results beside a row and its baseline: grids, pairs, data sets, new tasks."""
