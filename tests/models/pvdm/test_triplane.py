"""PVDM's autoencoder: planes and back by loops, the paper's sizes, several clips, when discriminators begin."""

import dataclasses
from itertools import pairwise

import pytest
import torch
from torch.utils.data import Dataset

from lvlib.configs import named_config
from lvlib.models.pvdm.projection import RowPooling, RowSummary, project, spread
from lvlib.models.pvdm.triplane import Convergence, TriplaneAutoencoder, TriplaneConfig
from lvlib.reports.describe import describe, parameter_count
from lvlib.training import TrainingConfig, train
from lvlib.training.checkpoint import MODEL, folder_of
from lvlib.training.step import Step

SMALL = TriplaneConfig(channels=1, frames=4, size=8, patch=4, width=8, layers=1, heads=2, head_dim=4, latent_dim=2,
                       projection_layers=1, projection_heads=2, projection_hidden=8, perceptual=None, gan_start=None,
                       disc_hidden=4, disc_layers=1)
TRAINING = TrainingConfig(steps=12, batch=4, learning_rate=1e-4, log_every=1, checkpoint_every=4)


def triplane(**changes) -> TriplaneAutoencoder:
    torch.manual_seed(0)
    return dataclasses.replace(SMALL, **changes).build()


def clips(count: int = 4, frames: int = 4, size: int = 8) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.rand(count, 1, frames, size, size) * 2 - 1


def test_the_projection_is_a_loop_over_rows():
    torch.manual_seed(0)
    b, t, h, w, d = 2, 3, 4, 5, 8
    u = torch.randn(b, t, h, w, d)
    rows = [RowSummary(n, d, 1, 2, 8) for n in (t, h, w)]
    z_s, z_h, z_w = project(u, *rows)
    assert (z_s.shape, z_h.shape, z_w.shape) == ((b, h, w, d), (b, t, w, d), (b, t, h, d))
    for i in range(b):
        for row in range(h):
            for column in range(w):
                torch.testing.assert_close(z_s[i, row, column], rows[0](u[i:i + 1, :, row, column])[0])
        for time in range(t):
            for column in range(w):
                torch.testing.assert_close(z_h[i, time, column], rows[1](u[i:i + 1, time, :, column])[0])
            for row in range(h):
                torch.testing.assert_close(z_w[i, time, row], rows[2](u[i:i + 1, time, row])[0])


def test_spread_puts_the_three_vectors_of_each_place_side_by_side():
    b, t, h, w, c = 2, 3, 4, 5, 2
    z_s, z_h, z_w = torch.randn(b, h, w, c), torch.randn(b, t, w, c), torch.randn(b, t, h, c)
    v = spread([z_s, z_h, z_w])
    assert v.shape == (b, t, h, w, 3 * c)
    for i, time, row, column in torch.cartesian_prod(*map(torch.arange, (b, t, h, w))).tolist():
        expected = torch.cat([z_s[i, row, column], z_h[i, time, column], z_w[i, time, row]])
        assert torch.equal(v[i, time, row, column], expected)


def test_the_official_summary_is_another_one():
    own, first = (RowSummary(5, 8, 2, 2, 8, reads) for reads in ("own", "first"))
    first.load_state_dict(own.state_dict())
    rows = torch.randn(3, 5, 8)
    assert not torch.allclose(own(rows), first(rows), atol=0.1)
    every = first.layers(torch.cat([rows, first.token.expand(3, 1, -1)], 1) + first.positions)
    torch.testing.assert_close(first(rows), every[:, 0])
    torch.testing.assert_close(own(rows), every[:, 5])
    planes = [triplane(summary=reads).planes(clips()) for reads in ("own", "first")]
    assert not any(torch.allclose(a, b, atol=1e-2) for a, b in zip(*planes, strict=True))


def test_pooling_is_attention_of_one_query_a_head():
    torch.manual_seed(0)
    model, rows = RowPooling(5, 8, 2), torch.randn(3, 5, 8)
    key, value = model.key_value(model.norm(rows) + model.positions).chunk(2, -1)
    heads = []
    for i, (k, v) in enumerate(zip(key.chunk(2, -1), value.chunk(2, -1), strict=True)):
        heads.append(((k @ model.query[i, 0]) / 4**0.5).softmax(-1)[:, None] @ v)
    torch.testing.assert_close(model(rows), model.out(torch.cat(heads, -1)[:, 0]))


@pytest.mark.parametrize("projection", ["attention", "pooled", "none"])
@pytest.mark.parametrize("frames, size, patch", [(4, 8, 4), (3, 12, 4), (1, 6, 2), (5, 8, 8)])
def test_any_sizes_that_divide_pass(projection, frames, size, patch):
    model = triplane(projection=projection, frames=frames, size=size, patch=patch).eval()
    video, side = clips(2, frames, size), size // patch
    z, spec = model.encode(video), model.config.latents((1, frames, size, size))
    numbers = (side * side + 2 * frames * side,) if projection != "none" else (frames, side, side)
    assert z.shape[1:] == spec.shape == (2, *numbers) and z.abs().max() <= 1
    again = model.decode(z)
    assert again.shape == video.shape and again.abs().max() <= 1


