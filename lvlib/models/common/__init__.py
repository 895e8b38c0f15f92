"""What several systems share: extracted from the notebooks."""
