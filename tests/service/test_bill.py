"""The bill: what a request costs before it is found to be a valid one. See tests/bill.py."""

import subprocess
import sys

import pytest


def bill(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "tests.bill", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_few_bytes_cost_a_second_150_mb_or_a_long_answer() -> None:
    """And ten times the bytes cost no more than ten times as much, generously measured."""
    bill()


@pytest.mark.long
def test_nothing_that_is_sent_costs_a_second_150_mb_or_a_long_answer() -> None:
    """Each endpoint, content type and field, filled with whatever grows."""
    bill("long")
