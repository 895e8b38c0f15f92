"""videogpt: extracted from notebooks 08, 09, 10, 11."""
