"""Executed notebooks as they are read on the web, where scripts, frames, styles and data: images are stripped."""

import copy
import re
from pathlib import Path

import bleach
import nbformat
import pytest
from bs4 import BeautifulSoup
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from nbformat import NotebookNode

from lvlib.course.tool.build import executed_path, kernel_environment
from lvlib.course.tool.forms import output_problems, run_again, tidy_outputs
from lvlib.course.tool.notebook import code_cells, read_sources

ROOT = Path(__file__).parents[2]
TAGS = ["a", "b", "br", "code", "details", "div", "em", "h1", "h2", "h3", "hr", "i", "img", "li", "ol", "p", "pre",
        "span", "strong", "summary", "table", "tbody", "td", "th", "thead", "tr", "ul"]
ATTRIBUTES = {"a": ["href"], "img": ["src", "alt", "width", "height"]}
LIVELY = r"<(img|svg|canvas|video|iframe)\b"


def as_github_shows_it(notebook: NotebookNode) -> NotebookNode:
    """What is left of its outputs: text/html without what acts, and without images that hold their own bytes."""
    notebook = copy.deepcopy(notebook)
    for output in outputs_of(notebook):
        if text := output.get("data", {}).get("text/html"):
            text = re.sub(r"(?s)<(script|style)\b.*?</\1>", "", text)
            output.data["text/html"] = bleach.clean(text, TAGS, ATTRIBUTES, ["http", "https"], strip=True)
    return notebook


def outputs_of(notebook: NotebookNode) -> list[NotebookNode]:
    return [output for cell in code_cells(notebook) for output in cell.outputs]


def unreadable(notebook: NotebookNode) -> list[str]:
    """The pictures and players of a notebook of which nothing is left there but text, or a picture without alt text."""
    problems = []
    displayed = [output for output in outputs_of(notebook) if output.output_type in ("display_data", "execute_result")]
    shown = [output for output in outputs_of(as_github_shows_it(notebook)) if "data" in output]
    for index, output in enumerate(displayed):
        name = output.data.get("text/plain", "")
        alt = shown[index].metadata.get("image/png", {}).get("alt")
        is_picture = any(kind.startswith("image/") for kind in output.data)
        if is_picture and not (alt and set(shown[index].data) == {"image/png", "text/plain"}):
            problems.append(f"no PNG with alt text: {name}")
        if re.search(LIVELY, output.data.get("text/html", "")):
            below = displayed[index + 1] if index + 1 < len(displayed) else NotebookNode(data={}, metadata={})
            frames = below.metadata.get("image/png", {}).get("alt")
            if "image/png" not in below.data or frames != f"Frames of the video: {name.removeprefix('Video: ')}":
                problems.append(f"stripped, and no strip of frames below it: {name}")
    return problems


def alts_of_the_page(notebook: NotebookNode) -> list[str]:
    """The alt text of each picture that the outputs have in a page made of what is left."""
    exporter = HTMLExporter(template_name="classic")  # other templates leave out the alt text of image/png
    page, _ = exporter.from_notebook_node(as_github_shows_it(notebook))
    pictures = BeautifulSoup(page, "html.parser").find_all("img", src=re.compile("^data:image/png"))
    return [picture.get("alt", "") for picture in pictures]


@pytest.mark.parametrize("source", read_sources(ROOT), ids=lambda source: source.name)
def test_every_picture_of_an_executed_notebook_is_there(source):
    notebook = nbformat.read(ROOT / executed_path(source), as_version=4)
    if run_again(notebook, source):
        pytest.skip("run again since it was built: `python -m lvlib.course check --strict`, which CI runs, says so")
    assert unreadable(notebook) == []
    pictures = [output for output in outputs_of(notebook) if "image/png" in output.get("data", {})]
    alts = alts_of_the_page(notebook)
    assert len(alts) == len(pictures) > 0 and all(alt.strip() for alt in alts)


SHOW_ALL = """
import numpy as np
from PIL import Image
from lvlib import viz
viz.show_video(np.zeros((4, 8, 8, 1), np.uint8), alt='Darkness.')
viz.show(viz.curves({'a': [1, 2]}, 'x', 'y'), alt='A "line".')
viz.slider(lambda n: Image.new('L', (n, n)), alt='A square.', n=[1, 2, 3])
viz.pad(lambda name: None, ['on'], np.zeros((4, 8, 8, 1), np.uint8), alt='A pad.')
"""


@pytest.fixture(scope="module")
def shown_in() -> dict[str, NotebookNode]:
    """The same notebook as the build runs it, and live."""
    notebooks = {}
    for name in "png", "html":
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SHOW_ALL)])
        environment = {**kernel_environment(ROOT, "smoke"), "LVLIB_PICTURES": name}
        NotebookClient(notebook, timeout=600, kernel_name="python3").execute(env=environment)
        tidy_outputs(notebook)
        notebooks[name] = notebook
    return notebooks


def test_whatever_viz_shows_can_be_read_on_the_web(shown_in):
    alts = ["Frames of the video: Darkness.", 'A "line".', "A square.", "A pad."]
    assert unreadable(shown_in["png"]) == [] and alts_of_the_page(shown_in["png"]) == alts
    assert not [problem for problem in output_problems(shown_in["png"]) if "picture" in problem]


def test_the_filter_finds_what_is_stripped(shown_in):
    assert len(unreadable(shown_in["html"])) == 5 and alts_of_the_page(shown_in["html"]) == []
    assert len([problem for problem in output_problems(shown_in["html"]) if "picture in text/html" in problem]) == 4
