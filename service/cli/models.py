"""The commands `models`, and `models backup`, `verify`, `restore` and `remove`."""

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from model.atomic_file import replacing
from service.cli.console import fail, reported_errors
from service.cli.store import ended_by_signals
from service.errors import ModelExistsError, StartupError, StoreError
from service.settings import load_settings, variable

if TYPE_CHECKING:
    from service.store.model_folder import ModelFolder


def model_folder(path: Path | None) -> "ModelFolder":
    """Raises StartupError."""
    from service.store.model_folder import ModelFolder

    path = path or load_settings().models
    if path is None:
        fail(f"name the folder of the models with --models or {variable('models')}")
    if not path.is_dir():
        fail(f"there is no folder {path}")
    return ModelFolder(path)


@click.group(invoke_without_command=True)
@click.option(
    "--models",
    "path",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"The folder of the models. [{variable('models')}]",
)
@click.pass_context
def models(context: click.Context, path: Path | None) -> None:
    """List the models under /models, with their stores and those that were set aside."""
    with reported_errors():
        context.obj = model_folder(path)
    if context.invoked_subcommand is None:
        list_models(context.obj)


def list_models(folder: "ModelFolder") -> None:
    with reported_errors():
        for name in folder.names():
            store = Path(folder.store_of(name))
            click.echo(f"{name}: {standing(store)}, in {os.path.relpath(store, folder.path)}")
        for store_name in folder.set_aside_stores():
            click.echo(f"set aside: {standing(folder.path / store_name)}, in {store_name}")


def standing(store: Path) -> str:
    from service.store.log import StepLog
    from service.store.sqlite import SqliteDatabase

    try:
        with closing(StepLog(SqliteDatabase(Path(os.path.realpath(store))))) as log, log.reading() as reader:
            return f"version {reader.head()}, {log.database.status()['bytes']:,} bytes"
    except StoreError as error:
        return f"can't be read ({error})"


def set_aside(folder: "ModelFolder", store: str) -> str:
    """Checks the name of a store."""
    if store not in folder.set_aside_stores():
        fail(f"no store {store} was set aside: `twolayernet models` lists those that were")
    return store


@models.command()
@click.argument("into", metavar="FOLDER", type=click.Path(path_type=Path, file_okay=False))
@click.pass_obj
def backup(folder: "ModelFolder", into: Path) -> None:
    """Write a copy of every model to FOLDER, as NAME.db, while the service is running."""
    from service.store.backup import back_up

    def copy(name: str) -> str:
        with replacing(into / f"{name}.db") as target:
            back_up(f"sqlite:///{folder.path / name}", target)
        return f"{(into / f'{name}.db').stat().st_size:,} bytes"

    with reported_errors(), ended_by_signals():
        into.mkdir(mode=0o700, exist_ok=True)
        each(folder, copy)


@models.command()
@click.pass_obj
def verify(folder: "ModelFolder") -> None:
    """Check the whole history of every model, while the service is running."""
    from service.live.replica import newest_version
    from service.store.log import StepLog
    from service.store.verification import verified

    def check(name: str) -> str:
        with closing(StepLog.at(f"sqlite:///{folder.path / name}")) as log:
            return f"verified, version {verified(log, newest_version).version.model_version}"

    with reported_errors(), ended_by_signals():
        each(folder, check)


def each(folder: "ModelFolder", act: Callable[[str], str]) -> None:
    """Do it for every model, and say how it went. Ends with the exit code of a mistake if it failed for one."""
    failed = 0
    for name in folder.names():
        try:
            click.echo(f"{name}: {act(name)}")
        except (StartupError, StoreError, sqlite3.Error, OSError) as error:
            failed += 1
            click.echo(f"{name}: {error}", err=True)
    if failed:
        fail(f"{failed} of {len(folder.names())} models can't be used")


@models.command()
@click.argument("store")
@click.argument("name", required=False)
@click.pass_obj
def restore(folder: "ModelFolder", store: str, name: str | None) -> None:
    """Make STORE, which was set aside, a model again, under its old name or under NAME.

    A running service has it at the next request.
    """
    from service.store.model_folder import NAME, STORE

    with reported_errors():
        match = STORE.fullmatch(set_aside(folder, store))
        name = name or (match[1] if match else "")
        if NAME.fullmatch(name) is None:
            fail(f"the name is {name!r}: expected small letters, digits and hyphens")
        try:
            folder.name(store, name)
        except ModelExistsError as error:
            fail(f"{error}, or give another NAME")
        click.echo(f"restored: {name}")


@models.command()
@click.argument("store")
@click.pass_obj
def remove(folder: "ModelFolder", store: str) -> None:
    """Delete STORE, which was set aside, for good."""
    with reported_errors():
        folder.remove(set_aside(folder, store))
        click.echo(f"removed: {store}")
