"""What makes a quantizer right: distances by brute force, running means by hand, and what breaks the official ones."""

import copy

import pytest
import torch
from vector_quantize_pytorch import VectorQuantize

from lvlib.models.common.quantize import (
    EMACodebook,
    GradientCodebook,
    SlicedQuantizer,
    code_bits,
    code_statistics,
    nearest_code,
    perplexity,
    restart_codes,
    straight_through,
    usage,
    vq_losses,
)

BUFFERS = "embedding", "count", "total", "updates"


def state(codebook):
    return {name: getattr(codebook, name).clone() for name in BUFFERS}


def test_nearest_code_against_every_distance():
    z, codebook = torch.randn(2, 3, 4, 8), torch.randn(16, 8)
    distances = torch.stack([(z - code).square().sum(-1) for code in codebook], -1)
    assert torch.equal(nearest_code(z, codebook), distances.argmin(-1))


def test_nearest_code_agrees_with_vector_quantize_pytorch():
    peer = VectorQuantize(dim=8, codebook_size=16, kmeans_init=False).eval()
    z = torch.randn(4, 10, 8)
    assert torch.equal(nearest_code(z, peer.codebook), peer(z)[1])


def test_straight_through_is_q_with_the_gradient_of_z():
    z, q, weight = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3, requires_grad=True), torch.randn(5, 3)
    out = straight_through(z, q)
    assert torch.allclose(out, q, atol=1e-6)
    (out * weight).sum().backward()
    assert torch.equal(z.grad, weight) and q.grad is None


def test_losses_are_one_number_with_two_gradients():
    z, q = torch.randn(5, 3, requires_grad=True), torch.randn(5, 3, requires_grad=True)
    codebook_loss, commitment_loss = vq_losses(z, q)
    assert codebook_loss == commitment_loss == (z - q).square().mean()
    codebook_loss.backward()
    assert z.grad is None and torch.allclose(q.grad, 2 * (q - z).detach() / 15)
    q.grad = None
    commitment_loss.backward()
    assert q.grad is None and torch.allclose(z.grad, 2 * (z - q).detach() / 15)


def test_gradient_codebook_moves_codes_towards_their_vectors():
    codebook = GradientCodebook(2, 3)
    codebook.embedding.data = torch.tensor([[0.0, 0, 0], [9, 9, 9]])
    _, codes, loss, _ = codebook(torch.ones(4, 3))
    loss.backward()
    assert codes.tolist() == [0] * 4
    assert (codebook.embedding.grad[0] < 0).all() and not codebook.embedding.grad[1].any()


def test_statistics_by_hand():
    count, total = code_statistics(torch.tensor([[1.0, 2], [3, 4], [5, 6]]), torch.tensor([2, 0, 2]), 4)
    assert count.tolist() == [1, 0, 2, 0]
    assert total.tolist() == [[3, 4], [0, 0], [6, 8], [0, 0]]


def test_running_means_by_hand():
    codebook = EMACodebook(2, 1, decay=0.9, restart=0, first_batch=False)
    codebook.embedding.copy_(torch.tensor([[0.0], [10.0]]))
    codebook.total.copy_(codebook.embedding)
    codebook(torch.tensor([[1.0], [2.0], [9.0]]))
    # counts 0.9 * 1 + 0.1 * n, sums 0.9 * e + 0.1 * s
    assert torch.allclose(codebook.count, torch.tensor([0.9 + 0.2, 0.9 + 0.1]))
    assert torch.allclose(codebook.embedding, torch.tensor([[0.3 / 1.1], [9.9 / 1.0]]))
    codebook(torch.tensor([[9.0]]))
    assert torch.allclose(codebook.embedding, torch.tensor([[0.3 / 1.1], [(0.9 * 9.9 + 0.9) / (0.9 + 0.1)]]))


def test_codes_and_their_sums_do_not_share_memory():
    codebook = EMACodebook(8, 4)
    assert codebook.embedding.data_ptr() != codebook.total.data_ptr()
    moved = copy.deepcopy(codebook).to("cpu")
    assert moved.embedding.data_ptr() != moved.total.data_ptr()


def test_many_updates_on_a_cpu_settle_on_the_cluster_means():
    torch.manual_seed(0)
    centres = torch.randn(4, 6) * 10
    codebook = EMACodebook(4, 6, decay=0.9)
    for _ in range(200):
        codebook(centres[torch.randint(4, (64,))] + 0.1 * torch.randn(64, 6))
    nearest = torch.cdist(centres, codebook.embedding).min(1).values
    assert (nearest < 0.2).all()


def test_evaluation_learns_nothing():
    codebook = EMACodebook(8, 4).eval()
    before = state(codebook)
    codebook(torch.randn(32, 4))
    assert all(torch.equal(before[name], after) for name, after in state(codebook).items())


def test_a_resumed_codebook_is_the_one_that_was_saved():
    torch.manual_seed(0)
    batches = torch.randn(6, 128, 4)
    whole = EMACodebook(32, 4)
    for batch in batches[:3]:
        whole(batch)
    resumed = EMACodebook(32, 4)
    resumed.load_state_dict(whole.state_dict())
    for batch in batches[3:]:
        whole(batch)
        resumed(batch)
    assert all(torch.equal(getattr(whole, name), getattr(resumed, name)) for name in BUFFERS)


