"""Which store has which name, of the models under /models."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress

from service.errors import StartupError, StoreError
from service.schemas.fields import MODEL_NAME, Certainty
from service.store.database import Database

NAME = MODEL_NAME


class ModelStores(ABC):
    """Safe to use from any number of threads and processes. A store is never renamed, nor is its name used again."""

    @abstractmethod
    def prepare(self) -> None:
        """Make what is missing, at a start. Raises StartupError, StoreError."""

    @abstractmethod
    def store_of(self, name: str, certainty: Certainty = "certain") -> str:
        """The store of a model. Raises UnknownModelError, StoreError."""

    @abstractmethod
    def database(self, store: str) -> Database:
        """Nothing is opened yet."""

    @abstractmethod
    def has(self, name: str) -> bool:
        """Raises StoreError."""

    @abstractmethod
    def names(self) -> list[str]:
        """Raises StoreError."""

    @abstractmethod
    def set_aside_stores(self) -> list[str]:
        """The stores without a name. Raises StoreError."""

    @abstractmethod
    def name_before(self, store: str) -> str:
        """The name that a store had when it was set aside. Raises StoreError."""

    def make(self, name: str, fill: Callable[[Database], None]) -> None:
        """Make a model. fill: writes its store. Raises ModelExistsError, StoreError and what `fill` raises, after which
        nothing is left."""
        store = self.new_store(name)
        try:
            fill(self.database(store))
            self.name(store, name)
        except BaseException as error:
            with suppress(StoreError):
                self.remove(store)
            if isinstance(error, StartupError):
                raise StoreError(str(error)) from error
            raise

    @abstractmethod
    def new_store(self, name: str) -> str:
        """A place for the store of a model that is being made, set aside until it has its name. Raises StoreError."""

    @abstractmethod
    def name(self, store: str, name: str) -> None:
        """Give a store a name. Raises ModelExistsError, StoreError."""

    @abstractmethod
    def set_aside(self, name: str) -> str:
        """Take the name from a store, which is returned. Raises UnknownModelError, StoreError."""

    @abstractmethod
    def remove(self, store: str) -> None:
        """Delete a store without a name, as far as it is there. Raises StoreError."""
