import signal

import pytest


@pytest.fixture(autouse=True, scope="session")
def ctrl_c_interrupts():
    """As in a terminal. A shell that starts pytest in the background lets it ignore ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
