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
from collections.abc import Callable
from pathlib import Path

from model.atomic_file import sync_folder
from service.errors import ModelExistsError, StartupError, StoreError, UnknownModelError
from service.schemas.fields import MODEL_NAME

NAME = MODEL_NAME
STORE = re.compile(r"([a-z0-9][a-z0-9-]{0,62})\.[0-9a-f]{8}\.db")
SIBLINGS = ("", "-wal", "-shm", "-lock", "-open")


class ModelFolder:
    """Safe to use from any number of threads and processes."""

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))
        self._links = f"{self.path}{os.sep}"

    def store_of(self, name: str) -> str:
        """The path of a model's store. Raises UnknownModelError, StoreError."""
        if NAME.fullmatch(name) is None:
            raise UnknownModelError(name)
        try:
            return os.path.join(self.path, os.readlink(self._links + name))  # noqa: PTH115  each request does it
        except OSError as error:
            if os.path.lexists(self._links + name) and not isinstance(error, FileNotFoundError):
                raise StoreError(f"the model {name} can't be found: {error.strerror}") from error
            raise UnknownModelError(name) from None

    def has(self, name: str) -> bool:
        return os.path.lexists(self._links + name)

    def names(self) -> list[str]:
        """Raises StoreError."""
        return sorted(name for name, is_link in self._entries() if is_link and NAME.fullmatch(name))

    def set_aside_stores(self) -> list[str]:
        """File names of the stores without a name. Raises StoreError."""
        entries = self._entries()
        linked = {str((self.path / name).readlink()) for name, is_link in entries if is_link}
        return sorted(name for name, is_link in entries if not is_link and STORE.fullmatch(name) and name not in linked)

    def _entries(self) -> list[tuple[str, bool]]:
        try:
            with os.scandir(self.path) as entries:
                return [(entry.name, entry.is_symlink()) for entry in entries]
        except OSError as error:
            raise StoreError(f"the folder of the models {self.path} can't be read: {error.strerror}") from error

    def make(self, name: str, fill: Callable[[Path], None]) -> None:
        """Make a model. fill: writes its store. Raises ModelExistsError, StoreError and what `fill` raises, after which
        nothing is left."""
        store = f"{name}.{secrets.token_hex(4)}.db"
        try:
            fill(self.path / store)
            self.name(store, name)
        except BaseException as error:
            self.remove(store)
            if isinstance(error, StartupError):
                raise StoreError(str(error)) from error
            raise

    def name(self, store: str, name: str) -> None:
        """Give a store a name. Raises ModelExistsError, StoreError."""
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
        """Take the name from a store, whose file name is returned. Raises UnknownModelError, StoreError."""
        store = os.path.relpath(self.store_of(name), self.path)
        try:
            (self.path / name).unlink()
            sync_folder(self.path)
        except FileNotFoundError:
            raise UnknownModelError(name) from None
        except OSError as error:
            raise StoreError(f"the model {name} can't be set aside: {error.strerror}") from error
        return store

    def remove(self, store: str) -> None:
        """Delete a store without a name, as far as it is there."""
        for sibling in SIBLINGS:
            (self.path / f"{store}{sibling}").unlink(missing_ok=True)
