"""The Latent Video Transformer once more, from section 3.2's definitions: loops over positions, numpy, no cache."""

from itertools import product
from math import prod

import numpy as np
import torch

NEIGHBOURS = list(product((-1, 0, 1), repeat=3))


def inside(position, shape):
    return all(0 <= x < size for x, size in zip(position, shape, strict=True))


def slices(shape, factor):
    """The positions of each slice, slices and positions in the order in which they are generated."""
    runs = [range(0, size, step) for size, step in zip(shape, factor, strict=True)]
    return [[tuple(np.add(offset, start)) for start in product(*runs)] for offset in product(*map(range, factor))]


def random_(model, std=0.4, seed=0):
    """float64, and every weight random: new weights are zero where logits are made, and nothing would show."""
    generator = torch.Generator().manual_seed(seed)
    for weight in model.double().parameters():
        torch.nn.init.normal_(weight, std=std, generator=generator)
    return model.eval()


def log_softmax(x):
    x = np.array(x)
    return x - x.max() - np.log(np.exp(x - x.max()).sum())


def layer_norm(x, norm):
    weight, bias = arrays(norm.weight, norm.bias)
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * weight + bias


def arrays(*tensors):
    return [tensor.detach().numpy() for tensor in tensors]


def linear(x, layer):
    return layer.weight.detach().numpy() @ x + (0 if layer.bias is None else layer.bias.detach().numpy())


def embed(codes, embedding):
    """The sum of one row of each codebook's part of the table."""
    (table,) = arrays(embedding.table)
    return sum(part[code] for part, code in zip(np.split(table, len(codes)), codes, strict=True))


def wave(position, dim):
    """Sine and cosine of each coordinate at falling frequencies: all sines first, axis by axis, then all cosines."""
    waves = dim // 6
    angles = [x / 10000 ** (j / waves) for x in position for j in range(waves)]
    return np.array([*np.sin(angles), *np.cos(angles), *[0.0] * (dim - 6 * waves)])


def attention(xs, layer, shape, kind):
    """One attention layer over the positions of a slice, query by query and key by key: section 4.4."""
    positions = list(product(*map(range, shape)))
    tables = arrays(*layer.relative.tables)
    (weight,) = arrays(layer.in_proj.weight)
    width = weight.shape[0] // layer.heads // {"query-key": 3, "key": 2, "relative": 1}[kind]
    rows = []
    for q, x in enumerate(xs):
        heads = []
        for m in range(layer.heads):
            def part(x, number, m=m):  # 0 the value, 1 the key, 2 the query
                start = (number * layer.heads + m) * width
                return weight[start:start + width] @ x

            keys = range(q + 1) if layer.causal else range(len(xs))
            logits = []
            for k in keys:
                logit = sum(table[m, positions[q][axis] - positions[k][axis] + shape[axis] - 1]
                            for axis, table in enumerate(tables))
                if kind == "query-key":
                    logit += part(x, 2) @ part(xs[k], 1) / np.sqrt(width)
                if kind == "key":
                    logit += layer.query.detach().numpy()[m] @ part(xs[k], 1) / np.sqrt(width)
                logits.append(logit)
            heads.append(sum(np.exp(w) * part(xs[k], 0) for w, k in zip(log_softmax(logits), keys, strict=True)))
        rows.append(linear(np.concatenate(heads), layer.out_proj))
    return rows


def block(xs, layer, shape, kind):
    attended = attention([layer_norm(x, layer.attention_norm) for x in xs], layer.attention, shape, kind)
    xs = [x + y for x, y in zip(xs, attended, strict=True)]
    first, _, last = layer.hidden
    return [x + linear(np.maximum(linear(layer_norm(x, layer.hidden_norm), first), 0), last) for x in xs]


def code_nats(model, clip, prime_frames, kind):
    """-ln p of each code of clip (t, h, w, k), nan at priming frames."""
    shape, factor = clip.shape[:3], model.factor
    nats = np.full(clip.shape, np.nan)
    known = np.zeros(shape, bool)
    known[:prime_frames] = True
    for number, positions in enumerate(slices(shape, factor)):
        if not all(known[p] for p in positions):
            for p, values in zip(positions, slice_nats(model, clip, known, number, positions, kind), strict=True):
                if p[0] >= prime_frames:
                    nats[p] = values
        for p in positions:
            known[p] = True
    return nats


def slice_nats(model, clip, known, number, positions, kind):
    encoder, decoder, heads = model.encoder, model.decoder, model.code_heads
    shape, factor = clip.shape[:3], model.factor
    small = tuple(size // step for size, step in zip(shape, factor, strict=True))
    dim = model.decoder.norm.normalized_shape[0]

    # The context: windows around each position of the slice, over what is known already.
    weight, bias, slice_table = arrays(encoder.windows.weight, encoder.windows.bias, encoder.slices.weight)
    reach = [(-(step - 1), step - 1) for step in factor]
    if small[0] == 1:
        reach[0] = (-(factor[0] - 1), 0)
    xs = []
    for p, place in zip(positions, product(*map(range, small)), strict=True):
        x = bias + slice_table[number]
        for step in product(*(range(first, last + 1) for first, last in reach)):
            there = tuple(np.add(p, step))
            if inside(there, shape) and known[there]:
                tap = tuple(s - first for s, (first, _) in zip(step, reach, strict=True))
                x = x + weight[(..., *tap)] @ embed(clip[there], encoder.embedding)
        xs.append(linear(x, encoder.widen) + wave(place, dim))
    for layer in encoder.layers:
        xs = block(xs, layer, small, kind)

    # The slice: of itself a position knows its neighbours that come before.
    weight, bias = arrays(decoder.before.weight, decoder.before.bias)
    codes = clip[tuple(np.transpose(positions))].reshape(*small, -1)
    for i, place in enumerate(product(*map(range, small))):
        x = xs[i] + bias + wave(place, dim)
        for step in NEIGHBOURS[:13]:
            there = tuple(np.add(place, step))
            if inside(there, small):
                x = x + weight[(..., *np.add(step, 1))] @ embed(codes[there], decoder.embedding)
        xs[i] = x
    for layer in decoder.layers:
        xs = block(xs, layer, small, kind)

    nats = []
    for x, here in zip(xs, codes.reshape(prod(small), -1), strict=True):
        x, row = layer_norm(x, decoder.norm), []
        for k, code in enumerate(here):
            hidden = linear(x, heads.hidden[k])
            if k:
                hidden = hidden + embed(here[:k], heads.earlier[k - 1])
            row.append(-log_softmax(linear(np.maximum(hidden, 0), heads.out[k]))[code])
        nats.append(row)
    return nats
