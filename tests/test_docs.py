"""What the documentation says is held against the code, and what it shows is run."""

import configparser
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import requests
from pydantic import SecretStr
from werkzeug.serving import make_server

from model import TwoLayerNet, weights_file
from model.weights_file import Weights
from service import errors
from service.app import create_app
from service.cli import main
from service.http.problems import Kind
from service.settings import Settings, variable
from tests.conftest import CLASSES, COLUMNS, FEATURES, ROWS
from tests.documents import PAGES, ROOT, RUN_BY_NOBODY, RUNNERS, UNRUN, Block, blocks, read
from tests.processes.server import Server

ADDRESS = "http://127.0.0.1:8000"
KEY = "a key of the documentation"
CURL_HOME = str(ROOT / "tests" / "curl")
LANGUAGES = {"sh": "bash", "python": "Python", "js": "JavaScript"}
FOR_BROWSERS = {"/", "/docs", "/docs/{name}", "/playground/{name}", "/playground/network.json"}
"""Pages and what they load: no program calls them. tests/browser uses them as a person does."""

FOR_CURL = {"/healthz", "/readyz", "/metrics", "/openapi.json"}
"""Endpoints that the examples of clients leave out, and all of /v2, which has clients of its own."""

CALLS = {
    "examples/client.py": r"client\.call\(\"(\w+)\", f?\"([^\"?]+)",
    "examples/client.mjs": r"call\(\"(\w+)\", [\"`]([^\"`?]+)",
}

