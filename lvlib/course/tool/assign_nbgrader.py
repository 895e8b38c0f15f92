"""The step that `nbgrader autograde` takes in the place of running a submitted notebook: see nbgrader_config.py.

A notebook that runs can say anything of itself. What is not run cannot patch, hang, delete or pretend, and nobody waits
for its trainings. So the notebook is read, each exercise's text is judged elsewhere (`assign_judge`), and the graded
cells get the verdicts for their outputs.
"""

import pickle
from pathlib import Path

from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_output
from traitlets import Bool, Float, Unicode

from lvlib.course.tool.assign_judge import NOT_WRITTEN, Graded, Limits, problem_of
from lvlib.course.tool.assign_notebook import FLAGS, NO_FLAGS, grade_id, graded_metadata

MOST_LETTERS = 300  # of what is wrong


class Sanitize(Preprocessor):
    """Gives each cell of the course the metadata that the course wrote, and others none; of copies the last one counts.

    nbgrader takes what was edited for an old format, and would stop there for all students who come after.
    """

    enabled = Bool(True).tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        seen = set()
        for cell in reversed(nb.cells):
            found = cell.metadata.pop("nbgrader", None)
            id = found.get("grade_id") if isinstance(found, dict) else None
            kind = id.partition("-")[0] if isinstance(id, str) else ""
            if kind in FLAGS and id not in seen and cell.cell_type == "code":
                seen.add(id)
                cell.metadata.nbgrader = {**found, **NO_FLAGS, **FLAGS[kind]}
        return nb, resources


class Judge(Preprocessor):
    """Gives each graded cell its verdict: an error where the answer is wrong, which nbgrader counts as 0 points."""

    enabled = Bool(True).tag(config=True)
    folder = Unicode(help="The folder `grading` of the course").tag(config=True)
    seconds = Float(20, help="Limit of one exercise's CPU time").tag(config=True)
    gigabytes = Float(8, help="Memory limit of one exercise, on Linux").tag(config=True)
    megabytes = Float(100, help="Size limit of what one exercise gives").tag(config=True)

    def preprocess(self, nb: NotebookNode, resources: dict) -> tuple[NotebookNode, dict]:
        folder, limits = Path(self.folder), Limits(self.seconds, self.gigabytes, self.megabytes)
        stored = folder / f"{resources['nbgrader']['notebook']}.pickle"
        exercises: list[Graded] = pickle.loads(stored.read_bytes())
        cells = {cell.metadata.get("nbgrader", {}).get("grade_id"): cell for cell in nb.cells}
        for exercise in exercises:
            answer = cells.get(grade_id("ex", exercise.id))
            problem = self._problem(exercise, answer, folder, limits)
            said = f"NOT RIGHT: {' '.join(str(problem).split())[:MOST_LETTERS]}" if problem else "OK"
            line = f"{exercise.id} {exercise.name}  {said}"
            self.log.info(line)
            test = cells.get(grade_id("test", exercise.id))
            if test is None:
                test = new_code_cell(metadata={"nbgrader": graded_metadata(exercise.id, exercise.points)})
                nb.cells.append(test)
            test.source = f"# {line}"
            test.outputs = [_output(line, bool(problem))]
        return nb, resources

    def _problem(self, exercise: Graded, answer: NotebookNode | None, folder: Path, limits: Limits) -> str | None:
        from nbgrader.utils import compute_checksum  # here: on Unix it imports pwd, which need not be there

        if answer is None:
            return "its cell was deleted"
        if answer.metadata.nbgrader.get("checksum") == compute_checksum(answer):  # that of the release version
            return NOT_WRITTEN
        return problem_of(exercise, answer.source, folder / "open", limits)


def _output(line: str, wrong: bool) -> NotebookNode:
    if wrong:
        return new_output("error", ename="NotRight", evalue=line, traceback=[line])
    return new_output("stream", name="stdout", text=f"{line}\n")
