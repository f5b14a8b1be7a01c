"""The sequential test of the alarm, on outcomes that are drawn."""

from collections.abc import Iterable

import numpy as np
import pytest

from model.types import FloatArray
from service.live.drift_alarm import Alarm, Watch
from service.store.records import Version

THRESHOLD = Alarm().threshold


def reported(rates: FloatArray, seed: int = 0, first: Watch | None = None, step: int = 1) -> list[int]:
    """After how many outcomes a change is reported, where each is an error at its rate."""
    hits = np.random.default_rng(seed).random(len(rates)) >= rates
    watch, found = first or Watch(), []
    for at in range(0, len(hits), step):
        some = hits[at : at + step]
        watch, changed, _ = Watch.of(watch.text()).after(some, at + len(some), THRESHOLD)
        if changed:
            found.append(at + len(some))
    return found


@pytest.mark.parametrize("rate", [0.0, 0.02, 0.1, 0.4, 0.95, 1.0])
def test_a_steady_stream_is_never_reported(rate: float) -> None:
    assert reported(np.full(6000, rate)) == []


@pytest.mark.parametrize("seed", range(3))
def test_a_stream_that_improves_is_not_reported(seed: int) -> None:
    assert reported(np.linspace(0.9, 0.02, 6000), seed) == []


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_change_is_reported_soon_whatever_steps_it_comes_in(step: int) -> None:
    rates = np.concatenate([np.full(2000, 0.03), np.full(1000, 0.32)])
    delays = [next(iter(reported(rates, seed, step=step)), 9999) - 2000 for seed in range(11)]
    assert min(delays) > 0, "a false report"
    assert np.median(delays) <= max(60, step)


def test_what_is_new_is_usual_after_a_thousand_examples() -> None:
    hits = [*np.full(2000, True), *np.full(3000, False)]
    watch, states = Watch(), []
    for n, hit in enumerate(hits, 1):
        watch, changed, _ = watch.after(np.array([hit]), n, THRESHOLD)
        if changed:
            watch = watch.changed(n, n)
        states.append(watch.changed_at)
    assert states[1999] is None
    assert set(states[2100:2900]) == {states[2100]} != {None}
    assert states[-1] is None


def events(*kinds: tuple[str, str | None]) -> Iterable[Version]:
    for number, (kind, event) in enumerate(kinds, 10):
        yield Version(number, kind, 0.0, event=event)  # type: ignore[arg-type]


def test_only_what_a_client_does_begins_it_anew() -> None:
    watch = Watch(since=3, good=5, seen=500, errors=5, usual=0.02, changed_version=8, changed_at=400)
    assert watch.restarted(events(("rollback", "alarm"))) == watch
    assert watch.restarted(events(("rollback", "pause"), ("rollback", "resume"))) == Watch(since=3, good=5)
    assert watch.restarted(events(("rollback", None), ("rollback", "pause"))) == Watch(since=10)
    assert watch.restarted(events(("rollback", None), ("load", None))) == Watch(since=11)
