# Two commands do everything on a fresh machine: `make lab` and `make test`.

VENV := .venv
BIN := $(VENV)/bin
# The first Python from 3.11 to 3.13 that answers.
PYTHON ?= $(shell for p in python3 python3.11 python3.12 python3.13; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$p && break; done)
# One thread a process, and idle threads that sleep: two notebooks share two cores.
export OMP_NUM_THREADS ?= 1
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: lab test course build check lint clean data install

lab: install
	OMP_NUM_THREADS=$$(getconf _NPROCESSORS_ONLN) $(BIN)/lvlib lab $(LAB_ARGS)

test: data
	$(BIN)/python -m lvlib.course check
	$(BIN)/ruff check
	$(BIN)/python -m pytest -n 2 --dist loadgroup

course: data
	$(BIN)/python -m lvlib.course timing

build: data
	$(BIN)/python -m lvlib.course build

check: install
	@$(BIN)/python -m lvlib.course check

lint: install
	$(BIN)/ruff check

clean:
	rm -rf $(VENV) data/moving_digits data/real_clips data/doom .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

install: $(VENV)/installed

# Again only when the list of packages changes.
$(VENV)/installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "no Python from 3.11 to 3.13 found: install one, or name it: make PYTHON=/path/to/python3"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

data: data/moving_digits/meta.json data/real_clips/LICENCES.txt data/doom/meta.json

data/moving_digits/meta.json: | install
	$(BIN)/lvlib data moving_digits --out data/moving_digits

# Without a package index the course goes on without them: the notebooks say so in one line.
data/real_clips/LICENCES.txt: | install
	-$(BIN)/lvlib data real_clips --out data/real_clips

# A tenth of the paper's set. Without the package vizdoom the course goes on without it, too.
data/doom/meta.json: | install
	-$(BIN)/lvlib data vizdoom --out data/doom --episodes 100
