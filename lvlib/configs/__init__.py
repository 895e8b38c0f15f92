"""Named configurations: the papers' full sizes, the course's sizes, and those that `lvlib bench` compares."""

from dataclasses import dataclass

from lvlib.configs import lvt
from lvlib.configs.config import AutoencoderConfig, Config, DataConfig, PriorConfig, config_from_dict
from lvlib.suggest import unknown

__all__ = ["CONFIGS", "AutoencoderConfig", "Config", "DataConfig", "PriorConfig", "config_from_dict", "named_config"]


@dataclass(frozen=True)
class Named:
    config: Config
    description: str
    source: str  # where in which paper


CONFIGS = {
    "lvt-frames-course": Named(lvt.course, "frame VQ-VAE for moving digits: minutes on two cores", "LVT 3.1"),
    "lvt-frames-course-48": Named(lvt.course_48, "the same for 48x48 pixels: lvt-course learns its codes", "LVT 3.1"),
    "lvt-course": Named(lvt.prior_course, "LVT's prior for two moving digits: single-frame, n_c = 2", "LVT 3.2"),
    "lvt-frames-bair": Named(lvt.bair, "frame VQ-VAE for BAIR: one codebook of 512", "LVT 4.1"),
    "lvt-frames-bair-nc4": Named(lvt.bair_nc4, "frame VQ-VAE for BAIR: four codebooks of 512", "LVT 4.1"),
    "lvt-frames-kinetics": Named(lvt.kinetics, "frame VQ-VAE for Kinetics: four residual blocks", "LVT 4.1"),
    "bench-lvt": Named(lvt.bench, "frame VQ-VAE and prior at the size of the speed comparison", "LVT 4.1"),
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
