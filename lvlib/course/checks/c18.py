"""Checks of notebook 18: places of hidden codes, a layer of attention, latent encoder and decoder, scores counted."""

import torch
from torch import nn

from lvlib.course.cases import Case
from lvlib.course.exercises import exercise
from lvlib.models.mebt import attention, bottleneck, masking
from lvlib.models.mebt.attention import AttentionLayer
from lvlib.models.mebt.bottleneck import LatentDecoder, LatentEncoder


def latent_scores(context: int, masks: int, latents: int, encoder_layers: int, decoder_layers: int) -> int:
    encoder = [latents * (latents if i % 2 else context) for i in range(encoder_layers)]
    decoder = [latents * (latents + masks if i % 2 else masks) for i in range(decoder_layers)]
    return sum(encoder) + sum(decoder)


def _with_forward(base, forward):
    """A wrong class: that of lvlib with another forward(self, x, y)."""
    return type(base.__name__, (base,), {"forward": forward})


def _made(cls, reference, expect, *init):
    """An instance of each with the same parameters, all of them large enough to matter."""
    right, answer = reference(*init).eval(), cls(*init).eval()
    for parameter in right.parameters():
        nn.init.normal_(parameter, std=0.7)
    same = {name: x.shape for name, x in answer.state_dict().items()}
    expect(same == {name: x.shape for name, x in right.state_dict().items()},
           "the parameters are not those that __init__ was given with", look_at="leave __init__ as it is")
    answer.load_state_dict(right.state_dict())
    return right, answer


def _alike(a, b):
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-3, atol=1e-4)


def _split(order):
    """A wrong answer: order(hidden), then what is hidden in the first clip last."""
    def places_of(hidden):
        if (counts := hidden.sum(1)).unique().numel() > 1:
            raise ValueError("all clips must hide the same number of codes")
        count = int(counts[0])
        return order(hidden).split([hidden.shape[1] - count, count], 1)

    return places_of


def _descending(hidden):
    context, masked = masking.places_of(hidden)
    return torch.cat([context.flip(1), masked.flip(1)], 1)


def _any_counts(hidden):
    count = int(hidden[0].sum())
    return hidden.byte().argsort(dim=1, stable=True).split([hidden.shape[1] - count, count], 1)


def _places_cases(draw):
    def case(about, b, n, count, **options):
        hidden = draw.uniform(b, n).argsort(1) < count
        return Case(about, (hidden,), gradients=False, batch=(0,), **options)

    yield case("the notebook's 3 of 8 places", 2, 8, 3)
    yield case("one clip", 1, 12, 5)
    yield case("all hidden", 3, 6, 6)
    yield case("none hidden", 2, 5, 0)
    yield case("many places", 3, 300, 100)
    n = draw.size(4, 20)
    yield case(f"{n} places", draw.size(2, 5), n, draw.size(1, n - 1))
    uneven = torch.tensor([[True, False, False], [True, True, False]])
    yield Case("clips that hide different numbers", (uneven,), raises=ValueError)
    yield Case("the first hides the most", (uneven.flip(0),), raises=ValueError)


@exercise("18.1", reference=masking.places_of, wrong={
    "the context comes first": lambda hidden: masking.places_of(hidden)[::-1],
    "places are int64, not a mask": lambda hidden: (~hidden, hidden),
    "each clip has places of its own": lambda hidden: tuple(
        places[:1].expand(len(hidden), -1) for places in masking.places_of(hidden)),
    "the places of each are in order": _split(_descending),
    "clips that hide different numbers are refused": _any_counts,
}, cases=_places_cases)
def _(fn, expect):
    hidden = torch.tensor([[0, 1, 0, 0, 1], [1, 0, 0, 1, 0]]).bool()
    answer = fn(hidden)
    expect(isinstance(answer, tuple | list) and len(answer) == 2, "two tensors are asked for, context and hidden",
           look_at="a tuple of two")
    context, masked = answer
    expect(context.dtype == masked.dtype == torch.int64, "places are int64, not a mask", look_at="argsort, or nonzero")
    expect(context.shape != (2, 2) or masked.shape != (2, 3) or {*masked[0].tolist()} == {1, 4},
           "the context comes first", look_at="(context, hidden); True is what is hidden")
    expect(context[1].tolist() != context[0].tolist(), "each clip has places of its own", look_at="axis 1")
    expect([*context[0].tolist(), *masked[0].tolist()] == [0, 2, 3, 1, 4], "the places of each are in order",
           look_at="stable=True")
    try:
        fn(torch.tensor([[True, False], [True, True]]))
    except ValueError:
        return
    expect(False, "clips that hide different numbers are refused", look_at="raise ValueError")


