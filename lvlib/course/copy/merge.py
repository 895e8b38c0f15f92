"""Brings a newer course into a copy that is half done. No text of the learner is ever left out.

Three versions meet, cell by cell: the course that the copy was made from, the copy, and the course now. What only the
course changed is taken from it, what only the learner changed is the learner's. Where both did, the learner's cell
stays, and the course's new text stands below it in a text cell. All notebooks are merged as one row of cells, so that
what moves from one into another takes its answers along.

nbdime merges one file with one file, matches cells by their text alone, and writes both texts into one cell where
they meet: a cell that no longer runs.
"""

import copy
import re
import uuid
from bisect import bisect_left
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from nbformat import NotebookNode, v4

from lvlib.course.copy.matching import STUB, Cell, has_stub, match
from lvlib.course.tool.notebook import tagged

BESIDE = "**From the newer course.** You and the course both changed the cell above. Yours stays; this is the course's:"
GONE = "**No longer in the course.** You had changed this cell; here it is kept:"


@dataclass
class Merged:
    """The new cells of each notebook, and what happened there: counts of `HAPPENED`, and ids of answers."""

    cells: dict[str, list[NotebookNode]] = field(default_factory=dict)
    happened: dict[str, Counter] = field(default_factory=lambda: defaultdict(Counter))
    answers: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def merge(base: list[Cell], mine: list[Cell], course: list[Cell]) -> Merged:
    """base: the course's cells that the copies were made from; mine: those of the copies; course: those of today."""
    origin = {cell: before for before, cell in match(base, mine, by_id=True).items()}
    today = match(base, course)  # where each cell of the old course is now
    place = {cell: today[before] for cell, before in origin.items() if before in today}
    moved = _moved_by_hand(mine, base, origin, place)
    at = {now: cell for cell, now in place.items() if cell not in moved}
    settled = set(place.values())
    deleted = set(today.values()) - settled

    merged = Merged()
    first, after = _anchored(mine, course, origin, place, moved, merged)
    for cell in course:
        into = merged.cells.setdefault(cell.notebook, [])
        into += first.get(cell, [])
        if cell in at:
            into += _settle(at[cell], origin[at[cell]], cell, merged, cell.notebook)
        elif cell not in deleted | settled:
            into.append(_from_course(cell))
            merged.happened[cell.notebook]["new"] += 1
        into += after.get(cell, [])
    _give_ids(merged, {cell.node.id for cell in course})
    return merged


def answered(cell: Cell) -> bool:
    """Is this the cell of an exercise, with something else than its stub in it?"""
    return cell.role == "exercise" and not has_stub(cell.node)


def _moved_by_hand(mine: list[Cell], base: list[Cell], origin: dict, place: dict) -> set[Cell]:
    """The cells that the learner has put elsewhere: the fewest without which the others stand in the old order."""
    index = {cell: number for number, cell in enumerate(base)}
    row = [cell for cell in mine if cell in place]
    tails: list[int] = []  # of the longest ascending rows of each length, the last elements
    ends: list[Cell] = []
    before: dict[Cell, Cell | None] = {}
    for cell in row:
        length = bisect_left(tails, index[origin[cell]])
        tails[length : length + 1] = [index[origin[cell]]]
        ends[length : length + 1] = [cell]
        before[cell] = ends[length - 1] if length else None
    stay = set()
    last = ends[-1] if ends else None
    while last:
        stay.add(last)
        last = before[last]
    return set(row) - stay


