"""What the README says is held against the code."""

import re
from pathlib import Path

import pytest

from service.settings import PREFIX, Settings
from tests.conftest import Client
from tests.test_cli import twolayernet

README = (Path(__file__).parents[1] / "README.md").read_text()


def settings_table() -> list[str]:
    rows = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, "") else f"`{field.default}`"
        rows.append(f"| {field.description} | `{PREFIX}{name.upper()}` | {default} |")
    return rows


def test_the_table_of_settings_is_the_settings() -> None:
    table = re.search(r"\| setting \| environment \| default \|\n\|.*\n((?:\|.*\n)+)", README)
    assert table is not None
    assert table[1].splitlines() == settings_table()


def test_every_endpoint_is_in_the_table_of_requests(client: Client) -> None:
    for rule in client.app.url_map.iter_rules():
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            assert f"`{method} {rule.rule}" in README, rule


@pytest.mark.parametrize("line", re.findall(r"^twolayernet (\w+.*?)(?:  #.*)?$", README, re.MULTILINE))
def test_every_option_that_the_readme_shows_exists(line: str) -> None:
    command, *words = line.split()
    known = twolayernet(command, "--help").stdout
    for word in words:
        if word.startswith("--"):
            assert word in known
