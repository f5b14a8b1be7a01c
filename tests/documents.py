"""The documentation's code blocks, and who runs each of them.

A block's first line says so after its language: ```sh service. `python -m tests.documents RUNNER [PAGE ...]` prints the
shell commands of a runner's blocks, for the scripts in .ci. CONTRIBUTING.md says what the runners are.
"""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
]

RUNNERS = {"trained", "service", "closed", "alone", "server", "long", "ci", "serve", "compose", "unrun"}
RUN_BY_NOBODY = {"mermaid", "yaml"}
"""Languages of what is no command."""

UNRUN = {
    ".venv/bin/twolayernet train --data mnist --out mnist.npz": "downloads MNIST",
    ".venv/bin/twolayernet train --data FOLDER --out other.npz": "the folder is the reader's",
    ".venv/bin/twolayernet train --data train.csv --out other.npz": "the file is the reader's",
    ".venv/bin/twolayernet train --data images.npz --out other.npz": "the file is the reader's",
    ".venv/bin/twolayernet serve --store postgresql+psycopg://twolayernet@db.example.com/digits": "the server is the reader's",
    ".venv/bin/twolayernet serve --store postgresql+psycopg://twolayernet@db.example.com/digits --models models": (
        "the server is the reader's"
    ),
    ".venv/bin/twolayernet models --store postgresql+psycopg://twolayernet@db.example.com/digits --models models": (
        "the server is the reader's; tests/service/test_models_on_postgres.py runs it"
    ),
    ".venv/bin/twolayernet models --models models copy postgresql+psycopg://twolayernet@db.example.com/digits models": (
        "the server is the reader's; tests/service/test_models_on_postgres.py copies"
    ),
    ".venv/bin/twolayernet store copy sqlite:///twolayernet.db postgresql+psycopg://twolayernet@db.example.com/digits": (
        "the server is the reader's; tests/service/test_postgres.py copies"
    ),
    "docker compose stop serve": "as below",
    "git checkout TAG": "the tag is the reader's",
    "umask 077; litestream restore -o models/alice.5f0c21d7.db file:///mnt/other-disk/models/alice.5f0c21d7.db": (
        "the disk is the reader's; tests/processes/test_lost_disk.py restores"
    ),
    ".venv/bin/twolayernet models --models models restore alice.5f0c21d7.db alice": "as above",
    "docker compose build": "as above",
    "docker compose run --rm --no-deps -T serve restore - < backup.db": "as above; `compose` runs it in another block",
    "docker compose up --detach --wait nginx": "as above",
    "make bench": "measures for minutes",
    ".venv/bin/python -m tests.power 10000": "takes minutes; the long tests make 1,000 cuts",
}
"""Commands that nobody runs, and why."""


@dataclass(frozen=True)
class Block:
    """A fenced block; line: where it begins; runner: empty where none is named."""

    page: str
    line: int
    language: str
    runner: str
    text: str

    def commands(self) -> list[str]:
        """The shell commands, without comments; of a console, what follows each $."""
        lines = self.text.splitlines()
        if self.language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        commands = (re.sub(r"\s+#.*", "", line) for line in lines)
        return [command for command in commands if command and not command.startswith("#")]

    def session(self) -> list[tuple[str, str]]:
        """Of a console: each command and what is shown below it."""
        parts = re.split(r"^\$ (.*)\n", self.text, flags=re.MULTILINE)[1:]
        return [(command, shown.strip()) for command, shown in zip(parts[::2], parts[1::2], strict=True)]


def read(page: str) -> str:
    return (ROOT / page).read_text()


def blocks(*pages: str, runner: str | None = None) -> list[Block]:
    """The blocks of these pages, or of all, in their order."""
    found = []
    for page in pages or PAGES:
        text = read(page)
        for match in re.finditer(r"^```(\S*)(?: (\w+))?\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(page, line, match[1], match[2] or "", match[3]))
    return [block for block in found if runner in (None, block.runner)]


if __name__ == "__main__":
    for block in blocks(*sys.argv[2:], runner=sys.argv[1]):
        if block.language in ("sh", "console"):
            print("\n".join(block.commands()))
