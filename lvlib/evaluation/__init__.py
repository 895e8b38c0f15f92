"""What a model is worth: video that it makes, scores, and what those must beat."""
