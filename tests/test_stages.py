"""What stages say of their latents and conditions: sizes by hand, examples in range, planes there and back."""

import pytest
import torch

from lvlib.stages import ConditionSpec, LatentSpec

PLANES = ((4, 4), (2, 4), (2, 4))  # of a clip of 2 latent frames of 4 x 4
SPECS = {  # shape, num_codes, planes -> tokens, codebooks, dtype, in words
    "one codebook": (LatentSpec((2, 3, 4), 7), 24, 1, torch.int64, "2 x 3 x 4 codes of a clip, each one of 7"),
    "two codebooks": (LatentSpec((2, 3, 4, 2), 7), 48, 2, torch.int64, "2 x 3 x 4 x 2 codes of a clip, each one of 7"),
    "a grid": (LatentSpec((5, 2, 3, 4)), 24, 0, torch.float32, "5 x 2 x 3 x 4 numbers a clip"),
    "planes": (LatentSpec((5, 32), planes=PLANES), 32, 0, torch.float32, "5 x 32 numbers a clip"),
}


@pytest.mark.parametrize("spec, tokens, codebooks, dtype, words", SPECS.values(), ids=SPECS)
def test_latents_say_what_they_are(spec, tokens, codebooks, dtype, words):
    """Of continuous latents a token is a vector: its numbers are not counted."""
    assert (spec.tokens, spec.codebooks, spec.dtype, str(spec)) == (tokens, codebooks, dtype, words)


@pytest.mark.parametrize("name, kind, shape, is_sound", [
    ("audio", "signal", (16, 800), True), ("audio", "signal", (800,), False), ("pose", "signal", (16, 800), False),
    ("audio", "per-frame", (16, 800), False), ("audio", "tokens", (16, 8), False)])
def test_sound_is_the_signal_audio_with_samples_for_each_frame(name, kind, shape, is_sound):
    assert ConditionSpec(name, kind, shape).is_sound == is_sound


@pytest.mark.parametrize("spec", [values[0] for values in SPECS.values()], ids=SPECS)
def test_an_example_is_of_the_kind(spec):
    torch.manual_seed(0)
    example = spec.example(9)
    assert example.shape == (9, *spec.shape) and example.dtype == spec.dtype
    if spec.num_codes:
        assert example.unique().tolist() == list(range(spec.num_codes))
    else:
        assert example.mean().abs() < 0.2 and 0.8 < example.std() < 1.2
    torch.manual_seed(0)
    assert torch.equal(example, spec.example(9)) and not torch.equal(example, spec.example(9))


def test_planes_are_split_and_joined():
    spec = LatentSpec((5, 32), planes=PLANES)
    latents = spec.example(3)
    planes = spec.split_planes(latents)
    assert [tuple(plane.shape) for plane in planes] == [(3, 5, 4, 4), (3, 5, 2, 4), (3, 5, 2, 4)]
    assert torch.equal(spec.join_planes(planes), latents)
    for start, plane in zip((0, 16, 24), planes, strict=True):  # row by row, one plane after the other
        for row, column in (0, 0), (0, 3), (1, 2):
            assert torch.equal(plane[:, :, row, column], latents[:, :, start + 4 * row + column])
        assert plane.untyped_storage().data_ptr() == latents.untyped_storage().data_ptr()  # a view


@pytest.mark.parametrize("spec", [LatentSpec((5, 32)), LatentSpec((2, 3, 4), 7)], ids=str)
def test_what_are_no_planes_cannot_be_split(spec):
    with pytest.raises(ValueError, match="these latents are no planes"):
        spec.split_planes(spec.example(2))


@pytest.mark.parametrize("spec, shape, dtype", [
    (ConditionSpec("label", "class", (), 5), (3,), torch.int64),
    (ConditionSpec("actions", "per-frame", (4, 2)), (3, 4, 2), torch.float32),
    (ConditionSpec("frames", "given-frames", (3, 1, 8, 8)), (3, 3, 1, 8, 8), torch.float32),
    (ConditionSpec("text", "tokens", (6,), 9), (3, 6), torch.int64),
    (ConditionSpec("audio", "signal", (100,)), (3, 100), torch.float32),
], ids=lambda value: getattr(value, "kind", ""))
def test_an_example_of_a_condition(spec, shape, dtype):
    """Zeros: a class and a token that there is, whatever their number."""
    example = spec.example(3)
    assert example.shape == shape and example.dtype == spec.dtype == dtype and not example.any()
