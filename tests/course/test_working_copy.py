"""The learner's copy, `my/`: made once, never overwritten; a newer course comes in, and every answer stays."""

import contextlib
import copy
import itertools
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbformat import v4
from small_copy import answer, code, edit, exercise, files, find, first_course, read, sources, text, write_course

from lvlib.course.__main__ import main
from lvlib.course.copy.folder import update
from lvlib.course.copy.merge import BESIDE, GONE
from lvlib.errors import UserError


@pytest.fixture
def root(tmp_path) -> Path:
    """A checkout with a fresh working copy."""
    write_course(tmp_path, first_course())
    assert list(update(tmp_path)) == ["made my/ from notebooks/: your copy, to work in"]
    return tmp_path


# ---- made once


def test_a_copy_is_what_the_course_says(root):
    for name, cells in first_course().items():
        assert sources(root, name) == [cell.source for cell in cells]


def test_without_a_newer_course_nothing_is_touched(root):
    answer(root, "01_waves", "sine")
    before = files(root)
    assert list(update(root)) == [] and files(root) == before


def test_what_was_run_in_notebooks_is_no_newer_course(root):
    path = root / "notebooks" / "01_waves.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].outputs, notebook.metadata.a = [v4.new_output("stream", text="run")], 1
    nbformat.write(notebook, path)
    assert list(update(root)) == []


def test_a_copy_that_is_gone_is_made_anew(root):
    answer(root, "01_waves", "sine")
    (root / "my" / "01_waves.ipynb").unlink()
    assert list(update(root)) == ["my/01_waves.ipynb: new"]
    assert sources(root, "01_waves") == [cell.source for cell in first_course()["01_waves"]]


# ---- a newer course


def test_edits_of_the_course_come_in_beside_the_answers(root):
    mine = answer(root, "01_waves", "sine")
    course = first_course()
    course["01_waves"][0].source = "# Waves\nAll about waves and much water."
    course["01_waves"].insert(1, text("A new picture of the sea."))
    del course["01_waves"][6]  # A sine goes up and down
    write_course(root, course)
    first, last = update(root)
    assert first == "my/01_waves.ipynb: 1 cell changed; 1 cell new; 1 cell removed; your answers kept: 1.1"
    assert re.fullmatch(r"as they were before: my/\.course/before-\d{8}-\d{6}/", last)
    kept = read(root, "01_waves")
    expected = [cell.source for cell in course["01_waves"]]
    expected[4] = mine
    assert [cell.source for cell in kept.cells] == expected
    assert kept.cells[4].outputs[0].text == "mine" and kept.cells[4].execution_count == 7
    backup = nbformat.read(root / last.removeprefix("as they were before: ") / "01_waves.ipynb", as_version=4)
    assert backup.cells[3].source == mine
    assert list(update(root)) == []


def test_an_answer_that_keeps_its_stub_as_a_comment_is_kept_as_one(root):
    stub = 'raise NotImplementedError("exercise 1.1")'
    mine = f"def sine(x):\n    # {stub}\n    return x"
    edit(root, "01_waves", lambda cells: find(cells, "exercise", "sine").update(source=mine))
    course = first_course()
    course["01_waves"][0].source += " More."
    write_course(root, course)
    assert next(iter(update(root))) == "my/01_waves.ipynb: 1 cell changed; your answers kept: 1.1"


def test_where_both_changed_a_cell_the_learners_stays_and_the_courses_is_shown(root):
    mine = answer(root, "01_waves", "sine")
    edit(root, "01_waves", lambda cells: cells[0].update(source="# Waves\nMy own note about waves."))
    course = first_course()
    course["01_waves"][0].source = "# Waves\nAll about waves and even more."
    course["01_waves"][3].source = exercise("1.1", "sine", doc="Now of degrees.")[1].source
    write_course(root, course)
    report, _ = update(root)
    assert report.endswith('2 changed by you and by the course: look for "From the newer course"')
    cells = read(root, "01_waves").cells
    assert [cells[0].source, cells[1].source] == [
        "# Waves\nMy own note about waves.", f"{BESIDE}\n\n# Waves\nAll about waves and even more."]
    place = [cell.source for cell in cells].index(mine)
    beside = cells[place + 1]
    assert beside.cell_type == "markdown" and beside.source.startswith(f"{BESIDE}\n\n```python\ndef sine(x):\n")
    assert "Now of degrees." in beside.source and 'check("1.1"' in cells[place + 2].source


