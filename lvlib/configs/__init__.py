"""Named configurations: the papers' full sizes, the course's sizes, and those that `lvlib bench` compares."""

from collections.abc import Mapping
from typing import Any

from lvlib.configs import lvt, mebt, pvdm, stored, tats, videogpt
from lvlib.configs.config import Config, DataConfig, Named
from lvlib.errors import unknown

__all__ = ["CONFIGS", "Config", "DataConfig", "Named", "config_from_dict", "named_config"]

CONFIGS: dict[str, Named] = {
    **lvt.CONFIGS,
    **videogpt.CONFIGS,
    **tats.CONFIGS,
    **mebt.CONFIGS,
    **pvdm.CONFIGS,
}


def named_config(name: str) -> Config:
    """Raises UserError with all the names, and the closest one, if there is no such configuration."""
    if name not in CONFIGS:
        raise unknown("config", name, CONFIGS)
    return CONFIGS[name].config


def config_from_dict(values: Mapping[str, Any]) -> Config:
    """`stored.config_from_dict`, with the classes that this lvlib has."""
    return stored.config_from_dict(values, CONFIGS)
