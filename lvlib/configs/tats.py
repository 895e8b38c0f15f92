"""TATS: its time-agnostic VQGAN, its transformers (B.2), and all of them at the course's size."""

from dataclasses import replace

from lvlib.configs import videogpt
from lvlib.configs.config import Config, DataConfig, Named
from lvlib.models.tats.interpolation import InterpolationConfig
from lvlib.models.tats.prior import TATSConfig
from lvlib.models.tats.vqgan import VQGANConfig
from lvlib.training.config import TrainingConfig

# B.2: batch 2 on each of 8 GPUs, accumulated 6 times. Betas and clipping are the paper's, too (B.2, A.1).
gan = TrainingConfig(steps=30_000, batch=96, accumulate=6, learning_rate=3e-5, betas=(0.5, 0.9), gradient_clip=1.0)
vqgan = Config(DataConfig(size=128), VQGANConfig(), gan)  # 4 x 16 x 16 codes: UCF-101, Sky Time-lapse, Taichi-HD
vqgan_taichi = replace(vqgan, data=replace(vqgan.data, stride=4))  # B.1
vqgan_drum = replace(vqgan, data=DataConfig(size=64))  # 4 x 8 x 8
vqgan_mugen = replace(vqgan, data=DataConfig(size=256))  # 4 x 32 x 32

# B.2: a rate of 4.5e-6 a clip, batch 3 on each of 8 GPUs. Betas and weight decay are its code's.
steps = TrainingConfig(steps=500_000, batch=24, learning_rate=4.5e-6, rate_per_clip=True, optimizer="adamw",
                       betas=(0.9, 0.95), weight_decay=0.01)
sky = Config(vqgan.data, vqgan.autoencoder, steps, TATSConfig())
taichi = replace(sky, data=vqgan_taichi.data)
ucf101 = replace(sky, training=replace(steps, steps=1_350_000))
ucf101_class = replace(ucf101, prior=TATSConfig(classes=101))

# Of 64 frames every fourth of the 16 latent frames: 1,024 codes (official code). Taichi's are all frames (B.1).
sparse = replace(sky, data=DataConfig(size=128, frames=64), prior=TATSConfig(every=4))
sparse_class = replace(sparse, prior=TATSConfig(every=4, classes=101))
between = replace(sparse, training=replace(steps, steps=30_000), refiner=InterpolationConfig())
between_class = replace(between, prior=sparse_class.prior, refiner=InterpolationConfig(classes=101))

# MUGEN: 4,096 codes after a text in CLIP's words (3.1), of 77 tokens, as many as CLIP reads. The paper gives no steps
# for these two, and of the sound neither rate nor sizes: ours are 800 samples a frame (24,000 a second at 30 frames)
# and 16 of 1,024 codes a clip.
mugen = replace(sky, data=vqgan_mugen.data, prior=TATSConfig(text=77))
drum = replace(sky, data=vqgan_drum.data, prior=TATSConfig(audio=800))

# One grey digit, in clips of 96 frames. No residual blocks in the encoder: codes that see little are easier to predict.
vqgan_course = Config(
    DataConfig(size=32),
    VQGANConfig(channels=1, hidden=8, residual_blocks=(0, 1), downsample=(4, 4, 4), codes=256, code_dim=32, decay=0.95,
                restart=0.05, perceptual=None, gan_start=None),
    TrainingConfig(steps=1500, batch=16, learning_rate=2e-3, schedule="cosine", warmup=50, gradient_clip=1.0))
course = Config(
    vqgan_course.data, vqgan_course.autoencoder,
    TrainingConfig(steps=2000, batch=16, learning_rate=1.5e-3, optimizer="adamw", betas=(0.9, 0.98),
                   weight_decay=0.01, gradient_clip=1.0, schedule="cosine", warmup=200),
    TATSConfig(dim=192, layers=4, heads=6, hidden=768, classes=10))
# The same on codes that see their own block alone (notebook 09): nothing of them depends on where in a video they are.
digits = replace(course, autoencoder=videogpt.vqvae_digits.autoencoder, training=replace(course.training, steps=3000))
sparse_course = replace(course, data=DataConfig(size=32, frames=64), prior=replace(course.prior, every=4))
# All gaps of 64 frames at once: four clips are as many codes as 16 of the first half.
between_course = replace(sparse_course, training=replace(course.training, steps=2000, batch=4),
                         refiner=InterpolationConfig(dim=192, layers=4, heads=6, hidden=768, classes=10))

