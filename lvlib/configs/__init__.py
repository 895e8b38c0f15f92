"""Named configurations: the papers' full sizes, the course's sizes, and those that `lvlib bench` compares."""

from dataclasses import dataclass

from lvlib.configs import lvt, videogpt
from lvlib.configs.config import AutoencoderConfig, Config, DataConfig, PriorConfig, config_from_dict
from lvlib.errors import unknown

__all__ = ["CONFIGS", "AutoencoderConfig", "Config", "DataConfig", "PriorConfig", "config_from_dict", "named_config"]


@dataclass(frozen=True)
class Named:
    config: Config
    description: str
    source: str  # where in which paper


CONFIGS = {
    "lvt-frames-course": Named(lvt.course, "frame VQ-VAE for moving digits: minutes on two cores", "LVT 3.1"),
    "lvt-frames-course-48": Named(lvt.course_48, "the same for 48x48 grey pixels: lvt-course learns its codes",
                                  "LVT 3.1"),
    "lvt-course": Named(lvt.prior_course, "LVT's prior for two moving digits: single-frame, n_c = 1", "LVT 3.2"),
    "lvt-frames-bair": Named(lvt.bair, "frame VQ-VAE for BAIR: one codebook of 512", "LVT 4.1"),
    "lvt-frames-bair-nc4": Named(lvt.bair_nc4, "frame VQ-VAE for BAIR: four codebooks of 512", "LVT 4.1"),
    "lvt-frames-kinetics": Named(lvt.kinetics, "frame VQ-VAE for Kinetics: four residual blocks", "LVT 4.1"),
    "bench-lvt": Named(lvt.bench, "frame VQ-VAE and prior at the size of the speed comparison", "LVT 4.1"),
    "videogpt-vqvae-course": Named(videogpt.vqvae_course, "video VQ-VAE for one grey digit of 32x32", "VideoGPT 3"),
    "videogpt-course": Named(videogpt.course, "VideoGPT's prior for one digit, told its class", "VideoGPT 3"),
    "videogpt-vqvae-doom-course": Named(videogpt.vqvae_doom_course, "video VQ-VAE for Doom", "VideoGPT 4.4"),
    "videogpt-doom-course": Named(videogpt.doom_course, "VideoGPT's prior for Doom, told the buttons", "VideoGPT 4.4"),
    "videogpt-vqvae-moving-mnist": Named(videogpt.vqvae_moving_mnist, "video VQ-VAE for Moving MNIST",
                                         "VideoGPT Table 8"),
    "videogpt-vqvae-bair": Named(videogpt.vqvae_bair, "video VQ-VAE for BAIR, RoboNet and ViZDoom",
                                 "VideoGPT Table 8"),
    "videogpt-vqvae-ucf101": Named(videogpt.vqvae_ucf101, "video VQ-VAE for UCF-101 and TGIF", "VideoGPT Table 8"),
    "videogpt-moving-mnist": Named(videogpt.moving_mnist, "VideoGPT's prior for Moving MNIST, given one frame",
                                   "VideoGPT Table 9"),
    "videogpt-bair": Named(videogpt.bair, "VideoGPT's prior for BAIR and RoboNet, given one frame",
                           "VideoGPT Table 9"),
    "videogpt-vizdoom": Named(videogpt.vizdoom, "VideoGPT's prior for ViZDoom, told the buttons", "VideoGPT Table 9"),
    "videogpt-ucf101": Named(videogpt.ucf101, "VideoGPT's prior for UCF-101, unconditional", "VideoGPT Table 9"),
    "videogpt-tgif": Named(videogpt.tgif, "VideoGPT's prior for TGIF, unconditional", "VideoGPT Table 9"),
    "bench-videogpt": Named(videogpt.bench, "video VQ-VAE and prior at the size of the speed comparison",
                            "VideoGPT A"),
}
for data, one, four, table in (("bair", lvt.bair, lvt.bair_nc4, "Table 2"),
                               ("kinetics600", lvt.kinetics_nc1, lvt.kinetics, "Table 5")):
    for codebooks, frames in ("", four), ("-nc1", one):
        for order, config in lvt.priors(frames).items():
            suffix = "" if order == "single-frame" else f"-{order}"
            text = f"LVT's prior for {data}: {order}, n_c = {frames.autoencoder.codebooks}"
            CONFIGS[f"lvt-{data}{codebooks}{suffix}"] = Named(config, text, f"LVT {table}")


def named_config(name: str) -> Config:
    """Raises UserError with all the names, and the closest one, if there is no such configuration."""
    if name not in CONFIGS:
        raise unknown("config", name, CONFIGS)
    return CONFIGS[name].config
