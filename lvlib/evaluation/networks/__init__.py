"""Trained networks whose features scores are made of: each stands in the name of its scores."""
