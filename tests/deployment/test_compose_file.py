"""What docker-compose.yml passes on, without a Docker engine."""

import re
from pathlib import Path

from service.settings import PREFIX, Settings, variable

COMPOSE_FILE = (Path(__file__).parents[2] / "docker-compose.yml").read_text()
ENV_EXAMPLE = (Path(__file__).parents[2] / ".env.example").read_text()
FIXED = {"TWOLAYERNET_HOST": "0.0.0.0", "TWOLAYERNET_PORT": '"8000"'}
"""nginx looks for the service there."""


def environment_of(service: str) -> dict[str, str]:
    """The variables under `environment:`, with what stands behind them."""
    block = re.search(rf"^  {service}:(?: &\w+)?\n((?:(?:    .*)?\n)+)", COMPOSE_FILE, re.MULTILINE)
    assert block is not None
    environment = re.search(r"^    environment:(?: &\w+)?\n((?:      .*\n)+)", block[1], re.MULTILINE)
    assert environment is not None
    return dict(re.findall(rf"^      ({PREFIX}\w+): *(.*)$", environment[1], re.MULTILINE))


def test_every_setting_can_be_made_in_the_env_file() -> None:
    passed = environment_of("serve")
    assert passed.keys() == {variable(name) for name in Settings.model_fields}
    for name in passed.keys() - FIXED.keys():
        assert re.search(rf"^#?{name}=", ENV_EXAMPLE, re.MULTILINE), f"{name} is not in .env.example"


def test_a_setting_that_is_not_made_is_absent_and_not_empty() -> None:
    """An empty key would be a key that was forgotten. nginx stands in front, and is believed."""
    values = {name: value for name, value in environment_of("serve").items() if value}
    of_nginx = {"TRUSTED_PROXIES": 1, "TRUSTED_FORWARDED_HOST": "true"}
    assert values == FIXED | {f"TWOLAYERNET_{n}": f"${{TWOLAYERNET_{n}:-{value}}}" for n, value in of_nginx.items()}
    assert environment_of("train") == {"TWOLAYERNET_API_KEY": ""}


def test_the_limit_of_nginx_is_the_default_of_the_service() -> None:
    assert re.findall(r"\$\{TWOLAYERNET_MAX_BODY_BYTES:-(\d+)\}", COMPOSE_FILE) == [
        str(Settings.model_fields["max_body_bytes"].default)
    ]
