"""Every regular expression in the sources takes time in proportion to the text, whatever the text is."""

import ast
import re
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [path for folder in ("service", "model") for path in sorted((ROOT / folder).rglob("*.py"))]
METHODS = {"match", "fullmatch", "search", "split", "findall", "finditer", "sub"}
LENGTHS = (750, 1_500, 3_000, 6_000, 12_000)
NOISE_SECONDS = 0.003
"""Four times the length is four times the work, sixteen times where a pattern goes back over the text."""


def used() -> Iterator[tuple[str, str, str, int]]:
    """Where a pattern is, the pattern, how it is applied, its flags."""
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
        methods = {ast.unparse(call.func.value): call.func.attr for call in calls if call.func.attr in METHODS}  # type: ignore[attr-defined]
        names = {
            id(node.value): ast.unparse(node.targets[0]) for node in ast.walk(tree) if isinstance(node, ast.Assign)
        }
        for call in calls:
            function = ast.unparse(call.func)
            if not function.startswith("re.") or (function in ("re.escape", "re.compile") and not call.args):
                continue
            name = function.removeprefix("re.")
            if name not in METHODS | {"compile"}:
                continue
            pattern = pattern_of(call.args[0])
            flags = sum(int(getattr(re, flag)) for flag in re.findall(r"re\.([A-Z]+)", ast.unparse(call)))
            method = methods.get(names.get(id(call), ""), "fullmatch") if name == "compile" else name
            yield f"{path.relative_to(ROOT)}:{call.lineno}", pattern, method, flags


def pattern_of(node: ast.expr) -> str:
    """Its text; what is put into it has to be escaped, and is an a here."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    assert isinstance(node, ast.JoinedStr), ast.unparse(node)
    text = ""
    for part in node.values:
        if isinstance(part, ast.Constant):
            text += str(part.value)
        else:
            assert isinstance(part, ast.FormattedValue)
            assert ast.unparse(part.value).startswith("re.escape("), ast.unparse(node)
            text += "a"
    return text


def growth(pattern: str, method: str, flags: int) -> float:
    """How many times the work of a text of four times the length is, at most, by the CPU time of the costliest text of
    one or two characters, over and over, with an end that does not match."""
    compiled = re.compile(pattern, flags)
    characters = sorted({*re.sub(r"[\\(){}?*+^$|]", "", pattern)[:4], *"a0-, "})
    most = 0.0
    for pair in product(characters, ["", *characters]):
        for begin in ("", "data:"):
            for length in LENGTHS:
                took = cost(compiled, method, begin, "".join(pair), length)
                if took > NOISE_SECONDS:
                    most = max(most, took / cost(compiled, method, begin, "".join(pair), length // 4))
                    break
    return most


def cost(compiled: re.Pattern[str], method: str, begin: str, unit: str, length: int) -> float:
    """CPU seconds: the least of three, since Python's collector of garbage may run."""
    text = begin + unit * (length // len(unit)) + "\0"
    costs = []
    for _ in range(3):
        began = time.process_time()
        result = compiled.sub("", text) if method == "sub" else getattr(compiled, method)(text)
        if method == "finditer":
            list(result)
        costs.append(time.process_time() - began)
    return min(costs)


@pytest.mark.parametrize(("pattern", "method", "flags"), [pytest.param(*rest, id=where) for where, *rest in used()])
def test_a_pattern_takes_time_in_proportion_to_the_text(pattern: str, method: str, flags: int) -> None:
    assert growth(pattern, method, flags) < 9


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        (r"data:(?P<type>[^;,]*)(?P<coding>[^,]*),(?P<data>.*)", "match"),
        (r"([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", "fullmatch"),
    ],
)
def test_one_that_goes_back_is_noticed(pattern: str, method: str) -> None:
    assert growth(pattern, method, 0) > 9
