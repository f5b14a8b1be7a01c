"""What the tests of pictures share: weights that know digits, and digits that they haven't seen."""

import pytest

from model.datasets import Split, packaged_digits
from model.training import Trainer, TrainingOptions
from model.weights import Weights


@pytest.fixture(scope="session")
def trained() -> Weights:
    """Ten seconds of school: the packaged digits."""
    trainer = Trainer(packaged_digits(), TrainingOptions())
    for _ in trainer.epochs():
        pass
    return trainer.weights()


@pytest.fixture(scope="session")
def held_out() -> Split:
    return packaged_digits().test
