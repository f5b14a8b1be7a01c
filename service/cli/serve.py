"""The command `serve`, whose options are the settings."""

import os
from collections.abc import Callable
from functools import reduce
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from model.datasets import DatasetError
from model.replay_memory import NOTHING, Memory, sample
from model.training import TrainingError
from service.cli.console import fail, reported_errors
from service.cli.evaluate import data_for
from service.cli.picture_folder import DATA_HELP
from service.errors import AWAY, NO_START, StartupError, StoreAwayError, StoreError
from service.metrics.multiprocess import share
from service.settings import Settings, load_settings, variable

Command = TypeVar("Command", bound=Callable[..., Any])


def option_name(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def option_of(name: str, field: FieldInfo) -> Callable[[Command], Command]:
    """The option for a setting, with its type, default and environment variable. pydantic checks its value."""
    default = "" if field.default in (None, "") else f"default {field.default}; "
    is_secret = SecretStr in get_args(field.annotation)  # other users of the machine can read a command line
    in_a_file = " The option names a file that holds it." if is_secret else ""
    return click.option(
        option_name(name),
        name,
        type=click.File() if is_secret else click.STRING,
        metavar=metavar(field.annotation),
        help=f"{field.description}{in_a_file} [{default}{variable(name)}]",
    )


def metavar(annotation: Any) -> str:
    """A type for help texts, such as int or float|none."""
    if get_origin(annotation) is Literal:
        return "|".join(get_args(annotation))
    names = {NoneType: "none", SecretStr: "file"}
    return "|".join(map(metavar, get_args(annotation))) or names.get(annotation) or str(annotation.__name__).lower()


def settings_options(command: Command) -> Command:
    """An option for each setting."""
    options = [option_of(name, field) for name, field in Settings.model_fields.items()]
    return reduce(lambda wrapped, option: option(wrapped), reversed(options), command)


def memory_of(data: str, settings: Settings) -> Memory:
    """Training images of the data, as `twolayernet train` puts them into a weights file. Raises StartupError."""
    from service.startup import read_weights

    weights = read_weights(settings)
    if weights is None or len(weights.memory):
        return NOTHING
    try:
        images = data_for(weights, data).train
    except (DatasetError, TrainingError) as error:
        raise StartupError(f"--memory-from: {error}") from error
    return sample(images.images, images.labels, settings.memory_size, seed=0)


@click.command()
@settings_options
@click.option(
    "--memory-from",
    metavar="DATA",
    help=f"Images to rehearse, for a new store whose weights file has no memory: {DATA_HELP}",
)
def serve(memory_from: str | None, **options: Any) -> None:
    """Serve the model. Every setting is an option here and an environment variable; the option wins.

    Exit codes: 2 for a mistake, 4 when the store, the weights or the address can't be used, 5 when the database can't
    be reached.
    """
    share()
    from service.server.run import run
    from service.startup import open_log

    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        try:
            text = value.read().strip() if hasattr(value, "read") else str(value)
        except UnicodeDecodeError:
            fail(f"{option_name(name)}: the file is not text")
        if not text and name in ("host", "store"):
            fail(f"{option_name(name)} is empty")
        os.environ[variable(name)] = text
    with reported_errors():
        settings = load_settings(lambda name: option_name(name) if name in given else variable(name))
    try:
        if memory_from is not None:
            memory = memory_of(memory_from, settings)
            used = f"{len(memory)} images to rehearse, if the store is new"
            why_not = "not used, since the weights file has a memory or is not there"
            click.echo(f"twolayernet: --memory-from {memory_from}: {used if len(memory) else why_not}", err=True)
            open_log(settings, memory=memory).close()
        run(settings)
    except (StartupError, StoreError) as error:
        fail(error, AWAY if isinstance(error, StoreAwayError) else NO_START)
