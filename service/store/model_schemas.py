"""The models under /models on PostgreSQL: a schema for the store of each, and a table that gives it a name.

    models.models                   the table: schema, name, whether it was set aside
    models_5f0c21d7                 a store

A model is made, set aside and restored by one commit. A predict asks this process for the schema of its model; the
follower keeps what the process knows up to date. Every other request asks the database.
"""

import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg

from service.errors import ModelExistsError, StartupError, StoreError, UnknownModelError
from service.schemas.fields import Certainty
from service.store.follower import CHANNEL, Ask, Follower, Tail
from service.store.model_stores import NAME, ModelStores
from service.store.postgres import (
    NOTIFY,
    OPENING_LOCK,
    READ,
    UNKNOWN,
    WRITE,
    Connections,
    Cursor,
    PostgresDatabase,
    PostgresSession,
    quoted,
)

SCHEMA = re.compile(r"[a-z][a-z0-9_]{0,50}")
MOST_KNOWN = 1000
KNOWN_POLL_SECONDS = 0.5  # the cost of a lost notification

TABLE = "CREATE TABLE models (schema text PRIMARY KEY, name text NOT NULL, set_aside boolean NOT NULL)"
INDEX = "CREATE UNIQUE INDEX models_name ON models (name) WHERE NOT set_aside"
STORE_OF = "SELECT schema FROM models WHERE name = %(name)s AND NOT set_aside"
NAMES = "SELECT name FROM models WHERE NOT set_aside"
STORES_SET_ASIDE = "SELECT schema FROM models WHERE set_aside"
NAME_OF = "SELECT name FROM models WHERE schema = %(schema)s"
INSERT = "INSERT INTO models (schema, name, set_aside) VALUES (%(schema)s, %(name)s, true)"
GIVE_NAME = (
    "UPDATE models SET name = %(name)s, set_aside = false WHERE schema = %(schema)s AND set_aside RETURNING schema"
)
SET_ASIDE = "UPDATE models SET set_aside = true WHERE name = %(name)s AND NOT set_aside RETURNING schema"
DELETE = "DELETE FROM models WHERE schema = %(schema)s AND set_aside RETURNING schema"


class KnownStores(Tail):
    """The schemas of the models that this process was asked for, by name."""

    def __init__(self, connections: Connections, schema: str) -> None:
        super().__init__(f"the schema {schema}", KNOWN_POLL_SECONDS)
        self.of = dict[str, str]()
        self._connections = connections
        self._schema = quoted(schema)
        self._channel = f"'{CHANNEL}' || '{self._schema}'::regnamespace::oid"
        self._lock = threading.Lock()
        self._followed_by: Follower | None = None

    def add(self, name: str, store: str) -> None:
        with self._lock:
            if len(self.of) >= MOST_KNOWN:
                self.of.clear()
            self.of[name] = store
            if self._followed_by is not self._connections.follower:  # this process's first
                self._followed_by = self._connections.follower
                self._followed_by.add(self)

    def drop(self, name: str) -> None:
        with self._lock:
            self.of.pop(name, None)

    def begin(self, ask: Ask) -> str:
        [(channel,)] = ask(f"SELECT {self._channel}")
        return str(channel)

    def poll(self, ask: Ask) -> str:
        names = list(self.of)
        rows = ask(
            f"SELECT {self._channel}, name, schema FROM (SELECT 1) AS always "
            f"LEFT JOIN {self._schema}.models ON NOT set_aside AND name = ANY(%(names)s)",
            names=names,
        )
        stores = {name: schema for _, name, schema in rows if name is not None}
        with self._lock:
            for name in names:
                self.of.pop(name, None)
            self.of.update(stores)
        self.report("")
        return str(rows[0][0])


