"""On which examples the alarm compares versions."""

from contextlib import suppress

import numpy as np

from service.app import EXTENSION
from service.live.learner import newest_figures
from service.live.version_comparison import Lesson, last_lessons
from tests.conftest import Client, as_json, random_batch, store_of_each_kind

store = store_of_each_kind

X, T = random_batch(3)


class UndoneError(Exception):
    pass


def teach(client: Client) -> int:
    answer = client.post("/train-step", json=as_json(X, T))
    assert answer.status_code == 200, answer.data
    return int(answer.json["model_version"])


def label(client: Client, listed: int, others: int) -> int:
    """A step of predictions, of which so many were listed as uncertain."""
    ids: list[str] = []
    for count in (listed, others):
        if count:
            ids += client.post("/predict?remember=true", json=as_json(X[:count])).json["prediction_ids"]
        if len(ids) == listed > 0:
            client.get("/predictions?order=uncertain&limit=100")
    answer = client.post("/train-step", json={"prediction_ids": ids, "labels": [1] * len(ids)})
    assert answer.status_code == 200, answer.data
    return int(answer.json["model_version"])


def lessons(client: Client) -> list[Lesson]:
    """As they are when the newest step is about to be committed."""
    service = client.app.extensions[EXTENSION]
    found: list[Lesson] = []
    with suppress(UndoneError), service.log.writing() as writer:
        row = newest_figures(writer)
        writer.session.run(f"DELETE FROM progress WHERE model_version = {row.model_version}")
        found += last_lessons(writer, service.replica.newest().weights, row)
        raise UndoneError
    return found


def test_only_steps_of_posted_examples_are_read(client: Client) -> None:
    versions = [teach(client)]
    left_out = [label(client, 3, 0), label(client, 2, 1)]
    versions += [teach(client), label(client, 0, 2)]
    left_out += [label(client, 3, 0)]
    versions += [teach(client)]
    with client.app.extensions[EXTENSION].log.writing() as writer:  # so that reading one fails
        for version in left_out:
            writer.session.run(f"UPDATE versions SET pixels = digest WHERE model_version = {version}")
    assert [(one.version, len(one.t)) for one in lessons(client)] == [(version, 3) for version in versions[:2]] + [
        (versions[2], 2),
        (versions[3], 3),
    ]


def test_what_was_unlearned_is_left_out_and_new_labels_count(client: Client) -> None:
    versions = [teach(client) for _ in range(4)]
    client.post("/unlearn", json={"model_versions": [versions[1]]})
    new = [(int(label) + 1) % 10 for label in T]
    assert client.post("/relabel", json={"model_version": versions[2], "labels": new}).status_code == 200
    versions.append(teach(client))
    found = {one.version: one for one in lessons(client)}
    assert sorted(found) == [versions[0], versions[2], versions[3], versions[4]]
    assert found[versions[2]].t.tolist() == new
    assert all(np.array_equal(found[version].t, T) for version in (versions[0], versions[3], versions[4]))
    assert [found[version].is_past for version in sorted(found)] == [True, True, True, False]
    client.post("/rollback", json={"model_version": versions[3]})
    versions.append(teach(client))
    assert sorted(one.version for one in lessons(client)) == versions, "a rollback takes back both"
    assert {tuple(one.t) for one in lessons(client)} == {tuple(T)}
