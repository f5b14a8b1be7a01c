"""The same page in Firefox. Playwright needs a Firefox of its own; Puppeteer, from npm, drives the one of this machine."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.processes.server import Server

pytestmark = pytest.mark.browser

PUPPETEER = "puppeteer-core@25.16.0"
FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")


@pytest.mark.skipif(FIREFOX is None or shutil.which("npm") is None, reason="needs Firefox and npm")
def test_in_firefox_what_is_drawn_is_read_taught_and_taken_back(served: Server, tmp_path: Path) -> None:
    install = ["npm", "install", "--silent", "--no-save", "--ignore-scripts", "--prefix", str(tmp_path), PUPPETEER]
    subprocess.run(install, check=True)
    script = Path(__file__).with_name("firefox.cjs")
    environment = {**os.environ, "NODE_PATH": str(tmp_path / "node_modules"), "HOME": str(tmp_path)}
    command = ["node", str(script), served.url + "/", str(FIREFOX)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
