"""lvlib: generating video through learned latent spaces. The library that the course builds."""

__version__ = "0.1.0"
