"""Checks of notebook 20: turned pairs, divided attention, summaries of rows, three planes and the way back."""

import torch
from einops import rearrange
from torch import nn

from lvlib.course.cases import Case
from lvlib.course.exercises import exercise
from lvlib.models.pvdm import projection, timesformer
from lvlib.models.pvdm.projection import RowSummary
from lvlib.models.pvdm.timesformer import DividedBlock


def _rotate_cases(draw):
    def case(about, n, d, *before):
        return Case(about, (draw.normal(*before, n, d), 3 * draw.normal(n, d // 2)))

    yield case("the notebook's 12 positions of 32 numbers", 12, 32)
    yield case("a batch of heads", 5, 8, 2, 3)
    yield case("one position", 1, 4, 2)
    yield case("one pair", 6, 2)
    yield Case("angles in float64", (draw.normal(2, 5, 8), 3 * draw.normal(5, 4).double()))
    yield case("other sizes", draw.size(2, 7), 2 * draw.size(2, 6), draw.size(1, 3))


def _turned(pairs, join):
    def rotate(x, angles):
        cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
        return join(*pairs(x), cos, sin)

    return rotate


def _halves(x):
    return x.chunk(2, -1)


@exercise("20.1", reference=timesformer.rotate, wrong={
    "a turn keeps the length": _turned(_halves, lambda a, b, c, s: torch.cat([a * c + b * s, a * s + b * c], -1)),
    "the turn goes the other way": _turned(_halves, lambda a, b, c, s: torch.cat([a * c + b * s, b * c - a * s], -1)),
    "a pair is a number of the first half and one of the second": _turned(
        lambda x: (x[..., ::2], x[..., 1::2]),
        lambda a, b, c, s: torch.stack([a * c - b * s, a * s + b * c], -1).flatten(-2)),
    "the result has the dtype of x": lambda x, angles: torch.cat(
        [x.chunk(2, -1)[0] * angles.cos() - x.chunk(2, -1)[1] * angles.sin(),
         x.chunk(2, -1)[0] * angles.sin() + x.chunk(2, -1)[1] * angles.cos()], -1),
}, cases=_rotate_cases)
def _(fn, expect):
    x, angles = torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.tensor([[0.3, 0.0]])
    expect(fn(x, angles).shape == x.shape, "the result has the shape of x", look_at="torch.cat([...], -1)")
    found = fn(x, angles)[0]
    expect(not (found[1].abs() > 0.1), "a pair is a number of the first half and one of the second",
           look_at="x.chunk(2, -1)")
    expect(found[2] > 0, "the turn goes the other way", look_at="a sin + b cos is the second number")
    both = fn(torch.tensor([[1.0, 0.0, 1.0, 0.0]]), angles)
    expect(abs(both.norm() - 2**0.5) < 1e-4, "a turn keeps the length", look_at="a cos - b sin")
    expect(fn(x.bfloat16(), angles).dtype == torch.bfloat16, "the result has the dtype of x", look_at=".to(x.dtype)")


def _block_cases(draw):
    def case(about, b, t, n, width, heads, head_dim):
        angles = draw.normal(t, head_dim // 2), draw.normal(n, head_dim // 2)
        return Case(about, (draw.normal(b, t, n, width), *angles), init=(width, heads, head_dim), batch=(0,),
                    redrawn=True)

    yield case("the notebook's 5 times of 9 places", 1, 5, 9, 16, 2, 8)
    yield case("two clips of 3 times of 4 places", 2, 3, 4, 8, 2, 4)
    yield case("as many times as places", 2, 4, 4, 8, 1, 4)
    yield case("one frame", 2, 1, 4, 8, 2, 4)
    yield case("one place", 1, 4, 1, 8, 2, 4)
    yield case("other sizes", draw.size(2, 3), draw.size(2, 5), draw.size(2, 5), 8, 2, 4)


def _block(forward):
    return type("DividedBlock", (DividedBlock,), {"forward": forward})


def _along(block, x, angles, norm=True):
    """What attention along time adds."""
    rows = rearrange(block.norms[0](x) if norm else x, "b t n d -> (b n) t d")
    return rearrange(block.time(rows, angles), "(b n) t d -> b t n d", b=len(x))


def _within(block, x, angles):
    rows = rearrange(block.norms[1](x), "b t n d -> (b t) n d")
    return rearrange(block.space(rows, angles), "(b t) n d -> b t n d", b=len(x))


def _space_first(self, x, time, space):
    x = x + _within(self, x, space)
    x = x + _along(self, x, time)
    return x + self.feed_forward(self.norms[2](x))


def _not_added(self, x, time, space):
    x = _along(self, x, time)
    x = x + _within(self, x, space)
    return x + self.feed_forward(self.norms[2](x))


def _no_norm(self, x, time, space):
    x = x + _along(self, x, time, norm=False)
    x = x + _within(self, x, space)
    return x + self.feed_forward(self.norms[2](x))


def _wrong_rows(self, x, time, space):
    """A row of time is cut out of all places as they lie in memory."""
    b, t, n, _ = x.shape
    rows = self.norms[0](x).reshape(b * n, t, -1)
    x = x + self.time(rows, time).reshape(x.shape)
    x = x + _within(self, x, space)
    return x + self.feed_forward(self.norms[2](x))


def _clips_meet(self, x, time, space):
    b, t = x.shape[:2]
    x = x + _along(self, x, time)
    rows = rearrange(self.norms[1](x), "b t n d -> t (b n) d")
    x = x + rearrange(self.space(rows, space.repeat(b, 1)), "t (b n) d -> b t n d", b=b)
    return x + self.feed_forward(self.norms[2](x))


def _silenced(cls, *parts):
    """A block of which these parts add nothing."""
    torch.manual_seed(0)
    block = cls(8, 2, 4)
    for part in parts:
        nn.init.zeros_(getattr(block, part).out.weight)
        nn.init.zeros_(getattr(block, part).out.bias)
    return block


@exercise("20.2", reference=DividedBlock, wrong={
    "time comes first, then the frame": _block(_space_first),
    "each part is added to its input": _block(_not_added),
    "a norm comes before each part": _block(_no_norm),
    "along time a place sees itself alone": _block(_wrong_rows),
    "clips of a batch must not see each other": _block(_clips_meet),
}, cases=_block_cases)
def _(cls, expect):
    torch.manual_seed(0)
    x, angles = torch.randn(2, 3, 5, 8), (torch.randn(3, 2), torch.randn(5, 2))
    called, block = [], _silenced(cls)
    for name in "time", "space":
        getattr(block, name).register_forward_hook(lambda *_, name=name: called.append(name))
    out = block(x, *angles)
    expect(out.shape == x.shape, "the result has the shape of x", look_at='"(b n) t d -> b t n d"')
    expect(list(dict.fromkeys(called)) == ["time", "space"], "time comes first, then the frame",
           look_at="self.time, then self.space")

    def reach(block, clip, t, n):
        given = x.clone().requires_grad_()
        out = block(given, *angles)[clip, t, n]
        return torch.autograd.grad(out.square().sum(), given)[0].abs().sum(-1) > 1e-9

    expect(not reach(block, 0, 1, 2)[1].any(), "clips of a batch must not see each other",
           look_at='"b t n d -> (b t) n d": what is not seen goes into the batch')
    silent = _silenced(cls, "time", "space", "feed_forward")(x, *angles)
    expect(torch.allclose(silent, x, atol=1e-5), "each part is added to its input", look_at="x + ...")
    seen = reach(_silenced(cls, "space", "feed_forward"), 0, 1, 2)[0]
    expect(seen[:, 2].all() and seen.sum() == 3, "along time a place sees itself alone",
           look_at='"b t n d -> (b n) t d"')
    seen = reach(_silenced(cls, "time", "feed_forward"), 0, 1, 2)[0]
    expect(seen[1].all() and seen.sum() == 5, "within a frame all places see each other, and no other frame",
           look_at='"b t n d -> (b t) n d"')
    block = _silenced(cls)
    for norm in block.norms:
        nn.init.zeros_(norm.weight)
    added = block(x, *angles) - x
    expect(torch.allclose(added, added[:1, :1, :1].expand_as(added), atol=1e-5), "a norm comes before each part",
           look_at="self.norms[0], [1], [2]")


def _summary_cases(draw):
    def case(about, rows, length, width, *rest):
        return Case(about, (draw.normal(rows, length, width),), init=(length, width, *rest), batch=(0,), redrawn=True)

    yield case("the notebook's rows of 16 vectors", 6, 16, 16, 2, 4, 8)
    yield case("the first vector is read", 4, 5, 8, 1, 2, 8, "first")
    yield case("its own token is read", 4, 5, 8, 1, 2, 8, "own")
    yield case("rows of one vector", 3, 1, 8, 2, 1, 4)
    yield case("other sizes", draw.size(2, 5), draw.size(2, 9), 16, 1, 2, draw.size(2, 9))


def _summary(forward):
    return type("RowSummary", (RowSummary,), {"forward": forward})


def _read(self, rows, place, before=False, positions=True):
    parts = [rows, self.token.expand(len(rows), 1, -1)]
    x = torch.cat(parts[::-1] if before else parts, 1)
    return self.layers(x + self.positions if positions else x)[:, place]


@exercise("20.3", reference=RowSummary, wrong={
    "reads own: the summary's place, not position 0": _summary(lambda self, rows: _read(self, rows, 0)),
    "reads first: position 0": _summary(lambda self, rows: _read(self, rows, -1)),
    "the summary stands at the end": _summary(
        lambda self, rows: _read(self, rows, 0 if self.reads == "own" else 1, before=True)),
    "positions are added": _summary(
        lambda self, rows: _read(self, rows, -1 if self.reads == "own" else 0, positions=False)),
    "the layers see the row and the summary": _summary(
        lambda self, rows: (self.token + self.positions[-1]).expand(len(rows), -1) if self.reads == "own"
        else _read(self, rows, 0)),
}, cases=_summary_cases)
def _(cls, expect):
    torch.manual_seed(0)
    rows = torch.randn(3, 5, 8)

    def plain(reads):
        """A model whose layers add nothing."""
        model = cls(5, 8, 1, 2, 4, reads)
        for layer in model.layers:
            for part in layer.attention.out, layer.hidden[-1]:
                nn.init.zeros_(part.weight)
                nn.init.zeros_(part.bias)
        return model, model(rows)

    (own, found), (first, other) = plain("own"), plain("first")
    expect(found.shape == (3, 8), "the result has one vector for each row", look_at="x[:, -1]")

    def same(a, b):
        return torch.allclose(a, b.expand_as(a), atol=1e-5)

    expect(not same(found, rows[:, 0] + own.positions[0]), "reads own: the summary's place, not position 0",
           look_at="self.reads")
    expect(not same(found, own.token + own.positions[0]), "the summary stands at the end",
           look_at="torch.cat([rows, token], 1)")
    expect(not same(found, own.token), "positions are added", look_at="+ self.positions")
    expect(same(found, own.token + own.positions[-1]), "reads own: what became of the token", look_at="x[:, -1]")
    expect(same(other, rows[:, 0] + first.positions[0]), "reads first: position 0", look_at="self.reads")
    model = cls(5, 8, 1, 2, 4)
    changed = rows.clone()
    changed[:, 2] = torch.randn(3, 8)
    expect(not same(model(rows), model(changed)), "the layers see the row and the summary", look_at="self.layers")


class _Weighted:
    """In place of a module: rows (n, length, d) -> (n, d), a sum with weights of its own."""

    def __init__(self, weights):
        self.weights = weights

    def __call__(self, rows):
        return torch.einsum("nld, l -> nd", rows, self.weights).tanh()


def _project_cases(draw):
    def case(about, b, t, h, w, d):
        return Case(about, (draw.normal(b, t, h, w, d), *(_Weighted(draw.normal(size)) for size in (t, h, w))),
                    batch=(0,))

    yield case("the notebook's 16 x 8 x 8", 2, 16, 8, 8, 3)
    yield case("sides that differ", 2, 3, 4, 5, 2)
    yield case("a cube of equal sides", 1, 4, 4, 4, 2)
    yield case("one frame", 2, 1, 3, 2, 2)
    yield case("one number a vector", 1, 2, 3, 4, 1)
    yield case("other sizes", draw.size(1, 3), draw.size(2, 5), draw.size(2, 5), draw.size(2, 5), draw.size(2, 4))


def _planes(change):
    """A wrong projection: change(the three planes)."""
    return lambda u, over_time, over_height, over_width: change(
        *projection.project(u, over_time, over_height, over_width))


@exercise("20.4", reference=projection.project, wrong={
    "z_h and z_w are exchanged": _planes(lambda z_s, z_h, z_w: [z_s, z_w, z_h]),
    "z_w has the times as rows": _planes(lambda z_s, z_h, z_w: [z_s, z_h, z_w.transpose(1, 2)]),
    "z_h has the times as rows": _planes(lambda z_s, z_h, z_w: [z_s, z_h.transpose(1, 2), z_w]),
    "z_s has the rows of the frame as rows": _planes(lambda z_s, z_h, z_w: [z_s.transpose(1, 2), z_h, z_w]),
    "a row is taken along its axis": lambda u, over_time, over_height, over_width: [
        over_time(u.reshape(-1, u.shape[1], u.shape[-1])).view(len(u), *u.shape[2:4], -1),
        *projection.project(u, over_time, over_height, over_width)[1:]],
}, cases=_project_cases)
def _(fn, expect):
    u = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5, 1)
    first = [lambda rows: rows[:, 0]] * 3  # of each row
    planes = fn(u, *first)
    expect(len(planes) == 3, "there are three planes", look_at="[z_s, z_h, z_w]")
    z_s, z_h, z_w = planes
    expect(not (z_h.shape[1:3] == (3, 4) and z_w.shape[1:3] == (3, 5)), "z_h and z_w are exchanged",
           look_at="z_h keeps t and w")
    expect(z_s.shape != (2, 5, 4, 1), "z_s has the rows of the frame as rows", look_at=".view(b, h, w, -1)")
    expect(z_h.shape != (2, 5, 3, 1), "z_h has the times as rows", look_at=".view(b, t, w, -1)")
    expect(z_w.shape != (2, 4, 3, 1), "z_w has the times as rows", look_at=".view(b, t, h, -1)")
    for plane, shape in zip(planes, [(2, 4, 5, 1), (2, 3, 5, 1), (2, 3, 4, 1)], strict=True):
        expect(plane.shape == shape, f"a plane must be {shape} here", look_at="z_s (b, h, w, d), z_h (b, t, w, d), ...")
    for plane, expected in zip(planes, [u[:, 0], u[:, :, 0], u[:, :, :, 0]], strict=True):
        expect(torch.equal(plane, expected), "a row is taken along its axis", look_at='"b t h w d -> (b h w) t d"')


def _spread_cases(draw):
    def case(about, b, t, h, w, c, dtype=torch.float32):
        sizes = (b, h, w, c), (b, t, w, c), (b, t, h, c)
        return Case(about, ([draw.normal(*size, dtype=dtype) for size in sizes],))

    yield case("the notebook's planes of 16 x 8 x 8", 2, 16, 8, 8, 4)
    yield case("sides that differ", 2, 3, 4, 5, 2)
    yield case("a cube of equal sides", 1, 3, 3, 3, 2)
    yield case("one frame", 2, 1, 3, 2, 2)
    yield case("one row", 1, 3, 1, 2, 1)
    yield case("float64", 1, draw.size(2, 4), draw.size(2, 4), draw.size(2, 4), 2, torch.float64)


def _spreading(join, swap=False):
    def spread(planes):
        z_s, z_h, z_w = planes
        if swap:
            z_s, z_h, z_w = z_s[:, None], z_h[:, :, :, None], z_w[:, :, None]
        else:
            z_s, z_h, z_w = z_s[:, None], z_h[:, :, None], z_w[:, :, :, None]
        return join(torch.broadcast_tensors(z_s, z_h, z_w))

    return spread


def _transposed(planes):
    if planes[0].shape[1] != planes[0].shape[2]:
        raise ValueError("height and width differ")
    return _spreading(lambda parts: torch.cat(parts, -1), swap=True)(planes)


@exercise("20.5", reference=projection.spread, wrong={
    "the vectors stand side by side": _spreading(lambda parts: sum(parts)),
    "the order is z_s, z_h, z_w": _spreading(lambda parts: torch.cat([parts[0], parts[2], parts[1]], -1)),
    "z_h knows no row, z_w no column": _transposed,
    "each plane has an axis of its own": _spreading(lambda parts: torch.stack(parts, -2)),
}, cases=_spread_cases)
def _(fn, expect):
    torch.manual_seed(0)
    planes = [torch.randn(2, 3, 3, 2), torch.randn(2, 4, 3, 2), torch.randn(2, 4, 3, 2)]
    v = fn(planes)
    expect(v.ndim == 5, "each plane has an axis of its own", look_at="torch.cat, not torch.stack")
    expect(v.shape != (2, 4, 3, 3, 2), "the vectors stand side by side", look_at="torch.cat([...], -1)")
    expect(v.shape == (2, 4, 3, 3, 6), "the result is (b, t, h, w, 3 c)", look_at="torch.broadcast_tensors")
    place = v[1, 3, 2, 0]
    z_s, z_h, z_w = planes[0][1, 2, 0], planes[1][1, 3, 0], planes[2][1, 3, 2]
    expect(not torch.equal(place, torch.cat([z_s, z_w, z_h])), "the order is z_s, z_h, z_w", look_at="torch.cat")
    expect(torch.equal(place[:2], z_s), "z_s is the same at all times", look_at="z_s[:, None]")
    expect(torch.equal(place[2:], torch.cat([z_h, z_w])), "z_h knows no row, z_w no column",
           look_at="z_h[:, :, None], z_w[:, :, :, None]")