PATH = os.pathsep.join(
    folder for folder in os.environ["PATH"].split(os.pathsep) if not (Path(folder) / "twolayernet").exists()
)
"""Without an environment that a developer has activated: the documentation names it."""
OPTIONS_OF_OTHERS = {"--volumes", "--scale", "--profile"}
READY_SECONDS = 20


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the calls are made: with weights.npz, untrained, and what the documentation takes from examples/."""
    folder = tmp_path_factory.mktemp("documentation")
    network = TwoLayerNet(FEATURES, 50, CLASSES, "he", seed=1, dtype=np.float32)
    weights_file.save(folder / "weights.npz", Weights(network.params, image_shape=(ROWS, COLUMNS)))
    (folder / "examples").symlink_to(ROOT / "examples")
    return folder


@pytest.fixture
def trained_service(trained_by_default: Path, tmp_path: Path) -> Iterator[Server]:
    """A new one that serves what `make serve` does."""
    shutil.copy(trained_by_default / "weights.npz", tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    server = Server(tmp_path, workers=1).start()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def service(folder: Path) -> Iterator[Server]:
    server = Server(folder, workers=1, TWOLAYERNET_MODELS="models").start()
    yield server
    server.kill()


@pytest.fixture
def closed_service(settings: Settings) -> Iterator[str]:
    """The address of one that requires a key. In this process, since that starts at once."""
    app = create_app(
        settings.model_copy(update={"api_key": SecretStr(KEY), "models": settings.weights.parent / "models"})
    )
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


def with_environment(folder: Path) -> None:
    if not (folder / ".venv").exists():
        (folder / ".venv").symlink_to(sys.prefix)


def run(command: list[str], folder: Path, **more: str) -> str:
    """With the environment where `make serve` puts it, and not on the PATH; BLAS would wait for cores that are busy."""
    with_environment(folder)
    environment = {**os.environ, "PATH": PATH, "TWOLAYERNET_API_KEY": KEY, "OPENBLAS_NUM_THREADS": "1", **more}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def run_all(shown: list[Block], folder: Path, url: str = ADDRESS) -> str:
    """The blocks as one script for each language, the shell's first: it writes the files that the others read. A call
    that is answered with an error fails.

    What they printed.
    """
    printed = ""
    for language, suffix, interpreter in (
        ("sh", "sh", ["bash", "-euo", "pipefail"]),
        ("python", "py", [sys.executable]),
        ("js", "mjs", ["node"]),
    ):
        texts = [block.text for block in shown if block.language == language]
        if not texts:
            continue
        if shutil.which(interpreter[0]) is None:
            pytest.skip(f"{interpreter[0]} is not on this machine: the {LANGUAGES[language]} was not run")
        script = folder / f"script.{suffix}"
        script.write_text(at(url, "\n".join(texts)))
        printed += run([*interpreter, str(script)], folder, CURL_HOME=CURL_HOME)
    return printed


def at(url: str, text: str) -> str:
    return text.replace(ADDRESS, url)


def with_blocks_for(*runners: str) -> list[str]:
    return [page for page in PAGES if any(block.runner in runners for block in blocks(page))]


# What is run


def test_every_block_says_who_runs_it() -> None:
    for block in blocks():
        where = f"{block.page}:{block.line}"
        if block.language in RUN_BY_NOBODY:
            assert not block.runner, where
        else:
            assert block.runner in RUNNERS, where
            assert block.language in (*LANGUAGES, "console"), where


@pytest.mark.parametrize("page", with_blocks_for("service"))
def test_the_calls_of_a_page_can_be_made_as_they_stand(page: str, service: Server, folder: Path) -> None:
    shown = blocks(page, runner="service")
    run_all(shown, folder, service.url)
    for block in shown:
        if block.language == "console":
            check_session(block, service.url, folder)


@pytest.mark.long
@pytest.mark.parametrize("page", with_blocks_for("trained"))
def test_a_reader_who_begins_with_a_page_sees_the_answers_that_it_shows(page: str, trained_service: Server) -> None:
    """Also that the digit of the quickstart is read wrong, and right once it has been taught."""
    for block in blocks(page, runner="trained"):
        check_session(block, trained_service.url, trained_service.folder)


def check_session(block: Block, url: str, folder: Path) -> None:
    """Each command's answer has the fields that are shown, and labels, counts and versions are the same; a problem
    document is what is shown."""
    mark = "-- next --"
    script = "\n".join(f"{at(url, command)}\necho; echo '{mark}'" for command, _ in block.session())
    answers = run(["bash", "-euo", "pipefail", "-c", script], folder).split(mark)
    for (command, shown), answer in zip(block.session(), answers, strict=False):
        if shown.startswith('{"type"'):
            assert json.loads(answer) == json.loads(shown), command
        assert set(re.findall(r'"\w+":', shown)) <= set(re.findall(r'"\w+":', answer)), command
        if block.runner == "trained":
            exact = r'"(?:labels|model_version|count|rehearsed|source_version)":(?:\[[\d,]*\]|[\d.]+)'
            assert re.findall(exact, shown) == re.findall(exact, answer), command
            accuracies = [
                [float(number) for number in re.findall(r'"accuracy":([\d.]+)', text)] for text in (shown, answer)
            ]
            assert accuracies[0] == pytest.approx(accuracies[1], abs=0.03), command


@pytest.mark.parametrize("page", with_blocks_for("closed"))
def test_the_calls_with_a_key_work_where_a_key_is_required(page: str, closed_service: str, tmp_path: Path) -> None:
    run_all(blocks(page, runner="closed"), tmp_path, closed_service)


@pytest.mark.parametrize("page", with_blocks_for("alone"))
def test_what_needs_no_service_runs_as_it_stands(page: str, tmp_path: Path) -> None:
    shown = blocks(page, runner="alone")
    printed = run_all(shown, tmp_path)
    stated = [figure for block in shown for figure in re.findall(r"print\(.*# ([\d.]+)%$", block.text, re.MULTILINE)]
    figures = re.findall(r"^([\d.]+)%$", printed, re.MULTILINE)
    assert list(map(float, figures)) == pytest.approx(list(map(float, stated)), abs=1)


@pytest.mark.long
@pytest.mark.parametrize("page", with_blocks_for("long"))
def test_what_takes_long_runs_as_it_stands(page: str, tmp_path: Path) -> None:
    run_all(blocks(page, runner="long"), tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("line", [line for block in blocks(runner="server") for line in block.commands()])
def test_every_server_that_is_shown_serves(line: str, tmp_path: Path, folder: Path) -> None:
    shutil.copy(folder / "weights.npz", tmp_path)
    server = Server(tmp_path)
    with_environment(tmp_path)
    server.environment["PATH"] = PATH
    if "/gunicorn " in line and "gunicorn_settings" not in line:
        line += f" --bind 127.0.0.1:{server.port}"
    elif "/granian " in line:
        line += f" --port {server.port}"
    process = server.launch(["bash", "-c", line.replace(ADDRESS.removeprefix("http://"), f"127.0.0.1:{server.port}")])
    try:
        give_up = time.monotonic() + READY_SECONDS
        while True:
            assert process.poll() is None, server.log
            assert time.monotonic() < give_up, server.log
            try:
                assert server.get("/readyz").json() == {"status": "ready", "model_version": 1}
                break
            except requests.ConnectionError:
                time.sleep(0.05)
    finally:
        server.kill()


def test_the_example_client_in_javascript_runs(service: Server, folder: Path) -> None:
    if shutil.which("node") is None:
        pytest.skip("node is not on this machine")
    run_all(
        [block for block in blocks("docs/clients.md", runner="service") if block.language == "sh"], folder, service.url
    )
    run(["node", "examples/client.mjs", service.url], folder)


def test_scripts_of_ci_run_what_the_documentation_names() -> None:
    scripts = {path: path.read_text() for path in (ROOT / ".ci").iterdir() if path.is_file()}
    for block in blocks(runner="ci"):
        for command in block.commands():
            assert ROOT / command in scripts or any(command in text for text in scripts.values()), command
    for runner in ("serve", "compose"):
        assert blocks(runner=runner)
        assert f"tests.documents {runner}" in (ROOT / ".ci" / runner).read_text()


def test_what_nobody_runs_is_listed_with_the_reason() -> None:
    assert {command for block in blocks(runner="unrun") for command in block.commands()} == UNRUN.keys()


# What is said


def known_options(command: str) -> set[str]:
    return {name for parameter in main.commands[command].params for name in parameter.opts} | {"--help", "-h"}


def test_every_option_that_is_shown_exists() -> None:
    shown = [command for block in blocks() if block.language in ("sh", "console") for command in block.commands()]
    shown += re.findall(r"^Exec\w+=(.*)$", read("deploy/twolayernet.service"), re.MULTILINE)
    calls = [match for line in shown if (match := re.search(r"^(?:\S*/|\w+=\".*\" )?twolayernet (\w+)(.*)", line))]
    assert len(calls) > 10
    for match in calls:
        assert set(re.findall(r"(?<!\S)--[a-z-]+", match[2])) <= known_options(match[1]), match[0]
    every = set().union(*(known_options(command) for command in main.commands)) | OPTIONS_OF_OTHERS
    for page in PAGES:
        assert set(re.findall(r"`(--[a-z-]+)", read(page))) <= every, page


def test_every_command_is_shown() -> None:
    said = "".join(map(read, PAGES))
    for command in main.commands:
        assert re.search(rf"^(\$ .*)?(\.venv/bin/)?twolayernet {command} ?", said, re.MULTILINE), command


def test_the_table_of_settings_is_the_settings() -> None:
    table = re.search(r"\| setting \| environment \| default \|\n\|.*\n((?:\|.*\n)+)", read("docs/settings.md"))
    assert table is not None
    expected = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, "") else f"`{field.default}`"
        expected.append(f"| {field.description} | `{variable(name)}` | {default} |")
    assert table[1].splitlines() == expected


def test_every_setting_that_is_named_exists() -> None:
    of_others = {"TWOLAYERNET_MNIST_MIRROR"} | set(re.findall(r"TWOLAYERNET_\w+", (ROOT / ".env.example").read_text()))
    for page in PAGES:
        named = set(re.findall(r"TWOLAYERNET_\w*[A-Z]", read(page)))
        assert named <= {variable(name) for name in Settings.model_fields} | of_others, page


@pytest.fixture
def endpoints(settings: Settings) -> set[tuple[str, str]]:
    rules = create_app(settings).url_map.iter_rules()
    paths = [(re.sub(r"<(\w+)>", r"{\1}", rule.rule), rule.methods or set()) for rule in rules]
    return {(method, path) for path, methods in paths for method in methods - {"HEAD", "OPTIONS"}}


def test_the_table_of_endpoints_is_the_endpoints(endpoints: set[tuple[str, str]]) -> None:
    listed = re.findall(
        r"^\| `([A-Z]+) (/\S*)` \|", read("docs/http.md") + read("docs/open-inference.md"), re.MULTILINE
    )
    assert len(listed) == len(set(listed))
    assert set(listed) == {
        (method, path)
        for method, path in endpoints
        if path not in FOR_BROWSERS or not path.startswith(("/docs/", "/playground/"))
    }


def test_every_endpoint_is_called_with_curl(endpoints: set[tuple[str, str]]) -> None:
    shown = "".join(block.text for page in ("docs/http.md", "docs/open-inference.md") for block in blocks(page))
    for method, path in endpoints:
        if path not in FOR_BROWSERS:
            beginning = re.escape(path.split("{")[0])
            assert re.search(rf":8000{beginning}['\"?\s$]", shown), (method, path)


@pytest.mark.parametrize("example", CALLS)
def test_every_endpoint_for_programs_is_called_in_the_example(example: str, endpoints: set[tuple[str, str]]) -> None:
    calls = {(method, path.split("{")[0].rstrip("$")) for method, path in re.findall(CALLS[example], read(example))}
    for method, path in endpoints:
        if path not in FOR_BROWSERS | FOR_CURL and not path.startswith("/v2"):
            assert (method, path.split("{")[0]) in calls, (method, path)


def test_every_status_that_the_service_gives_is_in_the_table() -> None:
    rows = re.findall(r"^\| (\d{3}(?:, \d{3})*) \|", read("docs/http.md"), re.MULTILINE)
    listed = set(", ".join(rows).split(", "))
    source = "".join(path.read_text() for path in (ROOT / "service").rglob("*.py"))
    assert set(re.findall(r"\bProblem\(\s*(\d{3})", source)) - {"500"} <= listed


def test_the_table_of_types_of_problems_is_the_types() -> None:
    listed = re.findall(r"^\| `(urn:[\w:-]+)` \|", read("docs/http.md"), re.MULTILINE)
    assert sorted(listed) == sorted(kind.uri for kind in Kind)


def test_the_table_of_exit_codes_is_the_exit_codes() -> None:
    rows = re.findall(r"^\| ([^|]+) \| (\d+)(?: \+ signal)? \|", read("docs/settings.md"), re.MULTILINE)
    given = {str(value) for name, value in vars(errors).items() if name.isupper() and isinstance(value, int)}
    assert {code for _, code in rows} - {"128"} == given
    for name, command in main.commands.items():
        said = re.search(r"Exit codes:(.*)", " ".join((command.help or "").split()))
        for code in re.findall(r"\b\d+\b", said[1] if said else ""):
            assert any(code == its and (name in who or "every one" in who) for who, its in rows), (name, code)


def test_every_test_that_is_named_exists() -> None:
    source = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    for page in PAGES:
        for name in re.findall(r"`(test_\w+)`", read(page)):
            assert f"def {name}(" in source, f"{page}: {name}"
        for name in re.findall(r"`(?:tests/\w*/)?(test_\w+\.py)`", read(page)):
            assert list((ROOT / "tests").rglob(name)), f"{page}: {name}"


def test_every_file_that_is_named_exists() -> None:
    for page in PAGES:
        for name in re.findall(
            r"`((?:model|service|tests|bench|deploy|examples|requirements|\.ci)/[\w./-]*)`", read(page)
        ):
            assert (ROOT / name).exists(), f"{page}: {name}"


def test_the_map_of_files_has_every_room() -> None:
    architecture = read("docs/architecture.md")
    for folder in ("model", "service"):
        for path in (ROOT / folder).iterdir():
            if not path.name.startswith(("_", "py.typed")) and path.name not in ("types.py", "wsgi.py"):
                assert re.search(rf"\b{path.stem}\b", architecture), path


def anchors(page: str) -> set[str]:
    """The headings, as GitHub names them."""
    text = re.sub(r"^```.*?^```$", "", read(page), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", read(page)):
        if target.startswith("https://"):
            continue
        file, _, anchor = target.partition("#")
        linked = (ROOT / page).parent / file if file else ROOT / page
        assert linked.is_file(), target
        assert not anchor or anchor in anchors(str(linked.resolve().relative_to(ROOT))), target


def test_drawings_have_what_mermaid_asks_for() -> None:
    drawings = [block for block in blocks() if block.language == "mermaid"]
    assert drawings
    for block in drawings:
        where = f"{block.page}:{block.line}"
        kind, *lines = [line.strip() for line in block.text.splitlines()]
        assert re.fullmatch(r"flowchart (LR|TD)|sequenceDiagram", kind), where
        opened = sum(line.startswith(("subgraph ", "alt ", "opt ", "loop ")) for line in lines)
        assert opened == lines.count("end"), where
        if kind == "sequenceDiagram":
            participants = {line.split()[1] for line in lines if line.startswith("participant ")}
            arrows = [match for line in lines if (match := re.match(r"(\w+)-{1,2}>>(\w+): [^;#]+$", line))]
            assert {name for match in arrows for name in match.groups()} == participants, where
            others = ("participant ", "alt ", "else", "opt ", "loop ", "end")
            assert len(arrows) == sum(not line.startswith(others) for line in lines), where


def test_the_unit_and_the_probes_name_what_there_is(endpoints: set[tuple[str, str]]) -> None:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.read_string(read("deploy/twolayernet.service"))
    assert parser["Service"]["ExecStart"].split()[0].endswith("/.venv/bin/twolayernet")
    paths = re.findall(r"httpGet: {path: (\S+), port: (\d+)}", read("deploy/kubernetes.yml"))
    assert paths
    for path, port in paths:
        assert ("GET", path) in endpoints
        assert int(port) == Settings.model_fields["port"].default


def test_the_readme_stays_short() -> None:
    assert len(read("README.md").splitlines()) < 150
