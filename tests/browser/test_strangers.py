"""What Schemathesis makes of /openapi.json, sent to a real service."""

import subprocess
import sys
from pathlib import Path

import pytest

from model.weights import Weights
from tests.processes.server import Server

pytestmark = pytest.mark.browser

NOT_SAID_BY_A_SCHEMA = "positive_data_acceptance"
"""How many pixels an image has, or what a picture shows: that all of what fits the schema is taken can't be asked for."""


def test_whatever_is_sent_gets_an_answer_that_the_document_describes(tmp_path: Path, weights: Weights) -> None:
    server = Server(tmp_path).start()
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{server.url}/openapi.json", "--no-color"]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", "8", "--seed", "1"]
    command += ["--exclude-checks", NOT_SAID_BY_A_SCHEMA]
    try:
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
    finally:
        server.kill()
    assert done.returncode == 0, done.stdout
