"""The build tool: from the source of a notebook to everything that is made of it."""
