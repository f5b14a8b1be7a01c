"""The command `serve`, whose options are the settings."""

import os
from collections.abc import Callable
from functools import reduce
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin

import click
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from service.cli.console import fail, reported_errors
from service.counting import share
from service.errors import AWAY, NO_START, StartupError, StoreAwayError, StoreError
from service.settings import Settings, load_settings, variable

Command = TypeVar("Command", bound=Callable[..., Any])
TYPES: dict[Any, click.ParamType[Any]] = {
    SecretStr: click.File(),  # others on the machine can read a command line
    int: click.INT,
    bool: click.BOOL,
    float: click.FLOAT,
    str: click.STRING,
    Path: click.Path(path_type=Path),
}


class OrNone(click.ParamType[Any]):
    """What another type takes, or the word none."""

    def __init__(self, kind: click.ParamType[Any]) -> None:
        self.kind = kind
        self.name = f"{kind.name} or none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return value if str(value).lower() == "none" else self.kind.convert(value, param, ctx)


def option_name(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def option_of(name: str, field: FieldInfo) -> Callable[[Command], Command]:
    """The option for a setting: typed, its default and its environment variable shown."""
    kind = option_type(field.annotation)
    default = "" if field.default in (None, "") else f"default {field.default}; "
    in_a_file = " Here the name of a file that holds it." if isinstance(kind, click.File) else ""
    help_text = f"{field.description}{in_a_file} [{default}{variable(name)}]"
    return click.option(option_name(name), name, type=kind, help=help_text)


def option_type(annotation: Any) -> click.ParamType[Any]:
    """What the command line checks; pydantic checks the bounds."""
    if get_origin(annotation) is Literal:
        return click.Choice(get_args(annotation))
    kinds = set(get_args(annotation) or (annotation,))
    (kind,) = kinds - {NoneType}
    of_kind = click.Choice(get_args(kind)) if get_origin(kind) is Literal else TYPES[kind]
    return OrNone(of_kind) if NoneType in kinds and kind is not SecretStr else of_kind


def settings_options(command: Command) -> Command:
    """An option for each setting."""
    options = [option_of(name, field) for name, field in Settings.model_fields.items()]
    return reduce(lambda wrapped, option: option(wrapped), reversed(options), command)


@click.command()
@settings_options
def serve(**options: Any) -> None:
    """Serve the model. Every setting is an option here and an environment variable; the option wins.

    Exit codes: 2 for a mistake, 4 when the store, the weights or the address can't be used, 5 when the database can't
    be reached.
    """
    share()
    from service.server.run import run

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
        run(settings)
    except (StartupError, StoreError) as error:
        fail(error, AWAY if isinstance(error, StoreAwayError) else NO_START)
