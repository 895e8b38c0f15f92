"""Checks of notebook 12: moments that stream, the trace of a square root, the unbiased kernel distance."""
