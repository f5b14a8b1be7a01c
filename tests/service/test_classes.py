"""POST /classes: a class that nobody thought of, before and after."""

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from model import weights_file
from model.growth import MOST_CLASSES, grown
from model.weights_file import Weights
from service.app import EXTENSION, create_app
from service.cli.new import new
from service.errors import NewClassError
from service.live.learner import check_new_class
from service.settings import Settings
from tests.conftest import CLASSES, FEATURES, Client, as_json, random_batch, store_of_each_kind
from tests.service.drawing import drawn, encoded
from tests.service.test_bad_input import is_problem
from tests.test_cli import twolayernet

store = store_of_each_kind

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    made = Client(create_app(settings))
    yield made
    made.close()


@pytest.fixture
def named(settings: Settings, tmp_path: Path) -> Iterator[Client]:
    """Whose classes have names."""
    weights_file.save(settings.weights, replace(weights_file.load(settings.weights), label_names=NAMES))
    made = Client(create_app(settings))
    yield made
    made.close()


def lesson(label: int, seed: int = 0) -> dict[str, object]:
    x, _ = random_batch(1, seed)
    return as_json(x, np.array([label]))


def question() -> dict[str, object]:
    return {name: value for name, value in lesson(0).items() if name != "labels"}


def test_a_new_class_is_taught_and_each_version_answers_with_its_own(client: Client) -> None:
    before = client.post("/predict", json=question()).json
    problem = is_problem(client.post("/train-step", json=lesson(CLASSES)), 422)
    assert "POST /classes" in problem["detail"]
    answer = client.post("/classes", json={})
    assert answer.status_code == 200
    assert (answer.json["model_version"], answer.json["kind"], answer.json["classes"]) == (2, "grow", CLASSES + 1)
    for _ in range(30):
        assert client.post("/train-step", json=lesson(CLASSES)).status_code == 200
    after = client.post("/predict", json=question()).json
    assert (after["labels"], len(after["probabilities"][0])) == ([CLASSES], CLASSES + 1)
    pinned = client.post("/predict?model_version=1", json=question()).json
    assert pinned == before
    assert len(client.post("/accuracy", json=lesson(CLASSES)).json["confusion_matrix"]) == CLASSES + 1
    assert len(client.post("/accuracy?model_version=1", json=lesson(0)).json["confusion_matrix"]) == CLASSES
    is_problem(client.post("/accuracy?model_version=1", json=lesson(CLASSES)), 422)
    assert len(client.get("/learning").json["windows"][0]["by_class"]) == CLASSES + 1
    outputs = client.get("/v2/models/twolayernet").json["outputs"]
    assert outputs[0]["shape"] == [-1, CLASSES + 1]
    outputs = client.get("/v2/models/twolayernet/versions/1").json["outputs"]
    assert outputs[0]["shape"] == [-1, CLASSES]
    assert client.get("/openapi.json").json["components"]["schemas"]["Label"]["maximum"] == CLASSES


def test_nothing_else_has_changed_by_a_new_class(client: Client) -> None:
    """The logits of the old classes are the same, and the new one is the least probable."""
    before = client.post("/predict", json=question()).json["probabilities"][0]
    client.post("/classes", json={})
    after = client.post("/predict", json=question()).json["probabilities"][0]
    assert np.argmax(before) == np.argmax(after)
    assert np.allclose(np.log(after[:-1]) - np.log(after[0]), np.log(before) - np.log(before[0]), atol=1e-5)


def test_a_rollback_takes_the_class_away_and_what_waits_for_its_label_is_kept(client: Client) -> None:
    kept = client.post("/predict?remember=true", json=question()).json["prediction_ids"]
    client.post("/classes", json={})
    client.post("/predict?remember=true", json=question())
    client.post("/train-step", json=lesson(CLASSES))
    client.post("/rollback", json={"model_version": 1})
    is_problem(client.post("/train-step", json=lesson(CLASSES)), 422)
    problem = is_problem(client.post("/train-step", json={"prediction_ids": kept, "labels": [CLASSES]}), 422)
    assert "POST /classes" in problem["detail"]
    waiting = client.get("/predictions").json["predictions"]
    assert sorted(len(one["probabilities"]) for one in waiting) == [CLASSES, CLASSES + 1]
    both = {"prediction_ids": [one["prediction_id"] for one in waiting], "labels": [1, 2]}
    assert client.post("/train-step", json=both).status_code == 200


