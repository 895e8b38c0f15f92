import IPython.display
import pytest


@pytest.fixture
def displayed(monkeypatch) -> list[dict]:
    """What IPython's `display` was given, in order; an update replaces what it updates."""
    bundles = []

    class Handle:
        def __init__(self, place: int):
            self.place = place

        def update(self, bundle: dict, raw: bool) -> None:
            assert raw
            bundles[self.place] = bundle

    def display(bundle, raw=False, display_id=None):
        bundles.append(bundle)
        return Handle(len(bundles) - 1) if display_id else None

    monkeypatch.setattr(IPython.display, "display", display)
    return bundles
