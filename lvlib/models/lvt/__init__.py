"""LVT, the Latent Video Transformer: extracted from notebooks 02 to 07."""
