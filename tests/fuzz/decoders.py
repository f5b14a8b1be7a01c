"""What atheris finds on its way through the decoders: `python -m tests.fuzz.decoders -runs=10000 -seed=1 FOLDER`.

libFuzzer keeps what leads to new code and goes on from there. It starts from the good requests, written into FOLDER.
"""

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["model", "service"], enable_loader_override=False):
    from service.app import create_app
    from service.settings import Settings

import numpy as np

from model import TwoLayerNet, weights_file
from model.weights_file import Weights
from tests.conftest import CLASSES, FEATURES
from tests.fuzz.malformed import TYPES, Request, good_requests

WAYS = [(request.method, request.path) for request in good_requests() if request.body]


def as_input(request: Request) -> bytes:
    """Two bytes that say the way and the content type, and the body."""
    way = WAYS.index((request.method, request.path))
    kind = TYPES.index(request.content_type) if request.content_type in TYPES else 0
    return bytes([way, kind]) + request.body


def main() -> None:
    folder = Path(tempfile.mkdtemp())
    network = TwoLayerNet(FEATURES, 50, CLASSES, "he", seed=1, dtype=np.float32)
    weights_file.save(folder / "weights.npz", Weights(network.params, image_shape=(28, 28)))
    client = create_app(
        Settings(weights=folder / "weights.npz", store=f"sqlite:///{folder}/store.db", access_log="off")
    ).test_client()
    corpus = Path(sys.argv[-1])
    for number, request in enumerate(good_requests()):
        if request.body:
            (corpus / str(number)).write_bytes(as_input(request))

    def ask(data: bytes) -> None:
        if len(data) < 2:
            return
        method, path = WAYS[data[0] % len(WAYS)]
        kind = TYPES[data[1] % len(TYPES)]
        answer = client.open(path, method=method, data=data[2:], content_type=kind)
        if answer.status_code >= 500:
            raise AssertionError(f"{answer.status_code} to {method} {path} {kind}: {answer.data[:500]!r}")

    atheris.Setup(sys.argv, ask)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
