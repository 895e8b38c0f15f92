# Never edit this file: `python -m lvlib.course build` makes it from solutions/15_long_videos.py and
# solutions/17_text_and_sound.py.
"""What a clip is conditioned on, as words before its codes. TATS, section 2.3."""

from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lvlib.models.common.conditioning import check_labels, described
from lvlib.models.tats.sound import TOKENS, SoundVQVAE
from lvlib.stages import Condition


class ConditionWords(nn.Module):
    """One thing that a clip is told, as words.

    name: its key in a condition. words: how many it adds to the vocabulary. length: places that it
    takes in the row.
    """

    def __init__(self, name: str, words: int, length: int):
        super().__init__()
        self.name, self.words, self.length = name, words, length

    def at(self, value: Tensor, start: int) -> Tensor:
        """What stands before a window whose first latent frame is `start`: int64 (b, length), 0 to
        words - 1. value: of the condition, (b, ...). Raises ValueError for one that does not
        fit."""
        raise NotImplementedError

    def loss(self, value: Tensor) -> Tensor:
        """What the words themselves have to learn, (): nothing, if they are what they are."""
        return torch.zeros((), device=value.device)


class LabelWord(ConditionWords):
    """A class is one word, the same for all windows."""

    def __init__(self, classes: int):
        super().__init__("label", classes, 1)

    def at(self, value: Tensor, start: int) -> Tensor:
        check_labels(value, self.words)
        return value[:, None]


def words_before(told: Iterable[ConditionWords], condition: Condition | None, clips: int,
                 start: int, device: torch.device) -> Tensor:
    """The words before a window from latent frame `start` on: int64 (clips, length). The
    vocabularies follow one another. Told nothing, there is a start token, 0, on this device.

    Raises ValueError for a missing or a needless condition, and one of another number of clips.
    """
    names, condition = [one.name for one in told], condition or {}
    if set(names) != set(condition):
        raise ValueError(f"this model is conditioned on {', '.join(names) or 'nothing'}; it got "
                         f"{', '.join(condition) or 'nothing'}")
    if not names:
        return torch.zeros(clips, 1, dtype=torch.int64, device=device)
    parts, offset = [], 0
    for one in told:
        words = one.at(condition[one.name], start)
        if len(words) not in (1, clips):
            raise ValueError(f"give the {one.name} of one clip, or of each of the {clips}, not of "
                             f"{len(words)}")
        parts.append(words.expand(clips, -1) + offset)
        offset += one.words
    return torch.cat(parts, 1)


# Introduced in solutions/17_text_and_sound.py
Tokenizer = Literal["clip", "stories"]
WORDS = {"clip": 49_408, "stories": 360}  # in the vocabulary of each


def text_of(start: int, window: int, texts: int) -> int:
    """Which of the texts, 0 to texts - 1, a window from latent frame `start` on has: that of its
    newest latent frame, if each is of `window` latent frames; after the last one, the last."""
    return min((start + window - 1) // window, texts - 1)


class TextWords(ConditionWords):
    """The tokens of a text. Of several texts, one for each stretch of a long video, a window has
    that of its newest latent frame: the text slides along with the window.

    window: latent frames of a clip of training, which a text is of.
    """

    def __init__(self, words: int, length: int, window: int):
        super().__init__("text", words, length)
        self.window = window

    def at(self, value: Tensor, start: int) -> Tensor:
        if value.ndim not in (2, 3) or value.dtype != torch.int64 or value.shape[-1] != self.length:
            raise ValueError(f"text must be int64 (b, {self.length}), or (b, texts, {self.length}),"
                             f" not {described(value)}")
        if value.min() < 0 or value.max() >= self.words:
            raise ValueError(f"tokens of a text must lie in 0..{self.words - 1}; got {value.min()} "
                             f"to {value.max()}")
        if value.ndim == 2:
            return value
        return value[:, text_of(start, self.window, value.shape[1])]


class SoundWords(ConditionWords):
    """The codes of the sound that is to be heard while the window is seen: it slides along.

    frames: video frames of a latent frame. samples: of each video frame.
    """

    def __init__(self, codes: int, window: int, frames: int, samples: int):
        super().__init__("audio", codes, window * TOKENS)
        self.window, self.frames, self.samples = window, frames, samples
        self.sound = SoundVQVAE(frames * samples, codes)

    def at(self, value: Tensor, start: int) -> Tensor:
        """Where the sound ends before the window does, silence follows."""
        part = self.heard(value)[:, start * self.frames:(start + self.window) * self.frames]
        silence = self.window * self.frames - part.shape[1]
        part = F.pad(part, (0, 0, 0, silence))
        with torch.no_grad():
            return self.sound.encode(part.flatten(1))

    def loss(self, value: Tensor) -> Tensor:
        return self.sound.loss(self.heard(value).flatten(1))

    def heard(self, value: Tensor) -> Tensor:
        """The same. Raises ValueError unless it is float (b, video frames, samples of each)."""
        if value.ndim != 3 or not value.is_floating_point() or value.shape[2] != self.samples:
            raise ValueError(f"audio must be float (b, frames, {self.samples}), {self.samples} "
                             f"samples for each frame, not {tuple(value.shape)}")
        return value


class ActionWords(ConditionWords):
    """The buttons of each video frame that a window shows, a word a frame: they slide along.

    actions: buttons. Pressed, above 0.5, or not, they are the digits of the word's binary number,
    the first button its highest. frames: video frames of a latent frame.
    """

    def __init__(self, actions: int, window: int, frames: int):
        super().__init__("actions", 2**actions, window * frames)
        self.actions, self.frames = actions, frames

    def at(self, value: Tensor, start: int) -> Tensor:
        """Where the buttons end before the window does, the last ones stay."""
        if value.ndim != 3 or not value.shape[1] or value.shape[2] != self.actions:
            raise ValueError(f"actions must be (b, frames, {self.actions}), {self.actions} buttons "
                             f"for each frame, not {tuple(value.shape)}")
        if not (value.min() >= 0 and value.max() <= 1):
            raise ValueError("actions must be from 0, not pressed, to 1, pressed; got "
                             f"{value.min():g} to {value.max():g}")
        digits = 2 ** torch.arange(self.actions, device=value.device).flip(0)
        words = ((value > 0.5) * digits).sum(2)
        shown = torch.arange(self.length, device=value.device) + start * self.frames
        return words[:, shown.clamp(max=words.shape[1] - 1)]
