"""Checks of notebook 17: a merge of BPE, a spectrogram, which text a window has, jumps to the beat."""

import torch
import torch.nn.functional as F
from einops import rearrange

from lvlib.course.cases import Case
from lvlib.course.exercises import exercise
from lvlib.models.tats import conditions, sound


def merge(word: list[str], left: str, right: str) -> list[str]:
    pieces, i = [], 0
    while i < len(word):
        joined = word[i:i + 2] == [left, right]
        pieces.append(left + right if joined else word[i])
        i += 2 if joined else 1
    return pieces


def _first_alone(word, left, right):
    for i in range(len(word) - 1):
        if word[i:i + 2] == [left, right]:
            return word[:i] + [left + right] + word[i + 2:]
    return list(word)


def _from_the_right(word, left, right):
    return [piece[::-1] for piece in reversed(merge([piece[::-1] for piece in reversed(word)], right[::-1],
                                                    left[::-1]))]


def _again(word, left, right):
    pieces = []
    for piece in word:
        if pieces and pieces[-1].endswith(left) and piece == right:
            pieces[-1] += piece
        else:
            pieces.append(piece)
    return pieces


def _either_order(word, left, right):
    pieces, i = [], 0
    while i < len(word):
        joined = word[i:i + 2] in ([left, right], [right, left])
        pieces.append("".join(word[i:i + 2]) if joined else word[i])
        i += 2 if joined else 1
    return pieces


def _right_kept(word, left, right):
    return [left + right if word[i:i + 2] == [left, right] else piece for i, piece in enumerate(word)]


def _merge_cases(draw):
    yield Case("the notebook's example", (["l", "o", "l", "o"], "l", "o"), gradients=False)
    yield Case("three alike", (["a", "a", "a"], "a", "a"), gradients=False)
    yield Case("four alike", (["a"] * 4, "a", "a"), gradients=False)
    yield Case("pieces of several letters", (["th", "e", "th", "er", "e"], "th", "er"), gradients=False)
    yield Case("a piece that ends like left", (["xl", "o", "l", "o"], "l", "o"), gradients=False)
    yield Case("one piece", (["a"], "a", "a"), gradients=False)
    yield Case("an empty word", ([], "a", "b"), gradients=False)
    yield Case("letters that hold the same text", (["ab", "a", "b", "c"], "a", "bc"), gradients=False)
    for _ in range(3):
        word = ["ab"[i] for i in draw.integers(0, 2, draw.size(5, 12)).tolist()]
        yield Case("a word of two letters", (word, "a", "b"), gradients=False)
        yield Case("a word of two letters, joined with itself", (word, "b", "b"), gradients=False)


@exercise("17.1", reference=merge, wrong={
    "each pair is joined, not only the first": _first_alone,
    "go from left to right": _from_the_right,
    "what is joined is not joined a second time": _again,
    "the right one before the left one is no pair": _either_order,
    "the right half of a pair is gone after the merge": _right_kept,
    "a list of pieces is asked for": lambda word, left, right: " ".join(merge(word, left, right)),
}, cases=_merge_cases)
def _(fn, expect):
    word = ["l", "o", "l", "o"]
    out = fn(list(word), "l", "o")
    expect(isinstance(out, list), "a list of pieces is asked for", look_at="pieces.append")
    expect(out != ["lo", "o", "lo", "o"], "the right half of a pair is gone after the merge", look_at="i += 2")
    expect(out != ["lo", "l", "o"], "each pair is joined, not only the first", look_at="while")
    expect(out == ["lo", "lo"], "l, o, l, o become lo, lo")
    expect(fn(["o", "l"], "l", "o") == ["o", "l"], "the right one before the left one is no pair",
           look_at="[left, right]")
    three = fn(["a", "a", "a"], "a", "a")
    expect(three != ["a", "aa"], "go from left to right", look_at="i = 0")
    expect(three != ["aaa"], "what is joined is not joined a second time", look_at="i += 2")


def _waves(audio, hop, window=None):
    window = torch.hann_window(sound.FRAME).to(audio) if window is None else window
    return torch.stft(audio, sound.FRAME, hop, window=window, pad_mode="constant", return_complex=True)


def _bands(loud):
    return rearrange(loud, "b (f four) n -> b f four n", f=sound.BINS).mean(2)


