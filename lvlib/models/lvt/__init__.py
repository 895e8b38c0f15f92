"""lvt: extracted from notebooks 02, 04, 05, 06, 07."""