def _anchored(
    mine: list[Cell], course: list[Cell], origin: dict, place: dict, moved: set[Cell], merged: Merged
) -> tuple[dict[Cell, list], dict[Cell, list]]:
    """What has no place of its own in the course: the learner's cells, those moved by hand, and changed ones that the
    course has dropped. They stand after the cell that they stood after, or at the start before the first."""
    first: dict[Cell, list] = defaultdict(list)
    after: dict[Cell, list] = defaultdict(list)
    for name in dict.fromkeys(cell.notebook for cell in mine):
        row = [cell for cell in mine if cell.notebook == name]
        standing = [cell for cell in row if cell in place and cell not in moved]
        heads = [place[cell] for cell in standing] or [now for now in course if now.topic == row[0].topic] or course
        anchor, heap = heads[0], first
        for cell in row:
            if cell in place and cell not in moved:
                anchor, heap = place[cell], after
                continue
            if cell in moved:
                heap[anchor] += _settle(cell, origin[cell], place[cell], merged, anchor.notebook)
            elif cell not in origin:
                heap[anchor].append(copy.deepcopy(cell.node))
            elif _changed(cell, origin[cell]):
                heap[anchor].append(_kept(cell))
                merged.happened[anchor.notebook]["dropped"] += 1
            else:
                merged.happened[anchor.notebook]["removed"] += 1
    return first, after


def _changed(cell: Cell, before: Cell) -> bool:
    """Did the learner change it? An answer is one wherever it came from: a copy may be made of a solved notebook."""
    return cell.text != before.text or answered(cell)


def _settle(cell: Cell, before: Cell, now: Cell, merged: Merged, notebook: str) -> list[NotebookNode]:
    """The cell that all three versions have, and below it the course's text where both have changed it."""
    if now.role == "check" and _changed(cell, before):  # it must not check another exercise under the old number
        cell, before = (_renumbered(version, before, now) for version in (cell, before))
    by_course = _said(now) != _said(before)
    by_learner = _changed(cell, before) and cell.text != now.text
    node = copy.deepcopy(cell.node) if by_learner or cell.text == now.text else _from_course(now)
    node.id = now.node.id
    node.metadata = NotebookNode({**cell.node.metadata, **now.node.metadata})
    if "tags" not in now.node.metadata:
        node.metadata.pop("tags", None)
    if answered(cell):
        merged.answers[notebook].append(str(tagged(now.node, "ex-")))
    if not by_course or cell.text == now.text:
        return [node]
    merged.happened[notebook]["both" if by_learner else "changed"] += 1
    return [node, v4.new_markdown_cell(f"{BESIDE}\n\n{_fenced(now)}")] if by_learner else [node]


def _renumbered(check: Cell, before: Cell, now: Cell) -> Cell:
    """The same check, of the number that its exercise has now."""
    old, new = (tagged(cell.node, "ex-") for cell in (before, now))
    node = copy.deepcopy(check.node)
    node.source = re.sub(rf"""(\bcheck\(\s*["']){re.escape(str(old))}(?=["'])""", rf"\g<1>{new}", node.source)
    return Cell(check.notebook, node, check.exercise)


def _said(cell: Cell) -> tuple[str, str]:
    """Type and text. Of prose and stubs the words count, not their lines; of a stub all but the exercise's number."""
    if cell.role not in ("exercise", "markdown"):
        return cell.text
    return cell.node.cell_type, " ".join(re.sub(rf"{re.escape(STUB)}[\d.]+", STUB, cell.source).split())


def _from_course(cell: Cell) -> NotebookNode:
    node = copy.deepcopy(cell.node)
    if node.cell_type == "code":
        node.outputs, node.execution_count = [], None
    return node


def _kept(cell: Cell) -> NotebookNode:
    what = f"{GONE[:-1]} (exercise {tagged(cell.node, 'ex-')}, {cell.exercise}):" if answered(cell) else GONE
    node = v4.new_markdown_cell(f"{what}\n\n{_fenced(cell)}")
    if "attachments" in cell.node:
        node.attachments = cell.node.attachments
    return node


def _fenced(cell: Cell) -> str:
    """The source as a block of code, or as it is if it is prose."""
    if cell.node.cell_type == "markdown":
        return cell.node.source
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", cell.node.source)), default=0))
    return f"{fence}python\n{cell.node.source}\n{fence}"


def _give_ids(merged: Merged, reserved: set[str]) -> None:
    """Each id once in a notebook: a learner's cell that has one of the course's gets another."""
    for cells in merged.cells.values():
        seen: set[str] = set()
        for node in sorted(cells, key=lambda node: node.get("id") not in reserved):
            if "id" not in node or node.id in seen:
                node.id = uuid.uuid4().hex[:8]
            seen.add(node.id)
