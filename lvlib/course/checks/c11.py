"""Checks of notebook 11: conditional norms, whose actions, a residual block, a window that moves on."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, cat

from lvlib.course.cases import Case
from lvlib.course.exercises import exercise
from lvlib.models.common import conditioning


def conditional_norm(x: Tensor, cond_vector: Tensor, weight: Tensor) -> Tensor:
    scale, shift = (cond_vector @ weight.T).chunk(2, -1)
    return F.layer_norm(x, x.shape[-1:]) * (1 + scale) + shift


def _parts(x, cond_vector, weight):
    return F.layer_norm(x, x.shape[-1:]), *(cond_vector @ weight.T).chunk(2, -1)


def _scale_alone(x, cond_vector, weight):
    x, scale, shift = _parts(x, cond_vector, weight)
    return x * scale + shift


def _exchanged(x, cond_vector, weight):
    x, shift, scale = _parts(x, cond_vector, weight)
    return x * (1 + scale) + shift


def _shift_first(x, cond_vector, weight):
    x, scale, shift = _parts(x, cond_vector, weight)
    return (x + shift) * (1 + scale)


def _not_normalised(x, cond_vector, weight):
    _, scale, shift = _parts(x, cond_vector, weight)
    return x * (1 + scale) + shift


def _all_positions(x, cond_vector, weight):
    _, scale, shift = _parts(x, cond_vector, weight)
    return F.layer_norm(x, x.shape[1:]) * (1 + scale) + shift


def _one_vector(x, cond_vector, weight):
    return conditional_norm(x, cond_vector[:, :1], weight)


def _unbiased(x, cond_vector, weight):
    _, scale, shift = _parts(x, cond_vector, weight)
    return (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True) + 1e-5).sqrt() * (1 + scale) + shift


def _norm_cases(draw):
    def case(about, b, n, dim, cond_dim, dtype=torch.float32):
        x, cond_vector = 20 * draw.normal(b, n, dim, dtype=dtype) + 1, draw.normal(b, n, cond_dim, dtype=dtype)
        return Case(about, (x, cond_vector, draw.normal(2 * dim, cond_dim, dtype=dtype)), batch=(0, 1))

    yield case("the notebook's vectors of 64 and 10 classes", 2, 8, 64, 10)
    for sizes in (1, 1, 4, 1), (3, 5, 7, 2), (draw.size(2, 4), draw.size(2, 6), draw.size(3, 9), draw.size(2, 9)):
        yield case("{} clips, {} positions, {} numbers and a condition of {}".format(*sizes), *sizes)
    yield case("float64", 2, 3, 6, 4, torch.float64)
    inputs = torch.full((2, 3, 4), 2.0), draw.normal(2, 3, 5), draw.normal(8, 5)
    yield Case("vectors of equal numbers", inputs, gradients=False)


@exercise("11.1", reference=conditional_norm, wrong={
    "a vector of zeros must leave the LayerNorm as it is": _scale_alone,
    "scale and shift are exchanged": _exchanged,
    "the shift comes after the scale": _shift_first,
    "x is not normalised": _not_normalised,
    "each position is normalised on its own": _all_positions,
    "each position has a vector of its own": _one_vector,
    "the variance is a mean: divide by all numbers, not by one less": _unbiased,
}, cases=_norm_cases)
def _(fn, expect):
    x, cond_vector, weight = 3 * torch.randn(2, 4, 6) + 1, torch.randn(2, 4, 3), torch.randn(12, 3)
    unchanged = fn(x, torch.zeros(2, 4, 3), weight)
    expect(unchanged.shape == x.shape, "the result must have the shape of x", look_at="chunk(2, -1)")
    expect(not torch.allclose(unchanged, torch.zeros_like(x)),
           "a vector of zeros must leave the LayerNorm as it is", look_at="the scale is 1 plus something")
    expect(not torch.allclose(unchanged, x), "x is not normalised", look_at="F.layer_norm(x, x.shape[-1:])")
    expect(torch.allclose(unchanged.mean(-1), torch.zeros(2, 4), atol=1e-4),
           "each position is normalised on its own", look_at="the last axis alone")
    out = fn(x, cond_vector, weight)
    for wrong, message, look_at in (
            (_unbiased, "the variance is a mean: divide by all numbers, not by one less", "correction=0"),
            (_exchanged, "scale and shift are exchanged", "the first half of the rows makes the scale"),
            (_one_vector, "each position has a vector of its own", "cond_vector is (b, n, cond_dim)"),
            (_shift_first, "the shift comes after the scale", "multiply first, then add")):
        expect(not torch.allclose(out, wrong(x, cond_vector, weight), atol=1e-4), message, look_at=look_at)


def _action_cases(draw):
    def case(about, b, t, a, latent_frames):
        return Case(about, (draw.normal(b, t, a), latent_frames), batch=(0,))

    yield case("the notebook's 16 frames of 3 buttons and 8 latent frames", 2, 16, 3, 8)
    for t, latent_frames in (6, 1), (6, 2), (6, 6), (12, 3), (1, 1):
        yield case(f"{t} frames and {latent_frames} latent frames", 2, t, draw.size(1, 5), latent_frames)
    n, s = draw.size(2, 5), draw.size(2, 5)
    yield case(f"one clip of {n * s} frames and {n} latent frames", 1, n * s, 2, n)
    yield Case("whole numbers", (draw.integers(0, 9, 2, 8, 3), 2))


@exercise("11.2", reference=conditioning.by_latent_frame, wrong={
    "a latent frame covers neighbouring frames":
        lambda actions, n: rearrange(actions, "b (s t) a -> b t (s a)", t=n),
    "the numbers of one frame stay together":
        lambda actions, n: rearrange(actions, "b (t s) a -> b t (a s)", t=n),
    "all frames of a latent frame count":
        lambda actions, n: actions[:, ::actions.shape[1] // n].repeat(1, 1, actions.shape[1] // n),
    "the shape must be (b, latent_frames, s * a)":
        lambda actions, n: rearrange(actions, "b (t s) a -> b t s a", t=n),
    "clips must not be mixed":
        lambda actions, n: rearrange(actions.flip(0), "b (t s) a -> b t (s a)", t=n),
}, cases=_action_cases)
def _(fn, expect):
    actions = torch.arange(2 * 6 * 2.0).reshape(2, 6, 2)  # entry (b, t, a) is 12 b + 2 t + a
    vectors = fn(actions, 3)
    expect(vectors.shape == (2, 3, 4), "the shape must be (b, latent_frames, s * a)", look_at="rearrange")
    expect(vectors[0].max() < 12, "clips must not be mixed", look_at="b stays where it is")
    own = vectors[0, 0].sort().values.tolist()
    expect(own != [0, 0, 1, 1], "all frames of a latent frame count", look_at="s frames, not the first alone")
    expect(own == [0, 1, 2, 3], "a latent frame covers neighbouring frames",
           look_at="which letter moves slowest in (t s)?")
    expect(vectors[0, 0].tolist() == [0, 1, 2, 3], "the numbers of one frame stay together", look_at="(s a) or (a s)")


class _OnlyAdds(conditioning.ResidualBlock3d):
    def forward(self, x):
        return F.relu(self.shortcut(x) + F.relu(self.correction(x)))


class _NoReLU(conditioning.ResidualBlock3d):
    def forward(self, x):
        return self.shortcut(x) + self.correction(x)


class _NoInput(conditioning.ResidualBlock3d):
    def forward(self, x):
        return F.relu(self.correction(x))


class _TwoReLUs(conditioning.ResidualBlock3d):
    def forward(self, x):
        return F.relu(F.relu(self.shortcut(x)) + self.correction(x))


class _NoShortcut(conditioning.ResidualBlock3d):
    def forward(self, x):
        return F.relu(x + self.correction(x)) if isinstance(self.shortcut, torch.nn.Identity) else self.correction(x)


class _SeesNothing(conditioning.ResidualBlock3d):
    def forward(self, x):
        return F.relu(self.shortcut(x) + self.correction(torch.zeros_like(x)))


def _block_cases(draw):
    def case(about, channels, width, stride, *shape):
        return Case(about, (draw.normal(*shape),), init=(channels, width, stride), batch=(0,), redrawn=True)

    yield case("the notebook's first block", 8, 8, 1, 2, 8, 2, 8, 8)
    yield case("the notebook's block that halves", 8, 16, 2, 1, 8, 4, 16, 16)
    yield case("another width, the same size", 3, 5, 1, 2, 3, 1, 4, 6)
    channels, width = draw.size(1, 5), draw.size(2, 6)
    yield case(f"{channels} channels to {width}, odd sides", channels, width, 2, 3, channels, draw.size(1, 3), 5, 7)
    yield Case("large inputs", (100 * draw.normal(2, 3, 2, 4, 4),), init=(3, 3, 1), redrawn=True)
    yield Case("a block as it begins", (draw.normal(2, 4, 2, 3, 3),), init=(4, 4, 1))


@exercise("11.3", reference=conditioning.ResidualBlock3d, wrong={
    "a correction must be able to take away": _OnlyAdds,
    "the result must not be negative": _NoReLU,
    "the input itself is missing": _NoInput,
    "the shortcut has no ReLU of its own": _TwoReLUs,
    "where the size changes the input goes through the shortcut": _NoShortcut,
    "what is added must depend on the input": _SeesNothing,
}, cases=_block_cases)
def _(cls, expect):
    block, x = cls(4, 4, 1), torch.randn(2, 4, 2, 6, 6)
    with torch.no_grad():
        out = block(x)
        expect(out.shape == x.shape, "the shape must stay (b, channels, t, h, w) with stride 1", look_at="the sum")
        expect(out.min() >= 0, "the result must not be negative", look_at="F.relu, at the very end")
        last = block.correction[-1]
        last.weight.zero_()  # the correction is its bias now
        last.bias.fill_(0)
        expect(block(x).any(), "the input itself is missing", look_at="self.shortcut(x)")
        last.bias.fill_(-0.5)
        expect(not torch.allclose(block(x), x.relu()), "a correction must be able to take away",
               look_at="no ReLU between the correction and the sum")
        last.bias.fill_(0.5)
        expect(not torch.allclose(block(x), x.relu() + 0.5), "the shortcut has no ReLU of its own",
               look_at="one ReLU, after the sum")
        narrow = cls(4, 8, 2)
        torch.nn.init.zeros_(narrow.correction[-1].weight)
        expect(torch.allclose(narrow(x), narrow.shortcut(x).relu(), atol=1e-5),
               "where the size changes the input goes through the shortcut", look_at="self.shortcut(x), always")
        torch.nn.init.normal_(narrow.correction[-1].weight)
        expect(not torch.allclose(narrow(x), _SeesNothing.forward(narrow, x), atol=1e-5),
               "what is added must depend on the input", look_at="self.correction(x)")
        expect(torch.allclose(narrow(x)[:1], narrow(x[:1]), atol=1e-4), "each clip is normalised on its own",
               look_at="the norms are right in __init__ as it stood")


def next_window(latents: Tensor, actions: Tensor, held: Tensor, first: int, keep: int) -> tuple[Tensor, Tensor]:
    s = actions.shape[1] // latents.shape[1]
    return latents[:, first:first + keep], _then(actions[:, first * s:(first + keep) * s - 1], held, actions)


def _then(kept, held, actions):
    return cat([kept, held.expand(len(actions), actions.shape[1] - kept.shape[1], -1)], 1)


def _the_last(latents, actions, held, first, keep):
    return latents[:, -keep:], next_window(latents, actions, held, first, keep)[1]


def _first_actions(latents, actions, held, first, keep):
    given, _ = next_window(latents, actions, held, first, keep)
    return given, next_window(latents, actions, held, 0, keep)[1]


def _too_late(latents, actions, held, first, keep):
    given, _ = next_window(latents, actions, held, first, keep)
    s = actions.shape[1] // latents.shape[1]
    return given, _then(actions[:, first * s:(first + keep) * s], held, actions)


def _latent_rows(latents, actions, held, first, keep):
    given, _ = next_window(latents, actions, held, first, keep)
    return given, _then(actions[:, first:first + keep - 1], held, actions)


def _new_first(latents, actions, held, first, keep):
    given, window = next_window(latents, actions, held, first, keep)
    return given, window.flip(1)


def _forgets(latents, actions, held, first, keep):
    return next_window(latents, actions, held, first, keep)[0], held.expand_as(actions)


def _two_frames(latents, actions, held, first, keep):
    given, _ = next_window(latents, actions, held, first, keep)
    return given, _then(actions[:, 2 * first:2 * (first + keep) - 1], held, actions)


def _window_cases(draw):
    def case(about, frames, s, first, keep, b=2, a=3, h=2, w=3):
        latents, actions = draw.integers(0, 99, b, frames, h, w), draw.normal(b, frames * s, a)
        return Case(about, (latents, actions, draw.normal(a), first, keep), gradients=False, batch=(0, 1))

    yield case("the notebook's 8 latent frames, 4 of them kept from 2 on", 8, 2, 2, 4, b=1, h=8, w=8)
    for frames, s, first, keep in (6, 1, 1, 2), (6, 3, 0, 1), (4, 4, 3, 1), (5, 2, 0, 5), (4, 1, 2, 1):
        yield case(f"{frames} latent frames of {s}, {keep} kept from {first} on", frames, s, first, keep)
    b, frames, keep = draw.size(1, 4), draw.size(5, 8), draw.size(1, 3)
    first, s = draw.size(0, 2), draw.size(2, 4)
    yield case(f"{b} clips, {frames} latent frames of {s}, {keep} kept from {first} on", frames, s, first, keep, b,
               draw.size(1, 4), draw.size(1, 4), draw.size(1, 4))


@exercise("11.4", reference=next_window, wrong={
    "keep the latent frames from `first` on": _the_last,
    "the actions must be those of the frames that are kept": _first_actions,
    "the last frame that is kept still waits for its action": _too_late,
    "first and keep count latent frames, and each has several frames of video": _latent_rows,
    "the new action comes after the kept ones": _new_first,
    "what was done in the frames that are kept must not change": _forgets,
    "a latent frame has t / latent frames of video": _two_frames,
}, cases=_window_cases)
def _(fn, expect):
    latents = torch.arange(2 * 6 * 3).reshape(2, 6, 3, 1)
    actions = torch.arange(2 * 12 * 2.0).reshape(2, 12, 2)
    held = torch.tensor([-1.0, -2.0])
    given, window = fn(latents, actions, held, 2, 3)
    expect(torch.is_tensor(given) and given.shape == (2, 3, 3, 1), "give `keep` latent frames",
           look_at="latents[:, ...]")
    expect(torch.equal(given, latents[:, 2:5]), "keep the latent frames from `first` on",
           look_at="latents[:, first:first + keep]")
    expect(window.shape == actions.shape, "a window has as many actions as before", look_at="how many are new?")
    expect(not (window == held).all(), "what was done in the frames that are kept must not change", look_at="actions")
    expect(torch.equal(window[:, -1], held.expand(2, -1)), "the new action comes after the kept ones", look_at="cat")
    expect(not torch.equal(window[:, :2], actions[:, 2:4]),
           "first and keep count latent frames, and each has several frames of video", look_at="t / latent frames")
    expect(torch.equal(window[:, :2], actions[:, 4:6]), "the actions must be those of the frames that are kept",
           look_at="where does latent frame `first` begin in the video?")
    expect(not torch.equal(window[:, 5], actions[:, 9]), "the last frame that is kept still waits for its action",
           look_at="actions[t] is held from frame t to t + 1")
    case = latents[:, :4], actions, held, 1, 2  # each of these four has 3 frames of video
    expect(not torch.equal(fn(*case)[1], _two_frames(*case)[1]), "a latent frame has t / latent frames of video",
           look_at="actions.shape[1] // latents.shape[1]")
