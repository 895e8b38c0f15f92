"""LVT, the Latent Video Transformer: its frame autoencoder."""

from dataclasses import replace

from lvlib.configs.config import Config, DataConfig
from lvlib.models.frame_vqvae import FrameVQVAEConfig
from lvlib.training.config import TrainingConfig

# The paper counts its batch in images, hence one frame a clip. Section 4.1 gives Adam and the learning rate,
# the official code the betas. Restarts of dead codes are ours: the paper has none, and its codes die.
adam = TrainingConfig(steps=500_000, batch=32, learning_rate=3e-4, betas=(0.9, 0.9))
bair = Config(DataConfig(frames=1), FrameVQVAEConfig(hidden=256, residual_hidden=128, codes=512), adam)
# The paper says K = 2048 at n_c = 4; the official code has four codebooks of 512: 2048 is their sum.
bair_nc4 = replace(bair, autoencoder=replace(bair.autoencoder, codebooks=4))
kinetics = replace(bair, autoencoder=replace(bair_nc4.autoencoder, residual_blocks=4),
                   training=replace(adam, steps=1_000_000))

small = FrameVQVAEConfig(hidden=64, residual_hidden=32, codes=128, codebooks=4)
course = Config(DataConfig(frames=1), replace(small, decay=0.95),
                TrainingConfig(steps=5000, batch=32, learning_rate=1e-3))
bench = Config(DataConfig(frames=16), small, replace(adam, steps=1000, batch=1))
