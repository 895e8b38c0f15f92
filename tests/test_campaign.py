"""A sample of the campaign of bad calls, files and run folders (`python tests/campaign.py --help`)."""

import os

import pytest

pytestmark = [pytest.mark.skipif(not hasattr(os, "fork"), reason="each case is run in a forked process"),
              pytest.mark.xdist_group("campaign")]  # one place for all of them

CASES, SEED = 60, 0


@pytest.fixture(scope="module")
def root():
    from campaign import campaign

    with campaign() as root:
        yield root


@pytest.mark.parametrize("number", range(CASES))
def test_whatever_is_wrong_gets_one_line_and_nothing_is_lost(number, root):
    from campaign import in_words, run_case

    result = run_case(root, SEED, number)
    assert not result.faults, in_words(result) + "\n" + result.printed
