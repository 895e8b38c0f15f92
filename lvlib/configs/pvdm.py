"""PVDM: its triplane autoencoder and its diffusion over the planes (appendices A and D, Table 6), and the course's."""

from dataclasses import replace

from lvlib.configs.config import Config, DataConfig, Named
from lvlib.models.pvdm.prior import PVDMConfig
from lvlib.models.pvdm.triplane import TriplaneConfig
from lvlib.training.config import TrainingConfig

# App. D gives batch and rate, and trains until FVD and PSNR converge: the steps are ours. App. A stops early by R-FVD
# and does not say how soon: `--training.early_stopping 10 --i3d FILE`. Adam is the paper's (4.1), its betas are the
# official code's, which has AdamW, and clips its discriminators alone.
ae_training = TrainingConfig(steps=300_000, batch=24, learning_rate=1e-4, betas=(0.5, 0.9), gradient_clip=1.0)
autoencoder = Config(DataConfig(size=256), TriplaneConfig(), ae_training)  # UCF-101 and Sky Time-lapse
# Table 8. It gives the numbers of parameters; the sizes that have them are ours.
medium = replace(autoencoder, autoencoder=TriplaneConfig(layers=5, projection_layers=3))
small = replace(autoencoder, autoencoder=TriplaneConfig(layers=3, projection_layers=1, projection_hidden=128))

# Table 6, App. D; AdamW is the paper's (4.1). Its weight decay, the coin and its shares of clips after another, 0.3 for
# UCF-101 and 0.2 for Sky Time-lapse, are the official code's; so is the EMA, which it updates every 25th step, with a
# decay that grows: at the end it is as long as that of 1 - 9 / steps at each step.
s_training = TrainingConfig(steps=400_000, batch=64, learning_rate=1e-4, optimizer="adamw", weight_decay=0.01,
                            ema_decay=0.99998)
l_training = replace(s_training, steps=850_000, ema_decay=0.99999)
# Where the prior learns, the discriminators are done.
s_ucf101 = Config(autoencoder.data, TriplaneConfig(gan_start=None), s_training,
                  PVDMConfig(objective="coin", conditional=0.3))
l_ucf101 = replace(s_ucf101, training=l_training, prior=replace(s_ucf101.prior, width=256))
s_sky = replace(s_ucf101, prior=replace(s_ucf101.prior, conditional=0.2))
l_sky = replace(l_ucf101, prior=replace(l_ucf101.prior, conditional=0.2))

# One grey digit: 3 planes of 4 x (64 + 128 + 128) numbers in place of 16,384 pixels.
ae_course = Config(
    DataConfig(size=32),
    TriplaneConfig(channels=1, size=32, patch=4, width=64, layers=2, heads=4, head_dim=16, projection="pooled",
                   projection_heads=4, error="l2", perceptual=None, gan_start=None),
    TrainingConfig(steps=4000, batch=8, learning_rate=1.5e-3, optimizer="adamw", betas=(0.9, 0.98), weight_decay=0.01,
                   gradient_clip=1.0, schedule="cosine", warmup=50))
course = Config(
    ae_course.data, ae_course.autoencoder,
    TrainingConfig(steps=10_000, batch=16, learning_rate=1e-3, optimizer="adamw", weight_decay=0.01, gradient_clip=1.0,
                   schedule="cosine", warmup=200, ema_decay=0.999),
    PVDMConfig(width=48, multipliers=(1, 2), blocks=1, heads=4, across=1, objective="coin"))

# Doom's clips: 4 x (64 + 128 + 128) numbers, where chapter 13 has 2,048 codes.
ae_doom_course = Config(
    DataConfig(),
    replace(ae_course.autoencoder, channels=3, size=64, patch=8, width=128, heads=4, head_dim=32, latent_dim=8),
    replace(ae_course.training, steps=2500, learning_rate=1e-3))
doom_course = Config(ae_doom_course.data, ae_doom_course.autoencoder, replace(course.training, steps=6000),
                     replace(course.prior, width=64, actions=3))

bench = Config(
    DataConfig(), TriplaneConfig(size=64, width=64, projection_heads=4, perceptual=None, gan_start=None),
    replace(s_training, batch=2, ema_decay=0.0), PVDMConfig(width=32, multipliers=(1, 2), blocks=1, heads=4,
                                                            objective="coin"))
bench_planes = replace(bench, data=DataConfig(size=256), autoencoder=replace(bench.autoencoder, size=256))

CONFIGS = {
    "pvdm-autoencoder-course": Named(ae_course, "triplane autoencoder for one grey digit", "PVDM 3.2"),
    "pvdm-course": Named(course, "diffusion over the planes, clip after clip", "PVDM 3.3"),
    "pvdm-autoencoder-doom-course": Named(ae_doom_course, "triplane autoencoder for Doom", "PVDM 3.2"),
    "pvdm-doom-course": Named(doom_course, "diffusion over the planes of Doom, told the buttons", "PVDM 3.3"),
    "pvdm-autoencoder": Named(autoencoder, "triplane autoencoder for UCF-101 and Sky Time-lapse, 35M + 27M parameters",
                              "PVDM D"),
    "pvdm-autoencoder-medium": Named(medium, "the same with 23M + 17M", "PVDM Table 8"),
    "pvdm-autoencoder-small": Named(small, "the same with 11M + 10M", "PVDM Table 8"),
    "pvdm-s-ucf101": Named(s_ucf101, "PVDM-S for UCF-101; sample with 100 and 20 steps", "PVDM Table 6"),
    "pvdm-l-ucf101": Named(l_ucf101, "PVDM-L for UCF-101; sample with 200 and 200, or 400 and 400 steps",
                           "PVDM Table 6"),
    "pvdm-s-sky": Named(s_sky, "PVDM-S for Sky Time-lapse", "PVDM Table 6"),
    "pvdm-l-sky": Named(l_sky, "PVDM-L for Sky Time-lapse", "PVDM Table 6"),
    "bench-pvdm": Named(bench, "autoencoder and prior at the size of the speed comparison", "PVDM 3"),
    "bench-pvdm-planes": Named(bench_planes, "its prior on planes of full size: measure with --stage prior", "PVDM 3"),
}
