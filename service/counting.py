"""The folder in which the workers of one service count together.

It is named after the process that started them, so that workers of a server that was started by hand find it, too.
"""

import atexit
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
NAME = "twolayernet-metrics"
LEAST_FREE_BYTES = 16 * 2**20


def share(owner: int | None = None) -> None:
    """Before service.metrics is imported: count in a folder of `owner`, a process; unless said, of this one, which
    removes it at its end. Where another one was named already, or none can be made, nothing happens."""
    if FOLDER in os.environ:
        return
    here = Path("/dev/shm")
    place = here if here.is_dir() and os.access(here, os.W_OK) and has_room(here) else Path(tempfile.gettempdir())
    remove_those_of_the_dead(place)
    process = os.getpid() if owner is None else owner
    which = f"{os.environ.get('TWOLAYERNET_STORE')} {Path.cwd()}".encode()  # one shell may start several services
    name = f"{NAME}-{os.getuid()}-{hashlib.sha256(which).hexdigest()[:8]}-{process}-{started(process)}"
    folder = place / name
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        if folder.is_symlink() or folder.stat().st_uid != os.getuid():
            return
    except OSError:
        return
    os.environ[FOLDER] = str(folder)
    if owner is None:
        atexit.register(remove, folder, process)


def has_room(place: Path) -> bool:
    """What is written there is mapped into memory: on a full disk that would end the process."""
    return shutil.disk_usage(place).free > LEAST_FREE_BYTES


def remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # its children inherit what it does at its end
        shutil.rmtree(folder, ignore_errors=True)


def remove_those_of_the_dead(place: Path) -> None:
    for folder in place.glob(f"{NAME}-{os.getuid()}-*-*-*"):
        process, begun = folder.name.rsplit("-", 2)[1:]
        if process.isdecimal() and started(int(process)) != begun:
            shutil.rmtree(folder, ignore_errors=True)


def started(process: int) -> str:
    """When, in the kernel's ticks, which tells a process from a later one of its number; "gone" for none."""
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return "here" if not Path("/proc/self").exists() else "gone"
    return stat.rpartition(")")[2].split()[19]
