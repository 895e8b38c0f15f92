"""TATS: extracted from notebooks 13 to 17."""
