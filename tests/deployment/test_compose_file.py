"""What docker-compose.yml passes on, without a Docker engine."""

import re
from pathlib import Path

from service.settings import PREFIX, Settings, variable

ROOT = Path(__file__).parents[2]
COMPOSE_FILE = (ROOT / "docker-compose.yml").read_text()
ADDED = {path.name: path.read_text() for path in (ROOT / "deploy" / "compose").iterdir()}
ENV_EXAMPLE = (ROOT / ".env.example").read_text()
FIXED = {"TWOLAYERNET_HOST": "0.0.0.0", "TWOLAYERNET_PORT": '"8000"'}
"""nginx looks for the service there."""
MOUNTED = {"TWOLAYERNET_API_KEY_FILE": "--api-key", "TWOLAYERNET_API_KEY_PREDICT_FILE": "--api-key-predict"}
"""Files of the host: in the container they have another name, which an option of the command line says."""


def environment_of(service: str) -> dict[str, str]:
    """The variables under `environment:`, with what stands behind them."""
    block = re.search(rf"^  {service}:\n((?:(?:    .*)?\n)+)", COMPOSE_FILE, re.MULTILINE)
    assert block is not None
    environment = re.search(r"^    environment:\n((?:      .*\n)+)", block[1], re.MULTILINE)
    assert environment is not None
    return dict(re.findall(rf"^      ({PREFIX}\w+): *(.*)$", environment[1], re.MULTILINE))


def test_every_setting_can_be_made_in_the_env_file() -> None:
    passed = environment_of("serve").keys() | MOUNTED.keys()
    assert passed == {variable(name) for name in Settings.model_fields}
    for name in passed - FIXED.keys():
        assert re.search(rf"^#?{name}=", ENV_EXAMPLE, re.MULTILINE), f"{name} is not in .env.example"


def test_every_variable_that_is_read_is_in_the_env_file_and_the_other_way_round() -> None:
    read = set(re.findall(r"\$\{(\w+)", COMPOSE_FILE + "".join(ADDED.values())))
    passed_on = set(re.findall(r"^ +([A-Z]\w+):$", COMPOSE_FILE, re.MULTILINE))
    shown = set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", ENV_EXAMPLE, re.MULTILINE))
    assert (read | passed_on) - shown == {"PROMETHEUS_IMAGE", "GRAFANA_IMAGE"}
    assert shown - read - passed_on == {"COMPOSE_FILE", "COMPOSE_PROFILES"}


def test_a_setting_that_is_not_made_is_absent_and_not_empty() -> None:
    """An empty key would be a key that was forgotten. nginx stands in front, and is believed."""
    values = {name: value for name, value in environment_of("serve").items() if value}
    assert values == FIXED | {
        "TWOLAYERNET_TRUSTED_PROXIES": "${TWOLAYERNET_TRUSTED_PROXIES:-1}",
        "TWOLAYERNET_TRUSTED_FORWARDED_HOST": "${TWOLAYERNET_TRUSTED_FORWARDED_HOST:-true}",
        "TWOLAYERNET_TRUSTED_HOSTS": "${TWOLAYERNET_TRUSTED_HOSTS:+serve,}${TWOLAYERNET_TRUSTED_HOSTS:-}",
    }
    for name, option in MOUNTED.items():
        # Without a colon: an empty name of a file gives the option, and the service refuses the empty file.
        assert f"${{{name}+{option} /run/secrets/" in COMPOSE_FILE


def test_no_password_has_a_default() -> None:
    for name, text in {"docker-compose.yml": COMPOSE_FILE, **ADDED}.items():
        for line in text.splitlines():
            if re.search(r"PASSWORD\w*:", line):
                assert "${POSTGRES_PASSWORD:?" in line, f"{name}: {line}"


def test_the_limits_of_nginx_are_those_of_the_service_and_its_files_have_room() -> None:
    bytes_of_a_body = Settings.model_fields["max_body_bytes"].default
    assert re.findall(r"\$\{TWOLAYERNET_MAX_BODY_BYTES:-(\d+)\}", COMPOSE_FILE) == [str(bytes_of_a_body)]
    nginx = (ROOT / "deploy" / "nginx" / "nginx.conf").read_text()
    room = dict(re.findall(r"(/tmp/\w+):size=(\d+)m", COMPOSE_FILE))
    at_once = re.search(r"limit_conn large (\d+);", nginx)
    answer = re.search(r"proxy_max_temp_file_size (\d+)m;", nginx)
    assert at_once is not None
    assert answer is not None
    assert int(room["/tmp/bodies"]) * 2**20 > int(at_once[1]) * bytes_of_a_body
    assert int(room["/tmp/answers"]) > int(at_once[1]) * int(answer[1])


def test_every_mark_in_the_limits_gets_its_value() -> None:
    limits = (ROOT / "deploy" / "nginx" / "limits.conf").read_text()
    assert set(re.findall(r"@(\w+)@", limits)) == set(re.findall(r"s\|@(\w+)@\|\$\{TWOLAYERNET_\1:-", COMPOSE_FILE))
