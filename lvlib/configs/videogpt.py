"""VideoGPT: its space-time autoencoder (Table 8), its prior (Table 9), and both at the course's size."""

from dataclasses import replace

from lvlib.configs.config import Config, DataConfig, Named
from lvlib.models.videogpt.patch_vqvae import PatchVideoVQVAEConfig
from lvlib.models.videogpt.prior import VideoGPTConfig
from lvlib.models.videogpt.vqvae import VideoVQVAEConfig
from lvlib.training.config import TrainingConfig

# Table 8 gives batch, rate and steps. Neither the paper nor its code has a schedule or a weight decay here.
adam = TrainingConfig(steps=100_000, batch=32, learning_rate=7e-4)
vqvae_bair = Config(DataConfig(), VideoVQVAEConfig(downsample=(2, 2, 2)), adam)  # also RoboNet's and ViZDoom's
vqvae_ucf101 = Config(DataConfig(), VideoVQVAEConfig(downsample=(4, 2, 2)), adam)  # also TGIF's
# Section 4.5 trains UCF-101 at 64 and at 128 pixels (Fig. 7 is 128). Table 8 has one column, with an input of
# 16 x 64 x 64 and latents of 4 x 32 x 32. They fit 64 pixels at (4, 2, 2), and 128 pixels at (4, 4, 4).
vqvae_ucf101_128 = replace(vqvae_ucf101, data=DataConfig(size=128),
                           autoencoder=replace(vqvae_ucf101.autoencoder, downsample=(4, 4, 4)))
vqvae_moving_mnist = Config(
    DataConfig(),
    VideoVQVAEConfig(channels=1, residual_blocks=2, downsample=(4, 4, 4), codes=512, code_dim=64, block="plain"),
    replace(adam, steps=20_000))

# Table 9 gives batch, rate and steps; the cosine to 0 without a warm-up is the official code's. Section 4.1 says sparse
# attention, local and strided across space-time, and not how far. We take one latent frame for both, as Child et al.
# 2019 take one row of an image. (The official code's default is full attention: `--prior.attention full`.)
cosine = replace(adam, steps=150_000, learning_rate=3e-4, schedule="cosine")
large = VideoGPTConfig(attention="sparse", local=32 * 32)

# Table 9: one given frame of 1 x 64 x 64. Section 4.2 has 384 hidden features, the table a width of 192 and 384 in the
# feedforward layers: we take the table's.
moving_mnist = Config(
    DataConfig(), vqvae_moving_mnist.autoencoder, replace(cosine, steps=80_000),
    VideoGPTConfig(dim=192, layers=8, hidden=384, dropout=0.1, attention="sparse", local=16 * 16, frames=1,
                   resnet_depth=18))
# Table 9: one given frame of 3 x 64 x 64. The 64 beside it is not explained: 16 actions of 4 numbers would fit, for the
# paper's action-conditional samples (`--prior.actions 4`).
bair = Config(DataConfig(), vqvae_bair.autoencoder, cosine, replace(large, frames=1, resnet_depth=34))
# Health Gathering Supreme: its three buttons, of each frame. Table 9 says 60 (Battle2: 315) and not how a frame's
# actions become these. The paper's unconditional prior: `--prior.actions 0`.
vizdoom = Config(DataConfig(), vqvae_bair.autoencoder, cosine, replace(large, actions=3))
ucf101 = Config(DataConfig(), vqvae_ucf101.autoencoder, replace(cosine, steps=200_000),
                replace(large, dim=1024, heads=8, layers=20, hidden=4096))
ucf101_128 = replace(ucf101, data=vqvae_ucf101_128.data, autoencoder=vqvae_ucf101_128.autoencoder)
tgif = replace(ucf101, training=replace(ucf101.training, steps=600_000))

# One digit in grey, labels 0 to 9.
vqvae_course = Config(
    DataConfig(size=32),
    VideoVQVAEConfig(channels=1, hidden=64, residual_hidden=32, residual_blocks=2, codes=256, code_dim=32,
                     block="plain", decay=0.95),
    TrainingConfig(steps=2500, batch=32, learning_rate=1e-3, schedule="cosine", warmup=50))
course = Config(
    DataConfig(size=32), vqvae_course.autoencoder,
    TrainingConfig(steps=6000, batch=16, learning_rate=1.5e-3, optimizer="adamw", betas=(0.9, 0.98),
                   weight_decay=0.01, gradient_clip=1.0, schedule="cosine", warmup=200),
    VideoGPTConfig(dim=192, layers=4, heads=6, hidden=768, dropout=0.0, classes=10))
