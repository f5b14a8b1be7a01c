"""The bill: what a request costs before it is validated. See tests/bill.py."""

import subprocess
import sys

import pytest

from tests.bill import LONG_PARTS


def bill(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "tests.bill", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_few_bytes_cost_a_second_150_mb_or_a_long_answer() -> None:
    """And ten times the bytes cost no more than ten times as much, generously measured."""
    bill()


@pytest.mark.long
@pytest.mark.parametrize("part", range(LONG_PARTS))
def test_nothing_that_is_sent_costs_a_second_150_mb_or_a_long_answer(part: int) -> None:
    """Each endpoint, content type and field, filled with whatever grows. In parts, which run side by side."""
    bill("--long", "--part", str(part))
