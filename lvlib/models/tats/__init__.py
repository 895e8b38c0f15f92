"""TATS (Ge et al. 2022): a time-agnostic VQGAN, transformers that write long videos, and what steers them."""
