"""Right and wrong answers to notebook 18 in other styles."""

import torch
from torch import nn

from lvlib.models.mebt.attention import AttentionLayer
from lvlib.models.mebt.bottleneck import LatentDecoder, LatentEncoder


def right_1_nonzero(hidden):
    counts = [int(count) for count in hidden.sum(1)]
    if len(set(counts)) > 1:
        raise ValueError(f"clips hide {min(counts)} to {max(counts)} codes")
    context, masked = (~hidden).nonzero()[:, 1], hidden.nonzero()[:, 1]
    return context.view(len(hidden), -1), masked.view(len(hidden), counts[0])


def right_1_loop(hidden):
    context = [[i for i, covered in enumerate(row) if not covered] for row in hidden.tolist()]
    masked = [[i for i, covered in enumerate(row) if covered] for row in hidden.tolist()]
    if len({len(row) for row in masked}) > 1:
        raise ValueError("all clips must hide the same number of codes")
    return torch.tensor(context, dtype=torch.int64), torch.tensor(masked, dtype=torch.int64)


def right_1_keys(hidden):
    count = int(hidden[0].sum())
    if (hidden.sum(1) != count).any():
        raise ValueError("all clips must hide the same number of codes")
    n = hidden.shape[1]
    order = (torch.arange(n) + n * hidden.long()).argsort(1)
    return order[:, :n - count], order[:, n - count:]


class right_2_steps(AttentionLayer):
    def forward(self, x, memory=None):
        normal = self.norm(x)
        kv = self.attention.memory_kv(normal if memory is None else self.norm(memory))
        begin = normal if self.official else x
        summed = begin + self.dropout(self.attention(normal, kv))
        wide = self.hidden[1](self.hidden[0](self.hidden_norm(summed)))
        return summed + self.dropout(self.hidden[2](wide))


class right_2_whole(nn.Module):
    def __init__(self, dim, heads, hidden, dropout=0.0, official=False):
        super().__init__()
        from lvlib.models.common.conditioning import CrossAttention

        self.official = official
        self.norm = nn.LayerNorm(dim)
        self.attention = CrossAttention(dim, heads, dim)
        self.hidden_norm = nn.LayerNorm(dim)
        self.hidden = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, memory=None):
        seen = x if memory is None else memory
        query = self.norm(x)
        added = self.dropout(self.attention(query, self.attention.memory_kv(self.norm(seen))))
        x = query + added if self.official else x + added
        return self.dropout(self.hidden(self.hidden_norm(x))) + x


class wrong_2_one_dropout_less(AttentionLayer):
    def forward(self, x, memory=None):
        query = self.norm(x)
        seen = query if memory is None else self.norm(memory)
        attended = self.attention(query, self.attention.memory_kv(seen))
        x = (query if self.official else x) + self.dropout(attended)
        return x + self.hidden(self.hidden_norm(x))


class right_3_pairs(LatentEncoder):
    def forward(self, latents, context):
        layers = list(self.layers)
        while layers:
            latents = layers.pop(0)(latents, context)
            if layers:
                latents = layers.pop(0)(latents)
        return latents


class right_3_flag(LatentEncoder):
    def forward(self, latents, context):
        crossing = True
        for layer in self.layers:
            latents = layer(latents, context) if crossing else layer(latents, latents)
            crossing = not crossing
        return latents


class wrong_3_context_changes(LatentEncoder):
    def forward(self, latents, context):
        for i, layer in enumerate(self.layers):
            if i % 2 == 0:
                latents, context = layer(latents, context), layer(context, latents)
            else:
                latents = layer(latents)
        return latents


class right_4_from_the_end(LatentDecoder):
    def forward(self, latents, masks):
        turns = [i % 2 == 0 for i in range(len(self.layers))][::-1]
        for layer, of_masks in zip(self.layers, turns, strict=True):
            if of_masks:
                masks = layer(masks, latents)
            else:
                latents = layer(latents, torch.cat((latents, masks), dim=1))
        return masks


class right_4_odd_first(LatentDecoder):
    def forward(self, latents, masks):
        layers = list(self.layers)
        if len(layers) % 2:
            masks = layers.pop(0)(masks, latents)
        for look, tell in zip(layers[::2], layers[1::2], strict=True):
            latents = look(latents, torch.cat([masks, latents], 1))
            masks = tell(masks, latents)
        return masks


class wrong_4_old_latents(LatentDecoder):
    def forward(self, latents, masks):
        first = latents
        for i, layer in enumerate(self.layers, 1):
            if (len(self.layers) - i) % 2 == 0:
                masks = layer(masks, latents)
            else:
                latents = layer(first, torch.cat([latents, masks], 1))
        return masks


def right_5_closed(context, masks, latents, encoder_layers, decoder_layers):
    encoder = (encoder_layers + 1) // 2 * context + encoder_layers // 2 * latents
    decoder = (decoder_layers + 1) // 2 * masks + decoder_layers // 2 * (latents + masks)
    return latents * (encoder + decoder)


def right_5_loop(context, masks, latents, encoder_layers, decoder_layers):
    total, crossing = 0, True
    for _ in range(encoder_layers):
        total += latents * context if crossing else latents ** 2
        crossing = not crossing
    for left in range(decoder_layers - 1, -1, -1):
        total += latents * masks if left % 2 == 0 else latents * (latents + masks)
    return total


def wrong_5_half(context, masks, latents, encoder_layers, decoder_layers):
    encoder = encoder_layers // 2 * latents * (context + latents)
    return encoder + decoder_layers // 2 * latents * (latents + 2 * masks)