class ModelSchemas(ModelStores):
    def __init__(self, connections: Connections, schema: str) -> None:
        """schema: of the table. Raises StartupError."""
        if SCHEMA.fullmatch(schema) is None:
            raise StartupError(
                f"{schema!r} can't be the name of a schema: expected up to 51 small letters, digits and underscores, "
                "the first a letter"
            )
        self.schema = schema
        self._connections = connections
        self._database = PostgresDatabase(connections, schema)
        self._known = KnownStores(connections, schema)

    def prepare(self) -> None:
        schema = quoted(self.schema)
        with self._writing() as session:
            session.run(f"SELECT pg_advisory_xact_lock({OPENING_LOCK}, 0)")
            if not value(session.run("SELECT to_regnamespace(%(schema)s) IS NOT NULL", schema=schema)):
                session.run(f"CREATE SCHEMA {schema}")
            if not value(session.run("SELECT to_regclass('models') IS NOT NULL")):
                session.run(TABLE)
                session.run(INDEX)

    def store_of(self, name: str, certainty: Certainty = "certain") -> str:
        if NAME.fullmatch(name) is None:
            raise UnknownModelError(name)
        if certainty == "known" and (known := self._known.of.get(name)) is not None:
            return known
        try:
            stores = self._read(STORE_OF, name=name)
        except StoreError:
            if certainty == "certain" or (known := self._known.of.get(name)) is None:
                raise
            return known
        if not stores:
            self._known.drop(name)
            raise UnknownModelError(name)
        self._known.add(name, stores[0])
        return stores[0]

    def database(self, store: str) -> PostgresDatabase:
        return PostgresDatabase(self._connections, store)

    def has(self, name: str) -> bool:
        return bool(self._read(STORE_OF, name=name))

    def names(self) -> list[str]:
        return self._read(NAMES)

    def set_aside_stores(self) -> list[str]:
        return self._read(STORES_SET_ASIDE)

    def name_before(self, store: str) -> str:
        return "".join(self._read(NAME_OF, schema=store))

    def new_store(self, name: str) -> str:
        schema = f"{self.schema}_{secrets.token_hex(4)}"
        with self._writing() as session:
            session.run(f"CREATE SCHEMA {schema}")
            session.run(INSERT, schema=schema, name=name)
        return schema

    def name(self, store: str, name: str) -> None:
        with self._writing() as session:
            try:
                named = value(session.run(GIVE_NAME, schema=store, name=name))
            except psycopg.errors.UniqueViolation:
                raise ModelExistsError(name) from None
            if named is None:
                raise StoreError(f"the store {store} is not set aside any more")

    def set_aside(self, name: str) -> str:
        with self._writing() as session:
            schema: str | None = value(session.run(SET_ASIDE, name=name))
            if schema is None:
                raise UnknownModelError(name)
        self._known.drop(name)
        return schema

    def remove(self, store: str) -> None:
        with self._writing() as session:
            if value(session.run(DELETE, schema=store)) is not None:
                session.run(f"DROP SCHEMA {quoted(store)} CASCADE")

    def _read(self, text: str, **parameters: str) -> list[str]:
        """The only column of the rows, in order. Raises StoreError."""
        with self._session(READ) as session:
            rows = sorted(row[0] for row in session.run(text, **parameters))
            session.end()
        return rows

    @contextmanager
    def _writing(self) -> Iterator[PostgresSession]:
        """The other processes learn of it. Raises StoreError."""
        with self._session(WRITE) as session:
            yield session
            session.run(NOTIFY)
            if session.commit() is not None:
                raise StoreError(UNKNOWN)

    @contextmanager
    def _session(self, begin: str) -> Iterator[PostgresSession]:
        with self._database.session(begin) as session:
            try:
                yield session
            except psycopg.errors.UndefinedTable:
                raise StoreError(f"the schema {self.schema} has no table of models") from None


def value(cursor: Cursor) -> Any:
    """The first column of the first row; None where there is no row."""
    row = cursor.fetchone()
    return None if row is None else row[0]
