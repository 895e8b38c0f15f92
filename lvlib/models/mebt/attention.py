# Never edit this file: `python -m lvlib.course build` makes it from solutions/18_masked_video_modelling.py.
"""One layer: tokens attend to others, or to themselves. MeBT, section 3."""

from torch import Tensor, nn

from lvlib.models.common.conditioning import CrossAttention


class AttentionLayer(nn.Module):
    """Tokens attend to a memory; then two linear layers. Both normalised before, and added.

    official: attention is added to the normalised tokens, as in the official code; else to the
    tokens themselves.
    """

    def __init__(self, dim: int, heads: int, hidden: int, dropout: float = 0.0,
                 official: bool = False):
        super().__init__()
        self.official = official
        self.norm = nn.LayerNorm(dim)  # of the tokens and of what they look at
        self.attention = CrossAttention(dim, heads, dim)
        self.hidden_norm = nn.LayerNorm(dim)
        self.hidden = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, dim))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, memory: Tensor | None = None) -> Tensor:
        """x (b, n, dim), memory (b, m, dim) or None for x itself -> (b, n, dim). A memory of no
        tokens adds nothing but a bias (attention sees to that)."""
        query = self.norm(x)
        seen = query if memory is None else self.norm(memory)
        attended = self.attention(query, self.attention.memory_kv(seen))
        x = (query if self.official else x) + self.dropout(attended)
        return x + self.dropout(self.hidden(self.hidden_norm(x)))
