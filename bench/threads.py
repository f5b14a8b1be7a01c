"""What each thread of a worker costs: a predict of one image on each server, by the number of threads.

`python -m bench.threads [SECONDS]`, the seconds for each line.
"""

import sys
import tempfile
from pathlib import Path

from bench.load import measure, request_bytes
from bench.serving import json_bytes, network_file, serving


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
    request = request_bytes("/predict", json_bytes(1, False), "application/json")
    print("| server | threads | CPU µs | p50 ms | p99 ms |\n| --- | ---: | ---: | ---: | ---: |")
    for server in ("gunicorn", "granian"):
        for threads in (1, 2, 4, 8):
            with tempfile.TemporaryDirectory() as name:
                network_file(Path(name))
                with serving(Path(name), server, TWOLAYERNET_THREADS=str(threads)) as (pid, port):
                    found = measure(pid, port, request, seconds, 8)
            print(
                f"| {server} | {threads} | {found.cpu_us:.0f} | {found.p50_ms:.2f} | {found.p99_ms:.2f} |", flush=True
            )


if __name__ == "__main__":
    main()
