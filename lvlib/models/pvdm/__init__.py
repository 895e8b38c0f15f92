"""pvdm: extracted from notebooks 20, 21, 22."""
