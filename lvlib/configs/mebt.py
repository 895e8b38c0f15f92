"""MeBT: its transformers, on TATS's codes, and both at the course's size.

The paper's appendix is not in the text that we have. What section 5.1 does not say is of the official code: rates,
weight decay, dropout, layers, and the batch, which there is of each of an unknown number of GPUs.
"""

from dataclasses import replace

from lvlib.configs import tats, videogpt
from lvlib.configs.config import Config, DataConfig, Named
from lvlib.models.mebt.prior import MeBTConfig
from lvlib.training.config import TrainingConfig

# 5.1: TATS's VQGAN, N_L 256, no curriculum for 16 frames. Steps, betas and weight decay: official code.
steps = TrainingConfig(steps=2_000_000, batch=32, learning_rate=3e-5, optimizer="adamw", betas=(0.9, 0.95),
                       weight_decay=1e-4)
official = MeBTConfig(official=True)
ucf101_16 = Config(tats.vqgan.data, tats.vqgan.autoencoder, steps, official)
taichi_16 = replace(ucf101_16, data=tats.vqgan_taichi.data)
sky_16 = replace(ucf101_16, training=replace(steps, batch=6, learning_rate=1.08e-5, weight_decay=0.01),
                 prior=replace(official, dropout=0.1))

# 128 frames, 32 x 16 x 16 codes. Beta 2; alpha 30K for Sky Time-lapse and 100K for the others (5.1). The official code
# draws lengths from the renormalised density; eq. (4) as the paper has it: `--prior.curriculum gaussian`.
long = DataConfig(size=128, frames=128)
slow = replace(official, curriculum="renormalised", alpha=100_000.0)
ucf101_128 = Config(long, ucf101_16.autoencoder, replace(steps, batch=6), slow)
taichi_128 = replace(ucf101_128, training=replace(steps, batch=4))
sky_128 = replace(ucf101_128, training=replace(sky_16.training, batch=5, learning_rate=1.8e-5),
                  prior=replace(slow, alpha=30_000.0, dropout=0.1))

# One grey digit, in 16 frames and in 64.
course = Config(
    tats.vqgan_course.data, tats.vqgan_course.autoencoder,
    TrainingConfig(steps=8000, batch=8, learning_rate=1.5e-3, optimizer="adamw", betas=(0.9, 0.98), weight_decay=0.01,
                   gradient_clip=1.0, schedule="cosine", warmup=200),
    MeBTConfig(dim=192, heads=6, hidden=768, encoder_layers=5, decoder_layers=4, bottleneck=64, classes=10))
# The same on codes that see their own block alone (notebook 09).
digits = replace(course, autoencoder=videogpt.vqvae_digits.autoencoder, training=replace(course.training, batch=16))
course_long = replace(course, data=DataConfig(size=32, frames=64),
                      training=replace(course.training, steps=12_000),
                      prior=replace(course.prior, curriculum="gaussian", alpha=300.0))
# Doom's clips, in TATS's codes: all 2,048 of them in each step. With normal weights it learned little in 1,000 steps.
doom_course = Config(DataConfig(), tats.vqgan_doom_course.autoencoder, replace(course.training, steps=4500, batch=4),
                     replace(course.prior, bottleneck=128, init="mimetic", classes=0, actions=3))

# 4 x 1,024 codes, as the speed comparison has them; one long clip of 4,096: `--data.frames 64 --training.batch 1`.
bench = Config(DataConfig(size=128), replace(tats.bench.autoencoder, downsample=(4, 8, 8)),
               replace(steps, steps=1000, batch=4, learning_rate=1e-4),
               MeBTConfig(dim=192, heads=4, hidden=768, encoder_layers=4, decoder_layers=4, bottleneck=64))

CONFIGS = {
    "mebt-course": Named(course, "MeBT for one digit, conditioned on its class", "MeBT 3"),
    "mebt-digits": Named(digits, "the same on VideoGPT's codes of one digit, each of its own block", "MeBT 3"),
    "mebt-course-long": Named(course_long, "the same in clips of 64 frames, learned from short to long", "MeBT 3.3"),
    "mebt-doom-course": Named(doom_course, "MeBT for Doom, told the buttons", "MeBT 3"),
    "mebt-ucf101-16": Named(ucf101_16, "MeBT for UCF-101, 16 frames", "MeBT 5.1"),
    "mebt-ucf101-128": Named(ucf101_128, "the same, 128 frames, with the curriculum", "MeBT 5.1"),
    "mebt-taichi-16": Named(taichi_16, "MeBT for Taichi-HD: 16 frames, every fourth", "MeBT 5.1"),
    "mebt-taichi-128": Named(taichi_128, "the same, 128 frames, all of them, with the curriculum", "MeBT 5.1"),
    "mebt-sky-16": Named(sky_16, "MeBT for Sky Time-lapse, 16 frames", "MeBT 5.1"),
    "mebt-sky-128": Named(sky_128, "the same, 128 frames, with the curriculum", "MeBT 5.1"),
    "bench-mebt": Named(bench, "MeBT at the size of the speed comparison", "MeBT 3"),
}
