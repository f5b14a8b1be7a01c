"""The commands `backup` and `restore`."""

from typing import BinaryIO

import click

from service.cli.console import reported_errors
from service.settings import load_settings


@click.command()
@click.argument("file", type=click.File("wb"))
def backup(file: BinaryIO) -> None:
    """Write a copy of the store to FILE, - for standard output, while the service goes on."""
    from service.store.backup import back_up

    with reported_errors():
        back_up(load_settings().store, file)


@click.command()
@click.argument("file", type=click.File("rb"))
def restore(file: BinaryIO) -> None:
    """Replace the store by the copy in FILE, - for standard input. The service has to be stopped."""
    from service.store import backup as store_backup

    with reported_errors():
        click.echo(f"restored: the newest version is {store_backup.restore(load_settings().store, file)}")
