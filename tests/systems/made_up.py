"""The systems that the tests make up, and what each of their stages stands on."""

import masked
import planes
import told

CONFIGS = masked.CONFIGS | planes.CONFIGS | told.CONFIGS
NAMES = [*CONFIGS]
STANDS_ON = {"masked": ("--autoencoder", "masked-vqvae"), "told": ("--autoencoder", "masked-vqvae"),
             "planes": ("--autoencoder", "planes-gan"), "planes-refiner": ("--prior", "planes")}
