"""LVT, the Latent Video Transformer: its frame autoencoder, and its prior in three subscale orders."""

from dataclasses import replace

from lvlib.configs.config import Config, DataConfig, Named
from lvlib.models.lvt.frame_vqvae import FrameVQVAEConfig
from lvlib.models.lvt.patch_vqvae import PatchVQVAEConfig
from lvlib.models.lvt.prior import LVTConfig
from lvlib.training.config import TrainingConfig

# The paper counts its batch in images, hence one frame a clip. Section 4.1 gives Adam and the learning rate,
# the official code the betas. Restarts of dead codes are ours: the paper has none, and its codes die.
adam = TrainingConfig(steps=500_000, batch=32, learning_rate=3e-4, betas=(0.9, 0.9))
bair = Config(DataConfig(frames=1), FrameVQVAEConfig(hidden=256, residual_hidden=128, codes=512), adam)
# The paper says K = 2048 at n_c = 4; the official code has four codebooks of 512: 2048 is their sum.
bair_nc4 = replace(bair, autoencoder=replace(bair.autoencoder, codebooks=4))
kinetics = replace(bair, autoencoder=replace(bair_nc4.autoencoder, residual_blocks=4),
                   training=replace(adam, steps=1_000_000))
kinetics_nc1 = replace(kinetics, autoencoder=replace(kinetics.autoencoder, codebooks=1))

small = FrameVQVAEConfig(hidden=64, residual_hidden=32, codes=128, codebooks=4)
course = Config(DataConfig(frames=1), replace(small, decay=0.95),
                TrainingConfig(steps=5000, batch=32, learning_rate=1e-3))
# With fewer residual blocks a digit's codes depend less on what is around it, and move as it moves. With fewer codes
# the prior has less to predict.
course_48 = replace(course, data=DataConfig(frames=1, size=48), training=replace(course.training, steps=2000),
                    autoencoder=replace(course.autoencoder, channels=1, residual_blocks=1, codebooks=1))

SUBSCALE = {"single-frame": (16, 1, 1), "spatial": (1, 2, 2), "spatiotemporal": (4, 2, 2)}  # section 4.1, T = 16

# Steps as in section 4.1; the optimizer, its rate and the batch are the official code's.
rmsprop = TrainingConfig(steps=600_000, batch=64, learning_rate=2e-5, optimizer="rmsprop", betas=(0.9, 0.95))


def priors(frames: Config) -> dict[str, Config]:
    """The paper's prior over the codes of a frame autoencoder, by subscale type."""
    return {name: Config(DataConfig(frames=16), frames.autoencoder, rmsprop, LVTConfig(subscale=factor))
            for name, factor in SUBSCALE.items()}


# On codes of course_48 that `python -m lvlib.cli.merge_codes` has brought from 128 to 64.
prior_course = Config(
    DataConfig(frames=16, size=48), replace(course_48.autoencoder, codes=64),
    TrainingConfig(steps=24_000, batch=8, learning_rate=3e-3, optimizer="adamw", betas=(0.9, 0.98), weight_decay=0.01,
                   gradient_clip=1.0, schedule="cosine", warmup=300),
    LVTConfig(dim=192, embedding_dim=192, heads=8, head_dim=32, encoder_layers=2, decoder_layers=2))
# Codes that see one patch of one digit: what stands beside it, or behind it, changes none of them (notebook 07).
layers = Config(
    DataConfig(frames=1, size=48),
    PatchVQVAEConfig(channels=3, hidden=64, residual_hidden=32, residual_blocks=1, codes=128, codebooks=2, layers=True,
                     decay=0.95), replace(course.training, steps=4000))
prior_layers = Config(
    DataConfig(frames=16, size=48), layers.autoencoder, replace(prior_course.training, steps=10_000, batch=16),
    LVTConfig(dim=128, embedding_dim=128, heads=8, head_dim=16, encoder_layers=2, decoder_layers=2))
bench = Config(DataConfig(frames=16), small, replace(adam, steps=1000, batch=4),
               LVTConfig(dim=128, embedding_dim=64, heads=4, head_dim=32, encoder_layers=4, decoder_layers=4))

CONFIGS = {
    "lvt-frames-course": Named(course, "frame VQ-VAE for moving digits: minutes on two cores", "LVT 3.1"),
    "lvt-frames-course-48": Named(course_48, "the same for 48x48 grey pixels: lvt-course learns its codes",
                                  "LVT 3.1"),
    "lvt-frames-layers": Named(layers, "frame VQ-VAE with a codebook for each digit: lvt-layers learns its codes",
                               "LVT 3.1"),
    "lvt-layers": Named(prior_layers, "LVT's prior for two digits in layers: single-frame, n_c = 2", "LVT 3.2"),
    "lvt-course": Named(prior_course, "LVT's prior for two moving digits: single-frame, n_c = 1", "LVT 3.2"),
    "lvt-frames-bair": Named(bair, "frame VQ-VAE for BAIR: one codebook of 512", "LVT 4.1"),
    "lvt-frames-bair-nc4": Named(bair_nc4, "frame VQ-VAE for BAIR: four codebooks of 512", "LVT 4.1"),
    "lvt-frames-kinetics": Named(kinetics, "frame VQ-VAE for Kinetics: four residual blocks", "LVT 4.1"),
    "lvt-frames-kinetics-nc1": Named(kinetics_nc1, "the same with one codebook", "LVT Table 4"),
    "bench-lvt": Named(bench, "frame VQ-VAE and prior at the size of the speed comparison", "LVT 4.1"),
}
for data, one, four, table in ("bair", bair, bair_nc4, "Table 2"), ("kinetics600", kinetics_nc1, kinetics, "Table 5"):
    for codebooks, frames in ("", four), ("-nc1", one):
        for order, config in priors(frames).items():
            name = f"lvt-{data}{codebooks}" + ("" if order == "single-frame" else f"-{order}")
            text = f"LVT's prior for {data}: {order}, n_c = {frames.autoencoder.codebooks}"
            in_paper = data == "bair" or frames is kinetics  # Kinetics has n_c = 4 only (section 4.3)
            CONFIGS[name] = Named(config, text, f"LVT {table}" if in_paper else "not in the paper")