def test_other_line_ends_are_no_news(root):
    mine = answer(root, "01_waves", "sine")
    edit(root, "01_waves", lambda cells: cells[0].update(source=f"{cells[0].source} And mine."))
    course = first_course()
    course["01_waves"][0].source = "# Waves\nAll about\nwaves and water."
    course["01_waves"][3].source = exercise("1.1", "sine", doc="What is\n    asked for.")[1].source
    course["01_waves"][5].source = "A sine goes up\nand down for ever."
    write_course(root, course)
    assert next(iter(update(root))) == "my/01_waves.ipynb: your answers kept: 1.1"
    found = sources(root, "01_waves")
    assert found[0].endswith("water. And mine.") and found[3] == mine and found[5] == course["01_waves"][5].source


def test_both_wrote_the_same(root):
    course = first_course()
    course["01_waves"][0].source = "# Waves\nAll about waves and water, in the same words."
    edit(root, "01_waves", lambda cells: cells[0].update(source=course["01_waves"][0].source))
    write_course(root, course)
    assert next(iter(update(root))) == "my/01_waves.ipynb: nothing but numbers changed"
    assert sources(root, "01_waves") == [cell.source for cell in course["01_waves"]]


def test_the_learners_cells_stay_at_their_place_and_what_was_deleted_stays_deleted(root):
    def change(cells):
        cells.insert(0, text("My very first cell"))
        cells.insert(4, code("scratch = 1"))  # between text and stub of 1.1
        cells[:] = [cell for cell in cells if not cell.source.startswith("A sine goes")]
        cells.append(code("my_last = 2"))

    edit(root, "01_waves", change)
    course = first_course()
    course["01_waves"].insert(0, text("A new head."))
    course["01_waves"].append(text("A new foot."))
    write_course(root, course)
    list(update(root))
    found = sources(root, "01_waves")
    assert found[:4] == ["A new head.", "My very first cell", first_course()["01_waves"][0].source, "import math"]
    assert found[5] == "scratch = 1" and found[6].startswith("def sine")
    assert found[-3:] == ["progress()", "my_last = 2", "A new foot."]
    assert not any(source.startswith("A sine goes") for source in found)


def test_cells_that_were_moved(root):
    """By the learner: they stay there. By the course: they follow, with what the learner has written."""
    mine = answer(root, "01_waves", "wave")
    edit(root, "01_waves", lambda cells: cells.insert(2, cells.pop(5)))  # A sine goes: before 1.1
    course = first_course()
    cells = course["01_waves"]
    cells[2:2] = cells[6:9]  # 1.2 before 1.1
    del cells[9:12]
    write_course(root, course)
    list(update(root))
    found = sources(root, "01_waves")
    assert [source.split("\n")[0] for source in found] == [
        "# Waves", "import math", "A sine goes up and down for ever.", "### Exercise 1.2 · wave", "def wave(x):",
        'wave = check("1.2", wave)', "### Exercise 1.1 · sine", "def sine(x):", 'sine = check("1.1", sine)',
        "progress()"]  # fmt: skip
    assert mine in found


def test_a_deleted_exercise_leaves_its_answer(root):
    mine = answer(root, "01_waves", "sine")
    course = first_course()
    del course["01_waves"][2:5]
    write_course(root, course)
    report, _ = update(root)
    assert 'look for "No longer in the course"' in report
    kept = read(root, "01_waves").cells[2]
    assert kept.cell_type == "markdown" and mine in kept.source
    assert kept.source.startswith(GONE[:-1]) and "exercise 1.1, sine" in kept.source


