"""Litestream, as `docker-compose.yml` runs it, beside a server of the tests. requirements/replica.txt has it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.processes.server import GUARD_SECONDS, Server

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "litestream.yml"
PROGRAM = shutil.which("litestream", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")


class Litestream:
    """Streams the store of a server to a folder, or to another URL. The store's folder has nothing else that is needed
    again."""

    def __init__(
        self, server: Server, replica: Path, url: str = "", configuration: Path = CONFIGURATION, **environment: str
    ) -> None:
        assert PROGRAM is not None, "this needs requirements/replica.txt"
        self.program = PROGRAM
        self.server = server
        self.store = Path(server.environment["TWOLAYERNET_STORE"].removeprefix("sqlite:///"))
        self.url = url or f"file://{replica}"
        self.log = replica.with_name("litestream.log")
        self.environment = {
            **server.environment,
            "PATH": f"{Path(PROGRAM).parent}{os.pathsep}{os.environ['PATH']}",
            "LITESTREAM_REPLICA_URL": self.url,
            "TWOLAYERNET_REPLICA_INTERVAL": "200ms",
            **environment,
        }
        self.configuration = configuration
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [self.program, "replicate", "-config", str(self.configuration)]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)

    def stop(self) -> None:
        """It sends what is not in the replica yet."""
        assert self.process is not None
        self.process.terminate()
        self.process.wait(GUARD_SECONDS)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def restore(self, store: Path | None = None, url: str = "") -> None:
        target = [str(store or self.store), url or self.url]
        command = [self.program, "restore", "-if-db-not-exists", "-if-replica-exists", "-o", *target]
        subprocess.run(command, env=self.environment, check=True, timeout=GUARD_SECONDS, capture_output=True)

    def verify(self) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "service.cli", "verify", "--replica", self.url]
        return subprocess.run(
            command, env=self.environment, check=False, timeout=GUARD_SECONDS, capture_output=True, text=True
        )

    def newest(self) -> int:
        """The newest version in the replica, once all of it was checked; 0 while there is none."""
        match = re.search(r"the newest version is (\d+),", self.verify().stdout)
        return int(match[1]) if match else 0

    def lose_the_disk(self) -> None:
        """Delete the store's folder while it is in use, then kill all that used it."""
        self.delete_folder()
        self.server.kill()
        self.kill()
        self.delete_folder()

    def delete_folder(self) -> None:
        while self.store.parent.exists():  # files are still being created in it
            shutil.rmtree(self.store.parent, ignore_errors=True)