def test_the_figures_of_a_class_that_was_taken_back_go_with_its_last_example(client: Client) -> None:
    client.post("/classes", json={})
    client.post("/train-step", json=lesson(CLASSES))
    client.post("/rollback", json={"model_version": 1})

    def classes() -> list[int]:
        return [len(window["by_class"]) for window in client.get("/learning").json["windows"]]

    assert classes() == [CLASSES + 1] * 3
    x, t = random_batch(100)
    client.post("/train-step", json=as_json(x, t))
    assert classes() == [CLASSES, CLASSES + 1, CLASSES + 1]


def test_a_lesson_of_a_class_that_is_gone_when_it_is_written_is_refused(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rollback comes between the check of the labels and the step."""
    client.post("/classes", json={})
    learner = client.app.extensions[EXTENSION].learner
    train_step = learner.train_step

    def later(*args: object, **given: object) -> object:
        learner.rollback(1)
        return train_step(*args, **given)

    monkeypatch.setattr(learner, "train_step", later)
    is_problem(client.post("/train-step", json=lesson(CLASSES)), 422)
    assert client.get("/versions").json["versions"][0]["kind"] == "rollback"


@pytest.mark.parametrize(
    ("label", "can_be_added"), [(CLASSES, True), (CLASSES + 3, True), (MOST_CLASSES, False), (-1, False), (10.5, False)]
)
def test_a_label_that_is_no_class_yet_says_how_it_becomes_one(client: Client, label: float, can_be_added: bool) -> None:
    body = lesson(0) | {"labels": [label]}
    assert ("POST /classes" in is_problem(client.post("/train-step", json=body), 422)["detail"]) == can_be_added


@pytest.mark.parametrize("of", ["json", "form", "prediction", "relabel"])
def test_a_class_that_this_worker_has_not_heard_of_is_learnt(
    client: Client, monkeypatch: pytest.MonkeyPatch, of: str
) -> None:
    """As on PostgreSQL, where another worker has added it a moment ago."""
    kept = client.post("/predict?remember=true", json=question()).json["prediction_ids"]
    replica = client.app.extensions[EXTENSION].replica
    before = replica.newest()
    client.post("/classes", json={})
    client.post("/train-step", json=lesson(0))
    monkeypatch.setattr(replica, "newest", lambda: before)
    if of == "form":
        data = {"image": (io.BytesIO(encoded(drawn(7))), "seven.png"), "labels": str(CLASSES)}
        answer = client.post("/train-step", data=data)
    elif of == "relabel":
        answer = client.post("/relabel", json={"model_version": 3, "labels": [CLASSES]})
    else:
        of_prediction = {"prediction_ids": kept, "labels": [CLASSES]}
        answer = client.post("/train-step", json=lesson(CLASSES) if of == "json" else of_prediction)
    assert answer.status_code == 200, answer.json


def test_names_are_required_where_classes_have_them_and_new(named: Client) -> None:
    assert "expected a name" in is_problem(named.post("/classes", json={}), 422)["detail"]
    assert "class 'nine' already" in is_problem(named.post("/classes", json={"label_name": "nine"}), 422)["detail"]
    is_problem(named.post("/classes", json={"label_name": "  "}), 422)
    is_problem(named.post("/classes", json={"label_name": "x" * 101}), 422)
    is_problem(named.post("/classes", json={"label_name": "a", "more": 1}), 422)
    answer = named.post("/classes", json={"label_name": "α"}).json
    assert (answer["label_name"], answer["classes"]) == ("α", 11)
    assert weights_file.from_bytes(named.get("/weights").data).label_names == (*NAMES, "α")
    assert weights_file.from_bytes(named.get("/weights?model_version=1").data).label_names == NAMES


def test_names_that_a_weights_file_has_no_room_for_are_refused(settings: Settings) -> None:
    names = [f"{number:0100}" for number in range(620)]
    weights = weights_file.load(settings.weights)
    params = dict(weights.params) | {"W2": np.zeros((50, 620), np.float32), "b2": np.zeros(620, np.float32)}
    weights_file.save(settings.weights, replace(weights, params=params, label_names=tuple(names)))
    client = Client(create_app(settings))
    statuses = [client.post("/classes", json={"label_name": f"n{n:099}"}).status_code for n in range(30)]
    assert statuses[0] == 200
    assert statuses[-1] == 422
    assert client.get("/versions").json["versions"][0]["kind"] == "grow"
    client.close()


def test_numbers_have_no_names(client: Client) -> None:
    problem = is_problem(client.post("/classes", json={"label_name": "α"}), 422)
    assert problem["errors"][0]["loc"] == ["label_name"]


def test_once_and_only_on_the_version_that_was_seen(client: Client) -> None:
    etag = client.get("/weights").headers["ETag"]
    headers = {"Idempotency-Key": "class-1", "If-Match": etag}
    first = client.post("/classes", json={}, headers=headers)
    assert client.post("/classes", json={}, headers=headers).json == first.json
    is_problem(client.post("/classes", json={}, headers={"If-Match": etag}), 412)
    assert client.get("/versions").json["versions"][0]["model_version"] == 2


def test_the_number_of_classes_is_bounded(settings: Settings) -> None:
    params = dict(weights_file.load(settings.weights).params)
    params |= {"W2": np.zeros((50, MOST_CLASSES), np.float32), "b2": np.zeros(MOST_CLASSES, np.float32)}
    with pytest.raises(NewClassError, match="may not have more"):
        check_new_class(Weights(params), None)


def test_a_file_of_more_classes_is_refused_with_a_hint(client: Client, settings: Settings) -> None:
    larger = weights_file.to_bytes(grown(weights_file.load(settings.weights)))
    assert (
        "POST /classes adds a class to it: it lacks 1" in is_problem(client.put("/weights", data=larger), 422)["detail"]
    )
    client.post("/classes", json={})
    assert client.put("/weights", data=larger).status_code == 200


def test_it_is_unlearned_around_and_relabelled_only_after_it(client: Client) -> None:
    client.post("/train-step", json=lesson(1, 1))
    client.post("/classes", json={})
    client.post("/train-step", json=lesson(CLASSES, 2))
    problem = is_problem(client.post("/relabel", json={"model_version": 2, "labels": [CLASSES]}), 422)
    assert problem["errors"][0]["loc"] == ["labels"]
    assert client.post("/relabel", json={"model_version": 4, "labels": [0]}).status_code == 200
    assert client.post("/unlearn", json={"model_versions": [2]}).status_code == 200
    assert len(client.post("/predict", json={"images": [[0] * FEATURES]}).json["probabilities"][0]) == CLASSES + 1


def test_from_nothing(settings: Settings, tmp_path: Path) -> None:
    """A network that was never trained is taught two classes, and then a third that it did not have."""
    file = tmp_path / "new.npz"
    made = twolayernet("new", "--input", "28x28", "--hidden", "20", "--label-names", "left, right", "--out", file)
    assert made.returncode == 0, made.stderr
    assert twolayernet("new", "--classes", "2", "--out", file).returncode == 2
    client = Client(create_app(settings.model_copy(update={"weights": file, "store": f"sqlite:///{tmp_path}/new.db"})))
    pixels = np.zeros((3, FEATURES))
    pixels[0, :200] = pixels[1, 300:500] = pixels[2, 600:] = 1

    def taught(label: int) -> None:
        answer = client.post("/train-step", json={"images": pixels[[label]].tolist(), "labels": [label]})
        assert answer.status_code == 200

    for _ in range(10):
        taught(0)
        taught(1)
    assert client.post("/classes", json={"label_name": "below"}).status_code == 200
    for _ in range(20):
        taught(2)
    answer = client.post("/predict", json={"images": pixels.tolist()}).json
    assert answer["label_names"] == ["left", "right", "below"]
    client.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "either --classes with a number, or --label-names"),
        (["--classes", "2", "--label-names", "a,b"], "either --classes"),
        (["--label-names", "a,a"], "twice"),
        (["--label-names", "a,,b"], "1 to 100 characters"),
        (["--label-names", ",".join(map(str, range(1001)))], "at most 1,000 classes"),
        (["--classes", "1001"], "1<=x<=1000"),
        (["--classes", "2", "--input", "28"], "such as 28x28"),
        (["--classes", "2", "--input", "9999x9999", "--hidden", "100000"], "bytes of weights"),
    ],
)
def test_a_network_that_can_t_be_made_is_refused(options: list[str], message: str, tmp_path: Path) -> None:
    answer = CliRunner().invoke(new, [*options, "--out", str(tmp_path / "new.npz")])
    assert (answer.exit_code, message in answer.output) == (2, True), answer.output
    assert not (tmp_path / "new.npz").exists()