# Told a sentence of the stories, or the drums at 8,000 samples a second and 8 frames.
stories_course = replace(course, training=replace(course.training, steps=6000),
                         prior=replace(course.prior, classes=0, text=16, tokenizer="stories"))
drums_course = replace(course, prior=replace(course.prior, classes=0, audio=1000, audio_codes=64))

# Doom's clips, as VideoGPT's, in codes of 2 x 4 x 4 pixels in place of 2 x 8 x 8. The discriminators come late, when
# the picture stands.
vqgan_doom_course = Config(
    DataConfig(),
    VQGANConfig(hidden=8, residual_blocks=(1, 1), downsample=(2, 4, 4), codes=512, code_dim=64, decay=0.95,
                restart=0.05, perceptual_weight=1.0, gan_start=2000, disc_hidden=16),
    TrainingConfig(steps=3000, batch=4, learning_rate=1e-3, betas=(0.5, 0.9), schedule="cosine", warmup=50,
                   gradient_clip=1.0))
# A window of 4 latent frames, 1,024 codes: of all 8 a step costs three times as much. It slides.
doom_course = Config(
    DataConfig(frames=8), vqgan_doom_course.autoencoder, replace(course.training, steps=3000, batch=4),
    replace(course.prior, classes=0, actions=3))

bench = Config(
    DataConfig(), VQGANConfig(hidden=16, codes=256, code_dim=64, downsample=(4, 4, 4), perceptual=None, gan_start=1,
                              disc_hidden=32),
    replace(steps, steps=1000, batch=4), TATSConfig(dim=192, layers=4, heads=4, hidden=768))

CONFIGS = {
    "tats-vqgan-course": Named(vqgan_course, "3D VQGAN for one grey digit, without discriminators", "TATS 2"),
    "tats-course": Named(course, "TATS-base for one digit, conditioned on its class", "TATS 2"),
    "tats-digits": Named(digits, "the same on VideoGPT's codes of one digit, each of its own block", "TATS 2.3"),
    "tats-sparse-course": Named(sparse_course, "TATS-hierarchical's first half: every fourth latent frame", "TATS 2.3"),
    "tats-between-course": Named(between_course, "TATS-hierarchical's second half: the frames in between", "TATS 2.3"),
    "tats-stories-course": Named(stories_course, "TATS-base for stories of digits, told a sentence", "TATS 2.3"),
    "tats-drums-course": Named(drums_course, "TATS-base for a digit that jumps to the drums it hears", "TATS 2.3"),
    "tats-vqgan-doom-course": Named(vqgan_doom_course, "3D VQGAN for Doom, with discriminators", "TATS 2"),
    "tats-doom-course": Named(doom_course, "TATS-base for Doom, told the buttons", "TATS 2.3"),
    "tats-vqgan": Named(vqgan, "time-agnostic 3D VQGAN for UCF-101 and Sky Time-lapse", "TATS B.2"),
    "tats-vqgan-taichi": Named(vqgan_taichi, "the same for Taichi-HD: every fourth frame", "TATS B.1"),
    "tats-vqgan-drum": Named(vqgan_drum, "the same for AudioSet-Drum, at 64x64", "TATS 3.1"),
    "tats-vqgan-mugen": Named(vqgan_mugen, "the same for MUGEN, at 256x256", "TATS 3.1"),
    "tats-ucf101": Named(ucf101, "TATS-base for UCF-101, unconditional", "TATS B.2"),
    "tats-ucf101-class": Named(ucf101_class, "TATS-base for UCF-101, conditioned on the class", "TATS 3.2"),
    "tats-sky": Named(sky, "TATS-base for Sky Time-lapse", "TATS B.2"),
    "tats-taichi": Named(taichi, "TATS-base for Taichi-HD: every fourth frame", "TATS B.1"),
    "tats-mugen": Named(mugen, "TATS-base for MUGEN, told a text", "TATS 3.1"),
    "tats-drum": Named(drum, "TATS-base for AudioSet-Drum, told a sound", "TATS 3.1"),
    "tats-sparse": Named(sparse, "TATS-hierarchical's first half, for UCF-101, Sky Time-lapse and Taichi-HD",
                         "TATS 2.3"),
    "tats-between": Named(between, "its second half: the frames in between", "TATS 2.3"),
    "tats-sparse-class": Named(sparse_class, "TATS-hierarchical's first half for UCF-101, told the class", "TATS 2.3"),
    "tats-between-class": Named(between_class, "its second half", "TATS 2.3"),
    "bench-tats": Named(bench, "VQGAN with discriminators and prior at the size of the speed comparison", "TATS B.3"),
}