@pytest.mark.parametrize("projection", ["pooled", "none"])
def test_several_clips_in_a_row_are_each_as_alone(projection):
    model = triplane(projection=projection).eval()
    video = clips(2, frames=12)
    z = model.encode(video)
    alone = [model.encode(clip) for clip in video.split(4, 2)]
    torch.testing.assert_close(z, torch.cat(alone, 2))
    assert z.shape[1:] == model.config.latents((1, 12, 8, 8)).shape
    torch.testing.assert_close(model.decode(z), torch.cat([model.decode(one) for one in alone], 2))
    torch.testing.assert_close(model.encode_start(video[:, :, :4], 12), alone[0])


def test_a_loss_of_longer_videos_is_that_of_their_clips():
    """As `--data.frames` may be a multiple of the autoencoder's."""
    model, video = triplane(gan_start=None).eval(), clips(2, frames=8)
    (_, long, _), = model.losses(video, step=1)
    (_, of_clips, _), = model.losses(torch.cat([video[:, :, :4], video[:, :, 4:]]), step=1)
    torch.testing.assert_close(long, of_clips)


def test_a_plane_of_another_clip_changes_what_it_stands_for():
    """z_h and z_w of a frame reach this frame first: with a decoder that looks at no other frame, it alone."""
    model = triplane().eval()
    for block in model.decoder.transformer.blocks:
        torch.nn.init.zeros_(block.time.out.weight)
    spec = model.config.clip_latents
    one, other = (spec.split_planes(model.encode(video)) for video in clips(2)[:, None])
    video = model.decode(spec.join_planes(one))
    for plane in 1, 2:
        mixed = [z.clone() for z in one]
        mixed[plane][:, :, 2] = other[plane][:, :, 2]
        changed = (model.decode(spec.join_planes(mixed)) != video).flatten(3).any(3)[0, 0]
        assert changed.tolist() == [False, False, True, False]
    assert (model.decode(spec.join_planes([other[0], *one[1:]])) != video).flatten(3).any(3).all()


def test_the_variants_with_a_codebook_decode_codes():
    for projection in "pooled", "none":
        model = triplane(projection=projection, codes=8).train()
        (name, loss, metrics), = model.losses(clips(), step=1)
        loss.backward()
        assert name == "autoencoder" and {"commitment_loss", "perplexity"} <= metrics.keys()
        assert all(p.grad is not None for p in model.encoder.parameters())
        z = model.eval().encode(clips())
        seen = []
        model.decoder.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
        model.decode(z)
        vectors = torch.cat([plane.flatten(0, -2) for plane in seen[0]])
        assert (torch.cdist(vectors, model.quantizer.embedding).amin(1) < 1e-3).all()
        assert len(vectors) == z.numel() // 2


@pytest.mark.parametrize("name, encoder, decoder", [
    ("pvdm-autoencoder", 35, 27), ("pvdm-autoencoder-medium", 23, 17), ("pvdm-autoencoder-small", 11, 10)])
def test_the_sizes_are_those_of_table_8(name, encoder, decoder):
    with torch.device("meta"):
        count = parameter_count(named_config(name).autoencoder.build())
    assert count["encoder"] / 1e6 == pytest.approx(encoder, rel=0.04)
    assert count["decoder"] / 1e6 == pytest.approx(decoder, rel=0.04)


def test_the_autoencoder_is_as_large_as_the_official_one():
    """62,064,399 there."""
    found = describe(named_config("pvdm-s-ucf101"))
    assert found["parameters"]["autoencoder"] == pytest.approx(62_064_399, rel=1e-4)
    assert found["latent_shape"] == [4, 2048] and 4 * 2048 == 8192


@pytest.mark.parametrize("change, allowed", [
    ({"size": 9}, "multiple of patch, 4, not 9"), ({"head_dim": 6}, "multiple of 4"), ({"width": 12}, "multiple of 8"),
    ({"projection": "pooled", "projection_heads": 3}, "multiple of projection_heads"),
    ({"projection": "sum"}, "pooled"),
    ({"summary": "last"}, "own, first"), ({"error": "l3"}, "l1, l2"), ({"gan_start": "late"}, "converged"),
    ({"gan_start": 0}, "gan_start must be at least 1"), ({"patience": 0}, "patience"),
    ({"latent_dim": 0}, "latent_dim"),
    ({"codes": -1}, "codes")])
def test_sizes_that_do_not_fit_are_one_line_that_says_what_does(change, allowed):
    with pytest.raises(ValueError, match=allowed) as raised:
        dataclasses.replace(SMALL, **change)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("shape, allowed", [
    ((1, 6, 8, 8), "multiple of 4"), ((1, 0, 8, 8), "multiple of 4"), ((3, 4, 8, 8), "1 channels, not 3"),
    ((1, 4, 8, 16), "8 x 8")])
