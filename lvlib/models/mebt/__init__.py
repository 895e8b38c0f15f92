"""mebt: extracted from notebooks 18, 19."""
