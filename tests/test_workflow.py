"""GitHub's workflow is what GitHub takes, and runs what a maintainer runs; so do make, the hooks and the editor."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from pre_commit.clientlib import load_config

ROOT = Path(__file__).parent.parent
WORKFLOW = ROOT / ".github" / "workflows" / "tests.yml"


def refusal(path: Path, schema: str) -> str:
    """What the published schema, as the package check-jsonschema carries it, says against a file; or nothing."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout + done.stderr if done.returncode else ""


def jobs() -> dict[str, dict]:
    return yaml.safe_load(WORKFLOW.read_text(encoding="utf-8"))["jobs"]


def commands(job: str) -> list[str]:
    return [step["run"] for step in jobs()[job]["steps"] if "run" in step]


def makefile() -> str:
    return (ROOT / "Makefile").read_text(encoding="utf-8")


def combinations(matrix: dict) -> list[dict]:
    """What GitHub makes of a matrix, for the part of its rules that is used here."""
    out = [{"os": system, "python": python} for system in matrix["os"] for python in matrix["python"]]
    out = [one for one in out if not any(drop.items() <= one.items() for drop in matrix.get("exclude", []))]
    return [one | {k: v for more in matrix["include"] if more["python"] == one["python"] for k, v in more.items()}
            for one in out]


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "workflows").glob("*.y*ml")), ids=lambda path: path.name)
def test_every_workflow_fits_the_published_schema_and_ends(path):
    assert refusal(path, "vendor.github-workflows") == ""
    assert refusal(path, "custom.github-workflows-require-timeout") == ""


@pytest.mark.parametrize("old, new", [
    ("runs-on: ubuntu-latest", "runs-at: ubuntu-latest"), ("contents: read", "contents: reed"),
    ("timeout-minutes: 90", "timeout-minutes: long"), ("- run: .ci/run", "- runs: .ci/run")])
def test_the_schema_refuses_a_mistake(tmp_path, old, new):
    text = WORKFLOW.read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "tests.yml").write_text(text.replace(old, new), encoding="utf-8")
    assert refusal(tmp_path / "tests.yml", "vendor.github-workflows")


def test_linux_runs_what_ci_runs():
    everything = jobs()["everything"]
    assert everything["runs-on"] == "ubuntu-latest" and commands("everything") == [".ci/run"]
    if os.name == "posix":
        assert os.access(ROOT / ".ci" / "run", os.X_OK)


