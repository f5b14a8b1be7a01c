"""The version that a store begins with."""

import hashlib

from model.types import PARAMETER_NAMES
from model.weights_file import Weights
from service.live.learner import append
from service.store.log import Writer
from service.store.records import Version


def begin(writer: Writer, weights: Weights) -> Weights:
    """Write version 1. Raises StoreError."""
    return append(writer, Version(1, "load", writer.now()), weights).weights


def digest_of(weights: Weights) -> bytes:
    """Of the parameters alone."""
    return hashlib.sha256(b"".join(weights.params[name].tobytes() for name in PARAMETER_NAMES)).digest()


def shape_of(weights: Weights) -> str:
    return f"{weights.input_size}-{weights.hidden_size}-{weights.output_size}"
