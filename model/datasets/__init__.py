"""Labelled images: the packaged digits, MNIST, or your own in IDX, .npz and CSV files."""

from pathlib import Path

from model.datasets.dataset import Dataset, DatasetError, Split, input_to_pixels, pixels_to_input
from model.datasets.idx import holds_idx_files, idx_files
from model.datasets.label_csv import csv_file
from model.datasets.mnist import MNIST_MIRROR_VARIABLE, MNIST_SHA256, mnist
from model.datasets.npz import npz_file
from model.datasets.packaged_digits import packaged_digits

__all__ = [
    "KINDS",
    "MNIST_MIRROR_VARIABLE",
    "MNIST_SHA256",
    "Dataset",
    "DatasetError",
    "Split",
    "holds_idx_files",
    "input_to_pixels",
    "load_dataset",
    "packaged_digits",
    "pixels_to_input",
]

KINDS = "digits, mnist, a folder with IDX files, an .npz or a .csv file"
"""The sources that `load_dataset` accepts, for messages."""


def load_dataset(source: str) -> Dataset:
    """A dataset of one of the KINDS. Raises DatasetError."""
    if source == "digits":
        return packaged_digits()
    if source == "mnist":
        return mnist()
    path = Path(source)
    if path.is_dir():
        return idx_files(path, path.resolve().name)
    if not path.exists():
        raise DatasetError(f"{source} does not exist: expected {KINDS}")
    name = path.name.lower()
    if name.endswith(".npz"):
        return npz_file(path)
    if name.endswith((".csv", ".csv.gz")):
        return csv_file(path)
    raise DatasetError(f"{source} is not a folder, nor an .npz or .csv file: expected {KINDS}")
