"""The folder of the models under /models: a store for each, and a link that gives it a name.

    alice -> alice.5f0c21d7.db      a model
    alice.5f0c21d7.db, -wal, …      its store
    bob.90aa3c1e.db                 a store without a name: a model that was set aside

To make a model and to set it aside are one system call each, which every process sees at its next request. A store
never moves and its file's name is never used again, so SQLite never finds the log of one store next to another.
"""

import os
import re
import secrets
from pathlib import Path

from model.atomic_file import sync_folder
from service.errors import ModelExistsError, StartupError, StoreError, UnknownModelError
from service.schemas.fields import Certainty
from service.store.model_stores import NAME, ModelStores
from service.store.sqlite import SqliteDatabase

STORE = re.compile(r"([a-z0-9][a-z0-9-]{0,62})\.[0-9a-f]{8}\.db")
SIBLINGS = ("", "-wal", "-shm", "-lock", "-open")


class ModelFolder(ModelStores):
    def __init__(self, path: Path, most_bytes: int | None = None) -> None:
        """most_bytes: limit for the size of each store."""
        self.path = Path(os.path.realpath(path))
        self._most_bytes = most_bytes
        self._links = f"{self.path}{os.sep}"

    def prepare(self) -> None:
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
            with os.scandir(self.path):
                pass
        except OSError as error:
            raise StartupError(f"the folder {self.path} can't be used: {error.strerror}") from None

    def store_of(self, name: str, certainty: Certainty = "certain") -> str:
        """A file name, or a path where the link names a file elsewhere."""
        if NAME.fullmatch(name) is None:
            raise UnknownModelError(name)
        try:
            return os.readlink(self._links + name)  # noqa: PTH115  each request does it
        except OSError as error:
            if os.path.lexists(self._links + name) and not isinstance(error, FileNotFoundError):
                raise StoreError(f"the model {name} can't be found: {error.strerror}") from error
            raise UnknownModelError(name) from None

    def database(self, store: str) -> SqliteDatabase:
        return SqliteDatabase(Path(os.path.realpath(self.path / store)), self._most_bytes)

    def has(self, name: str) -> bool:
        return os.path.lexists(self._links + name)

    def names(self) -> list[str]:
        return sorted(name for name, is_link in self._entries() if is_link and NAME.fullmatch(name))

    def set_aside_stores(self) -> list[str]:
        entries = self._entries()
        linked = {str((self.path / name).readlink()) for name, is_link in entries if is_link}
        return sorted(name for name, is_link in entries if not is_link and STORE.fullmatch(name) and name not in linked)

    def name_before(self, store: str) -> str:
        match = STORE.fullmatch(store)
        return match[1] if match else ""

    def _entries(self) -> list[tuple[str, bool]]:
        try:
            with os.scandir(self.path) as entries:
                return [(entry.name, entry.is_symlink()) for entry in entries]
        except OSError as error:
            raise StoreError(f"the folder of the models {self.path} can't be read: {error.strerror}") from error

    def new_store(self, name: str) -> str:
        return f"{name}.{secrets.token_hex(4)}.db"

    def name(self, store: str, name: str) -> None:
        link = self.path / name
        try:
            link.symlink_to(store)
        except FileExistsError:
            raise ModelExistsError(name) from None
        except OSError as error:
            raise StoreError(f"the model {name} can't be made: {error.strerror}") from error
        try:
            sync_folder(self.path)
        except OSError as error:
            link.unlink(missing_ok=True)
            raise StoreError(f"the model {name} can't be made: {error.strerror}") from error

    def set_aside(self, name: str) -> str:
        store = self.store_of(name)
        try:
            (self.path / name).unlink()
            sync_folder(self.path)
        except FileNotFoundError:
            raise UnknownModelError(name) from None
        except OSError as error:
            raise StoreError(f"the model {name} can't be set aside: {error.strerror}") from error
        return store

    def remove(self, store: str) -> None:
        for sibling in SIBLINGS:
            (self.path / f"{store}{sibling}").unlink(missing_ok=True)