# The same with codes that see their own block alone (notebook 09), and more of both.
vqvae_digits = Config(
    vqvae_course.data,
    PatchVideoVQVAEConfig(channels=1, hidden=64, residual_hidden=64, residual_blocks=2, codes=512, code_dim=32,
                          block="plain", decay=0.95),
    replace(vqvae_course.training, steps=4000))
digits = Config(vqvae_course.data, vqvae_digits.autoencoder, course.training,
                replace(course.prior, dim=256, heads=8, hidden=1024))
# Section 4.2, Fig. 3: one frame given, and told nothing else.
digits_one_frame = replace(digits, training=replace(course.training, steps=4000),
                           prior=replace(course.prior, classes=0, frames=1, resnet_units=64))
# Health Gathering Supreme with the buttons that were held: left, right, forward.
vqvae_doom_course = Config(
    DataConfig(),
    replace(vqvae_course.autoencoder, channels=3, downsample=(2, 8, 8), codes=512, code_dim=64, variance=0.035),
    replace(vqvae_course.training, steps=2000, batch=16))
doom_course = Config(DataConfig(), vqvae_doom_course.autoencoder, replace(course.training, steps=5000, batch=8),
                     replace(course.prior, classes=0, actions=3))

bench = Config(
    DataConfig(), VideoVQVAEConfig(hidden=64, residual_hidden=32, residual_blocks=2, codes=256, code_dim=64,
                                   block="official"),
    replace(cosine, steps=1000, batch=4), VideoGPTConfig(dim=192, layers=4, hidden=768))

CONFIGS = {
    "videogpt-vqvae-course": Named(vqvae_course, "video VQ-VAE for one grey digit of 32x32", "VideoGPT 3"),
    "videogpt-course": Named(course, "VideoGPT's prior for one digit, conditioned on its class", "VideoGPT 3"),
    "videogpt-vqvae-digits": Named(vqvae_digits, "video VQ-VAE for one grey digit, each code of its own block",
                                   "VideoGPT 3"),
    "videogpt-digits": Named(digits, "VideoGPT's prior for one digit on these codes, conditioned on its class",
                             "VideoGPT 3"),
    "videogpt-digits-one-frame": Named(digits_one_frame, "given one frame on these codes: many futures",
                                       "VideoGPT 4.2"),
    "videogpt-vqvae-doom-course": Named(vqvae_doom_course, "video VQ-VAE for Doom", "VideoGPT 4.4"),
    "videogpt-doom-course": Named(doom_course, "VideoGPT's prior for Doom, conditioned on the buttons", "VideoGPT 4.4"),
    "videogpt-vqvae-moving-mnist": Named(vqvae_moving_mnist, "video VQ-VAE for Moving MNIST",
                                         "VideoGPT Table 8"),
    "videogpt-vqvae-bair": Named(vqvae_bair, "video VQ-VAE for BAIR, RoboNet and ViZDoom",
                                 "VideoGPT Table 8"),
    "videogpt-vqvae-ucf101": Named(vqvae_ucf101, "video VQ-VAE for UCF-101 and TGIF", "VideoGPT Table 8"),
    "videogpt-vqvae-ucf101-128": Named(vqvae_ucf101_128, "the same at 128x128: Table 8's latents, not its input",
                                       "VideoGPT 4.5"),
    "videogpt-moving-mnist": Named(moving_mnist, "VideoGPT's prior for Moving MNIST, given one frame",
                                   "VideoGPT Table 9"),
    "videogpt-bair": Named(bair, "VideoGPT's prior for BAIR and RoboNet, given one frame",
                           "VideoGPT Table 9"),
    "videogpt-vizdoom": Named(vizdoom, "VideoGPT's prior for ViZDoom, conditioned on the buttons", "VideoGPT Table 9"),
    "videogpt-ucf101": Named(ucf101, "VideoGPT's prior for UCF-101, unconditional", "VideoGPT Table 9"),
    "videogpt-ucf101-128": Named(ucf101_128, "the same at 128x128 pixels", "VideoGPT 4.5"),
    "videogpt-tgif": Named(tgif, "VideoGPT's prior for TGIF, unconditional", "VideoGPT Table 9"),
    "bench-videogpt": Named(bench, "video VQ-VAE and prior at the size of the speed comparison",
                            "VideoGPT A"),
}
