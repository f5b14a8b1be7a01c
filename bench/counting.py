"""What counting for Prometheus costs a predict: two services at once, one of which does not count, loaded by turns.

CPU microseconds of the process tree for each request of one image, and the ratio, over all rounds and over each fourth
of them, which tells how sure it is. `python -m bench.counting [ROUNDS]`, each of half a second for either.
"""

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.load import measure, request_bytes
from bench.serving import json_bytes, network_file, serving

WARM_UP_SECONDS, SECONDS, CONNECTIONS = 2, 0.5, 1


class Nothing:
    def observe(self, _: float) -> None:
        return


def uncounted() -> Any:
    """The application, but for the counting."""
    from service.http import request_log

    nothing = Nothing()
    request_log.durations = lambda *_: nothing  # type: ignore[assignment]
    from service.wsgi import app

    return app


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    request = request_bytes("/predict", json_bytes(1, False), "application/json")
    quiet = {"TWOLAYERNET_ACCESS_LOG": "off"}
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory() as other:
        network_file(Path(name))
        network_file(Path(other))
        with (
            serving(Path(name), **quiet) as counting,
            serving(Path(other), app="bench.counting:uncounted()", **quiet) as not_counting,
        ):
            for pid, port in (counting, not_counting):
                measure(pid, port, request, WARM_UP_SECONDS, CONNECTIONS)
            costs: list[list[tuple[float, int]]] = []
            for number in range(rounds):
                order = (counting, not_counting) if number % 2 else (not_counting, counting)
                found = [measure(*where, request, SECONDS, CONNECTIONS) for where in order]
                costs.append([(one.cpu_us, one.requests) for one in (found if number % 2 else found[::-1])])
    one, two = (mean([cost[side] for cost in costs]) for side in (0, 1))
    parts = [costs[at::4] for at in range(4)]
    ratios = [mean([cost[0] for cost in part]) / mean([cost[1] for cost in part]) for part in parts]
    print(f"counting: {one:.0f} µs, not counting: {two:.0f} µs, ratio {one / two:.3f}")
    print(f"of each fourth of the rounds: {', '.join(f'{ratio:.3f}' for ratio in ratios)}")


def mean(costs: Sequence[tuple[float, int]]) -> float:
    """Microseconds for a request. costs: (microseconds for each, requests)."""
    return sum(cost * count for cost, count in costs) / sum(count for _, count in costs)


if __name__ == "__main__":
    main()
