"""Copying a store into another database, with its whole history."""

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

import sqlalchemy as sa

from service.errors import StartupError, StoreCorruptError
from service.store.backup import not_in_use
from service.store.database import Session
from service.store.log import Reader, StepLog, Writer
from service.store.schema import SCHEMA_VERSION, metadata
from service.store.url import parsed_url, sqlite_path

ROWS_AT_ONCE = 4  # each may have the images of a whole request


def copy_store(source_url: str, target_url: str, check: Callable[[StepLog], int]) -> int:
    """Copy a store into an empty database and return its newest version. After an error, nothing was copied.

    The copy has an identity of its own. check: returns the newest version of a log, or raises StoreError where it can't
    be served. Raises StartupError, StoreError.
    """
    with closing(StepLog.at(source_url)) as source, closing(StepLog.at(target_url)) as target:
        names = source.database.name, target.database.name
        if not source.database.exists():
            raise StartupError(f"there is no store at {names[0]}")
        with stopped(source, source_url), target.database.opening():
            with source.reading() as reader, target.writing() as writer:
                check_schemas(reader, writer, *names)
                copy_tables(reader.session, writer.session)
                newest = reader.newest()
                writer.renew_identity()
            with target.reading() as copied:
                head = copied.check()
                same = copied.newest() == newest
            if not same or check(target) != head:
                raise StoreCorruptError(f"the copy in {names[1]} differs from the store {names[0]}")
        return head


@contextmanager
def stopped(log: StepLog, url: str) -> Iterator[None]:
    """Raises StartupError while a service uses the store: what it learns meanwhile would be lost."""
    if parsed_url(url).get_backend_name() == "sqlite" and os.access(sqlite_path(url).parent, os.W_OK):
        with not_in_use(sqlite_path(url)):
            yield
        return
    if hosts := log.database.users():
        raise StartupError(f"a service uses the store {log.database.name}: stop it first, on {', '.join(hosts)}")
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