def _layer(attend=None, official=None, hidden=None, memory=None):
    """A wrong layer, by the steps in which it is."""
    def forward(self, x, seen=None):
        query = self.norm(x)
        looked = query if seen is None else self.norm(seen)
        looked = memory(self, x, seen) if memory else looked
        attended = self.dropout(self.attention(query, self.attention.memory_kv(looked)))
        attended = attend(self, x, looked) if attend else attended
        begin = query if (self.official if official is None else official) else x
        x = begin + attended
        return hidden(self, x) if hidden else x + self.dropout(self.hidden(self.hidden_norm(x)))

    return _with_forward(AttentionLayer, forward)


def _layer_cases(draw):
    def case(about, b, n, m, dim, heads, wide, official=False, dtype=torch.float32):
        inputs = (draw.normal(b, n, dim, dtype=dtype),) + (() if m is None else (draw.normal(b, m, dim, dtype=dtype),))
        return Case(about, inputs, init=(dim, heads, wide, 0.0, official), batch=tuple(range(len(inputs))),
                    redrawn=True)

    yield case("the notebook's 3 tokens that look at 5", 2, 3, 5, 8, 2, 16)
    yield case("tokens that look at themselves", 2, 6, None, 8, 4, 12)
    yield case("the official code's residual", 2, 4, 7, 6, 3, 5, official=True)
    yield case("the official code's residual, tokens and themselves", 1, 4, None, 6, 1, 5, official=True)
    yield case("a memory of no tokens", 2, 3, 0, 8, 2, 16)
    yield case("one token and one in memory", 1, 1, 1, 4, 1, 4)
    yield case("other sizes", draw.size(2, 4), draw.size(2, 9), draw.size(2, 9), 12, 3, draw.size(5, 30))


LAYER_WRONG = {
    "the memory is normalised, too": _layer(memory=lambda self, x, seen: self.norm(x) if seen is None else seen),
    "without a memory the tokens look at themselves": _layer(
        memory=lambda self, x, seen: torch.zeros_like(x) if seen is None else self.norm(seen)),
    "what the attention gives is added to the tokens": _layer(official=True),
    "`official` adds it to the normalised tokens": _layer(official=False),
    "what the linear layers give is added, too": _layer(hidden=lambda self, x: self.hidden(self.hidden_norm(x))),
    "the linear layers see normalised tokens": _layer(hidden=lambda self, x: x + self.hidden(x)),
    "dropout comes before each sum": _layer(
        attend=lambda self, x, seen: self.attention(self.norm(x), self.attention.memory_kv(seen)),
        hidden=lambda self, x: x + self.hidden(self.hidden_norm(x))),
}


@exercise("18.2", reference=attention.AttentionLayer, wrong=LAYER_WRONG, cases=_layer_cases)
def _(cls, expect):
    torch.manual_seed(0)
    x, memory = 3 * torch.randn(2, 3, 8) + 1, 3 * torch.randn(2, 5, 8) + 1
    right, plain = _made(cls, AttentionLayer, expect, 8, 2, 16)
    official_right, official = _made(cls, AttentionLayer, expect, 8, 2, 16, 0.0, True)

    def is_like(wrong, mine=plain, of=right, seen=memory):
        other = wrong(8, 2, 16, 0.0, of.official).eval()
        other.load_state_dict(of.state_dict())
        found = mine(x, seen)
        return _alike(found, other(x, seen)) and not _alike(found, of(x, seen))

    for message, look_at in (("what the attention gives is added to the tokens", "x + ..., unless official"),
                             ("the memory is normalised, too", "self.norm(memory)"),
                             ("what the linear layers give is added, too", "x + ..."),
                             ("the linear layers see normalised tokens", "self.hidden_norm(x)")):
        expect(not is_like(LAYER_WRONG[message]), message, look_at=look_at)
    message = "without a memory the tokens look at themselves"
    expect(_alike(plain(x, None), right(x, None)) or not _alike(plain(x, memory), right(x, memory)), message,
           look_at="memory is None")
    message = "`official` adds it to the normalised tokens"
    expect(not is_like(LAYER_WRONG[message], official, official_right), message, look_at="self.official")
    dropped = cls(8, 2, 16, 1 - 1e-9)
    expect(_alike(dropped.train()(x, memory), x), "dropout comes before each sum", look_at="self.dropout(...), twice")


