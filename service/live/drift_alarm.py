"""The drift alarm: when the errors on labelled examples have changed, and what is done then.

A sequential test finds the moment: the cumulative sum of the log-likelihood ratio of each outcome, of a clearly higher
error rate against the usual one (CUSUM: Page 1954). Among all tests with as few false alarms, it finds such a change
soonest (Lorden 1971). With the threshold ln(n), there are n examples between two false alarms of a steady stream on
average, or more. The test only gives occasion to compare versions (`version_comparison.py`).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from service.store.records import Version

FIRST_EXAMPLES = 100
"""From how many examples the usual error rate is estimated for the first time."""

MOST_COUNTED = 2000
"""Of examples in the estimate of the error rate: from here on both counts are halved, so that older ones fade."""

STANDARD_DEVIATIONS = 2.0
"""Between the estimate of an error rate and its upper limit, which is what the test is for."""

HIGHEST_USUAL_RATE = 0.9
LOOK_EVERY = 20
"""Examples between two comparisons of versions while a change is reported."""

NEW_NORMAL = 1000
"""Examples after which a change that nothing was done about is what is usual."""


@dataclass(frozen=True)
class Alarm:
    """act: what it does; false_every: labelled examples of a steady stream between two false alarms, at least."""

    act: Literal["off", "pause", "rollback"] = "off"
    false_every: int = 1_000_000

    @property
    def threshold(self) -> float:
        return math.log(self.false_every)


@dataclass(frozen=True)
class Watch:
    """The state of the test after a step.

    since: the version that a client last loaded or went back to; good: the one that the alarm last went back to, or 0;
    seen, errors: the examples of the error rate, older ones fading; usual: the lowest upper limit of the error rate so
    far, None until there are enough examples; evidence: the cumulative sum; changed_version, changed_at: where the
    errors changed, by version and by number of examples, None where they have not; acts: of the alarm since then.
    """

    since: int = 1
    good: int = 0
    seen: int = 0
    errors: int = 0
    usual: float | None = None
    evidence: float = 0.0
    changed_version: int | None = None
    changed_at: int | None = None
    acts: int = 0

    @classmethod
    def of(cls, text: str | None) -> "Watch":
        return cls() if text is None else cls(**orjson.loads(text))

    def text(self) -> str:
        return orjson.dumps(vars(self)).decode()

    def restarted(self, versions: Iterable[Version]) -> "Watch":
        """After the versions that followed a step, of which a client made each but the alarm's."""
        watch = self
        for version in sorted(versions, key=lambda version: version.model_version):
            if version.event in ("pause", "resume"):
                watch = Watch(watch.since, watch.good)
            elif version.event is None and version.kind != "train-step":
                watch = Watch(version.model_version)
        return watch

    def after(self, hits: NDArray[Any], examples: int, threshold: float) -> tuple["Watch", bool, bool]:
        """The state after a step, whether the errors have changed, and whether it is time to compare versions.

        hits: (n,), of the step's examples; examples: of all steps up to this one.
        """
        watch = self
        if watch.changed_at is not None and examples - watch.changed_at >= NEW_NORMAL:
            watch = Watch(watch.since, watch.good)
        evidence, changed = watch.tested(hits, threshold)
        seen, errors = watch.seen + len(hits), watch.errors + int(len(hits) - hits.sum())
        usual = watch.usual
        if seen >= FIRST_EXAMPLES:
            limit = upper_limit(errors, seen)
            usual = limit if usual is None else min(usual, limit)
        while seen >= MOST_COUNTED:
            seen, errors = seen // 2, errors // 2
        due = changed or (usual is not None and watch.usual is None)
        if watch.changed_at is not None:
            done = examples - watch.changed_at
            due = due or (done - len(hits)) // LOOK_EVERY != done // LOOK_EVERY
        return replace(watch, seen=seen, errors=errors, usual=usual, evidence=evidence), changed, due

    def tested(self, hits: NDArray[Any], threshold: float) -> tuple[float, bool]:
        """The cumulative sum after these examples, and whether it was above the threshold; then it begins anew."""
        if self.usual is None or self.usual >= HIGHEST_USUAL_RATE or not len(hits):
            return self.evidence, False
        raised = raised_rate(self.usual)
        of_a_hit, of_an_error = math.log((1 - raised) / (1 - self.usual)), math.log(raised / self.usual)
        sums = self.evidence + np.cumsum(np.where(hits, of_a_hit, of_an_error))
        sums -= np.minimum(np.minimum.accumulate(sums), 0)  # it never falls below 0
        changed = bool(sums.max() > threshold)
        return 0.0 if changed else float(sums[-1]), changed

    def changed(self, version: int, examples: int) -> "Watch":
        """The errors have changed, unless that is reported already."""
        if self.changed_at is not None:
            return self
        return replace(self, changed_version=version, changed_at=examples)

    def acted(self, good: int) -> "Watch":
        """The alarm goes back to version `good`, or learning pauses: what is usual stays so."""
        return replace(self, good=good, seen=0, errors=0, evidence=0.0, acts=self.acts + 1)


def upper_limit(errors: int, seen: int) -> float:
    """Of an error rate."""
    rate, z = errors / seen, STANDARD_DEVIATIONS
    return min(1.0, rate + z * math.sqrt(rate * (1 - rate) / seen) + z * z / (2 * seen))


def raised_rate(usual: float) -> float:
    """The error rate that the test is to find at once: at least twice the usual one, and 5 points more."""
    return min(2 * usual + 0.05, (1 + usual) / 2)
