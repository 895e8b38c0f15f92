"""Mutants that are right answers: by exercise, the changed line and why it is right."""

GPU = "what differs on a GPU alone: the course runs on a CPU"
FLOAT64 = "the text leaves float32 and float64 open"
SAME_TYPE = "it is of this type anyway"
STRICT = "the lengths are always equal"
SQUARE = "the square of a difference has no sign"
PROMOTED = "the types of the operands make the result a float, or an int16, anyway"
OWN_CHANGE = "the text leaves open how the input is changed, and by how much"
SHAPE = "its shape alone counts"
INFERRED = "einops infers one size of each axis from the others"
LIKE = "of what numbers are made like, only dtype and axes count"


def one_other(x: str, places: int) -> list[list[str]]:
    """x at all places but one, where something like it stands."""
    others = f"torch.zeros_like({x})", f"torch.ones_like({x})", f"{x}[:1].expand_as({x})"
    return [[other if i == place else x for i in range(places)] for other in others for place in range(places)]



def same_shape(name: str, brackets: bool = True) -> list[str]:
    """What mutants put in place of a tensor: others of its shape."""
    sums = [f"2 * {name}.detach() - {name}", f"({name} + {name}.detach()) / 2"]
    return [f"torch.zeros_like({name})", f"torch.ones_like({name})", f"{name}[:1].expand_as({name})",
            f"{name}.detach()", *(f"({part})" if brackets else part for part in sums),
            f"torch.cat([{name}[:1], {name}[1:].detach()])"]


