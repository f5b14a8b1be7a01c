"""What the tests of pictures share: digits that the trained network hasn't seen."""

import pytest

from model.datasets import Split
from tests.conftest import digits


@pytest.fixture(scope="session")
def held_out() -> Split:
    return digits().test
