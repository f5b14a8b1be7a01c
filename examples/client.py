"""Every call of a client, in Python. Run `python examples/client.py http://127.0.0.1:8000` in a folder that has
digits.json, labelled.json and seven.png (docs/clients.md). Needs requests and numpy."""

import base64
import io
import json
import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import requests


class Refused(Exception):  # noqa: N818
    """problem: the problem document. Its `type` tells apart what a program must tell apart."""

    def __init__(self, problem: dict[str, Any]) -> None:
        super().__init__(problem["detail"])
        self.problem = problem


class Client:
    """Repeats what failed. A change has an Idempotency-Key, the same for every try, so it is applied once."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url = url
        self.session = requests.Session()
        if key:
            self.session.headers["Authorization"] = f"Bearer {key}"

    def call(self, method: str, path: str, tries: int = 6, **options: Any) -> requests.Response:
        headers = {"Idempotency-Key": str(uuid.uuid4()), **options.pop("headers", {})}
        for attempt in range(tries):
            last = attempt == tries - 1
            pause = 0.2 * 2**attempt
            try:
                answer = self.session.request(method, self.url + path, headers=headers, timeout=30, **options)
            except (requests.ConnectionError, requests.Timeout):
                if last:
                    raise
            else:
                if answer.ok:
                    return answer
                if answer.status_code not in (429, 502, 503, 504) or last:
                    raise Refused(answer.json())
                pause = float(answer.headers.get("Retry-After", pause))
            time.sleep(pause)
        raise ValueError("tries: expected 1 or more")


def predict(client: Client, digits: dict[str, Any], seven: bytes) -> None:
    answer = client.call("POST", "/predict", json=digits).json()
    print(answer["labels"], "from version", answer["model_version"])

    # A picture; several; one in JSON, as a canvas gives it
    client.call("POST", "/predict", data=seven, headers={"Content-Type": "image/png"})
    client.call("POST", "/predict", files=[("image", seven), ("image", seven)])
    url = "data:image/png;base64," + base64.b64encode(seven).decode()
    print(client.call("POST", "/predict", json={"image": url}).json()["labels"])

    # Arrays are the shortest form for many images. The network expects light strokes on dark paper: invert others.
    scanned = 255 - np.array(digits["images"], np.uint8)  # dark on light, as a scanner gives them
    file = io.BytesIO()
    np.save(file, 255 - scanned)
    client.call("POST", "/predict", data=file.getvalue(), headers={"Content-Type": "application/x-npy"})


def teach(client: Client, labelled: dict[str, Any]) -> None:
    measured = client.call("POST", "/accuracy", json=labelled).json()
    print(measured["accuracy"], np.array(measured["confusion_matrix"]))
    step = client.call("POST", "/train-step", json={**labelled, "learning_rate": 0.01}).json()
    print("version", step["model_version"], "loss before the step", step["loss"])

    file = io.BytesIO()
    np.savez(file, x=np.array(labelled["images"], np.uint8), t=np.array(labelled["labels"]))
    npz = {"Content-Type": "application/x-npz"}
    client.call("POST", "/train-step?learning_rate=0.01", data=file.getvalue(), headers=npz)


def label_later(client: Client, digits: dict[str, Any]) -> None:
    client.call("POST", "/predict", params={"remember": "true"}, json=digits)
    unlabelled = client.call("GET", "/predictions", params={"order": "uncertain", "limit": 10}).json()["predictions"]
    first, second = (prediction["prediction_id"] for prediction in unlabelled[:2])
    print(len(client.call("GET", f"/predictions/{first}/image").content), "bytes of PNG")
    client.call("POST", "/train-step", json={"prediction_ids": [first], "labels": [7]})
    client.call("DELETE", f"/predictions/{second}")


def pause_and_watch(client: Client) -> None:
    client.call("PUT", "/learning", json={"state": "paused", "reason": "the camera is moved"})
    client.call("PUT", "/learning", json={"state": "learning"})
    for window in client.call("GET", "/learning").json()["windows"]:
        print("the last", window["count"], "examples: accuracy", window["accuracy"], "loss", window["loss"])


def go_back(client: Client) -> None:
    """To the oldest version, at the end of all pages."""
    page = client.call("GET", "/versions", params={"limit": 2}).json()
    while page["next_before"] is not None:
        page = client.call("GET", "/versions", params={"limit": 2, "before": page["next_before"]}).json()
    oldest = page["versions"][-1]["model_version"]
    back = client.call("POST", "/rollback", json={"model_version": oldest}).json()
    print("version", back["model_version"], "has the weights of version", back["source_version"])


def correct_a_label(client: Client, seven: bytes) -> None:
    """Taught as a 1, by mistake: give it the right label. What else this source taught is taken out."""
    form = {"labels": "1", "source": "examples/client.py"}
    taught = client.call("POST", "/train-step", files=[("image", seven)], data=form).json()["model_version"]
    client.call("POST", "/relabel", json={"model_version": taught, "labels": [7]})
    client.call("POST", "/train-step", files=[("image", seven)], data=form)
    answer = client.call("POST", "/unlearn", json={"source": "examples/client.py", "after": taught}).json()
    print("version", answer["model_version"], "is without", answer["unlearned"])


def add_a_class(client: Client, seven: bytes) -> None:
    """A seven with a bar, say; and back to the classes that there were."""
    grown = client.call("POST", "/classes", json={}).json()
    form = {"labels": str(grown["classes"] - 1)}
    print(client.call("POST", "/train-step", files=[("image", seven)], data=form).json()["accuracy"])
    client.call("POST", "/rollback", json={"model_version": grown["model_version"] - 1})


def change_the_weights(client: Client) -> None:
    """Out, changed, and in again, unless the service has learnt something meanwhile."""
    newest = client.call("GET", "/weights")
    with np.load(io.BytesIO(newest.content)) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays["b2"] = arrays["b2"] + np.float32(0.001)
    file = io.BytesIO()
    np.savez(file, **arrays)
    try:
        client.call("PUT", "/weights", data=file.getvalue(), headers={"If-Match": newest.headers["ETag"]})
    except Refused as refused:
        if refused.problem["type"] != "urn:twolayernet:problem:weights-changed":
            raise
        print("not put in:", refused)


def download_examples(client: Client) -> None:
    """All labelled examples of the service, page by page."""
    after, images = 0, []
    while True:
        answer = client.call("GET", "/examples", params={"after": after, "limit": 1000})
        page = np.load(io.BytesIO(answer.content))
        if len(page["t"]) == 0:
            break
        images.append(page["x"])
        after = int(page["model_version"][-1])
    print(np.concatenate(images).shape, "since version", answer.headers["X-Oldest-Model-Version"])


def look_at_suspicious_labels(client: Client) -> None:
    """Those first that are probably wrong."""
    for label in client.call("GET", "/labels", params={"order": "suspicious", "limit": 3}).json()["labels"]:
        image = client.call("GET", f"/examples/{label['model_version']}/{label['index']}/image").content
        print(label["label"], "or", label["predicted"], "by", label["source"], len(image), "bytes of PNG")


def have_another_model(client: Client) -> None:
    """A copy that learns by itself, with a key of its own, and is then set aside."""
    name = f"copy-{uuid.uuid4().hex[:8]}"
    try:
        client.call("PUT", f"/models/{name}", json={"copy_of": "default"})
    except Refused as refused:
        if refused.problem["type"] != "urn:twolayernet:problem:no-models":
            raise
        print("no other model:", refused)
        return
    key = client.call("POST", f"/models/{name}/key").json()["key"]
    copy = Client(f"{client.url}/models/{name}", key)
    print(copy.call("GET", "/versions").json()["versions"][0]["kind"], "is the first version of", name)
    print(client.call("GET", f"/models/{name}").json()["bytes"], "bytes")
    print([model["name"] for model in client.call("GET", "/models", params={"limit": 3}).json()["models"]])
    client.call("DELETE", f"/models/{name}")


def make_a_mistake(client: Client) -> None:
    try:
        client.call("POST", "/predict", json={"images": [[0, 0.5, 1]]})
    except Refused as refused:
        print(refused, refused.problem["errors"][0]["loc"])


if __name__ == "__main__":
    client = Client(sys.argv[1], os.environ.get("TWOLAYERNET_API_KEY"))
    digits = json.loads(Path("digits.json").read_text())
    labelled = json.loads(Path("labelled.json").read_text())
    predict(client, digits, Path("seven.png").read_bytes())
    teach(client, labelled)
    label_later(client, digits)
    look_at_suspicious_labels(client)
    pause_and_watch(client)
    go_back(client)
    correct_a_label(client, Path("seven.png").read_bytes())
    add_a_class(client, Path("seven.png").read_bytes())
    change_the_weights(client)
    download_examples(client)
    have_another_model(client)
    make_a_mistake(client)
