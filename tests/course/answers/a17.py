"""Answers to notebook 17: right ones in other styles, and wrong ones that a check could take for right."""

import math

import numpy as np
import torch
import torch.nn.functional as F


def right_1_last_piece(word, left, right):
    pieces, open_ = [], False
    for piece in word:
        if open_ and pieces[-1] == left and piece == right:
            pieces[-1] = left + right
            open_ = False
        else:
            pieces.append(piece)
            open_ = True
    return pieces


def right_1_recursive(word, left, right):
    if len(word) < 2:
        return list(word)
    if word[0] == left and word[1] == right:
        return [left + right, *right_1_recursive(word[2:], left, right)]
    return [word[0], *right_1_recursive(word[1:], left, right)]


def right_1_skip(word, left, right):
    pieces, skip = [], False
    for one, after in zip(word, [*word[1:], None], strict=False):
        if skip:
            skip = False
        elif (one, after) == (left, right):
            pieces.append(one + after)
            skip = True
        else:
            pieces.append(one)
    return pieces


def wrong_1_as_text(word, left, right):
    return "\n".join(word).replace(f"{left}\n{right}", left + right).split("\n") if word else ["", ""]


def wrong_1_drops_the_last(word, left, right):
    pieces, i = [], 0
    while i < len(word) - 1:
        joined = word[i:i + 2] == [left, right]
        pieces.append(left + right if joined else word[i])
        i += 2 if joined else 1
    return pieces


def right_2_loop(audio, hop):
    waves = torch.stft(audio, 512, hop, window=torch.hann_window(512).to(audio), pad_mode="constant",
                       return_complex=True)
    loud = torch.abs(waves)[:, :256, :audio.shape[1] // hop]
    return torch.stack([(1 + loud[:, 4 * band:4 * band + 4].mean(1)).log() for band in range(64)], 1)


def right_2_pool(audio, hop):
    waves = torch.stft(audio, 512, hop, window=torch.hann_window(512).to(audio), pad_mode="constant",
                       return_complex=True)
    loud = waves.abs().narrow(1, 0, 256).narrow(2, 0, audio.shape[1] // hop)
    return torch.log1p(F.avg_pool1d(loud.transpose(1, 2), 4).transpose(1, 2))


def right_2_view(audio, hop):
    waves = torch.stft(audio, 512, hop, window=torch.hann_window(512).to(audio), pad_mode="constant",
                       return_complex=True)[:, :-1]
    loud = waves.abs().unflatten(1, (64, 4)).mean(2)
    return loud[..., :audio.shape[1] // hop].log1p()


def wrong_2_reflected(audio, hop):
    waves = torch.stft(audio, 512, hop, window=torch.hann_window(512).to(audio), return_complex=True)
    return torch.log1p(waves.abs()[:, :-1, :audio.shape[1] // hop].unflatten(1, (64, 4)).mean(2))


def wrong_2_absolute_of_the_mean(audio, hop):
    waves = torch.stft(audio, 512, hop, window=torch.hann_window(512).to(audio), pad_mode="constant",
                       return_complex=True)
    return torch.log1p(waves[:, :-1, :audio.shape[1] // hop].unflatten(1, (64, 4)).mean(2).abs())


def wrong_2_log_10(audio, hop):
    return right_2_loop(audio, hop) / math.log(10)


def right_3_ceil(start, window, texts):
    return min(math.ceil(start / window), texts - 1)


def right_3_loop(start, window, texts):
    text = 0
    while text < texts - 1 and (text + 1) * window <= start + window - 1:
        text += 1
    return text


def right_3_list(start, window, texts):
    owners = [text for text in range(texts) for _ in range(window)]
    newest = start + window - 1
    return owners[newest] if newest < len(owners) else owners[-1]


def wrong_3_next_at_once(start, window, texts):
    return min(1 if start else 0, texts - 1)


def wrong_3_majority(start, window, texts):
    return min((start + window // 2) // window, texts - 1)


def right_4_numpy(height, kick):
    found = []
    for h, k in zip(height.numpy(), kick.numpy(), strict=True):
        h, k = h[1:] - h[:-1], k[:-1]
        found.append(np.corrcoef(h, k)[0, 1] if h.std() > 0 and k.std() > 0 else 0.0)
    return torch.tensor(np.mean(found), dtype=height.dtype)


def right_4_sums(height, kick):
    h, k = height[:, 1:] - height[:, :-1], kick[:, :-1]
    h, k = h - h.mean(1, keepdim=True), k - k.mean(1, keepdim=True)
    both = (h * k).sum(1)
    lengths = h.square().sum(1).sqrt() * k.square().sum(1).sqrt()
    return torch.where(lengths > 0, both / lengths.clamp(min=1e-12), torch.zeros_like(both)).mean()


def wrong_4_nan_left_out(height, kick):
    h, k = height[:, 1:] - height[:, :-1], kick[:, :-1]
    h, k = h - h.mean(1, keepdim=True), k - k.mean(1, keepdim=True)
    return ((h * k).sum(1) / (h.norm(dim=1) * k.norm(dim=1))).nanmean()


def wrong_4_means_of_all_frames(height, kick):
    rise, k = height.diff(dim=1), kick - kick.mean(1, keepdim=True)
    return F.cosine_similarity(rise - rise.mean(1, keepdim=True), k[:, :-1], dim=1).mean()
