"""Errors of the command line: one line on standard error, and an exit code."""

import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click

from model import weights_file
from model.datasets import DatasetError
from model.training import TrainingError
from model.two_layer_net import Activation
from model.weights_file import Weights, WeightsError
from service.errors import BROKEN_PIPE, MISTAKE, ServiceError, StartupError, StoreError


def fail(message: object, exit_code: int = MISTAKE) -> NoReturn:
    click.echo(f"twolayernet: {message}", err=True)
    sys.exit(exit_code)


@contextmanager
def reported_errors() -> Iterator[None]:
    """End the command with one line for errors that the user can correct."""
    try:
        yield
    except (DatasetError, TrainingError, WeightsError, ServiceError, StartupError, StoreError) as error:
        fail(error)
    except sqlite3.Error as error:
        fail(f"the store: {error}")
    except click.FileError as error:
        fail(f"{error.ui_filename} can't be written: {error.message}")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python reports it again at exit
        sys.exit(BROKEN_PIPE)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}" if error.filename else error)


def loaded_weights(path: Path, activation: Activation | None = None) -> Weights:
    """activation: for a file that does not record its own. Raises WeightsError for one that can't be read or used."""
    try:
        return weights_file.load(path, activation)
    except OSError as error:
        raise WeightsError(f"{path} can't be read: {error.strerror}") from error
