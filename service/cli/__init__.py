"""The command `twolayernet`."""

import sys
import traceback
from typing import Any

import click

import service  # noqa: F401  sets BLAS to one thread before anything imports numpy
from service.cli.evaluate import evaluate, gradcheck
from service.cli.models import models
from service.cli.new import new
from service.cli.publish import publish
from service.cli.serve import serve
from service.cli.store import backup, restore, store, verify
from service.cli.train import train
from service.errors import CRASHED, INTERRUPTED


class Commands(click.Group):
    """Commands with exit codes of their own for crashes and interruptions: click and Python use 1, which means here
    that a network is worse."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        except Exception:
            traceback.print_exc()
            sys.exit(CRASHED)


@click.group(
    cls=Commands,
    context_settings={"max_content_width": 120, "help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(package_name="twolayernet-service", message="%(version)s")
def main() -> None:
    """A neural network that keeps learning while it is served."""


for command in (train, new, evaluate, gradcheck, serve, publish, backup, restore, verify, store, models):
    main.add_command(command)
