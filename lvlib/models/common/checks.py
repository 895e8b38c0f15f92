# Never edit this file: `python -m lvlib.course build` makes it from solutions/04_sliced_quantization.py and
# solutions/10_writing_clips.py.
"""What configurations and priors refuse, in one line each. All raise ValueError."""

import math
from collections.abc import Iterable

from torch import Tensor

from lvlib.stages import Condition, LatentSpec


def check_numbers(config: object, *names: str, least: float | None = None,
                  above: float = -math.inf, below: float = math.inf) -> None:
    """Each of these fields is finite, at least `least` or above `above`, and below `below`."""
    for name in names:
        value = getattr(config, name)
        if not (value > above if least is None else value >= least) or not value < below:
            words = f"above {above}" if least is None else f"at least {least}"
            end = " and finite" if isinstance(value, float) else ""
            end = f" and below {below}" if below < math.inf else end
            raise ValueError(f"{name} must be {words}{end}, not {value}")


def check_choice(config: object, name: str, allowed: Iterable) -> None:
    """This field of a configuration has one of the allowed values."""
    allowed = list(allowed)
    value = getattr(config, name)
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(map(str, allowed))}, not {value!r}")


# Introduced in solutions/10_writing_clips.py
def check_shape(codes: Tensor, latents: LatentSpec) -> None:
    """Codes (b, ...) are of whole clips."""
    if codes.shape[1:] != latents.shape:
        raise ValueError(f"codes must be of shape (b, {', '.join(map(str, latents.shape))}), not "
                         f"{tuple(codes.shape)}")


def check_codes(codes: Tensor, latents: LatentSpec) -> None:
    """Codes (b, t0, ...) of the first latent frames, or of all of them, lie in the range of the
    latents."""
    low, high = codes.aminmax()
    if low < 0 or high >= latents.num_codes:
        raise ValueError(f"codes must lie in 0..{latents.num_codes - 1}; got {low} to {high}")


def check_given(given: Tensor | None, n: int, latents: LatentSpec) -> None:
    """Codes (1 or n, t0, ...) of the first latent frames can begin n clips, and leave something to
    generate."""
    t, *rest = latents.shape
    if given is None:
        raise ValueError(f"this model goes on from given codes, of 1 to {t - 1} latent frames")
    if list(given.shape[2:]) != rest or not 0 < given.shape[1] < t:
        raise ValueError(f"given codes must be of shape (b, 1 to {t - 1}, "
                         f"{', '.join(map(str, rest))}), not {tuple(given.shape)}")
    if len(given) not in (1, n):
        raise ValueError(f"give the codes of one clip, or of each of the {n}, not of {len(given)}")
    check_codes(given, latents)


def check_given_latents(given_latents: int, least: int, latents: LatentSpec) -> None:
    """So many latent frames can be given, and leave something to score."""
    t = latents.shape[0]
    if not least <= given_latents < t:
        raise ValueError(f"given latent frames must be {least} to {t - 1}, not {given_latents}")


def check_latent_frames(latent_frames: int | None, latents: LatentSpec) -> None:
    """A clip is as long as those that the model learned from."""
    if latent_frames not in (None, latents.shape[0]):
        raise ValueError(f"this model makes clips of {latents.shape[0]} latent frames, not of "
                         f"{latent_frames}")


def check_no_condition(condition: Condition | None) -> None:
    """For models that take none."""
    if condition:
        raise ValueError(f"this model takes no condition, not {', '.join(condition)}")


def check_temperature(temperature: float) -> None:
    """Logits can be divided by it."""
    if not 1e-6 <= temperature < math.inf:
        raise ValueError(f"temperature must be at least 1e-6 and finite, not {temperature}")
