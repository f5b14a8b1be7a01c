"""Copying a store, or those of all models, into another database, with the whole history."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import sqlalchemy as sa

from service.errors import ModelExistsError, StartupError, StoreCorruptError
from service.store.backup import not_in_use
from service.store.database import Database, Session
from service.store.log import Reader, StepLog, Writer
from service.store.model_stores import ModelStores
from service.store.schema import SCHEMA_VERSION, metadata
from service.store.sqlite import SqliteDatabase

ROWS_AT_ONCE = 4  # each may have the images of a whole request


def copy_store(source_url: str, target_url: str, check: Callable[[StepLog], int]) -> int:
    """Copy a store into an empty database and return its newest version. After an error, nothing was copied.

    The copy has an identity of its own. check: returns the newest version of a log, or raises StoreError where it can't
    be served. Raises StartupError, StoreError.
    """
    with closing(StepLog.at(source_url)) as source, closing(StepLog.at(target_url)) as target:
        return copy_log(source, target, check)


def copy_model(name: str, source: ModelStores, target: ModelStores, check: Callable[[StepLog], int]) -> int:
    """Make a model elsewhere with the store that it has, key included. As `copy_store`; raises ModelExistsError as
    well."""
    if target.has(name):
        raise ModelExistsError(name)
    heads: list[int] = []

    def fill(database: Database) -> None:
        with closing(StepLog(source.database(source.store_of(name)))) as log, closing(StepLog(database)) as copy:
            heads.append(copy_log(log, copy, check))

    target.make(name, fill)
    return heads[0]


def copy_log(source: StepLog, target: StepLog, check: Callable[[StepLog], int]) -> int:
    names = source.database.name, target.database.name
    if not source.database.exists():
        raise StartupError(f"there is no store at {names[0]}")
    with stopped(source.database), target.database.opening():
        with source.reading() as reader, target.writing() as writer:
            check_schemas(reader, writer, *names)
            copy_tables(reader.session, writer.session)
            newest = reader.newest()
            writer.renew_identity()
            if (digest := reader.key_digest()) is not None:
                writer.set_key_digest(digest)
        with target.reading() as copied:
            head = copied.check()
            same = copied.newest() == newest
        if not same or check(target) != head:
            raise StoreCorruptError(f"the copy in {names[1]} differs from the store {names[0]}")
    return head


@contextmanager
def stopped(database: Database) -> Iterator[None]:
    """Raises StartupError while a service uses the store: what it learns meanwhile would be lost."""
    if isinstance(database, SqliteDatabase) and os.access(database.path.parent, os.W_OK):
        with not_in_use(database.path):
            yield
        return
    if hosts := database.users():
        raise StartupError(f"a service uses the store {database.name}: stop it first, on {', '.join(hosts)}")
    yield


def check_schemas(source: Reader, target: Writer, source_name: str, target_name: str) -> None:
    """Raises StartupError."""
    if target.session.table_names():
        raise StartupError(f"the database {target_name} is not empty: name one without tables")
    schema = source.schema_version()
    if schema == 0:
        raise StartupError(f"there is no store at {source_name}")
    if schema != SCHEMA_VERSION:
        raise StartupError(f"the store {source_name} was created by an older release: serve it once with this one")


def copy_tables(source: Session, target: Session) -> None:
    for table in metadata.sorted_tables:
        target.create_table(table)
        insert, names = sa.insert(table), [column.name for column in table.columns]
        with closing(source.stream(sa.select(table).order_by(*table.primary_key.columns))) as cursor:
            rows = iter(cursor)
            while batch := list(itertools.islice(rows, ROWS_AT_ONCE)):
                target.execute_many(insert, [dict(zip(names, row, strict=True)) for row in batch])
