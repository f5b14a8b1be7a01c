"""gunicorn's settings, from ours: `gunicorn -c python:service.server.gunicorn_settings service.wsgi:app`."""

import gc
from pathlib import Path
from typing import Any

import service  # noqa: F401  limits BLAS to one thread before numpy is imported
from service.metrics.multiprocess import share
from service.server.address import say_where, url_host
from service.settings import load_settings

_settings = load_settings()
share()
_memory = Path("/dev/shm")

bind = f"{url_host(_settings.host)}:{_settings.port}"
workers = _settings.workers
threads = _settings.threads
worker_class = "gthread"
preload_app = True  # one start-up for all workers, so that a dead one is replaced at once
keepalive = 30
graceful_timeout = 30
control_socket_disable = True
# Above nginx's limits (17 kB of headers, lines of 8 kB), so that nginx refuses with a problem document.
limit_request_line = 8190
limit_request_fields = 4500
limit_request_field_size = 9000
forwarded_allow_ips = ""  # service/http/proxy.py decides which proxies are trusted
if _memory.is_dir():
    worker_tmp_dir = str(_memory)  # for the heartbeat file: a disk can block a worker


def when_ready(server: Any) -> None:
    """Freeze what the application consists of: workers need not collect it again, and go on sharing its pages."""
    gc.collect()
    gc.freeze()
    say_where(_settings, server.LISTENERS[0].sock.getsockname()[1])