def _encoder(memory):
    """A wrong encoder: memory(i, latents, context, first) is what layer i looks at."""
    def forward(self, latents, context):
        first = latents
        for i, layer in enumerate(self.layers):
            latents = layer(latents, memory(i, latents, context, first))
        return latents

    return _with_forward(LatentEncoder, forward)


def _stack_cases(lengths):
    """Cases of an encoder or a decoder of so many layers."""
    def cases(draw):
        for i, (layers, n) in enumerate(lengths):
            latents, tokens = draw.size(2, 6), draw.size(2, 9) if n is None else n
            whose = "the notebook's" if i == 0 else f"{tokens} tokens and"
            dim = (8, 12)[i % 2]
            yield Case(f"{whose} {layers} layers", (draw.normal(2, latents, dim), draw.normal(2, tokens, dim)),
                       init=(layers, dim, 2, 10), batch=(0, 1), redrawn=True)

    return cases


def _judge_stack(reference, wrong, layers, look_at):
    """The body of a check that tries each wrong stack's order of looks on stacks of these numbers of layers."""
    def judge(cls, expect):
        torch.manual_seed(0)
        latents, tokens = torch.randn(2, 3, 8), torch.randn(2, 5, 8)
        for count in layers:
            right, answer = _made(cls, reference, expect, count, 8, 2, 16)
            found, true = answer(latents, tokens), right(latents, tokens)
            for message, other in wrong.items():
                twin = other(count, 8, 2, 16).eval()
                twin.load_state_dict(right.state_dict())
                expected = twin(latents, tokens)
                expect(_alike(found, true) or not _alike(found, expected), message, look_at=look_at[message])

    return judge


ENCODER_WRONG = {
    "every second layer looks at the latents themselves": _encoder(lambda i, latents, context, first: context),
    "the first layer looks at the context": _encoder(
        lambda i, latents, context, first: None if i % 2 == 0 else context),
    "the context is looked at again, every second layer": _encoder(
        lambda i, latents, context, first: None if i else context),
    "the latents look at what they are now, not at what they began as": _encoder(
        lambda i, latents, context, first: first if i % 2 else context),
    "the latents look at the context alone in their turn": _encoder(
        lambda i, latents, context, first: None if i % 2 else torch.cat([latents, context], 1)),
}
exercise("18.3", reference=bottleneck.LatentEncoder, wrong=ENCODER_WRONG,
         cases=_stack_cases([(3, None), (1, 1), (2, 0), (4, None), (5, 0)]))(
    _judge_stack(LatentEncoder, ENCODER_WRONG, (3, 2), {
        "every second layer looks at the latents themselves": "memory None",
        "the first layer looks at the context": "i % 2 == 0",
        "the context is looked at again, every second layer": "i % 2, not i",
        "the latents look at what they are now, not at what they began as": "memory None",
        "the latents look at the context alone in their turn": "layer(latents, context)"}))


def _decoder(masks_turn=lambda i, n: (n - i) % 2 == 0, of_masks=None, of_latents=None, result=None):
    """A wrong decoder, by whose turn it is at layer i of 1 to n, what each looks at, and what comes out."""
    def forward(self, latents, masks):
        for i, layer in enumerate(self.layers, 1):
            if masks_turn(i, len(self.layers)):
                masks = layer(masks, of_masks(latents, masks) if of_masks else latents)
            else:
                seen = of_latents(latents, masks) if of_latents else torch.cat([latents, masks], 1)
                latents = layer(latents, seen)
        return result(latents, masks) if result else masks

    return _with_forward(LatentDecoder, forward)