EQUAL: dict[str, dict[str, str]] = {
    "0.2": {
        "return frames.permute(3, 0, 1, 2) / 127.5 - 1": PROMOTED,
        "return frames.permute(3, 0, 1, 2).int() / 127.5 - 1": PROMOTED,
    },
    "0.3": {"return int(8 * frames.numel())": SAME_TYPE},
    "0.4": {
        "return reduce(video, 'c (t a) (h b) (w d) -> c t h w', 'mean', a=2, b=4, d=4).double()": FLOAT64,
    },
    "1.2": {
        "return frames[1:] - frames[:-1].short()": PROMOTED,
        "return frames[1:].short() - frames[:-1]": PROMOTED,
    },
    "1.3": {
        "return (10 * torch.log10(4 / mse(video, other))).double()": FLOAT64,
        "return 10 * torch.log10(4 / mse(other, video))": SQUARE,
    },
    "1.4": {
        "return (nll_nats / (dims * math.log(2))).double()": FLOAT64,
        "return nll_nats / (dims * 0.6931471805599453)": "this number is math.log(2)",
    },
    "1.5": {
        "return (counts / counts.sum(1, keepdim=True)).float()": FLOAT64,
        "counts = pairs.reshape(256, 256) + 1": PROMOTED,
        "counts = pairs.reshape(256, 256).float() + 1": FLOAT64,
        "pairs = torch.bincount((256 * context + value).flatten(), minlength=65536)": "this number is 256 * 256",
    },
    "2.3": {
        "return (F.mse_loss(z.detach(), q), F.mse_loss(z, q.detach()))": SQUARE,
        "return (F.mse_loss(q, z.detach()), F.mse_loss(q.detach(), z))": SQUARE,
    },
    "2.4": {"total = torch.zeros(num_codes, z.shape[1], dtype=z.dtype).index_add_(0, codes, z)": GPU},
    "3.1": {"return (torch.bincount(codes.flatten(), minlength=num_codes) > 0).float().mean().double()": FLOAT64},
    "3.2": {
        "return torch.special.entr(frequency).sum().exp().double()": FLOAT64,
        "frequency = torch.bincount(codes.flatten(), minlength=num_codes) / codes.numel()": PROMOTED,
        "frequency = torch.bincount(codes.flatten(), minlength=num_codes).int() / codes.numel()": PROMOTED,
        "frequency = torch.bincount(codes.flatten()).float() / codes.numel()": "a code that never occurs adds nothing",
        "frequency = torch.bincount(codes.flatten(), minlength=512).float() / codes.numel()":
            "a code that never occurs adds nothing",
    },
    "4.1": {"return float(math.prod(latent_shape) * math.log2(num_codes))": SAME_TYPE},
    "4.2": {
        "q, codes, losses, metrics = zip(*parts)": STRICT,
        "q, codes, losses, metrics = zip(*parts, strict=False)": STRICT,
        "parts = [codebook(part) for codebook, part in zip(self.codebooks, slices)]": STRICT,
        "parts = [codebook(part) for codebook, part in zip(self.codebooks, slices, strict=False)]": STRICT,
        "means = {name: torch.stack([m[name] for m in metrics]).mean() for name in metrics[-1]}":
            "all codebooks have metrics of the same names",
        "means = {name: torch.stack([m[name] for m in list(metrics)[::-1]]).mean() for name in metrics[0]}":
            "a mean has no order",
    },
    "4.3": {
        "number = torch.zeros_like(codes[..., -1])": "zeros of the same shape",
        "number = torch.zeros_like(torch.zeros_like(codes)[..., 0])": "zeros of the same shape",
        "number = torch.zeros_like(torch.ones_like(codes)[..., 0])": "zeros of the same shape",
        "number = torch.zeros_like(codes[:1].expand_as(codes)[..., 0])": "zeros of the same shape",
    },
    "5.2": {
        f"return rearrange(raster, '(t a h b w c) -> (a b c t h w)', {sizes})": INFERRED
        for sizes in ("a=s_t, h=h, b=s_h, w=w, c=s_w", "t=t, h=h, b=s_h, w=w, c=s_w", "t=t, a=s_t, b=s_h, w=w, c=s_w",
                      "t=t, a=s_t, h=h, w=w, c=s_w", "t=t, a=s_t, h=h, b=s_h, c=s_w", "t=t, a=s_t, h=h, b=s_h, w=w")
    },
    "5.3": {
        "earlier = slice_numbers(shape, factor) < numbers[:, None, None, None]": GPU,
        "earlier = slice_numbers(shape, factor).to() < numbers[:, None, None, None]": GPU,
        "primed = torch.arange(shape[0]) < prime_frames": GPU,
    },
    "7.1": {"return int(seen)": SAME_TYPE},
    "7.2": {
        "super().__init__(nn.Conv2d(channels, hidden, 4, stride=4), *[PatchResidualBlock(hidden, residual_hidden) "
        "for _ in list(range(residual_blocks))[::-1]])": "all blocks are alike",
        **dict.fromkeys(("@_remembers on __init__", "@_spoils on __init__"), "it computes nothing but its parameters"),
        "@torch.no_grad() on __init__": "parameters need gradients wherever they are made",
    },
    "7.3": {
        "vectors = [encoder(layer) for encoder, layer in zip(self.encoders, layers)]": STRICT,
        "vectors = [encoder(layer) for encoder, layer in zip(self.encoders, layers, strict=False)]": STRICT,
    },
    "8.1": {
        "return (int(first), last)": SAME_TYPE,
        "return (first, int(last))": SAME_TYPE,
    },
    "8.2": {
        "for axis, length, factor in list(zip(('frames', 'height', 'width'), size, downsample, strict=True))[::-1]:":
            "where two axes do not fit, either may be named",
        "return (int(t), h, w)": SAME_TYPE,
        "return (t, int(h), w)": SAME_TYPE,
        "return (t, h, int(w))": SAME_TYPE,
        "for axis, length, factor in zip(('frames', 'height', 'width'), size, downsample):": STRICT,
        "for axis, length, factor in zip(('frames', 'height', 'width'), size, downsample, strict=False):": STRICT,
        "t, h, w = (length // factor for length, factor in zip(size, downsample))": STRICT,
        "t, h, w = (length // factor for length, factor in zip(size, downsample, strict=False))": STRICT,
        "near = f'{below} or {below}' if below else factor": "one of the nearest sizes is enough",
        "near = f'{below} or {factor}' if below else factor": "one of the nearest sizes is enough; the factor is fine",
    },
    "8.3": {
        f"return rearrange(out, f'{{lines}} -> b m t h w d', {sizes})": INFERRED
        for sizes in ("t=t, h=h, w=w", "b=b, h=h, w=w", "b=b, t=t, w=w", "b=b, t=t, h=h")
    },
    "8.4": {"return sum((attention(x) for attention in list(self.axes)[::-1]))": "a sum has no order"},
    "8.5": {"return F.mse_loss(target, video) / variance": SQUARE},
    "9.1": {
        "change = layer(x[None]) - layer(x + torch.eye(n)[:, :, None])": "a change has no sign",
        "change = layer(x - torch.eye(n)[:, :, None]) - layer(x[None])": OWN_CHANGE,
        "return (change.abs().amax(-1) >= 1e-06).T": "no change is exactly 1e-6, up to rounding",
        "return (change.abs().amax(-1) > 2e-06).T": OWN_CHANGE,
        "n = len(torch.zeros_like(x))": "of the same length",
        "n = len(torch.ones_like(x))": "of the same length",
        "n = len(x[:1].expand_as(x))": "of the same length",
    },
    "10.1": {
        "seen = pattern.seen(position) if pattern else slice(position + 1)": GPU,
        "seen = pattern.seen(position).to() if pattern else slice(position + 1)": GPU,
        "cache.keys[:, :, position] = key[:, :, -1]": "there is one position, the first and the last",
        "cache.values[:, :, position] = value[:, :, -1]": "there is one position, the first and the last",
    },
    "10.2": {
        "least = logits.topk(min(logits.shape[-1], top_k)).values[..., -1:]": "the smaller of two has no order",
        "logits = logits.masked_fill(goes.gather(-1, order.argsort()), float('-inf'))": "argsort takes the last axis",
    },
    "11.4": {
        f"new = held.expand(len(torch.{name}_like(actions)), actions.shape[1] - kept.shape[1], -1)":
            "of the same length" for name in ("zeros", "ones")
    },
    "12.1": {"share = b.count / max(1, count)": "the larger of two has no order"},
    "12.2": {"return torch.linalg.eigvalsh(root @ b @ root).clamp(min=0).sqrt().sum().float()": FLOAT64},
    "12.3": {
        "return (sum(within) - 2 * kernel_sum(real, generated) / (len(real) * len(generated))).float()": FLOAT64,
        "real, generated = (generated.double(), real.double())": "a distance has no direction",
        "for x in (generated, real):": "a sum has no order",
        "for x in list((real, generated))[::-1]:": "a sum has no order",
        "return sum(within) - 2 * kernel_sum(generated, real) / (len(real) * len(generated))":
            "the kernel is symmetric",
    } | {
        f"{line.format(form.format(name))}": "of the same length"
        for form in ("torch.zeros_like({})", "torch.ones_like({})", "{0}[:1].expand_as({0})") for name, line in (
            ("x", "within.append((kernel_sum(x, x) - itself) / (len({}) * (len(x) - 1)))"),
            ("x", "within.append((kernel_sum(x, x) - itself) / (len(x) * (len({}) - 1)))"),
            ("real", "return sum(within) - 2 * kernel_sum(real, generated) / (len({}) * len(generated))"),
            ("generated", "return sum(within) - 2 * kernel_sum(real, generated) / (len(real) * len({}))"))
    },
    "12.4": {
        **dict.fromkeys(("without: probs = probs.double()", "probs = probs", "probs = probs.float()",
                         "return (probs * (logs - logs[:, :1])).sum(-1).float()"), FLOAT64),
        "logs = probs.clamp(min=1e-12).log()": "this number is LEAST",
    },
    "14.1": {
        f"return (codes_early[:, 1:] == codes_late[:, :-1]).float().mean({axes})": "axes in another order"
        for axes in ((2, 1, 3), (1, 3, 2))
    },
    "14.2": {
        "return (int(before), after)": SAME_TYPE,
        "return (before, int(after))": SAME_TYPE,
    } | {
        f"after += (layer.kernel_size[{axis}] - 1 - padding) * rate": "kernels are cubes" for axis in (1, -1)
    },
    "14.3": {"return (int(before), after)": SAME_TYPE, "return (before, int(after))": SAME_TYPE},
    "14.4": {
        "return (torch.cdist(shares, shares, p=1) / 2).float()": FLOAT64,
        "return (torch.cdist(shares, shares, p=1) / 2).mT": "a distance has no direction",
        "shares = counts / counts.sum(1, keepdim=True)": FLOAT64,
        "shares = counts.float() / counts.sum(1, keepdim=True)": FLOAT64,
        "shares = counts.double() / counts[:1].expand_as(counts).sum(1, keepdim=True)":
            "all latent frames have equally many codes",
    },
    "15.3": {
        "return (video[:, :, :-lag] - video[:, :, lag:]).square().mean((1, 2, 3, 4)).sqrt()": "a square has no sign",
    } | {
        f"return (video[:, :, lag:] - video[:, :, :-lag]).square().mean({axes}).sqrt()": "axes in another order"
        for axes in ((2, 1, 3, 4), (1, 3, 2, 4), (1, 2, 4, 3))
    },
    "13.2": {
        "pairs = zip(fake[:-1], real[:-1])": STRICT,
        "pairs = zip(fake[:-1], real[:-1], strict=False)": STRICT,
        "return sum((F.l1_loss(a, b.detach()) for a, b in list(pairs)[::-1]), start=fake[0].new_zeros(()))":
            "a sum has no order",
        "return sum((F.l1_loss(b.detach(), a) for a, b in pairs), start=fake[0].new_zeros(()))":
            "a difference without its sign has no direction",
    } | {
        f"return sum((F.l1_loss(a, b.detach()) for a, b in pairs), start={zero}.new_zeros(()))":
            "a zero of the same dtype" for zero in (
                "fake[-1]", "fake[0].detach()", "(2 * fake[0].detach() - fake[0])",
                "((fake[0] + fake[0].detach()) / 2)", "torch.cat([fake[0][:1], fake[0][1:].detach()])")
    },
    "13.3": {
        "rows, columns = (torch.fft.fftfreq(n) for n in (h, w))": GPU,
        "short = torch.hypot(columns, rows[:, None]) >= 0.25": "a length has no order",
    },
    "16.5": {
        "return (predict(changed) - predict(codes)).abs().amax((2, 0))": "the order of the axes makes no difference",
        "return (predict(codes) - predict(changed)).abs().amax((0, 2))": "the size of a difference has no sign",
    },
    "17.2": {
        "loud = waves.abs()[:, :-1, :-1]": "there is always one column more than hops",
        "return torch.log1p(rearrange(loud, 'b (f four) n -> b f four n', f=64).mean(2))": "this number is BINS",
    },
    "17.3": {
        "return int(min((start + window - 1) // window, texts - 1))": "it is an int",
        "return min(texts - 1, (start + window - 1) // window)": "the smaller of two",
    },
    "17.4": {
        "rise, kick = (kick[:, :-1], height.diff(dim=1))": "a correlation of two is that of the other two",
        "return F.cosine_similarity(kick, rise, dim=1).mean()": "a correlation of two is that of the other two",
        "rise, kick = (height.diff(), kick[:, :-1])": "the last axis is axis 1",
        "return F.cosine_similarity(rise, kick).mean()": "axis 1 is the default",
    },
    "18.1": {
        "order = hidden.byte().argsort(stable=True)": "the last axis is axis 1",
        "order = hidden.argsort(dim=1, stable=True)": "bool sorts as its bytes do",
        "raise ValueError()": "the words of an error",
        "return order.split([hidden.shape[1] - int(counts[0]), counts[0]], 1)": "a tensor of one number will do",
        "return order.split([hidden.shape[1] - counts[0], int(counts[0])], 1)": "a tensor of one number will do",
    } | {
        f"raise ValueError(f'all clips must hide the same number of codes, not {{{a}}} to {{{b}}}')":
            "the words of an error"
        for a, b in (("counts", "counts.max()"), ("counts.min()", "counts"), ("counts.max()", "counts.max()"),
                     ("counts.min()", "counts.min()"))
    } | {
        f"return order.split([hidden.shape[1] - int({a}), int({b})], 1)": "all counts are equal"
        for a, b in (("counts[0]", "counts[-1]"), ("counts[-1]", "counts[0]"),
                     ("counts[:1].expand_as(counts)[0]", "counts[0]"), ("counts[0]", "counts[:1].expand_as(counts)[0]"))
    },
    "18.4": {
        "if (len(self.layers) + i) % 2 == 0:": "a sum is as even as the difference",
        "if (i - len(self.layers)) % 2 == 0:": "a difference is as even either way round",
        "latents = layer(latents, torch.cat([masks, latents], 1))": "the order of what is looked at is nothing",
    },
    "18.5": {
        "return int(sum(encoder) + sum(decoder))": "they are ints",
        "encoder = [latents * (latents if i % 2 else context) for i in list(range(encoder_layers))[::-1]]":
            "a sum in another order",
        "decoder = [latents * (latents + masks if i % 2 else masks) for i in list(range(decoder_layers))[::-1]]":
            "a sum in another order",
    },
    "19.1": {
        "there = [max(s + 1, count) for s, count in enumerate(there)]": "the larger of two",
        "return [after - before for before, after in zip([0, *there], there)]": "the last total is no start",
    },
    "19.2": {
        f"gumbel = -torch.log(-torch.log{log})": "what is below 1 stays, and a shift of all is nothing"
        for log in ("2(uniform.clamp(1e-20, 1 - 1e-07))", "(uniform.clamp(1e-20))", "(uniform.clamp(2e-20, 1 - 1e-07))",
                    "(uniform.clamp(1e-20, 1 + 1e-07))", "(uniform.clamp(1e-20, 1))",
                    "(uniform.clamp(1e-20, 2 - 1e-07))", "(uniform.clamp(1e-20, 1 - -0.9999999))",
                    "(uniform.clamp(1e-20, 1 - 2e-07))", "(uniform.clamp(1e-20, 0.9999999))")
    },
    "19.3": {
        "return (codes.scatter(1, places, kept), torch.zeros_like(hidden).scatter(1, places, ~accepted))":
            "the places are all that are hidden",
    },
    "19.4": {
        "rank = uniform.argsort(1).argsort()": "the last axis is axis 1",
        "rank = uniform.argsort().argsort(1)": "the last axis is axis 1",
    },
    "19.5": {
        f"return up_to.diff(prepend={zero}.new_zeros(1))": "a zero of the same dtype"
        for zero in ("torch.zeros_like(up_to)", "torch.ones_like(up_to)", "up_to[:1].expand_as(up_to)")
    },
    "20.3": {
        "token = self.token.expand(len(torch.zeros_like(rows)), 1, -1)": "the length alone is asked for",
        "token = self.token.expand(len(torch.ones_like(rows)), 1, -1)": "the length alone is asked for",
        "token = self.token.expand(len(rows[:1].expand_as(rows)), 1, -1)": "the length alone is asked for",
        "x = self.layers(torch.cat([rows, token[:1].expand_as(token)], 1) + self.positions)":
            "the token is the same for all rows",
    },
    "21.2": {
        f"return like(alpha_bar.sqrt(), {a}) * x0 + like((1 - alpha_bar).sqrt(), {b}) * noise": LIKE
        for a, b in one_other("x0", 2)
    },
    "21.3": {
        f"return (x - like((1 - alpha_bar).sqrt(), {a}) * noise) / like(alpha_bar.sqrt(), {b})": LIKE
        for a, b in one_other("x", 2)
    },
    "21.4": {
        f"return like(of_x0, {a}) * x0 + like(of_x, {b}) * x + like(sigma, {c}) * noise": LIKE
        for a, b, c in one_other("x", 3)
    },
    "21.5": {
        f"return like(a_s.sqrt(), {a}) * x0 + like(kept, {b}) * predicted + like(sigma2.sqrt(), {c}) * noise": LIKE
        for a, b, c in one_other("x0", 3)
    },
    "21.6": {
        f"return like(share, {a}) * (x - like(alpha_bar.sqrt(), {b}) * mean)": LIKE for a, b in one_other("x", 2)
        if "[:1]" not in a + b  # the notebook's batch is of one
    },
    "22.1": {
        "return [part.view_as(plane) for part, plane in zip(parts, planes)]": STRICT,
        "return [part.view_as(plane) for part, plane in zip(parts, planes, strict=False)]": STRICT,
        **{f"parts = joined.split([plane[{place}].numel() for plane in planes], 2)": SHAPE
           for place in ("-1, 0", "0, 1", "0, -1")},
        **{f"parts = joined.split([{same}[0, 0].numel() for plane in planes], 2)": SHAPE
           for same in same_shape("plane")},
        **{f"return [part.view_as({same}) for part, plane in zip(parts, planes, strict=True)]": SHAPE
           for same in same_shape("plane", brackets=False)},
    },
    "22.2": {
        "after, alone = ((noise - part).square().mean() for part in predicted.chunk(2))": SQUARE,
        **{f"contexts = torch.cat([before, torch.zeros_like({same})])": SHAPE
           for same in same_shape("before", brackets=False)},
    },
    "22.3": {"made.append(draw(made[-1] if made else None, i, steps[min(1, i)]))": "the smaller of two"},
    "22.4": {
        **{f"none = torch.zeros_like({same})": SHAPE for same in same_shape("x", brackets=False)},
        **{f"after, alone = predict(torch.cat([x, x]), torch.cat([t, t]), torch.cat([before, {same}])).chunk(2)":
           "zeros, too" for same in ("torch.zeros_like(none)", "none[:1].expand_as(none)")},
    },
}
