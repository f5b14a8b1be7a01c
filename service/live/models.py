"""The models under /models: each a `Service` with a store of its own, opened when it is first asked for.

A request borrows its model, which is not closed meanwhile. Every request asks which store a name has, so that all
workers know at once of a model that one of them has made or set aside. On PostgreSQL, a predict uses what its worker
knows.
"""

import hashlib
import hmac
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from model.weights_file import Weights
from service.errors import ModelExistsError, NoModelsError, StartupError, StoreError, UnknownModelError
from service.live.first_version import begin, digest_of, shape_of
from service.live.learner import check_answers_stay_finite
from service.live.replica import applied
from service.live.service import Service
from service.schemas.fields import DEFAULT_MODEL, Certainty
from service.settings import Settings, variable
from service.store.database import Database
from service.store.log import AFTER_ALL, StepLog
from service.store.model_stores import NAME, ModelStores
from service.store.url import model_stores
from service.store.write_lock import WAIT_SECONDS, ThreadLock

IDLE_SECONDS = 600.0
"""A model that has not been asked for in this time is closed."""

RETRY_SECONDS = 5.0
"""For so long a model that can't be opened is not tried again: its requests take no time from those of others."""

CHECKED_BYTES = 16 * 2**20
"""A larger store is not read whole when it is opened: all that is served is checked."""


@dataclass(frozen=True)
class Standing:
    """What a model is now; error: why that is unknown."""

    name: str
    model_version: int | None = None
    classes: int | None = None
    bytes: int | None = None
    created_at: float | None = None
    error: str | None = None

    @classmethod
    def of(cls, name: str, log: StepLog) -> "Standing":
        with log.reading() as reader:
            version, created_at = reader.head(), reader.identity().created_at
            snapshot = reader.latest_snapshot(after=0, until=AFTER_ALL)  # a class comes and goes with one
        classes = None if snapshot is None else applied(None, snapshot).weights.output_size
        return cls(name, version, classes, log.database.status()["bytes"], created_at)


class OpenModel:
    """A model of this process. users: requests that use it; used_at: when the last one began."""

    def __init__(self, name: str, store: str, log: Callable[[], StepLog], settings: Settings) -> None:
        """Nothing is opened yet. log: makes the store's."""
        self.name, self.store = name, store
        self.users, self.used_at = 0, time.monotonic()
        self._log, self._settings = log, settings
        self._opening = ThreadLock()
        self._service: Service | None = None
        self._failed: tuple[float, StoreError] | None = None

    def service(self) -> Service:
        """Raises StoreError."""
        if self._service is None:
            with self._opening.held(WAIT_SECONDS):
                if self._service is None:
                    self._service = self._opened()
        return self._service

    @property
    def has_failed(self) -> bool:
        return self._service is None and self._failed is not None

    def _opened(self) -> Service:
        if self._failed is not None and time.monotonic() < self._failed[0]:
            error = self._failed[1]
            raise type(error)(str(error))
        try:
            return opened(self._log(), self._settings)
        except (StartupError, StoreError) as error:
            kind = StoreError if isinstance(error, StartupError) else type(error)
            failure = kind(f"the model {self.name}: {error}")
            self._failed = time.monotonic() + RETRY_SECONDS, failure
            raise failure from error

    def close(self) -> None:
        if self._service is not None:
            self._service.close()


def opened(log: StepLog, settings: Settings) -> Service:
    """The model of a log. Raises StartupError, StoreError."""
    if not log.database.exists():
        raise StoreError(f"its store {log.database.name} is missing")
    try:
        with log.database.opening() as alone:
            if alone:
                log.database.check_whole(CHECKED_BYTES)
            log.prepare(None)
        return Service.of(log, settings)
    except BaseException:
        log.close()
        raise


_borrowed: ContextVar[OpenModel | None] = ContextVar("borrowed", default=None)
"""The model of the request that is being answered; None for the default."""


