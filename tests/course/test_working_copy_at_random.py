"""The merge of a copy with a newer course, over random lives of both."""

import copy
import json
import re

import nbformat
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat import NotebookNode, v4
from small_copy import Course, as_notebooks, code, exercise, text

from lvlib.course.copy.matching import cells_of
from lvlib.course.copy.merge import merge

words = st.lists(st.sampled_from(["deep", "blue", "wave", "sea", "x = 1", "ship", "salt", "```", "foam"]), min_size=1,
                 max_size=6).map(" ".join)  # fmt: skip


@st.composite
def lives(draw) -> tuple[Course, dict[str, NotebookNode], Course, list[str]]:
    """A course, a copy of it that somebody has worked in, the course later, and all that the learner has written."""
    names = [f"f{n}" for n in range(draw(st.integers(1, 4)))]
    cells = {name: draw(words) for name in names}
    base = {"01_a": [], "02_b": []}
    for number, name in enumerate(names, 1):
        at = draw(st.sampled_from(list(base)))
        base[at] += [text(cells[name]), *exercise(f"{int(at[:2])}.{number}", name), code(draw(words))]
    base = {name: [*part, code("progress()")] for name, part in base.items()}

    mine, written = as_notebooks(base), []
    for notebook in mine.values():
        for _ in range(draw(st.integers(0, 6))):
            act, place = draw(st.sampled_from("eadm")), draw(st.integers(0, max(0, len(notebook.cells) - 1)))
            said = f"{draw(words)} mine{len(written)}"
            if act == "a" or not notebook.cells:
                notebook.cells.insert(place, draw(st.sampled_from([text, code]))(said))
                written.append(said)
            elif act == "e":
                notebook.cells[place].source = said
                written.append(said)
            elif act == "d":
                notebook.cells.pop(place)
            else:
                notebook.cells.insert(draw(st.integers(0, len(notebook.cells) - 1)), notebook.cells.pop(place))

    row = [cell for part in copy.deepcopy(base).values() for cell in part]
    for _ in range(draw(st.integers(0, 6))):
        act, place = draw(st.sampled_from("eadmn")), draw(st.integers(0, len(row) - 1))
        if act == "e" and not row[place].metadata.get("tags"):
            row[place].source += f" {draw(words)}"
        elif act == "a":
            row.insert(place, draw(st.sampled_from([text, code]))(draw(words)))
        elif act == "d" and len(row) > 1:
            row.pop(place)
        elif act == "m":
            row.insert(draw(st.integers(0, len(row) - 1)), row.pop(place))
        elif act == "n" and (numbered := re.search(r"ex-([\d.]+)", str(row[place].metadata.get("tags")))):
            number = f"{draw(st.integers(3, 9))}.{place + 9}"
            row[place] = nbformat.from_dict(json.loads(json.dumps(row[place]).replace(numbered[1], number)))
    cut = draw(st.integers(0, len(row)))
    names = draw(st.sampled_from([("01_a", "02_b"), ("02_a", "03_b"), ("01_b", "05_c")]))
    course = {name: part for name, part in zip(names, (row[:cut], row[cut:]), strict=True) if part}
    surviving = [said for said in written if any(said in cell.source for n in mine.values() for cell in n.cells)]
    return base, mine, course, surviving


def merged_texts(base: Course, mine: dict[str, NotebookNode], course: Course) -> dict[str, list[str]]:
    def row(notebooks):
        return [cell for name, notebook in notebooks.items() for cell in cells_of(name, notebook)]

    result = merge(row(as_notebooks(base)), row(mine), row(as_notebooks(course)))
    for cells in result.cells.values():
        nbformat.validate(v4.new_notebook(cells=cells))
    return {name: [cell.source for cell in cells] for name, cells in result.cells.items()}


@settings(max_examples=300, deadline=None)
@given(lives())
def test_no_text_of_the_learner_is_ever_lost(life):
    base, mine, course, written = life
    everything = [source for sources in merged_texts(base, mine, course).values() for source in sources]
    for said in written:
        assert sum(re.search(rf"{re.escape(said)}(?!\d)", source) is not None for source in everything) == 1


@settings(max_examples=150, deadline=None)
@given(lives())
def test_a_course_that_has_not_changed_changes_nothing(life):
    base, mine, _, _ = life
    assert merged_texts(base, mine, base) == {name: [c.source for c in n.cells] for name, n in mine.items()}


@settings(max_examples=150, deadline=None)
@given(lives())
def test_a_copy_in_which_nothing_was_done_becomes_the_course(life):
    base, _, course, _ = life
    expected = {name: [cell.source for cell in cells] for name, cells in course.items()}
    assert merged_texts(base, as_notebooks(base), course) == expected
