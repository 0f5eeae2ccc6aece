"""Labelled pre-training: one file per method, the name in a suite."""
