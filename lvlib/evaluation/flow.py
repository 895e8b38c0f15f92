"""Does the picture move to the side as the player turns? The horizontal shift between neighbouring frames of a clip.

When the player turns left, all that is seen moves to the right. Not all of it by the same pixels: what is at the edge
of the picture, or near while walking, moves more. One number a frame is the shift that fits the whole picture best.
"""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

BLUR = 4  # pixels: sharp clips and the blurred ones of an autoencoder are judged alike


def horizontal_shift(video: Tensor, reach: int = 12) -> Tensor:
    """How far the picture moves from each frame to the next, by block matching with the whole picture as the block.

    video: float (b, c, t, h, w). Tries every whole shift up to `reach` pixels to either side. Each leaves a part in
    which the two frames overlap; the shift with the least mean absolute difference there is the one.

    Returns float (b, t - 1), in pixels, positive when the picture moves to the right; 0 where nothing moves, also for
    a picture without detail. Raises ValueError for fewer than two frames, or a picture too narrow to shift so far.
    """
    b, _, t, _, width = video.shape
    if t < 2 or width < 2 * reach + BLUR:
        raise ValueError(f"two frames or more, {2 * reach + BLUR} pixels wide or more, not {t} and {width}")
    grey = rearrange(video.float().mean(1), "b t h w -> (b t) 1 h w")
    rows = F.avg_pool2d(grey, BLUR, stride=(BLUR, 1))
    # Sky above, floor below: that fits itself under any shift. What differs along a row does not.
    rows = rearrange(rows - rows.mean(-1, keepdim=True), "(b t) 1 h w -> b t h w", b=b)
    before, after, last = rows[:, :-1], rows[:, 1:], rows.shape[-1]
    shifts = torch.tensor(sorted(range(-reach, reach + 1), key=abs), device=video.device)  # of equal fits the smallest
    misfits = [
        (before[..., max(0, -s):last - max(0, s)] - after[..., max(0, s):last - max(0, -s)]).abs().mean((-1, -2))
        for s in shifts.tolist()
    ]
    return shifts[torch.stack(misfits).argmin(0)].float()


def turn_agreement(video: Tensor, actions: Tensor) -> Tensor:
    """The share of turns after which the picture moves the right way: to the right for a left turn, and vice versa.

    Args:
        video: float (b, c, t, h, w).
        actions: (b, t, n), of which [..., 0] is TURN_LEFT and [..., 1] TURN_RIGHT, held from frame t to t + 1. A turn
            is a frame in which one of the two is held and not the other. Of a player who also walks to the side, as in
            Battle2, the measure says little: that moves the picture too.

    Returns a scalar in [0, 1]: chance gives less than 0.5, as a shift of 0 is never right. Raises ValueError if the
    actions are not of these frames, or there is no turn in them.
    """
    if actions.shape[:2] != (video.shape[0], video.shape[2]):
        raise ValueError(f"actions {tuple(actions.shape)} do not go with video {tuple(video.shape)}")
    turn = (actions[:, :-1, 0] > 0).int() - (actions[:, :-1, 1] > 0).int()  # 1 left, -1 right
    if not turn.any():
        raise ValueError("the actions hold no turn")
    right = horizontal_shift(video).sign() == turn.to(video.device)
    return right[turn != 0].float().mean()
