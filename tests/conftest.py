import os
import signal

import pytest


def pytest_runtest_setup(item):
    if os.name != "posix" and item.get_closest_marker("posix"):
        pytest.skip("needs a fork, signals or limits that this system has not")


@pytest.fixture(autouse=True, scope="session")
def ctrl_c_interrupts():
    """As in a terminal. A shell that starts pytest in the background lets it ignore ctrl-C."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
