"""What counting for Prometheus costs a predict: two services at once, one of which does not count, loaded by turns.

CPU microseconds of the process tree for each request of one image, and the ratio. `python -m bench.counting [ROUNDS]`,
each of a second for either.
"""

import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from bench.load import measure, request_bytes
from bench.serving import json_bytes, network_file, serving

WARM_UP_SECONDS, CONNECTIONS = 2, 2


class Nothing:
    def observe(self, _: float) -> None:
        return


def uncounted() -> Any:
    """The application, but for the counting."""
    from service.http import observing

    nothing = Nothing()
    observing.durations = lambda *_: nothing  # type: ignore[assignment]
    from service.wsgi import app

    return app


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 15
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
            costs: list[tuple[float, float]] = []
            for _ in range(rounds):
                one, two = (measure(*where, request, 1, CONNECTIONS).cpu_us for where in (counting, not_counting))
                costs.append((one, two))
    print(f"counting: {median(one for one, _ in costs):.0f} µs, not counting: {median(two for _, two in costs):.0f} µs")
    ratios = sorted(one / two for one, two in costs)
    print(f"ratio {median(ratios):.3f} (quartiles {ratios[len(ratios) // 4]:.3f} to {ratios[len(ratios) * 3 // 4]:.3f})")


if __name__ == "__main__":
    main()
