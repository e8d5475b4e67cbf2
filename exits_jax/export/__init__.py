"""Finished labels and the files they are written to."""
