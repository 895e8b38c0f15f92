"""common: extracted from notebooks 02, 03, 04, 05, 07, 08, 09, 10, 11."""
