"""A disk after a power cut: what was synced, and a random part of what was not.

The model is stricter than any file system. A file's content and size are durable once the file has been synced; that a
name leads to it, or no longer does, once the folder has been. What has not been synced by then may be there or not,
each change independently of the others, in sectors of 512 bytes; some of those may have garbage. A rename is atomic, as
POSIX has it. The bytes around a write are not changed by it, which SQLite relies on ("powersafe overwrite",
https://sqlite.org/psow.html).
"""

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.power.recording import Event, Operation

SECTOR = 512
INDEX_BYTES = 32 * 1024  # of SQLite's WAL-index, which has no durable content


@dataclass(eq=False)
class File:
    """changes: (offset, data) of a write, (size, None) of a truncation, since the file was synced."""

    durable: bytearray = field(default_factory=bytearray)
    changes: list[tuple[int, bytes | None]] = field(default_factory=list)

    def sync(self) -> None:
        for offset, data in self.changes:
            apply(self.durable, offset, data)
        self.changes.clear()

    def content(self) -> bytearray:
        """As a process sees it."""
        content = bytearray(self.durable)
        for offset, data in self.changes:
            apply(content, offset, data)
        return content

    def after_cut(self, chance: random.Random) -> bytearray:
        kept, garbage = chance.choice((0, 0.1, 0.5, 0.9, 1)), chance.choice((0, 0, 0, 0.2))
        changes, how = self.changes, chance.choice(("in order", "changes", "sectors", "sectors"))
        if how == "in order" and changes:
            last = chance.randrange(len(changes))
            content = File(self.durable, changes[:last]).content()
            changes, how = changes[last : last + 1], "sectors"  # the last one is torn
        else:
            content = bytearray(self.durable)
        for offset, data in changes:
            whole = data is None or how == "changes"
            for at, part in [(offset, data)] if whole else sectors(offset, data or b""):
                if chance.random() < kept:
                    lost = part is not None and chance.random() < garbage
                    apply(content, at, chance.randbytes(len(part or b"")) if lost else part)
        return content


def apply(content: bytearray, offset: int, data: bytes | None) -> None:
    end = offset if data is None else offset + len(data)
    if end > len(content):
        content.extend(bytes(end - len(content)))
    if data is None:
        del content[end:]
    else:
        content[offset:end] = data


def sectors(offset: int, data: bytes) -> Iterable[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        end = min(len(data), at + SECTOR - (offset + at) % SECTOR)
        yield offset + at, data[at:end]
        at = end


@dataclass(eq=False)
class Folder:
    """changes: (name, what it leads to, the place that a rename took it from), since the folder was synced."""

    durable: dict[str, "Node"] = field(default_factory=dict)
    entries: dict[str, "Node"] = field(default_factory=dict)
    changes: list[tuple[str, "Node | None", "tuple[Folder, str] | None"]] = field(default_factory=list)

    def change(self, name: str, node: "Node | None", source: "tuple[Folder, str] | None" = None) -> None:
        if source is not None:
            source[0].entries.pop(source[1])
        if node is None:
            self.entries.pop(name)
        else:
            self.entries[name] = node
        self.changes.append((name, node, source))

    def sync(self) -> None:
        for _, node, source in self.changes:
            if source is not None:
                folder, name = source
                folder.durable.pop(name, None)
                if folder is not self:
                    folder.changes = [change for change in folder.changes if change[0] != name or change[1] is not node]
        self.durable = dict(self.entries)
        self.changes.clear()


Node = File | Folder
Snapshot = dict[str, tuple[int, bytes | None]]
"""Of a folder and all below it: the inode of each path, and the content of each file."""


def snapshot_of(folder: Path) -> Snapshot:
    """Without SQLite's WAL-indexes, which it makes anew."""
    found: Snapshot = {"": (folder.stat().st_ino, None)}
    for path in sorted(path for path in folder.rglob("*") if not path.name.endswith("-shm")):
        found[str(path.relative_to(folder))] = path.stat().st_ino, None if path.is_dir() else path.read_bytes()
    return found


class Disk:
    """Events are played on it in their order."""

    def __init__(self, before: "Snapshot", ignored: Callable[[Event], bool] = lambda _: False) -> None:
        """before: what was there before the first event. ignored: syncs that do nothing."""
        self.root = Folder()
        self._nodes: dict[int, Node] = {}
        self._ignored = ignored
        for path, (inode, content) in before.items():
            node: Node = Folder() if content is None else File(bytearray(content))
            if path:
                folder, name = self._place(path)
                folder.entries[name] = folder.durable[name] = node
            else:
                self.root = node  # type: ignore[assignment]
            self._nodes[inode] = node

    def _place(self, path: str) -> tuple[Folder, str]:
        folder, (*parents, name) = self.root, path.split("/")
        for parent in parents:
            folder = folder.entries[parent]  # type: ignore[assignment]
        return folder, name

    def play(self, event: Event) -> None:
        match event.operation:
            case Operation.CREATE | Operation.MKDIR:
                node: Node = File() if event.operation == Operation.CREATE else Folder()
                folder, name = self._place(event.path)
                self._nodes[event.inode] = node
                folder.change(name, node)
            case Operation.WRITE | Operation.TRUNCATE:
                file = self._nodes.get(event.inode)
                if isinstance(file, File):  # else one without a name
                    data = event.data if event.operation == Operation.WRITE else None
                    file.changes.append((event.offset, data))
            case Operation.FSYNC | Operation.FDATASYNC:
                if event.inode in self._nodes and not self._ignored(event):
                    self._nodes[event.inode].sync()
            case Operation.RENAME:
                source, (folder, name) = self._place(event.path), self._place(event.data.decode())
                folder.change(name, source[0].entries[source[1]], source)
            case Operation.UNLINK:
                folder, name = self._place(event.path)
                folder.change(name, None)
            case Operation.UNSUPPORTED:
                raise AssertionError(f"the recorder does not know what {event.data.decode()} wrote to {event.path}")

    def written(self) -> dict[str, bytes]:
        """Each file and its content, as processes see them."""
        return {path: bytes(file.content()) for path, file in files_of(self.root, lambda folder: folder.entries)}

    def after_cut(self, chance: random.Random) -> dict[str, bytes]:
        """Each file and its content, as they may be found once the power is back."""
        kept = chance.choice((0, 0.5, 0.9, 1))

        def entries(folder: Folder) -> dict[str, Node]:
            found = dict(folder.durable)
            for name, node, source in folder.changes:
                if chance.random() >= kept:
                    continue
                if node is None:
                    found.pop(name, None)
                    continue
                found[name] = node
                if source is not None and source[0] is folder and found.get(source[1]) is node:
                    del found[source[1]]
            return found

        files = {path: bytes(file.after_cut(chance)) for path, file in files_of(self.root, entries)}
        for path in [path for path in files if path.endswith("-wal")]:
            if chance.random() < 0.5:
                files[path.removesuffix("wal") + "shm"] = chance.randbytes(INDEX_BYTES)
        return files


def files_of(
    folder: Folder, entries: Callable[[Folder], dict[str, Node]], prefix: str = ""
) -> Iterable[tuple[str, File]]:
    for name, node in entries(folder).items():
        if isinstance(node, File):
            yield prefix + name, node
        else:
            yield from files_of(node, entries, f"{prefix}{name}/")
