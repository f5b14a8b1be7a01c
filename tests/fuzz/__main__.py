"""`python -m tests.fuzz 100000 [SEED]`: of the requests, six tenths on sockets, one of them Granian's, three by atheris, one by hypothesis.

Exit code 1 when one got a 5xx, took too long or ended a worker, or when memory grew. Where atheris is not installed
(requirements/fuzz.txt), its part goes over sockets, too.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec

from tests.fuzz.wire import MOST_CPU_SECONDS, attack

RUNS_OF_A_PROCESS = 2500


def main() -> int:
    requests, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    has_atheris = find_spec("atheris") is not None
    by_atheris, by_hypothesis = requests * 3 // 10 * has_atheris, requests // 10
    began = time.monotonic()
    on_granian = requests // 10
    wrong = attack(requests - by_atheris - by_hypothesis - on_granian, seed, "gunicorn")
    wrong += attack(on_granian, seed, "granian")
    if has_atheris:
        wrong += decoders(by_atheris, seed)
    wrong += hypotheses(by_hypothesis)
    for line in wrong[:10]:
        print(f"WRONG: {line}")
    print(f"{requests} malformed requests in {time.monotonic() - began:.0f} s: {len(wrong)} things went wrong")
    return 1 if wrong else 0


def decoders(requests: int, seed: int) -> list[str]:
    """In processes that go on from each other's corpus: what atheris notes of a run it keeps, a tenth of a MiB."""
    with tempfile.TemporaryDirectory() as corpus:
        for begun in range(0, requests, RUNS_OF_A_PROCESS):
            runs = min(RUNS_OF_A_PROCESS, requests - begun)
            options = [
                f"-runs={runs}",
                f"-seed={seed + begun}",
                "-max_len=65536",
                f"-timeout={2 * MOST_CPU_SECONDS:.0f}",
            ]
            command = [sys.executable, "-m", "tests.fuzz.decoders", *options, f"-artifact_prefix={corpus}/", corpus]
            done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
            if done.returncode != 0:
                return [done.stderr[-5000:]]
    last = [line for line in done.stderr.splitlines() if re.match(r"#\d", line)][-1:]
    print(f"{requests} requests by atheris: {''.join(last)}", flush=True)
    return []


def hypotheses(requests: int) -> list[str]:
    test = "tests/service/test_no_request_gets_a_500.py::test_nothing_gets_a_500_looked_for_long"
    command = [sys.executable, "-m", "pytest", "-q", "-m", "long", test]
    done = subprocess.run(
        command, env={**os.environ, "TEST_REQUESTS": str(requests)}, capture_output=True, text=True, check=False
    )
    print(f"{requests} requests by hypothesis: {done.stdout.splitlines()[-1]}", flush=True)
    return [] if done.returncode == 0 else [done.stdout[-5000:]]


if __name__ == "__main__":
    sys.exit(main())
