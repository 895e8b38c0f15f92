"""VideoGPT: extracted from notebooks 07 to 09."""
