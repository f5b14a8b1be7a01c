"""The commands `backup`, `restore`, `verify`, `store status` and `store copy`."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar

import click

from model.atomic_file import replacing
from service.cli.console import fail, reported_errors
from service.errors import StartupError, StoreError
from service.settings import load_settings, variable

Command = TypeVar("Command", bound=Callable[..., Any])


def store_option(command: Command) -> Command:
    return click.option("--store", help=f"Database URL of the log. [{variable('store')}]")(command)


def store_url(store: str | None) -> str:
    """Raises StartupError."""
    return load_settings().store if store is None else store


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let the command clean up before a signal ends it."""

    def end(received: int, _: object) -> NoReturn:
        raise SystemExit(128 + received)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@click.command()
@store_option
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
def backup(store: str | None, file: Path) -> None:
    """Write a copy of the store to FILE (- for standard output) while the service is running.

    An existing FILE is kept until the copy is complete on the disk.
    """
    from service.store.backup import back_up
    from service.store.sqlite_file import sibling
    from service.store.url import sqlite_path

    with reported_errors(), ended_by_signals():
        url = store_url(store)
        path = sqlite_path(url)
        if Path(os.path.realpath(file)) in (path, *(sibling(path, name) for name in ("wal", "shm", "lock", "open"))):
            fail(f"{file} is the store itself or part of it: name another file")
        if file == Path("-"):
            back_up(url, sys.stdout.buffer)
        elif file.exists() and not file.is_file():
            with open(file, "wb") as pipe:  # or a device
                back_up(url, pipe)
        else:
            with replacing(file) as target:
                back_up(url, target)
            click.echo(f"backup: {file.stat().st_size} bytes, of the store {path}, in {file}", err=True)


@click.command()
@store_option
@click.argument("file", type=click.File("rb"))
def restore(store: str | None, file: BinaryIO) -> None:
    """Replace the store with the copy in FILE (- for standard input). Stop the service first.

    The whole copy is checked first; until it is in place, the store is unchanged.
    """
    from service.live.replica import newest_version
    from service.store import backup as store_backup

    with reported_errors(), ended_by_signals():
        newest = store_backup.restore(store_url(store), file, newest_version)
        click.echo(f"restored: the newest version is {newest}")


@click.command()
@store_option
@click.option("--replica", metavar="URL", help="Verify the Litestream replica at this URL, such as s3://bucket/path.")
@click.argument("copy", required=False)
def verify(store: str | None, replica: str | None, copy: str | None) -> None:
    """Check the whole history of COPY, a backup file or the URL of a database; of a replica; or of the store itself.

    Nothing is restored. For a copy of the store, /metrics then has its age.
    """
    from service.live.replica import newest_version
    from service.store.log import StepLog
    from service.store.verification import copy_at, fetched, verified

    if copy is not None and replica is not None:
        fail("name a copy or a replica, not both")
    with reported_errors(), ended_by_signals(), closing(StepLog.at(store_url(store))) as log:
        copied_log = log if copy is None else copy_at(copy)
        needs = log.database.status()["bytes"] if log.database.exists() else 0
        with closing(copied_log) if replica is None else fetched(replica, needs) as copied:
            try:
                newest = verified(copied, newest_version)
            except (StartupError, StoreError) as error:
                fail(f"{replica or copied.database.name} can't be used: {error}")
        since = datetime.now(UTC) - datetime.fromtimestamp(newest.version.created_at, UTC)
        when = f"{time_of(newest.version.created_at)}, {timedelta(seconds=int(since.total_seconds()))} ago"
        click.echo(f"verified: the newest version is {newest.version.model_version}, of {when}")
        if copied.database.name != log.database.name and log.database.exists():
            with log.writing() as writer:
                until = writer.record_copy(newest)
            click.echo(f"recorded in {log.database.name}: it has everything until {time_of(until)}")


@click.group()
def store() -> None:
    """Show the store, or copy it to another database."""


@store.command()
@click.argument("url", required=False)
def status(url: str | None) -> None:
    """Show the store at URL and the hosts that use it. Default: the store of the settings."""
    from service.store.log import StepLog

    with reported_errors(), closing(StepLog.at(store_url(url))) as log:
        database = log.database
        if not database.exists():
            fail(f"there is no store at {database.name}")
        engine, users = database.status(), database.users()
        with log.reading() as reader:
            schema = reader.schema_version()
            if schema == 0:
                fail(f"there is no store at {database.name}")
            identity = reader.identity()
            newest, count = reader.newest(), reader.count()
        recorded = ", ".join(f"{name}={value}" for name, value in database.recorded_settings().items())
        head = "none" if newest is None else f"{newest.version.model_version}, {time_of(newest.version.created_at)}"
        for name, value in (
            ("store", database.name),
            ("engine", engine["engine"]),
            ("identity", identity.store_id),
            ("created", time_of(identity.created_at)),
            ("schema", schema),
            ("network", identity.network_shape),
            ("newest version", head),
            ("versions kept", count),
            ("bytes", engine["bytes"]),
            ("settings at the last start", recorded or "not recorded"),
        ):
            click.echo(f"{name}: {value}")
        if users is not None:
            click.echo(f"hosts (workers): {', '.join(users) or 'none'}")


def time_of(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@store.command()
@click.argument("source")
@click.argument("target")
def copy(source: str, target: str) -> None:
    """Copy the store at the URL SOURCE, with its history, into the empty database at the URL TARGET.

    Stop the service first: the copy lacks what is learnt after it starts. The copy is read back and checked.
    """
    from service.live.replica import newest_version
    from service.store.copy_store import copy_store

    with reported_errors(), ended_by_signals():
        newest = copy_store(source, target, newest_version)
        click.echo(f"copied: the newest version is {newest}")