def test_a_first_batch_smaller_than_the_codebook():
    codebook = EMACodebook(64, 4)
    z = torch.randn(5, 4)
    q, codes, loss, _ = codebook(z)
    assert torch.allclose(q, z, atol=1e-6) and len(codes.unique()) == 5 and loss < 1e-10
    for _ in range(50):
        codebook(torch.randn(5, 4))
    assert all(torch.isfinite(value).all() for value in state(codebook).values())


def test_half_precision_leaves_the_codebook_in_float32_and_the_codes_as_they_are():
    torch.manual_seed(0)
    z = torch.randn(256, 16)
    plain = EMACodebook(32, 16)
    mixed = copy.deepcopy(plain)
    expected = plain(z)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = mixed(z)
        mixed(z.bfloat16())  # what an encoder hands over under autocast
    assert torch.equal(found[1], expected[1]) and torch.equal(found[0], expected[0])
    assert found[0].dtype == mixed.embedding.dtype == mixed.total.dtype == torch.float32


def test_dead_codes_come_back_on_vectors_of_the_batch():
    codebook = EMACodebook(3, 2, decay=0.5, restart=0.2, first_batch=False)
    codebook.embedding.copy_(torch.tensor([[0.0, 0], [50, 50], [1, 1]]))
    codebook.total.copy_(codebook.embedding)
    z = torch.tensor([[0.1, 0.0], [1.0, 1.1], [0.0, 0.1], [1.1, 1.0]])
    for _ in range(4):
        codebook(z)
    assert (torch.cdist(codebook.embedding, z).min(1).values < 0.2).all()
    assert torch.allclose(codebook.total / codebook.count[:, None], codebook.embedding, atol=1e-5)


@pytest.mark.parametrize("codes, vectors", [(64, 16), (64, 256), (64, 2048), (512, 256)])
def test_in_equal_use_nothing_is_restarted_whatever_the_batch_and_the_codebook(codes, vectors):
    torch.manual_seed(0)
    places = 10 * torch.randn(codes, 4)
    codebook = EMACodebook(codes, 4, decay=0.99, first_batch=False)
    codebook.embedding.copy_(places)
    codebook.total.copy_(places)
    for _ in range(300):
        codebook(places[torch.randint(codes, (vectors,))])
    assert torch.allclose(codebook.embedding, places, atol=1e-2)


def test_a_code_that_nobody_chooses_stays_where_it_is():
    codebook = EMACodebook(2, 1, decay=0.5, restart=0, first_batch=False)
    codebook.embedding.copy_(torch.tensor([[0.0], [100.0]]))
    codebook.total.copy_(codebook.embedding)
    for _ in range(500):  # 0.5 ** 500 is no longer a float32
        codebook(torch.zeros(4, 1))
    assert codebook.embedding.tolist() == [[0.0], [100.0]]


def test_restarted_codes_agree_with_their_statistics():
    dead = torch.tensor([True, False])
    embedding, count, total = restart_codes(
        dead, torch.full((2, 3), 7.0), torch.tensor(4.0), torch.zeros(2, 3), torch.ones(2), torch.zeros(2, 3))
    assert embedding.tolist() == [[7, 7, 7], [0, 0, 0]]
    assert count.tolist() == [4, 1]
    assert total.tolist() == [[28, 28, 28], [0, 0, 0]]


def test_perplexity_and_usage_in_closed_form():
    assert perplexity(torch.arange(16), 64).item() == pytest.approx(16)
    assert usage(torch.arange(16), 64).item() == pytest.approx(16 / 64)
    assert perplexity(torch.zeros(9, dtype=torch.int64), 64).item() == pytest.approx(1)
    half_and_quarters = torch.tensor([[0, 0], [1, 2]])
    assert perplexity(half_and_quarters, 3).log2().item() == pytest.approx(1.5)


def test_slices_are_quantized_each_by_its_own_codebook():
    torch.manual_seed(0)
    codebooks = [EMACodebook(8, 3).eval() for _ in range(4)]
    z = torch.randn(2, 5, 12)
    q, codes, loss, metrics = SlicedQuantizer(codebooks)(z)
    for i, codebook in enumerate(codebooks):
        part = z[..., 3 * i : 3 * i + 3]
        assert torch.equal(codes[..., i], nearest_code(part, codebook.embedding))
        assert torch.allclose(q[..., 3 * i : 3 * i + 3], codebook.embedding[codes[..., i]], atol=1e-6)
    assert torch.allclose(loss, (z - q).square().mean())
    assert torch.allclose(metrics["perplexity"], torch.stack([perplexity(c, 8) for c in codes.unbind(-1)]).mean())


def test_sliced_lookup_inverts_the_codes():
    quantizer = SlicedQuantizer([EMACodebook(8, 3) for _ in range(4)]).eval()
    q, codes, _, _ = quantizer(torch.randn(2, 5, 12))
    assert torch.allclose(quantizer.lookup(codes), q, atol=1e-6)


def test_bits_of_the_papers_grids():
    assert code_bits((16, 16, 16), 512) == 16 * 256 * 9
    assert code_bits((16, 16, 16, 4), 512) == 4 * 16 * 256 * 9
