"""The commands `models`, and `models backup`, `verify`, `copy`, `restore` and `remove`."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from model.atomic_file import replacing
from service.cli.console import fail, reported_errors
from service.cli.store import ended_by_signals, store_option, store_url
from service.errors import ModelExistsError, StartupError, StoreError
from service.settings import load_settings, variable

if TYPE_CHECKING:
    from service.store.model_stores import ModelStores


@click.group(invoke_without_command=True)
@click.option(
    "--models",
    "path",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"The folder of the models, or their schema. [{variable('models')}]",
)
@store_option
@click.pass_context
def models(context: click.Context, path: Path | None, store: str | None) -> None:
    """List the models under /models, with their stores and those that were set aside."""
    from service.store.model_folder import ModelFolder
    from service.store.url import database_at, model_stores

    with reported_errors():
        path = path or load_settings().models
        if path is None:
            fail(f"name the folder of the models, or their schema, with --models or {variable('models')}")
        database = database_at(store_url(store), connections=4)
        context.call_on_close(database.close)
        context.obj = model_stores(database, path)
        if isinstance(context.obj, ModelFolder) and not path.is_dir():
            fail(f"there is no folder {path}")
    if context.invoked_subcommand is None:
        list_models(context.obj)


def list_models(stores: "ModelStores") -> None:
    with reported_errors():
        for name in stores.names():
            store = stores.store_of(name)
            click.echo(f"{name}: {standing(stores, store)}, in {store}")
        for store in stores.set_aside_stores():
            click.echo(f"set aside: {standing(stores, store)}, in {store}")


def standing(stores: "ModelStores", store: str) -> str:
    from service.store.log import StepLog

    try:
        with closing(StepLog(stores.database(store))) as log, log.reading() as reader:
            return f"version {reader.head()}, {log.database.status()['bytes']:,} bytes"
    except StoreError as error:
        return f"can't be read ({error})"


def set_aside(stores: "ModelStores", store: str) -> str:
    """Checks the name of a store."""
    if store not in stores.set_aside_stores():
        fail(f"no store {store} was set aside: `twolayernet models` lists those that were")
    return store


@models.command()
@click.argument("into", metavar="FOLDER", type=click.Path(path_type=Path, file_okay=False))
@click.pass_obj
def backup(stores: "ModelStores", into: Path) -> None:
    """Write a copy of every model to FOLDER, as NAME.db, while the service is running. On PostgreSQL, use pg_dump."""
    from service.store.backup import back_up
    from service.store.model_folder import ModelFolder
    from service.store.url import ON_POSTGRES

    if not isinstance(stores, ModelFolder):
        fail(ON_POSTGRES)

    def copy(name: str) -> str:
        with replacing(into / f"{name}.db") as target:
            back_up(f"sqlite:///{stores.path / name}", target)
        return f"{(into / f'{name}.db').stat().st_size:,} bytes"

    with reported_errors(), ended_by_signals():
        into.mkdir(mode=0o700, exist_ok=True)
        each(stores, copy)


@models.command()
@click.pass_obj
def verify(stores: "ModelStores") -> None:
    """Check the whole history of every model, while the service is running."""
    from service.live.replica import newest_version
    from service.store.log import StepLog
    from service.store.verification import verified

    def check(name: str) -> str:
        with closing(StepLog(stores.database(stores.store_of(name)))) as log:
            return f"verified, version {verified(log, newest_version).version.model_version}"

    with reported_errors(), ended_by_signals():
        each(stores, check)


@models.command()
@click.argument("url")
@click.argument("into", metavar="MODELS", type=click.Path(path_type=Path, file_okay=False))
@click.pass_obj
def copy(stores: "ModelStores", url: str, into: Path) -> None:
    """Copy every model, with its history and its key, to MODELS of a service whose store is at URL.

    MODELS is what its setting says: a folder, or a schema on PostgreSQL. Stop the services first. Models that were set
    aside are not copied.
    """
    from service.live.replica import newest_version
    from service.store.copy_store import copy_model
    from service.store.url import database_at, model_stores

    with reported_errors(), ended_by_signals(), closing(database_at(url, connections=4)) as database:
        target = model_stores(database, into)
        target.prepare()
        each(stores, lambda name: f"copied, version {copy_model(name, stores, target, newest_version)}")


def each(stores: "ModelStores", act: Callable[[str], str]) -> None:
    """Do it for every model, and say how it went. Ends with the exit code of a mistake if it failed for one."""
    failed = 0
    for name in stores.names():
        try:
            click.echo(f"{name}: {act(name)}")
        except (ModelExistsError, StartupError, StoreError, sqlite3.Error, OSError) as error:
            failed += 1
            click.echo(f"{name}: {error}", err=True)
    if failed:
        fail(f"{failed} of {len(stores.names())} models can't be used")


@models.command()
@click.argument("store")
@click.argument("name", required=False)
@click.pass_obj
def restore(stores: "ModelStores", store: str, name: str | None) -> None:
    """Make STORE, which was set aside, a model again, under its old name or under NAME.

    A running service has it at the next request.
    """
    from service.store.model_stores import NAME

    with reported_errors():
        name = name or stores.name_before(set_aside(stores, store))
        if NAME.fullmatch(name) is None:
            fail(f"the name is {name!r}: expected small letters, digits and hyphens")
        try:
            stores.name(store, name)
        except ModelExistsError as error:
            fail(str(error))
        click.echo(f"restored: {name}")


@models.command()
@click.argument("store")
@click.pass_obj
def remove(stores: "ModelStores", store: str) -> None:
    """Delete STORE, which was set aside, for good."""
    with reported_errors():
        stores.remove(set_aside(stores, store))
        click.echo(f"removed: {store}")