def test_the_ends_of_what_is_allowed_are_tested_on_every_system():
    """Of Python, and of the packages: the oldest with the oldest, the newest with the tested ones."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    oldest, after = re.fullmatch(r">=(3\.\d+),<3\.(\d+)", project["requires-python"]).groups()
    newest = f"3.{int(after) - 1}"
    assert jobs()["everything"]["strategy"]["matrix"]["python"] == [oldest, newest]
    runs = combinations(jobs()["quick"]["strategy"]["matrix"])
    assert {(run["os"], run["python"], run["packages"]) for run in runs} == {
        ("ubuntu-latest", oldest, "lowest.txt"),
        ("macos-latest", oldest, "lowest.txt"), ("macos-latest", newest, "constraints.txt"),
        ("windows-latest", oldest, "lowest.txt"), ("windows-latest", newest, "constraints.txt")}
    assert all((ROOT / run["packages"]).exists() for run in runs)


ONLY_POSIX = {
    "os": {"fork", "wait", "waitpid", "kill", "killpg", "mkfifo", "setsid", "getuid", "geteuid"},
    "signal": {"SIGALRM", "SIGKILL", "setitimer", "getitimer", "ITIMER_REAL", "pause"},
}
NO_WINDOWS = {"fcntl", "resource", "termios", "pwd", "grp", "pty"}


def not_on_windows(node: ast.AST) -> list[str]:
    """What a piece of code uses that Windows has not, or means otherwise."""
    found = []
    for part in ast.walk(node):
        if isinstance(part, ast.Import):
            found += [name.name for name in part.names if name.name in NO_WINDOWS]
        elif isinstance(part, ast.ImportFrom) and part.module in NO_WINDOWS:
            found.append(part.module)
        elif isinstance(part, ast.Attribute) and part.attr == "send_signal":
            found.append(ast.unparse(part))
        elif isinstance(part, ast.Attribute) and part.attr in ONLY_POSIX.get(ast.unparse(part.value), ()):
            found.append(ast.unparse(part))
    return found


def test_what_windows_has_not_is_seen():
    code = "import os, fcntl\nfrom resource import x\nos.fork()\nsignal.SIGALRM\na.b.send_signal(3)\nos.path.join()"
    assert set(not_on_windows(ast.parse(code))) == {"fcntl", "resource", "os.fork", "signal.SIGALRM", "a.b.send_signal"}


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda path: path.name)
def test_a_quick_test_that_needs_posix_says_so(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        marks = {ast.unparse(decorator) for decorator in getattr(node, "decorator_list", [])}
        if not marks & {"pytest.mark.posix", "pytest.mark.slow"}:
            assert not_on_windows(node) == [], f"{path.name}, line {node.lineno}: @pytest.mark.posix is missing"


def test_no_two_files_of_tests_have_one_name():
    """pytest collects the first of them alone, and calls the other an error."""
    names = [path.name for path in (ROOT / "tests").rglob("*.py") if path.name not in ("__init__.py", "conftest.py")]
    assert len(names) == len(set(names)), [name for name in names if names.count(name) > 1]


def test_make_and_the_workflow_install_and_call_the_same():
    installs, tests = commands("quick")
    quick = re.search(r"^QUICK = (.+)$", makefile(), re.MULTILINE)[1]
    assert tests == f"python -m pytest {quick} -n 2 --dist loadfile --no-loadscope-reorder"
    assert f"$(BIN)/{tests}".replace(quick, "$(QUICK)") in makefile()
    install = installs.replace("${{ matrix.packages }}", "constraints.txt").replace('"', "'")
    assert f"$(BIN)/{install}".replace("install", "install --quiet") in makefile()


def test_make_needs_no_make_of_one_kind():
    """What only GNU's make knows: functions, conditionals, exports, prerequisites of order alone."""
    known = r"(?<!\$)\$\(\w+ |\$\(CURDIR\)|:=|^(?:export|ifeq|ifneq|ifdef|define|include)\b|^[^\t#\n]*:.*\|"
    assert re.findall(known, makefile(), re.MULTILINE) == []


@pytest.mark.parametrize("program", ["make", "bmake"])
def test_make_reads_the_makefile(program):
    if not shutil.which(program):
        pytest.skip(f"there is no {program} here")
    done = subprocess.run([program, "-n", "test"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    order = [next(i for i, line in enumerate(lines) if line.endswith(end))
             for end in ("lvlib.course check", "ruff check", "-m mypy", "--dist loadfile --no-loadscope-reorder")]
    assert order == sorted(order)


def test_the_hooks_call_what_make_lint_and_make_check_call():
    """What is committed is what the build wrote; what lies in a checkout may have been opened and run."""
    config = load_config(ROOT / ".pre-commit-config.yaml")
    assert [repository["repo"] for repository in config["repos"]] == ["local"]  # nothing is fetched
    hooks = {hook["entry"] for hook in config["repos"][0]["hooks"]}
    made = set(re.findall(r"\$\(BIN\)/(python -m (?:ruff check|mypy|lvlib\.course check))$", makefile(), re.MULTILINE))
    assert hooks == {command + " --strict" * command.endswith("course check") for command in made}
    assert "python -m lvlib.course check --strict\n" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_editors_and_ruff_agree():
    text = (ROOT / ".editorconfig").read_text(encoding="utf-8")
    ruff = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
    assert f"max_line_length = {ruff['line-length']}\n" in text
    assert "end_of_line = lf\n" in text and "eol=lf" in (ROOT / ".gitattributes").read_text(encoding="utf-8")
    assert "[Makefile]\nindent_style = tab\n" in text
