"""The folder in which the workers of one service count together (prometheus_client's multiprocess mode)."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
NAME = "twolayernet-metrics"
MEMORY = "/dev/shm"  # on a disk, a request would wait while it is flushed


def share() -> None:
    """In the process that starts the workers, before service.metrics.counters is imported: make a folder, which is
    removed when the process ends. The environment may name another one."""
    if FOLDER not in os.environ:
        try:
            folder = tempfile.mkdtemp(prefix=f"{NAME}-", dir=place())
        except OSError:
            return
        os.environ[FOLDER] = folder
        atexit.register(remove, folder, os.getpid())


def share_in_the_process_group() -> None:
    """The same in a worker of a server that was started by hand. The server and its workers form a process group, after
    which the folder is named. It is not removed."""
    if FOLDER not in os.environ:
        folder = place() / f"{NAME}-{os.getuid()}-{os.getpgrp()}"
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            if folder.lstat().st_uid == os.getuid():
                os.environ[FOLDER] = str(folder)
        except OSError:
            return


def place() -> Path:
    return Path(MEMORY if os.access(MEMORY, os.W_OK) else tempfile.gettempdir())


def remove(folder: str, owner: int) -> None:
    if os.getpid() == owner:  # forked workers inherit the atexit function
        shutil.rmtree(folder, ignore_errors=True)