def test_numbers_change_and_a_notebook_is_split(root):
    """02 becomes 03, 01 becomes 01 and 02, and each exercise has another number."""
    sine, wave = answer(root, "01_waves", "sine"), answer(root, "01_waves", "wave")
    depth = answer(root, "02_water", "depth")
    edit(root, "01_waves", lambda cells: cells.append(code("after the end")))
    edit(root, "02_water", lambda cells: cells.insert(5, code("print('mine, after depth')")))
    old = first_course()
    course = {
        "01_swings": [*old["01_waves"][:2], *exercise("1.1", "swing"), *exercise("1.2", "sine"), code("progress()")],
        "02_waves": [text("# Waves again, and now they are high."), *exercise("2.1", "wave"), code("progress()")],
        "03_water": [*old["02_water"][:2], *exercise("3.1", "rain"), *exercise("3.2", "depth"), *old["02_water"][5:]],
    }
    write_course(root, course)
    *lines, _ = update(root)
    assert set(files(root)) == {"01_swings.ipynb", "02_waves.ipynb", "03_water.ipynb"}
    assert [line.split(":")[0] for line in lines] == [
        "my/01_swings.ipynb", "my/02_waves.ipynb (was 01_waves)", "my/03_water.ipynb (was 02_water)"]
    assert lines[0] == "my/01_swings.ipynb: new; your answers kept: 1.2"
    for name, mine, id, function in [("01_swings", sine, "1.2", "sine"), ("02_waves", wave, "2.1", "wave"),
                                     ("03_water", depth, "3.2", "depth")]:
        cells = read(root, name).cells
        place = [cell.source for cell in cells].index(mine)
        assert cells[place].metadata.tags == ["exercise", f"ex-{id}"]
        assert cells[place + 1].source == f'{function} = check("{id}", {function})'
        assert any(f"answers kept: {id}" in line for line in lines)
    assert "raise NotImplementedError" in find(read(root, "03_water").cells, "exercise", "rain").source
    found = sources(root, "03_water")
    assert found[found.index('depth = check("3.2", depth)') + 1] == "print('mine, after depth')"
    assert sources(root, "02_waves")[-1] == "after the end"
    assert list(update(root)) == []


def test_a_notebook_whose_parts_are_in_others_now(root):
    mine = answer(root, "02_water", "depth")
    edit(root, "02_water", lambda cells: cells.append(text("My last words.")))
    course = first_course()
    course["01_waves"] += exercise("1.3", "depth")
    del course["02_water"]
    write_course(root, course)
    first, second, _ = update(root)
    assert first == "my/01_waves.ipynb: 2 cells changed; 4 cells removed; your answers kept: 1.3"
    assert second == "my/02_water.ipynb: divided; what you wrote there is in the notebooks above"
    assert set(files(root)) == {"01_waves.ipynb"}
    assert mine in sources(root, "01_waves") and sources(root, "01_waves")[-1] == "My last words."


def test_a_number_that_another_exercise_has_now_takes_no_answer(root):
    mine = answer(root, "01_waves", "sine")
    course = first_course()
    course["01_waves"][2:5] = exercise("1.1", "tide", doc="Something else altogether: twice a day, by the moon.")
    write_course(root, course)
    list(update(root))
    cells = read(root, "01_waves").cells
    assert "raise NotImplementedError" in find(cells, "exercise", "def tide").source
    assert sum(mine in cell.source for cell in cells) == 1


def test_an_exercise_that_has_another_name_keeps_its_answer(root):
    mine = answer(root, "02_water", "depth")
    course = first_course()
    course["02_water"][2:5] = exercise("2.1", "water_depth")
    write_course(root, course)
    list(update(root))
    cells = read(root, "02_water").cells
    assert mine in find(cells, "ex-2.1", "my depth").source


def test_a_notebook_that_the_course_no_longer_has_stays(root):
    answer(root, "02_water", "depth")
    before = sources(root, "02_water")
    course = first_course()
    del course["02_water"]
    write_course(root, course)
    assert list(update(root)) == ["my/02_water.ipynb: no longer part of the course; it stays as it is"]
    assert sources(root, "02_water") == before and list(update(root)) == []


@pytest.mark.parametrize("changed", ['# at last\ndepth = check("2.1", depth)',
                                     "depth = check( '2.1', lambda x: '2.1')"])
def test_a_check_that_the_learner_changed_goes_on_with_its_exercise(root, changed):
    edit(root, "02_water", lambda cells: cells[4].update(source=changed))
    course = first_course()
    course["02_water"][2:2] = exercise("2.1", "rain")
    course["02_water"][5:8] = exercise("2.2", "depth")
    write_course(root, course)
    list(update(root))
    found = sources(root, "02_water")
    kept = changed.replace("2.1", "2.2", 1)
    assert found.index(kept) == 7 and not any(BESIDE in source for source in found)


