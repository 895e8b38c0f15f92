import base64
import html
import io
import re
import sys

import matplotlib
import nbformat
import numpy as np
import pytest
from matplotlib import pyplot
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from PIL import Image
from torch import eye, rand

from lvlib.errors import UserError
from lvlib.viz import bars, cell_lines, curves, maps, set_style, show, slider
from lvlib.viz.encoding import rasterise
from lvlib.viz.figures import COLOURS

matplotlib.use("Agg")


def picture(bundle: dict) -> Image.Image:
    data = re.search(r'src="data:image/webp;base64,([^"]*)"', bundle["text/html"]).group(1)
    return Image.open(io.BytesIO(base64.b64decode(data)))


def noise(h: int, w: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (h, w, 3), np.uint8))


def test_show_gives_an_image_its_alt_text(displayed):
    show(noise(20, 30), alt='Noise, "white" & <b>bold</b>.')
    (bundle,) = displayed
    assert set(bundle) == {"text/html", "text/plain"}
    assert bundle["text/plain"] == 'Noise, "white" & <b>bold</b>.'
    assert html.unescape(re.search(r'alt="([^"]*)"', bundle["text/html"]).group(1)) == bundle["text/plain"]
    assert np.array_equal(np.asarray(picture(bundle)), np.asarray(noise(20, 30)))


def test_show_loses_quality_rather_than_grow(displayed):
    show(noise(200, 200), alt="Noise.", limit=30_000)
    assert len(displayed[0]["text/html"]) < 30_000 * 4 / 3 + 200
    loss = np.asarray(picture(displayed[0]), float) - np.asarray(noise(200, 200), float)
    assert 0 < (loss ** 2).mean() < 5000


def test_show_closes_the_figure_and_keeps_its_size(displayed):
    set_style()
    figure = curves({"a": [3, 2, 1]}, "step", "loss")
    show(figure, alt="A falling line.")
    assert not pyplot.fignum_exists(figure.number)
    assert f'width="{round(figure.get_figwidth() * 96)}"' in displayed[0]["text/html"]
    image = picture(displayed[0])
    assert image.width == round(figure.get_figwidth() * 120)
    assert image.convert("RGB").getpixel((1, 1)) == (255, 255, 255)
    assert len(displayed[0]["text/html"]) < 15_000


@pytest.mark.parametrize("alt", ["", " \n", None])
def test_alt_is_required(alt):
    with pytest.raises(UserError, match="alt is empty"):
        show(noise(2, 2), alt=alt)


def test_show_takes_figures_and_images_alone():
    with pytest.raises(UserError, match="a matplotlib figure or a PIL image, not ndarray"):
        show(np.zeros((2, 2, 3)), alt="Black.")


