"""gunicorn's settings, from ours: `gunicorn -c python:service.server.gunicorn_settings service.wsgi:app`."""

import gc
import os
from pathlib import Path
from typing import Any

import service  # noqa: F401  sets BLAS to one thread before anything imports numpy
from service.counting import FOLDER, share
from service.server.address import say_where, url_host
from service.settings import load_settings

_settings = load_settings()
share()
_memory = Path("/dev/shm")

bind = f"{url_host(_settings.host)}:{_settings.port}"
workers = _settings.workers
threads = _settings.threads
worker_class = "gthread"
preload_app = True  # one start-up for all workers: one that has to be replaced is there at once
keepalive = 30
graceful_timeout = 30
control_socket_disable = True
# Above what nginx lets through (17 kB of headers, lines of 8 kB), which refuses the rest with a problem document.
limit_request_line = 8190
limit_request_fields = 4500
limit_request_field_size = 9000
forwarded_allow_ips = ""  # service/http/proxy.py decides whom to believe
if _memory.is_dir():
    worker_tmp_dir = str(_memory)  # of the heartbeat file: on a disk it can block a worker


def when_ready(server: Any) -> None:
    """What the application is made of stays: the collector need not go through it again in every worker, which would
    also copy the pages that the workers share."""
    gc.collect()
    gc.freeze()
    say_where(_settings, server.LISTENERS[0].sock.getsockname()[1])


def child_exit(_server: Any, worker: Any) -> None:
    from prometheus_client.multiprocess import mark_process_dead  # not before `share`

    if FOLDER in os.environ:
        mark_process_dead(worker.pid)