def test_a_check_that_both_changed(root):
    edit(root, "02_water", lambda cells: cells[4].update(source='depth = check("2.1", depth)  # mine'))
    course = first_course()
    course["02_water"][2:2] = exercise("2.1", "rain")
    course["02_water"][5:8] = exercise("2.2", "depth")
    course["02_water"][7].source += "\nprint(depth)"
    write_course(root, course)
    list(update(root))
    found = sources(root, "02_water")
    place = found.index('depth = check("2.2", depth)  # mine')
    assert found[place + 1] == f'{BESIDE}\n\n```python\ndepth = check("2.2", depth)\nprint(depth)\n```'


def test_answers_of_a_copy_that_was_made_of_a_solved_notebook(tmp_path):
    """Whoever has worked in notebooks/ before there was a copy."""
    solved = first_course()
    solved["01_waves"][3].source = "def sine(x):\n    return 'solved before'"
    write_course(tmp_path, solved)
    list(update(tmp_path))
    write_course(tmp_path, first_course())
    list(update(tmp_path))
    assert "def sine(x):\n    return 'solved before'" in sources(tmp_path, "01_waves")


def test_programs_that_drop_ids_and_tags(root):
    """As other editors do."""
    mine = answer(root, "01_waves", "sine")
    notebook = json.loads((root / "my" / "01_waves.ipynb").read_text(encoding="utf-8"))
    notebook["nbformat_minor"] = 4
    for cell in notebook["cells"]:
        del cell["id"]
        cell["metadata"] = {}
    (root / "my" / "01_waves.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
    course = first_course()
    course["01_waves"][0].source += " More."
    write_course(root, course)
    list(update(root))
    found = sources(root, "01_waves")
    assert mine in found and course["01_waves"][0].source in found


def test_a_copy_of_one_cell_and_one_whose_id_the_course_has_now(root):
    def change(cells):
        twice = copy.deepcopy(cells[3])
        twice.id, twice.source = "01-011", "def sine(x):\n    return 'another try'"
        cells.insert(4, twice)

    mine = answer(root, "01_waves", "sine")
    edit(root, "01_waves", change)
    course = first_course()
    course["01_waves"].insert(0, text("One more, so that there is 01-011."))
    write_course(root, course)
    list(update(root))
    found = sources(root, "01_waves")
    assert found[found.index(mine) + 1] == "def sine(x):\n    return 'another try'"


# ---- what is no copy


BROKEN = [b"", b"{", b"[]", b"{}", b"\xff\xfe", b'{"cells": 3, "nbformat": 4, "nbformat_minor": 5, "metadata": {}}',
          b'{"cells": [{"cell_type": "code"}], "nbformat": 4, "nbformat_minor": 5, "metadata": {}}', b"[" * 5000]


@pytest.mark.parametrize("data", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_file_is_left_alone_and_the_others_are_not(root, data):
    (root / "my" / "01_waves.ipynb").write_bytes(data)
    mine = answer(root, "02_water", "depth")
    course = first_course()
    course["01_waves"][0].source += " More."
    course["02_water"][0].source += " More."
    write_course(root, course)
    line, *rest = update(root)
    assert line == ("my/01_waves.ipynb: not a notebook that can be read; left alone. "
                    "Rename it, and a new copy is made")
    assert (root / "my" / "01_waves.ipynb").read_bytes() == data
    assert rest[0] == "my/02_water.ipynb: 1 cell changed; your answers kept: 2.1" and mine in sources(root, "02_water")


@pytest.mark.parametrize("record", [None, "no record", {"made_from": "0123456789abcdef"}, {"made_from": "../../x"},
                                    {"made_from": 7}, {}])
def test_a_notebook_of_unknown_origin_is_left_alone(root, record):
    path = root / "my" / "01_waves.ipynb"
    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.lvlib = record
    nbformat.write(notebook, path)
    before = path.read_bytes()
    assert list(update(root)) == ["my/01_waves.ipynb: no record of what it was made from; left alone. "
                                  "Rename it, and a new copy is made"]
    assert path.read_bytes() == before


def test_the_learners_own_files_are_none_of_our_business(root):
    shutil.copy(root / "my" / "01_waves.ipynb", root / "my" / "01_waves-Copy1.ipynb")
    (root / "my" / "notes.ipynb").write_text("{")
    before = files(root)
    course = first_course()
    course["01_waves"][0].source += " More."
    write_course(root, course)
    assert len(list(update(root))) == 2
    after = files(root)
    assert {name for name in before if before[name] != after[name]} == {"01_waves.ipynb"}


def test_no_course_and_no_room(tmp_path, capsys):
    assert main(["update"], root=tmp_path) == 2
    assert capsys.readouterr().err == (f"lvlib.course: error: there are no notebooks in {tmp_path / 'notebooks'}: "
                                       "they are part of a checkout of the course\n")
    write_course(tmp_path, first_course())
    (tmp_path / "my").write_text("a file")
    assert main(["update"], root=tmp_path) == 2
    assert capsys.readouterr().err.startswith("lvlib.course: error: my/ cannot be written: ")
    (tmp_path / "notebooks" / "01_waves.ipynb").write_text("{")
    with pytest.raises(UserError, match="^notebooks/01_waves.ipynb cannot be read; `git checkout notebooks` brings"):
        list(update(tmp_path))


class Stopped(BaseException):
    """Somebody ends Python."""


@contextlib.contextmanager
def stopped_at(step: int) -> Iterator[list[str]]:
    """Ends an update at the step of that number: each file that is put in place, each that is taken away. Gives the
    names of those before it, as they come."""
    done: list[str] = []
    replace, unlink = os.replace, Path.unlink

    def take(path):
        if path.name.endswith(".lock"):
            return
        if len(done) == step:
            raise Stopped
        done.append(path.name)

    def stopping_replace(draft, path):
        take(path)
        replace(draft, path)

    def stopping_unlink(path, missing_ok=False):
        take(path)
        unlink(path, missing_ok)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", stopping_replace)
        patch.setattr(Path, "unlink", stopping_unlink)
        with contextlib.suppress(Stopped):
            yield done


def newer_course_with_moves(root: Path) -> list[str]:
    """Each answer moves into another notebook. Returns the answers."""
    answers = [answer(root, "01_waves", "sine"), answer(root, "01_waves", "wave"), answer(root, "02_water", "depth")]
    write_course(root, {"01_waves": [text("New."), *exercise("1.1", "depth")],
                        "02_more": [text("Other."), *exercise("2.1", "sine"), *exercise("2.2", "wave")]})
    return answers


def finishes(root: Path, step: int) -> bool:
    with stopped_at(step):
        list(update(root))
        return True
    return False


LAST = 7  # the number of steps


@pytest.mark.parametrize("first", range(LAST + 1))
def test_an_update_that_is_stopped_and_then_made_again_keeps_every_answer_in_place(root, tmp_path_factory, first):
    """Stopped at each step of the first try, and at each of the second, which begins by undoing the first."""
    answers = newer_course_with_moves(root)
    for second in itertools.count():
        again = tmp_path_factory.mktemp("again") / "course"
        shutil.copytree(root, again)
        assert finishes(again, first) == (first == LAST)
        finished = finishes(again, second)
        list(update(again))
        assert list(update(again)) == [] and set(files(again)) == {"01_waves.ipynb", "02_more.ipynb"}
        found = [*sources(again, "01_waves"), *sources(again, "02_more")]
        assert [found.count(mine) for mine in answers] == [1, 1, 1], second
        if finished:
            break


def test_what_was_written_after_an_update_was_stopped_is_named(root):
    """One notebook is the new one by then, the other still the old one."""
    answers = newer_course_with_moves(root)
    with stopped_at(3) as done:
        list(update(root))
    assert done[-1] == "02_more.ipynb"
    edit(root, "02_more", lambda cells: cells.append(code("in the new one")))
    edit(root, "02_water", lambda cells: cells.append(code("in the old one")))
    line, *_ = update(root)
    named = re.fullmatch("the last update was stopped half-way, and is undone; what it had written: (my/.+/)", line)
    assert named and "in the new one" in (root / named[1] / "02_more.ipynb").read_text(encoding="utf-8")
    found = [*sources(root, "01_waves"), *sources(root, "02_more")]
    assert [found.count(mine) for mine in [*answers, "in the old one"]] == [1, 1, 1, 1]
