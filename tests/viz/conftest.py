import IPython.display
import pytest


@pytest.fixture
def displayed(monkeypatch) -> list[dict]:
    """What IPython's `display` was given, in order; an update replaces what it updates. Metadata are one more entry."""
    bundles = []

    class Handle:
        def __init__(self, place: int):
            self.place = place

        def update(self, bundle: dict, raw: bool, metadata: dict | None = None) -> None:
            assert raw
            bundles[self.place] = with_metadata(bundle, metadata)

    def with_metadata(bundle, metadata):
        return bundle | {"metadata": metadata} if metadata else bundle

    def display(bundle, raw=False, display_id=None, metadata=None):
        bundles.append(with_metadata(bundle, metadata))
        return Handle(len(bundles) - 1) if display_id else None

    monkeypatch.setattr(IPython.display, "display", display)
    return bundles
