"""The command `twolayernet`."""

import click

import service  # noqa: F401  sets BLAS to one thread before anything imports numpy
from service.cli.evaluating import evaluate, gradcheck, publish
from service.cli.serving import serve
from service.cli.storing import backup, restore, store
from service.cli.training import train


@click.group(context_settings={"max_content_width": 120, "help_option_names": ["-h", "--help"]})
@click.version_option(package_name="twolayernet-service", message="%(version)s")
def main() -> None:
    """A neural network that keeps learning while it is served."""


for command in (train, evaluate, gradcheck, serve, publish, backup, restore, store):
    main.add_command(command)