def test_curves_are_over_steps_or_over_their_own_x():
    figure = curves({"a": [5, 6], "b": {10: 1.0, 30: 2.0}}, "step", "loss", "Title", log=True)
    (axes,) = figure.axes
    first, second = axes.lines
    assert first.get_xdata().tolist() == [0, 1] and first.get_ydata().tolist() == [5, 6]
    assert list(second.get_xdata()) == [10, 30] and list(second.get_ydata()) == [1.0, 2.0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["a", "b"]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("step", "loss", "Title")
    assert axes.get_yscale() == "log"
    pyplot.close(figure)


def test_maps_have_lines_between_cells_and_a_cross_where_it_is_asked_for():
    figure = maps({"mask": eye(3).bool(), "numbers": rand(2, 5)}, cross={"mask": (2, 1)}, columns=1)
    mask, numbers = figure.axes
    assert [ax.get_title() for ax in figure.axes] == ["mask", "numbers"]
    assert list(mask.get_xticks()) == list(mask.get_yticks()) == [-0.5, 0.5, 1.5, 2.5]
    assert list(numbers.get_yticks()) == [-0.5, 0.5, 1.5] and len(numbers.get_xticks()) == 6
    assert mask.lines[0].get_xydata().tolist() == [[1, 2]] and not numbers.lines
    assert mask.images[0].get_cmap().name == "Blues" and numbers.images[0].get_clim()[1] < 1
    assert all(len(ax.lines) == 1 for ax in maps({str(i): eye(2).bool() for i in range(5)}, (0, 0)).axes)
    pyplot.close("all")


def test_lines_run_between_cells_and_not_through_them():
    figure, axes = pyplot.subplots(figsize=(5, 4), dpi=100)
    axes.set_position([0.2, 0.25, 0.6, 0.5])  # from pixel 100 to 400, and from 100 to 300: a cell is 100 pixels
    axes.imshow([[1, 1, 1], [1, 1, 1]], cmap="gray", vmin=0, vmax=1)
    cell_lines(axes, 2, 3, colour="red")
    figure.canvas.draw()
    red = np.asarray(figure.canvas.buffer_rgba())[95:305, 95:405, 1] < 250
    pyplot.close(figure)
    rows, columns = ((red.mean(axis) > 0.9).nonzero()[0] - 5 for axis in (1, 0))
    assert {round(y / 100) for y in rows} == {0, 1, 2} and len(rows) <= 6
    assert {round(x / 100) for x in columns} == {0, 1, 2, 3} and len(columns) <= 8


def test_bars_carry_their_values():
    figure = bars({"a": 12.34, "b": 0.5}, "perplexity")
    (axes,) = figure.axes
    assert [bar.get_height() for bar in axes.patches] == [12.34, 0.5]
    assert [text.get_text() for text in axes.texts] == ["12.3", "0.5"]
    pyplot.close(figure)


# ---- as they are read on the web


@pytest.fixture
def for_the_web(monkeypatch):
    monkeypatch.setenv("LVLIB_PICTURES", "png")


def as_png(bundle: dict) -> Image.Image:
    assert set(bundle) == {"image/png", "text/plain", "metadata"}
    assert bundle["metadata"]["image/png"]["alt"] == bundle["text/plain"]
    image = Image.open(io.BytesIO(base64.b64decode(bundle["image/png"])))
    assert image.format == "PNG"
    return image


def test_on_the_web_an_image_is_a_png_with_alt_text(displayed, for_the_web):
    show(noise(20, 30), alt='Noise, "white" & <b>bold</b>.')
    assert np.array_equal(np.asarray(as_png(displayed[0])), np.asarray(noise(20, 30)))
    assert displayed[0]["metadata"]["image/png"] == {"alt": 'Noise, "white" & <b>bold</b>.', "width": 30}


@pytest.mark.parametrize("colours", [1, 2, 256, 257])
def test_a_png_of_few_colours_is_exact_and_has_a_palette(displayed, for_the_web, colours):
    values = np.random.default_rng(0).choice(1 << 24, colours, replace=False)
    pixels = values[np.arange(40 * 50).reshape(40, 50) % colours]
    exact = np.stack([pixels >> 16, pixels >> 8 & 255, pixels & 255], -1).astype(np.uint8)
    show(Image.fromarray(exact), alt="Dots.")
    image = as_png(displayed[0])
    assert np.array_equal(np.asarray(image.convert("RGB")), exact)
    assert image.mode == ("P" if colours <= 256 else "RGB")


def test_a_large_png_loses_colours_rather_than_grow(displayed, for_the_web):
    rows, columns = np.mgrid[:200, :300]
    smooth = np.stack([rows, columns * 0.8, 255 - rows], -1)
    grain = np.random.default_rng(0).normal(0, 6, smooth.shape)
    picture = (smooth + grain).clip(0, 255).astype(np.uint8)
    show(Image.fromarray(picture), alt="A slope with grain.")
    image = as_png(displayed[0])
    assert len(image.getcolors()) <= 32 and len(displayed[0]["image/png"]) < 50_000
    loss = np.asarray(image.convert("RGB"), float) - picture
    assert 10 * np.log10(255**2 / (loss**2).mean()) > 20


def test_black_and_white_stay_so_in_few_colours(displayed, for_the_web):
    picture = np.zeros((300, 300), np.uint8)
    picture[:, :150] = np.random.default_rng(0).integers(0, 256, (300, 150))
    picture[:, 150:200] = 255
    show(Image.fromarray(picture), alt="Noise, a white bar, a black one.", limit=1000)
    image = np.asarray(as_png(displayed[0]).convert("L"))
    assert (image[:, 150:200] == 255).all() and (image[:, 200:] == 0).all()


def test_on_the_web_a_figure_keeps_its_size_and_its_alt_text(displayed, for_the_web):
    set_style()
    figure = curves({"a": [3, 2, 1]}, "step", "loss")
    show(figure, alt="A falling line.")
    assert displayed[0]["metadata"]["image/png"]["width"] == round(figure.get_figwidth() * 96)
    assert as_png(displayed[0]).width == round(figure.get_figwidth() * 120)
    assert len(displayed[0]["image/png"]) < 20_000


def test_pictures_of_another_kind_are_refused(monkeypatch):
    monkeypatch.setenv("LVLIB_PICTURES", "pgn")
    with pytest.raises(UserError, match="unknown LVLIB_PICTURES 'pgn'; did you mean png"):
        show(noise(2, 2), alt="Noise.")


def squares(side: int, grey: int = 9) -> Image.Image:
    return Image.new("RGB", (side, side), (grey, grey, grey))


def test_slider_shows_its_picture_without_ipywidgets(displayed, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    slider(squares, alt="A grey square.", side=[2, 4, 8])
    (bundle,) = displayed
    assert picture(bundle).size == (4, 4) and bundle["text/plain"] == "A grey square."


def test_moving_a_slider_redraws_the_picture_in_place(displayed):
    slider(squares, alt="A grey square.", side=range(2, 9), grey=[10, 200])
    still, box = displayed
    assert picture(still).size == (5, 5)
    side, grey = box.children
    side.value, grey.value = 8, 10
    assert picture(displayed[0]).size == (8, 8)
    assert picture(displayed[0]).convert("RGB").getpixel((0, 0)) == (10, 10, 10)
    assert len(displayed) == 2


def test_on_the_web_a_slider_is_its_picture(displayed, for_the_web):
    slider(squares, alt="A grey square.", side=[2, 4, 8])
    assert as_png(displayed[0]).size == (4, 4)


def test_slider_refuses_an_empty_range():
    with pytest.raises(UserError, match="the range side is empty"):
        slider(squares, alt="A grey square.", side=[])


def test_a_notebook_runs_without_a_browser_and_its_web_page_has_alt_texts():
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(
        "import numpy as np\n"
        "from PIL import Image\n"
        "from lvlib import viz\n"
        "viz.show_video(np.zeros((4, 8, 8, 1), np.uint8), alt='Darkness.')\n"
        "viz.show(viz.curves({'a': [1, 2]}, 'x', 'y'), alt='A line.')\n"
        "viz.slider(lambda n: Image.new('L', (n, n)), alt='A square.', n=[1, 2, 3])\n")])
    NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    kinds = [set(output.data) for output in notebook.cells[0].outputs]
    still = {"text/html", "text/plain"}
    assert kinds == [still, still, still, still, {"application/vnd.jupyter.widget-view+json", "text/plain"}]
    page, _ = HTMLExporter().from_notebook_node(notebook)
    alts = re.findall(r'<img[^>]*alt="([^"]*)"', page)
    assert alts == ["Frames of the video: Darkness.", "A line.", "A square."]
    assert "No description has been provided" not in page


def test_a_thin_line_keeps_its_colour_beside_a_picture_of_many():
    """A legend tells two lines apart by their colours."""
    set_style()
    figure, (left, right) = pyplot.subplots(1, 2)
    left.imshow(np.random.default_rng(0).random((40, 40, 3)))
    for i, colour in enumerate(COLOURS):
        right.plot([0, 1], [i, i], color=colour, lw=1)
    colours = np.unique(np.asarray(rasterise(figure)[1].convert("RGB")).reshape(-1, 3), axis=0).astype(int)
    for colour in COLOURS:
        wanted = [int(colour[i:i + 2], 16) for i in (1, 3, 5)]
        assert np.abs(colours - wanted).max(1).min() <= 8, colour
