"""tats: extracted from notebooks 13, 14, 15, 16, 17."""
