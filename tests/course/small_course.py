"""The sources of a course of two notebooks, for the tests of the course tool."""

from pathlib import Path

FIRST = '''\
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # First

# %%
import os

from IPython.display import Image, display
from tqdm import tqdm

from lvlib.course import check

# %% tags=["parameters"]
profile = os.environ.get("LVLIB_PROFILE", "course")

# %% jupyter={"source_hidden": true} tags=["export:models.numbers"]
"""Numbers that double."""

import sys
import math

# %% [markdown]
# ### Exercise 91.1

# %% tags=["exercise", "ex-91.1", "export:models.numbers"]
LIMIT = 10


def double(x: float) -> float:
    """Twice x."""
    ### BEGIN SOLUTION
    return math.fsum([x, x])
    ### END SOLUTION


# %% tags=["check", "ex-91.1"]
double = check("91.1", double)

# %% tags=["solution-only"]
print("only here", profile, os.environ["OMP_NUM_THREADS"])

# %%
for _ in tqdm(range(50), mininterval=0):
    pass
print("done")
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)
display(Image(PIXEL, format="png", alt="one pixel"))

# %% tags=["nbval-check-output"]
assert double(2) == 4
print(double(2))
'''

SECOND = """\
# %% tags=["parameters"]
profile = "course"

# %% tags=["export:models.numbers"]
import math

from lvlib.models.numbers import double


def quadruple(x: float) -> float:
    # two steps
    return double(double(x))


class Pi:
    value = math.pi


# %%
assert quadruple(1) == 4
"""


def write_sources(root: Path) -> Path:
    for name, text in ("91_first", FIRST), ("92_second", SECOND):
        path = root / "solutions" / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="\n")
    for package in "lvlib", "lvlib/models":  # what is not in this course comes from the real lvlib
        path = root / package / "__init__.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text("import pkgutil\n\n__path__ = pkgutil.extend_path(__path__, __name__)\n")
    return root