def test_other_clips_are_refused(shape, allowed):
    with pytest.raises(ValueError, match=allowed):
        triplane().eval().encode(torch.zeros(1, *shape))


def test_convergence_is_no_fall_of_a_percent_within_the_patience():
    """Against the rule written out, over losses that fall, rest and fall again."""
    losses = [1.0 / (1 + step / 50) for step in range(300)] + [0.02] * 2000
    waiting, mean, least, fell = Convergence(patience=60), None, float("inf"), 0
    for step, loss in enumerate(losses, 1):
        expected = step > 60 and step - fell >= 60
        assert waiting.reached(step) == expected
        if expected:
            break
        waiting.update(torch.tensor(loss), step)
        mean = loss if mean is None else 0.99 * mean + 0.01 * loss
        if mean < 0.99 * least:
            least, fell = mean, step
    assert 400 < step < 2300


def judged(model: TriplaneAutoencoder, steps: int, pieces: int = 1, start: int = 1) -> list[int]:
    """Steps of a training in which the discriminators move."""
    settings = dataclasses.replace(TRAINING, accumulate=pieces)
    step, moved = Step(model.train(), settings), []
    for number in range(start, start + steps):
        losses, _ = step(number, [(some,) for some in clips().chunk(pieces)])
        moved += [number] if "discriminator_loss" in losses else []
    return moved


def test_the_discriminators_begin_when_the_rest_has_converged_and_stay():
    """At a rate of 1e-4 the mean does not fall by 1% in 3 steps."""
    for pieces in 1, 2:
        assert judged(triplane(gan_start="converged", patience=3), 8, pieces) == [4, 5, 6, 7, 8]
    assert judged(triplane(gan_start="converged", patience=30), 8) == []
    assert judged(triplane(gan_start=3), 5) == [3, 4, 5] and judged(triplane(), 5) == []


def test_validation_leaves_the_convergence_as_it_is():
    model = triplane(gan_start="converged", patience=3)
    judged(model, 2)
    before = {name: value.clone() for name, value in model.convergence.state_dict().items()}
    with torch.no_grad():
        for step in 2, 50:
            list(model.eval().losses(clips(), step=step))
    torch.testing.assert_close(model.convergence.state_dict(), before, rtol=0, atol=0)


class Clips(Dataset):
    def __init__(self):
        self.video = ((clips(9) + 1) * 127.5).to(torch.uint8).movedim(1, -1).numpy()

    def __len__(self):
        return len(self.video)

    def __getitem__(self, index):
        return {"video": self.video[index]}


def test_resumed_before_they_begin_it_is_the_training_that_was_not_stopped(tmp_path):
    config = dataclasses.replace(SMALL, gan_start="converged", patience=6)  # from step 7 on

    class Stopped(TriplaneAutoencoder):
        def losses(self, video, *, step):
            if step == 6:
                raise KeyboardInterrupt
            yield from super().losses(video, step=step)

    for run, parts in ("whole", [TriplaneAutoencoder]), ("stopped", [Stopped, TriplaneAutoencoder]):
        for kind in parts:
            torch.manual_seed(0)
            model = kind(config)
            try:
                train(model, Clips(), TRAINING, tmp_path / run)
            except KeyboardInterrupt:
                assert kind is Stopped
    whole, stopped = (folder_of(tmp_path / run, 12) / MODEL for run in ("whole", "stopped"))
    assert whole.read_bytes() == stopped.read_bytes()
    lines = [(tmp_path / run / "metrics.jsonl").read_text().splitlines() for run in ("whole", "stopped")]
    starts = ["discriminator_loss" in line for line in lines[0]]
    assert starts == sorted(starts) and 0 < sum(starts) < 12


def test_describe_counts_the_step_with_discriminators():
    """Of a model whose loss has not been seen it counts a late step."""
    with_them = named_config("pvdm-autoencoder-course")
    sizes = [describe(dataclasses.replace(with_them, autoencoder=dataclasses.replace(
        with_them.autoencoder, gan_start=start, patience=100)))["training_memory_mb"]
        for start in (None, 1, "converged")]
    assert sizes[1] == sizes[2] > sizes[0]


def test_the_frame_that_is_judged_and_weights_follow_the_appendix():
    model, video = triplane(gan_start=1, gan_weight=0.5, match_weight=2.0).train(), clips()
    (_, loss, metrics), (_, against, _) = model.losses(video, step=1)
    rebuilt = model.video(model.planes(video))
    expected = (rebuilt - video).abs().mean()
    for name in "frame", "clip":
        expected = expected + 0.5 * metrics[f"{name}_deceived"] + 2 * metrics[f"{name}_matching"]
    torch.testing.assert_close(loss, expected)
    assert against.requires_grad and all(a != b for a, b in pairwise([loss, against]))
