"""The commands `backup`, `restore`, `store status` and `store copy`."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, NoReturn, TypeVar

import click

from model.whole_file import replacing
from service.cli.console import fail, reported_errors
from service.settings import load_settings, variable

Command = TypeVar("Command", bound=Callable[..., Any])


def store_option(command: Command) -> Command:
    return click.option("--store", help=f"Database URL of the log. [{variable('store')}]")(command)


def store_url(store: str | None) -> str:
    """Raises StartupError."""
    return load_settings().store if store is None else store


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """A signal that ends the command lets it clean up first."""

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
    """Write a copy of the store to FILE, - for standard output, while the service goes on.

    What FILE was before is kept until the copy is on the disk.
    """
    from service.store.backup import back_up
    from service.store.sqlite import database_path

    with reported_errors(), ended_by_signals():
        url = store_url(store)
        if os.path.realpath(file) == str(database_path(url)):
            fail(f"{file} is the store itself: name another file")
        if file == Path("-"):
            back_up(url, sys.stdout.buffer)
        elif file.exists() and not file.is_file():
            with open(file, "wb") as pipe:  # or a device
                back_up(url, pipe)
        else:
            with replacing(file) as target:
                back_up(url, target)
            click.echo(f"backup: {file.stat().st_size} bytes, of the store {database_path(url)}, in {file}", err=True)


@click.command()
@store_option
@click.argument("file", type=click.File("rb"))
def restore(store: str | None, file: BinaryIO) -> None:
    """Replace the store by the copy in FILE, - for standard input. The service has to be stopped.

    The whole copy is checked first; the store is as it was until the copy is in its place.
    """
    from service.live.replica import newest_version
    from service.store import backup as store_backup

    with reported_errors(), ended_by_signals():
        newest = store_backup.restore(store_url(store), file, newest_version)
        click.echo(f"restored: the newest version is {newest}")


@click.group()
def store() -> None:
    """Look at the store, or move it to another database."""


@store.command()
@click.argument("url", required=False)
def status(url: str | None) -> None:
    """Show what the store at URL is, and which hosts use it. Without URL: the one of the settings."""
    from service.store.log import StepLog

    with reported_errors(), closing(StepLog.at(store_url(url))) as log:
        if not log.exists():
            fail(f"there is no store at {log.name}")
        found = log.status()
        with log.reading() as reader:
            schema = reader.schema_version()
            if schema == 0:
                fail(f"there is no store at {log.name}")
            identity = reader.identity()
            newest, count = reader.newest(), reader.count()
        recorded = ", ".join(f"{name}={value}" for name, value in log.recorded().items())
        head = "none" if newest is None else f"{newest.version.model_version}, {time_of(newest.version.created_at)}"
        for name, value in (
            ("store", log.name),
            ("engine", found["engine"]),
            ("identity", identity.store_id),
            ("made", time_of(identity.created_at)),
            ("schema", schema),
            ("network", identity.network_shape),
            ("newest version", head),
            ("versions kept", count),
            ("bytes", found["bytes"]),
            ("settings at the last start", recorded or "not recorded"),
            ("hosts (workers)", ", ".join(log.users()) or "none known"),
        ):
            click.echo(f"{name}: {value}")


def time_of(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


@store.command()
@click.argument("source")
@click.argument("target")
def copy(source: str, target: str) -> None:
    """Copy the store at the URL SOURCE, with its history, into the empty database at the URL TARGET.

    Stop the service first: what it learns after the copy was begun is not in it. The copy is read back and checked.
    """
    from service.live.replica import newest_version
    from service.store.copying import copy_store

    with reported_errors(), ended_by_signals():
        newest = copy_store(source, target, newest_version)
        click.echo(f"copied: the newest version is {newest}")
