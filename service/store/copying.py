"""A store taken over into another database, with all of its history."""

import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import sqlalchemy as sa

from service.errors import StartupError, StoreCorruptError
from service.store.backup import unused
from service.store.database import Session
from service.store.log import Reader, StepLog, Writer
from service.store.schema import SCHEMA_VERSION, metadata
from service.store.sqlite import database_path, parsed_url

BATCH_ROWS = 500
BATCH_BYTES = 4 * 2**20


def copy_store(source_url: str, target_url: str, check: Callable[[StepLog], int]) -> int:
    """Copy the newest and every other version into an empty database; the number of the newest one.

    The copy is another store than the one it was taken from. It is all there when this returns, or not at all.
    check: raises StoreError for a log that can't be served, else its newest version. Raises StartupError, StoreError.
    """
    with closing(StepLog.at(source_url)) as source, closing(StepLog.at(target_url)) as target:
        if not source.exists():
            raise StartupError(f"there is no store at {source.name}")
        with not_in_use(source, source_url), target.opening():
            with source.reading() as reader, target.writing() as writer:
                check_state(source, reader, target, writer)
                copied(reader.session, writer.session)
                newest = reader.newest()
                writer.identify_anew()
            with target.reading() as reader:
                head = reader.check()
                found = reader.newest()
            if newest is None or found != newest or check(target) != head:
                raise StoreCorruptError(f"the copy in {target.name} is not what the store {source.name} holds")
        return head


@contextmanager
def not_in_use(log: StepLog, url: str) -> Iterator[None]:
    """Raises StartupError while a service uses the store: what it learns meanwhile would be lost."""
    if parsed_url(url).get_backend_name() == "sqlite" and os.access(database_path(url).parent, os.W_OK):
        with unused(database_path(url)):
            yield
        return
    if hosts := log.users():
        raise StartupError(f"a service uses the store {log.name}: stop it first, on {', '.join(hosts)}")
    yield


def check_state(source: StepLog, reader: Reader, target: StepLog, writer: Writer) -> None:
    """Raises StartupError."""
    if writer.session.table_names():
        raise StartupError(f"the database {target.name} is not empty: name one without tables")
    found = reader.schema_version()
    if found == 0:
        raise StartupError(f"there is no store at {source.name}")
    if found != SCHEMA_VERSION:
        raise StartupError(f"the store {source.name} was made by an older release: serve it once with this one")


def copied(source: Session, target: Session) -> None:
    for table in metadata.sorted_tables:
        target.create_table(table)
        select, insert = sa.select(table).order_by(*table.primary_key.columns), sa.insert(table)
        names = [column.name for column in table.columns]
        for batch in batches(dict(zip(names, row, strict=True)) for row in source.stream(select)):
            target.execute_many(insert, batch)


def batches(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Of bounded size, but for a row that is larger."""
    batch: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += sum(len(value) for value in row.values() if isinstance(value, bytes))
        if len(batch) == BATCH_ROWS or size > BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
