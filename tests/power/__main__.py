"""Power cuts: `python -m tests.power 10000` records a service under load and checks the disk after so many cuts.

A second number makes them other ones: `python -m tests.power 10000 7`.
"""

import multiprocessing
import os
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.conftest import pytest_configure
from tests.power.checks import Expected, check, cuts
from tests.power.workload import recorded

PART = 100  # cuts at once, since each part plays the events from the first one on


EXPECTED: list[Expected] = []
"""One, which forked processes share."""


def main() -> int:
    count, seed = int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else "0"
    began = time.perf_counter()
    pytest_configure()  # the settings and the temporary folder of tests
    tempfile.tempdir = os.environ.get("PYTEST_DEBUG_TEMPROOT")
    with tempfile.TemporaryDirectory() as folder:
        recording = recorded(Path(folder))
        EXPECTED.append(Expected(recording, Path(folder) / "known"))
    print(f"recorded: {len(recording.requests)} requests, {len(recording.events)} events", flush=True)
    at = EXPECTED[0].some_cuts(count, random.Random(seed))
    parts = [(at[start : start + PART], f"{seed} {start}") for start in range(0, count, PART)]
    wrong: Counter[str] = Counter()
    with multiprocessing.get_context("fork").Pool(os.cpu_count()) as pool:
        for found in pool.imap_unordered(checked, parts):
            wrong += found
    print(f"{count} cuts, {wrong.total()} of them wrong, in {time.perf_counter() - began:.0f} s")
    for error, times in wrong.most_common(20):
        print(f"{times} times: {error}")
    return 1 if wrong else 0


def checked(part: tuple[list[int], str]) -> Counter[str]:
    """The errors that some cuts led to, and how often each did."""
    (at, seed), expected = part, EXPECTED[0]
    wrong: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "disk"
        for cut, files in cuts(expected, place, at, seed):
            try:
                check(expected, cut, files, place)
            except Exception as error:
                event = expected.recording.events[cut - 1]
                text = f"{type(error).__name__}: {error}".replace(str(place), "")
                wrong[f"{text} (after event {cut}, {event.operation.name} {event.path})"] += 1
    return wrong


if __name__ == "__main__":
    sys.exit(main())