def _spectrogram(cut, bands=_bands, scale=torch.log1p, loud=torch.abs):
    return lambda audio, hop: scale(bands(cut(loud(_waves(audio, hop)), audio.shape[1] // hop)))


def _cut(loud, columns):
    return loud[:, :-1, :columns]


def _sound_cases(draw):
    def case(about, b, samples, hop, dtype=torch.float32):
        return Case(about, (draw.normal(b, samples, dtype=dtype), hop), batch=(0,))

    yield case("the notebook's two seconds", 2, 16_000, 250)
    yield case("one sound, another hop", 1, 4000, 200)
    yield case("a hop that does not divide the samples", draw.size(2, 4), 1000, draw.size(90, 120))
    yield case("float64", 2, 2000, 125, torch.float64)
    yield Case("silence", (torch.zeros(2, 1000), 100), gradients=False)


@exercise("17.2", reference=sound.spectrogram, wrong={
    "the highest pitch is left out, not the lowest": _spectrogram(lambda loud, n: loud[:, 1:, :n]),
    "as many columns as hops": _spectrogram(lambda loud, n: loud[:, :-1]),
    "the last column goes, not the first": _spectrogram(lambda loud, n: loud[:, :-1, -n:]),
    "loudness is the absolute value": _spectrogram(_cut, loud=lambda waves: waves.real),
    "the absolute value, not its square": _spectrogram(_cut, loud=lambda waves: waves.abs().square()),
    "a band is four neighbours": _spectrogram(_cut, lambda loud: rearrange(
        loud, "b (four f) n -> b f four n", f=sound.BINS).mean(2)),
    "a mean, not a sum": _spectrogram(_cut, lambda loud: 4 * _bands(loud)),
    "a mean, not the loudest": _spectrogram(_cut, lambda loud: rearrange(
        loud, "b (f four) n -> b f four n", f=sound.BINS).amax(2)),
    "the logarithm is missing": _spectrogram(_cut, scale=lambda loud: loud),
    "silence is 0: the logarithm of 1 plus the loudness": _spectrogram(_cut, scale=lambda x: (x + 1e-3).log()),
    "the mean comes before the logarithm": lambda audio, hop: _bands(
        torch.log1p(_cut(_waves(audio, hop).abs(), audio.shape[1] // hop))),
}, cases=_sound_cases)
def _(fn, expect):
    audio = torch.randn(2, 1000, generator=torch.Generator().manual_seed(0))
    out = fn(audio, 100)
    expect(out.ndim == 3 and out.shape[1] == sound.BINS, "64 bands of pitches", look_at="f=BINS")
    expect(out.shape == (2, 64, 10), "as many columns as hops", look_at=":audio.shape[1] // hop")
    expect(not out.is_complex(), "loudness is the absolute value", look_at=".abs()")
    silent = fn(torch.zeros(1, 1000), 100)
    expect(bool((silent == 0).all()), "silence is 0: the logarithm of 1 plus the loudness", look_at="torch.log1p")
    waves = _waves(audio, 100)
    loud = waves.abs()

    def is_like(value):
        return torch.allclose(out, value, atol=1e-4)

    expect(not is_like(torch.log1p(_bands(loud[:, 1:, :10]))), "the highest pitch is left out, not the lowest",
           look_at="[:, :-1]")
    expect(not is_like(torch.log1p(_bands(loud[:, :-1, -10:]))), "the last column goes, not the first",
           look_at=":audio.shape[1] // hop")
    kept = _cut(loud, 10)
    expect(not is_like(_bands(kept)), "the logarithm is missing", look_at="torch.log1p")
    expect(not is_like(_bands(torch.log1p(kept))), "the mean comes before the logarithm")
    expect(not is_like(torch.log1p(_bands(kept.square()))), "the absolute value, not its square")
    expect(not is_like(torch.log1p(4 * _bands(kept))), "a mean, not a sum", look_at=".mean(2)")
    fours = rearrange(kept, "b (f four) n -> b f four n", f=sound.BINS)
    expect(not is_like(torch.log1p(fours.amax(2))), "a mean, not the loudest", look_at=".mean(2)")
    strided = rearrange(kept, "b (four f) n -> b f four n", f=sound.BINS).mean(2)
    expect(not is_like(torch.log1p(strided)), "a band is four neighbours", look_at='"b (f four) n"')
    expect(is_like(torch.log1p(_bands(kept))), "loudness is the absolute value", look_at=".abs()")


def _text_cases(draw):
    def case(about, *sizes):
        return Case(about, sizes, gradients=False)

    for start in range(10):
        yield case(f"the notebook's window of 4 from {start}, of three texts", start, 4, 3)
    yield case("one text", 9, 4, 1)
    window = draw.size(5, 9)
    for start in 0, 1, window, window + 1, 2 * window:
        yield case(f"a window of {window} from {start}", start, window, 5)
    yield case("a window of 1", draw.size(1, 4), 1, 9)
    yield case("a window of 2", 3, 2, 9)


@exercise("17.3", reference=conditions.text_of, wrong={
    "that of the newest latent frame, not of the first": lambda start, window, texts: min(start // window, texts - 1),
    "the newest latent frame is start + window - 1": lambda start, window, texts: min((start + window) // window,
                                                                                      texts - 1),
    "after the last text, the last goes on": lambda start, window, texts: (start + window - 1) // window,
    "texts begin with number 0": lambda start, window, texts: min((start + window - 1) // window + 1, texts),
    "they do not begin anew": lambda start, window, texts: (start + window - 1) // window % texts,
    "the text in the middle of the window does not count": lambda start, window, texts: min(
        round(start / window), texts - 1),
}, cases=_text_cases)
def _(fn, expect):
    found = [fn(start, 4, 3) for start in range(13)]
    expect(found[0] != 1 or found[1] != 2, "texts begin with number 0")
    expect(found[0] == 0, "the newest latent frame is start + window - 1", look_at="start + window - 1")
    expect(found[1] != 0 or found[3] != 0, "that of the newest latent frame, not of the first",
           look_at="start + window - 1")
    expect(found[1] == 1, "the text in the middle of the window does not count", look_at="start + window - 1")
    expect(found[5] == 2, "text 2 begins at latent frame 8", look_at="// window")
    expect(found[9] != 0, "they do not begin anew", look_at="min")
    expect(found[12] == 2, "after the last text, the last goes on", look_at="min(..., texts - 1)")


def beat(height: torch.Tensor, kick: torch.Tensor) -> torch.Tensor:
    rise, kick = height.diff(dim=1), kick[:, :-1]
    rise = rise - rise.mean(1, keepdim=True)
    kick = kick - kick.mean(1, keepdim=True)
    return F.cosine_similarity(rise, kick, dim=1).mean()


def _beat(pair=lambda height, kick: (height.diff(dim=1), kick[:, :-1]), centred=True, mean=torch.mean):
    def wrong(height, kick):
        rise, kick = pair(height, kick)
        if centred:
            rise, kick = (x - x.mean(1, keepdim=True) for x in (rise, kick))
        return mean(F.cosine_similarity(rise, kick, dim=1))

    return wrong


def _over_all(height, kick):
    rise, kick = height.diff(dim=1).flatten(), kick[:, :-1].flatten()
    return F.cosine_similarity(rise - rise.mean(), kick - kick.mean(), dim=0)


def _beat_cases(draw):
    def kicks(b, t, dtype=torch.float32):
        return (draw.integers(0, 3, b, t) == 0).to(dtype)

    def case(about, height, kick):
        return Case(about, (height, kick), gradients=False)

    t = draw.size(8, 20)
    yield case("the notebook's clips", draw.normal(100, 16), kicks(100, 16))
    yield case("one clip", draw.normal(1, t) + 5, kicks(1, t))
    yield case("float64", draw.normal(3, 9, dtype=torch.float64), kicks(3, 9, torch.float64))
    some = torch.tensor([[0.0, 1, 0, 0, 1, 0, 1, 0]])
    yield case("a clip without a kick", draw.normal(2, 8), torch.cat([torch.zeros(1, 8), some]))
    yield case("a digit that stays", torch.cat([torch.zeros(1, 8), draw.normal(1, 8)]), some.repeat(2, 1))


@exercise("17.4", reference=beat, wrong={
    "the rise counts, not the height": _beat(lambda height, kick: (height[:, 1:], kick[:, :-1])),
    "the kick comes first, then the rise": _beat(lambda height, kick: (height.diff(dim=1), kick[:, 1:])),
    "a rise is the later height less the earlier one": _beat(lambda height, kick: (-height.diff(dim=1), kick[:, :-1])),
    "without their means": _beat(centred=False),
    "a clip at a time, then the mean": _over_all,
    "one number": _beat(mean=lambda x: x),
    "the end of a clip is not followed by its beginning": _beat(lambda height, kick: (height.roll(-1, 1) - height,
                                                                                      kick)),
    "a mean over the clips, not a sum": _beat(mean=torch.sum),
}, cases=_beat_cases)
def _(fn, expect):
    generator = torch.Generator().manual_seed(0)
    kick = (torch.rand(3, 12, generator=generator) < 0.4).float()
    kick[:, 0], kick[:, 5] = 1, 0
    out = fn(F.pad(kick[:, :-1].cumsum(1), (1, 0)), kick)
    expect(out.numel() == 1, "one number", look_at=".mean()")
    expect(abs(out.item() - 3) > 1e-4, "a mean over the clips, not a sum", look_at=".mean()")
    expect(abs(out.item() + 1) > 1e-4, "a rise is the later height less the earlier one", look_at="height.diff")
    height = 3 * torch.arange(1, 4)[:, None] + torch.randn(3, 12, generator=generator).cumsum(1)
    told = fn(height, kick).item()

    def is_like(other):
        return abs(told - other(height, kick).item()) < 1e-5

    expect(not is_like(_beat(lambda height, kick: (height[:, 1:], kick[:, :-1]))), "the rise counts, not the height",
           look_at="height.diff(dim=1)")
    expect(not is_like(_beat(lambda height, kick: (height.diff(dim=1), kick[:, 1:]))),
           "the kick comes first, then the rise", look_at="kick[:, :-1]")
    expect(not is_like(_beat(lambda height, kick: (height.roll(-1, 1) - height, kick))),
           "the end of a clip is not followed by its beginning", look_at="diff, not roll")
    expect(not is_like(_beat(centred=False)), "without their means", look_at="- rise.mean(1, keepdim=True)")
    expect(not is_like(_over_all), "a clip at a time, then the mean", look_at="dim=1")
    expect(abs(out.item() - 1) < 1e-4, "a height that rises after each kick, and never else, has 1")
