"""Sound as a picture and as codes, against sums written out, and what its codes have to keep."""

import math

import numpy as np
import pytest
import torch

from lvlib.data.drum_sounds import DRUMS, FULL, drum
from lvlib.models.tats.sound import BINS, COLUMNS, FRAME, TOKENS, SoundVQVAE, spectrogram

RATE = 8000


def test_a_spectrogram_is_the_fourier_sum_by_hand():
    """A column at sample 300, as the definition says: a Hann window, a sum of cosines and sines, bands of four."""
    audio = torch.randn(1, 1000, generator=torch.Generator().manual_seed(0))
    part = audio[0, 300 - FRAME // 2:300 + FRAME // 2].double().numpy()
    n = np.arange(FRAME)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * n / FRAME)
    loud = [abs(np.sum(part * hann * np.exp(-2j * np.pi * k * n / FRAME))) for k in range(FRAME // 2)]
    expected = np.log1p(np.reshape(loud, (BINS, 4)).mean(1))
    np.testing.assert_allclose(spectrogram(audio, 100)[0, :, 3], expected, rtol=1e-4)


@pytest.mark.parametrize("hertz", [500, 1250, 3000])
def test_a_sine_lights_the_band_of_its_pitch(hertz):
    """Of amplitude a, in the middle of a frequency, it has a * FRAME / 4 there and half of it in both neighbours."""
    amplitude = 0.5
    audio = amplitude * torch.sin(2 * math.pi * hertz * torch.arange(4000) / RATE)[None]
    k = hertz * FRAME / RATE
    assert k == int(k) and k % 4 == 0  # so one neighbour is in the band below
    middle = spectrogram(audio, 250)[0, :, 8]
    assert middle.argmax() == k // 4
    assert middle[int(k) // 4].item() == pytest.approx(math.log1p(amplitude * FRAME / 4 * 1.5 / 4), rel=1e-3)
    assert middle[int(k) // 4 - 1].item() == pytest.approx(math.log1p(amplitude * FRAME / 4 * 0.5 / 4), rel=1e-3)


def test_silence_is_nothing_and_each_sound_is_looked_at_alone():
    audio = torch.randn(3, 2000)
    audio[1] = 0
    alone = torch.cat([spectrogram(one[None], 125) for one in audio])
    assert (spectrogram(audio, 125) == alone).all() and (alone[1] == 0).all()
    assert spectrogram(audio, 125).shape == (3, BINS, 16)


@pytest.mark.parametrize("hop", [125, 200, 1000])
def test_every_column_is_the_transform_of_the_samples_around_it_and_of_silence_beyond_the_ends(hop):
    """All columns of two sounds against one matrix of the transform, written out."""
    audio = torch.randn(2, 4000, generator=torch.Generator().manual_seed(1))
    n, k = np.arange(FRAME), np.arange(FRAME // 2)
    matrix = np.exp(-2j * np.pi * k[:, None] * n / FRAME) * np.sin(np.pi * n / FRAME) ** 2  # Hann's window
    around = np.pad(audio.double().numpy(), ((0, 0), (FRAME // 2, FRAME // 2)))
    seen = np.stack([around[:, begin:begin + FRAME] for begin in range(0, 4000, hop)], -1)
    expected = np.log1p(abs(matrix @ seen).reshape(2, BINS, 4, -1).mean(2))
    np.testing.assert_allclose(spectrogram(audio, hop), expected, rtol=1e-4)


def test_codes_belong_to_latent_frames_and_know_only_their_neighbourhood():
    torch.manual_seed(0)
    model = SoundVQVAE(4000, 32).eval()
    audio = torch.randn(2, 16_000)
    codes = model.encode(audio)
    assert codes.shape == (2, 4 * TOKENS) and codes.dtype == torch.int64 and codes.max() < 32
    # a code: 4 columns and one more on either side of each convolution; a column: half a window
    hop, reach = 4000 // COLUMNS, 4
    changed = audio.clone()
    changed[:, :4000] = torch.randn(2, 4000)
    with torch.no_grad():
        before, after = (model.vectors(spectrogram(x, hop)) for x in (audio, changed))
    first = 4000 // (4 * hop) + 1
    assert torch.equal(before[:, first + reach:], after[:, first + reach:])
    assert not torch.equal(before[:, :4], after[:, :4])


def test_it_learns_to_tell_the_drums_apart():
    """After some steps on random hits, a drum's code where it is hit is not that of another drum, or of silence."""
    torch.manual_seed(0)
    model = SoundVQVAE(4000, 16)
    hits = torch.randint(len(DRUMS) + 1, (24, 8))  # at every other code; the last kind is silence
    hits[:, 0] = torch.arange(24) % 4
    sounds = torch.zeros(24, 17_000)
    for number, name in enumerate(DRUMS):
        hit = torch.tensor(drum(name, RATE) / FULL, dtype=torch.float32)
        for clip, slot in (hits == number).nonzero().tolist():
            sounds[clip, 2000 * slot:2000 * slot + len(hit)] += hit
    sounds = sounds[:, :16_000]
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(120):
        optimizer.zero_grad()
        loss = model.loss(sounds)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2
    codes = model.eval().encode(sounds)[:, ::2]
    usual = [codes[hits == kind].mode().values.item() for kind in range(4)]
    assert len(set(usual)) == 4
    assert all((codes[hits == kind] == usual[kind]).float().mean() > 0.5 for kind in range(4))


def test_a_latent_frame_has_a_whole_number_of_columns():
    with pytest.raises(ValueError, match="multiple of 16 samples of sound, not 4001"):
        SoundVQVAE(4001, 8)


def test_codes_are_the_same_in_mixed_precision():
    """A prior that learns in bf16 must learn the words that it is told in fp32."""
    torch.manual_seed(0)
    model, audio = SoundVQVAE(4000, 32), torch.randn(4, 16_000)
    model.train().loss(audio)  # puts the codebook on the sounds
    codes = model.eval().encode(audio)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(model.encode(audio), codes)
