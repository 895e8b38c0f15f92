"""Mutants that are right answers: by exercise, the changed line and why it is right."""

CPU = "what differs on a GPU alone: the course runs on a CPU"

EQUAL: dict[str, dict[str, str]] = {
    "2.3": {
        "return (F.mse_loss(z.detach(), q), F.mse_loss(z, q.detach()))": "the square of a difference has no sign",
        "return (F.mse_loss(q, z.detach()), F.mse_loss(q.detach(), z))": "the square of a difference has no sign",
    },
    "2.4": {
        "return (count.flatten(), total)": "the counts have one axis",
        "total = torch.zeros(num_codes, z.shape[1], dtype=z.dtype).index_add_(0, codes, z)": CPU,
    },
}
