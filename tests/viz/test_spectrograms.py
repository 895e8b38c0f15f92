"""A spectrogram, and the hits of drums below it."""

import numpy as np
import torch
from matplotlib import pyplot

from lvlib.data.drum_sounds import DRUMS
from lvlib.viz import draw_spectrogram


def test_hits_are_marked_below_the_picture_and_the_hat_half_a_frame_later():
    onsets = np.zeros((16, 3), np.uint8)
    onsets[2, 0] = onsets[5, 1] = onsets[7, 2] = 1
    figure, axes = pyplot.subplots()
    picture = torch.rand(4, 16)
    draw_spectrogram(axes, picture, 4000, onsets, "heard")
    assert [line.get_label() for line in axes.lines] == list(DRUMS)
    assert [line.get_xdata().tolist() for line in axes.lines] == [[2], [5], [7.5]]
    assert all(axes.get_ylim()[0] < y < 0 for line in axes.lines for y in line.get_ydata())
    assert np.array_equal(axes.images[0].get_array(), picture) and axes.get_title() == "heard"
    pyplot.close(figure)


def test_without_hits_it_ends_at_the_lowest_pitch():
    figure, axes = pyplot.subplots()
    draw_spectrogram(axes, torch.rand(4, 16), 4000)
    assert axes.get_ylim() == (0, 4000) and not axes.lines
    pyplot.close(figure)
