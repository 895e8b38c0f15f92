"""What GLOSSARY.md points at is there: names in lvlib, and notebooks that use the term."""

import re
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ENTRIES = re.findall(r"^\*\*(.+?)\*\*: ((?:.+\n?)+)", (ROOT / "GLOSSARY.md").read_text(encoding="utf-8"), re.MULTILINE)
WORDS = {"EMA": "moving average", "top-k": "top_k", "top-p": "top_p"}  # what a notebook says where it has no such word


def exists(name: str) -> bool:
    """A module, or what one holds: a class, a function, a method, a field of a class."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part):
                return part in getattr(found, "__annotations__", {}) and part == parts[-1]
            found = getattr(found, part)
        return True
    return False


def test_a_name_exists_or_not():
    for name in ("lvlib", "lvlib.stages", "lvlib.stages.LatentSpec.tokens", "lvlib.stages.PriorConfig.Sampling"):
        assert exists(name), name
    for name in ("lvlib.stage", "lvlib.stages.LatentSpecs", "lvlib.stages.PriorConfig.sampling", "nothing.at.all"):
        assert not exists(name), name


def test_the_terms_are_in_order_and_each_is_there_once():
    terms = [term.lower() for term, _ in ENTRIES]
    assert len(terms) > 40 and terms == sorted(set(terms))
    lines = (ROOT / "GLOSSARY.md").read_text(encoding="utf-8").splitlines()
    assert sum(line.startswith("**") for line in lines) == len(terms)


@pytest.mark.parametrize("term, text", ENTRIES, ids=[term for term, _ in ENTRIES])
def test_what_an_entry_points_at_is_there(term, text):
    names = re.findall(r"`(.+?)`", text)
    assert names and all(name.startswith("lvlib.") for name in names)
    assert [name for name in names if not exists(name)] == []
    for number, path in re.findall(r"\[(.+?)\]\((.+?)\)", text):
        assert (ROOT / path).exists() and path.startswith(f"solutions/{number}_")
        source = (ROOT / path).with_suffix(".py").read_text(encoding="utf-8").lower()
        assert WORDS.get(term, term).lower().replace("-", " ") in source.replace("\n# ", " ").replace("-", " ")
