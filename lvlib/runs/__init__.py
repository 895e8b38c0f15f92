"""A run folder: the models in it, the latents that they learn from, the data, and the runs that ship."""
