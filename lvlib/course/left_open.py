"""Modules of lvlib that are run from another text than that of their file.

The students of a graded course install a wheel in which the graded units are left open: their text raises
NotImplementedError. But lvlib stands on these units, and a notebook must run to its end. So that wheel also holds the
working text of their modules, encoded, and a notebook, which begins by importing `check`, runs on those. This keeps an
answer from being read by accident; it hides nothing from somebody who looks for it.
"""

import base64
import importlib
import importlib.abc
import importlib.util
import json
import sys
import zlib
from types import ModuleType

WORKING = "lvlib.course.working"  # the module with the working texts: in such a wheel alone


class Texts(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Loads the modules that it has a text of; others are left to the finders after it."""

    def __init__(self, texts: dict[str, str]):
        self.texts = texts

    def find_spec(self, fullname, path, target=None):
        return importlib.util.spec_from_loader(fullname, self) if fullname in self.texts else None

    def exec_module(self, module: ModuleType) -> None:
        exec(compile(self.texts[module.__name__], f"<{module.__name__}>", "exec"), module.__dict__)


def encoded(texts: dict[str, str]) -> str:
    return base64.b85encode(zlib.compress(json.dumps(texts).encode())).decode()


def go_on() -> None:
    """In the wheel of a graded course: what is imported from now on has its working text. Elsewhere: nothing."""
    if WORKING in sys.modules or importlib.util.find_spec(WORKING) is None:
        return
    working = importlib.import_module(WORKING)
    sys.meta_path.insert(0, Texts(json.loads(zlib.decompress(base64.b85decode(working.TEXTS)))))
