"""VideoGPT: extracted from notebooks 08 to 11."""
