"""What Schemathesis makes of /openapi.json, sent to a real service."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from model.weights_file import Weights
from tests.processes.server import Server

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]


def test_whatever_is_sent_gets_an_answer_that_the_document_describes(tmp_path: Path, weights: Weights) -> None:
    """All checks, all phases; what is made by hooks, and what no schema can say, stands in `schemathesis_hooks`."""
    server = Server(tmp_path).start()
    command = [str(Path(sys.executable).parent / "schemathesis")]
    command += ["--config-file", str(Path(__file__).with_name("schemathesis.toml"))]
    command += ["run", f"{server.url}/openapi.json", "--no-color", "--max-examples", "6", "--seed", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    try:
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300, check=False
        )
    finally:
        server.kill()
    assert done.returncode == 0, done.stdout
    assert "36 selected / 36 total" in done.stdout