DECODER_WRONG = {
    "with an odd number of layers the masks begin": _decoder(masks_turn=lambda i, n: i % 2 == 0),
    "the last layer is the masks'": _decoder(masks_turn=lambda i, n: (n - i) % 2 == 1),
    "the latents look at the latents, too": _decoder(of_latents=lambda latents, masks: masks),
    "the latents look at the masks, too": _decoder(of_latents=lambda latents, masks: latents),
    "the masks look at the latents alone": _decoder(of_masks=lambda latents, masks: torch.cat([latents, masks], 1)),
    "the masks come out": _decoder(result=lambda latents, masks: latents),
}
exercise("18.4", reference=bottleneck.LatentDecoder, wrong=DECODER_WRONG,
         cases=_stack_cases([(4, None), (1, 1), (2, 1), (3, None), (5, 6)]))(
    _judge_stack(LatentDecoder, DECODER_WRONG, (4, 3), {
        "the last layer is the masks'": "(len(self.layers) - i) % 2",
        "with an odd number of layers the masks begin": "count from the last layer",
        "the latents look at the latents, too": "torch.cat([latents, masks], 1)",
        "the latents look at the masks, too": "torch.cat([latents, masks], 1)",
        "the masks look at the latents alone": "layer(masks, latents)",
        "the masks come out": "return masks"}))


def _count_cases(draw):
    yield Case("the notebook's sizes", (512, 512, 64, 5, 4), gradients=False)
    for sizes in ((0, 9, 4, 3, 2), (5, 7, 3, 1, 1), (6, 2, 5, 2, 3), (1024, 1024, 256, 13, 11)):
        yield Case(f"sizes {sizes}", sizes, gradients=False)
    sizes = tuple(draw.size(1, 40) for _ in range(3)) + (draw.size(1, 9), draw.size(1, 9))
    yield Case(f"sizes {sizes}", sizes, gradients=False)


def _counted(context_turn=lambda i: i % 2 == 0, own=lambda lat, masks: lat * (lat + masks),
             mask=lambda lat, masks: lat * masks, mask_turn=lambda i, n: (n - i) % 2 == 1):
    """A wrong count, by whose turn it is at layer i of 0 to n - 1 and what it costs."""
    def count(context, masks, latents, encoder_layers, decoder_layers):
        encoder = sum(latents * (context if context_turn(i) else latents) for i in range(encoder_layers))
        return encoder + sum((mask if mask_turn(i, decoder_layers) else own)(latents, masks)
                             for i in range(decoder_layers))

    return count


@exercise("18.5", reference=latent_scores, wrong={
    "the encoder's second layer is latents to latents": _counted(context_turn=lambda i: True),
    "the encoder's first layer is latents to context": _counted(context_turn=lambda i: i % 2 == 1),
    "the decoder's latents look at latents, too": _counted(own=lambda lat, masks: lat * masks),
    "no mask looks at a mask": _counted(mask=lambda lat, masks: masks * (lat + masks)),
    "with an odd number of layers the masks begin": _counted(mask_turn=lambda i, n: i % 2 == 1),
    "a number of scores is whole": lambda *sizes: latent_scores(*sizes) / 1.0,
}, cases=_count_cases)
def _(fn, expect):
    expect(isinstance(fn(4, 4, 2, 1, 1), int), "a number of scores is whole", look_at="// instead of /")
    expect(fn(5, 1, 2, 1, 0) == 10, "the encoder's first layer is latents to context", look_at="latents * context")
    expect(fn(5, 1, 2, 2, 0) == 14, "the encoder's second layer is latents to latents", look_at="latents * latents")
    expect(fn(1, 5, 2, 0, 1) != 70 and fn(1, 5, 2, 0, 1) != 35, "no mask looks at a mask", look_at="masks * latents")
    expect(fn(1, 5, 2, 0, 1) == 10, "with an odd number of layers the masks begin", look_at="the last layer is theirs")
    expect(fn(1, 5, 2, 0, 2) == 24, "the decoder's latents look at latents, too", look_at="latents + masks")

