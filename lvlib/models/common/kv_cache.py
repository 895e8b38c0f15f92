# Never edit this file: `python -m lvlib.course build` makes it from solutions/07_lvt_writes_video.py.
"""What attention keeps while codes are sampled one after another."""

from dataclasses import dataclass

from torch import Tensor


@dataclass
class KVCache:
    """Keys and values (b, heads, n, d) of the positions that went through one layer; nobody reads
    the others. Keys are None where the weights do not depend on them.
    """

    keys: Tensor | None
    values: Tensor
