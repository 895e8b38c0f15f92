"""Networks that others trained, as modules: scores look through them, and models learn from what they see."""

from lvlib.pretrained.perceptual import perceptual_distance, perceptual_network

__all__ = ["perceptual_distance", "perceptual_network"]