class Models:
    """Safe to use from any number of threads. Without the setting, only the default model."""

    def __init__(self, default: Service) -> None:
        self.default = default
        self._settings = default.settings
        models, database = self._settings.models, default.log.database
        self._stores = None if models is None else model_stores(database, models, self._settings.models_bytes)
        self._lock = threading.Lock()
        self._open: OrderedDict[str, OpenModel] = OrderedDict()
        """By name, those first that were not asked for the longest."""

    @property
    def stores(self) -> ModelStores:
        """Raises NoModelsError."""
        if self._stores is None:
            raise NoModelsError(variable("models"))
        return self._stores

    def find(self, name: str, certainty: Certainty = "certain") -> None:
        """The model of this request, until `done`. Raises NoModelsError, UnknownModelError, StoreError."""
        if name == DEFAULT_MODEL:
            self.stores  # noqa: B018  raises
        elif _borrowed.get() is None:
            model = self._borrow(name, certainty)
            try:
                model.service()
            except BaseException:
                self._give_back(model)
                raise
            _borrowed.set(model)

    def done(self) -> None:
        model = _borrowed.get()
        if model is not None:
            _borrowed.set(None)
            self._give_back(model)

    @contextmanager
    def borrowed(self, name: str) -> Iterator[Service]:
        """Any model. Raises as `find`."""
        if name == DEFAULT_MODEL:
            yield self.default
            return
        model = self._borrow(name)
        try:
            yield model.service()
        finally:
            self._give_back(model)

    def _borrow(self, name: str, certainty: Certainty = "certain") -> OpenModel:
        store = self.stores.store_of(name, certainty)
        with self._lock:
            model = self._open.get(name)
            unused = []
            if model is None or model.store != store:
                unused += [] if model is None or model.users else [model]
                model = self._open[name] = OpenModel(name, store, partial(self._log_in, store), self._settings)
            self._open.move_to_end(name)
            model.users += 1
            model.used_at = time.monotonic()
            unused += self._take_unused()
        close_all(unused)
        return model

    def _log_in(self, store: str) -> StepLog:
        return self._log(self.stores.database(store))

    def _log(self, database: Database) -> StepLog:
        return StepLog(database, self._settings.snapshot_every, self._settings.keep_versions)

    def _take_unused(self) -> list[OpenModel]:
        """Those that are to be closed: too many, or unused for long."""
        unused: list[OpenModel] = []
        idle_since = time.monotonic() - IDLE_SECONDS
        too_many = len(self._open) - self._settings.models_open
        if too_many > 0 or next(iter(self._open.values())).used_at < idle_since:
            for name, model in list(self._open.items()):
                if len(unused) >= too_many and model.used_at > idle_since:
                    break
                if not model.users:
                    unused.append(self._open.pop(name))
        return unused

    def _give_back(self, model: OpenModel) -> None:
        with self._lock:
            model.users -= 1
            is_gone = not model.users and self._open.get(model.name) is not model
        if is_gone:
            model.close()

    def close(self) -> None:
        """Close those that no request uses."""
        with self._lock:
            unused = [self._open.pop(name) for name, model in list(self._open.items()) if not model.users]
        close_all(unused)

    def weights_of(self, name: str, version: int | None) -> Weights:
        """Of a version, default: the newest. Raises as `find`, and UnknownVersionError."""
        with self.borrowed(name) as service:
            return (service.replica.newest() if version is None else service.replica.at(version)).weights

    def check_free(self, name: str) -> None:
        """Raises NoModelsError, ModelExistsError, StoreError."""
        if name == DEFAULT_MODEL or self.stores.has(name):
            raise ModelExistsError(name)

    def make(self, name: str, weights: Weights) -> str:
        """Make a model, whose version 1 has these weights; its key. Raises NoModelsError, ModelExistsError,
        WeightsError, StoreError."""
        self.check_free(name)
        check_answers_stay_finite(weights)
        key, digest = new_key()

        def fill(database: Database) -> None:
            with closing(self._log(database)) as log, log.database.opening():
                log.prepare(shape_of(weights), digest_of(weights))
                with log.writing() as writer:
                    writer.set_key_digest(digest)
                    begin(writer, weights)

        self.stores.make(name, fill)
        return key

    def set_aside(self, name: str) -> str:
        """Its store. Raises NoModelsError, UnknownModelError, StoreError."""
        return self.stores.set_aside(name)

    def renew_key(self, name: str) -> str:
        """Raises NoModelsError, UnknownModelError, StoreError."""
        key, digest = new_key()
        with self.borrowed(name) as service, service.log.writing() as writer:
            writer.set_key_digest(digest)
        return key

    def is_key_of(self, name: str, key: bytes) -> bool:
        """Of the model that this request has from now on: another one may get the name. Raises as `find`."""
        self.find(name)
        model = _borrowed.get()
        if model is None:
            return False
        with model.service().log.reading() as reader:
            digest = reader.key_digest()
        return digest is not None and hmac.compare_digest(digest, hashlib.sha256(key).digest())

    def names(self) -> list[str]:
        """Raises NoModelsError, StoreError."""
        return sorted([DEFAULT_MODEL, *self.stores.names()])

    def in_trouble(self) -> list[str]:
        """Names of models that this process could not open when it was last asked for them."""
        with self._lock:
            return sorted(name for name, model in self._open.items() if model.has_failed)

    def page(self, limit: int, after: str) -> tuple[list[Standing], str | None]:
        """At most `limit` models by name, and the name after which the next page begins. Raises NoModelsError,
        StoreError."""
        names = [name for name in self.names() if name > after]
        return [self._standing(name) for name in names[:limit]], names[limit - 1] if len(names) > limit else None

    def _standing(self, name: str) -> Standing:
        try:
            return self.standing(name)
        except (StoreError, UnknownModelError) as error:  # unknown: set aside since the names were listed
            return Standing(name, error=str(error))

    def standing(self, name: str) -> Standing:
        """Without opening a model for this alone. Raises NoModelsError, UnknownModelError, StoreError."""
        store = None if name == DEFAULT_MODEL else self.stores.store_of(name)
        with self._lock:
            is_open = name in self._open
        if store is None or is_open:
            with self.borrowed(name) as service:
                return Standing.of(name, service.log)
        try:
            with closing(self._log_in(store)) as log:
                return Standing.of(name, log)
        except StartupError as error:
            raise StoreError(f"the model {name}: {error}") from error


def is_name(text: str) -> bool:
    return NAME.fullmatch(text) is not None


def new_key() -> tuple[str, bytes]:
    """A key, and what a store keeps of it."""
    key = secrets.token_urlsafe(32)
    return key, hashlib.sha256(key.encode()).digest()


def close_all(models: list[OpenModel]) -> None:
    for model in models:
        model.close()


class ServiceOfRequest:
    """To the routes it is a `Service`: the one of the model that a request names, else the default's."""

    def __init__(self, default: Service) -> None:
        self._default = default


def of_request(name: str) -> property:
    """A property costs a seventh of what `__getattr__` does, and each predict reads three."""

    def get(self: ServiceOfRequest) -> Any:
        model = _borrowed.get()
        return getattr(self._default if model is None else model.service(), name)

    return property(get)


for field in fields(Service):
    setattr(ServiceOfRequest, field.name, of_request(field.name))
