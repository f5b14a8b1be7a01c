import time
from collections import Counter
from dataclasses import replace
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model import TwoLayerNet, weights_file
from model.replay_memory import (
    FIRST_OF_A_CLASS,
    LEAST_SIDE,
    MOST_BYTES,
    MOST_RECENT,
    NOTHING,
    Memory,
    Recent,
    most_examples,
    sample,
)
from model.weights_file import Weights, memory_arrays

RANDOM = np.random.default_rng(0)
PIXELS = RANDOM.integers(0, 256, (300, 6), dtype=np.uint8)
LABELS = RANDOM.integers(0, 3, 300)


def added(memory: Memory, pixels: Any, labels: Any, size: int, version: int, *, probable: bool = True) -> Memory:
    return memory.after(pixels, np.asarray(labels), np.full(len(labels), probable), size, version)


def taught(memory: Memory, labels: list[int], size: int, first: int = 2) -> Memory:
    """One example a version; the first pixel says which it was."""
    for version, label in enumerate(labels, first):
        memory = added(memory, np.full((1, 6), version % 256, np.uint8), [label], size, version)
    return memory


def counts(memory: Memory) -> list[int]:
    return [len(rows) for rows in memory.classes]


def trained(size: int = 30) -> Memory:
    return sample(PIXELS, LABELS, size, seed=0)


def test_a_label_that_the_network_finds_improbable_is_not_remembered_but_of_a_class_that_is_new() -> None:
    images = RANDOM.integers(0, 256, (50, 6), dtype=np.uint8)
    memory = added(trained(60), images, [1] * 50, 1000, 2, probable=False)
    assert memory == trained(60)
    new = added(trained(60), images, [3] * 50, 1000, 2, probable=False)
    assert counts(new) == [20, 20, 20, FIRST_OF_A_CLASS]
    assert len(new.recent) == FIRST_OF_A_CLASS
    assert counts(added(new, images, [3] * 50, 1000, 3)) == [20, 20, 20, FIRST_OF_A_CLASS + 50]


@given(st.lists(st.integers(0, 2), max_size=80), st.integers(1, 40))
def test_a_memory_never_holds_more_than_it_may_and_knows_what_was_posted(labels: list[int], size: int) -> None:
    memory = taught(NOTHING, labels, size)
    assert len(memory) == min(size, len(labels))
    assert memory.posted == len(memory)
    assert len(memory.recent) == min(MOST_RECENT, len(labels))


def test_a_burst_of_one_class_takes_no_place_from_the_others_and_little_from_its_own() -> None:
    memory = taught(trained(300), [2] * 200, 300)
    before = trained(300)
    assert memory.classes[:2] == before.classes[:2]
    kept = sum(not kept.posted for kept in memory.classes[2])
    assert len(memory.classes[2]) == len(before.classes[2])
    assert kept > 0.7 * len(memory.classes[2])


def test_a_memory_that_may_hold_less_gives_up_some_of_every_class() -> None:
    smaller = taught(trained(300), [0], 30)
    assert counts(smaller) == [10, 10, 10]
    assert smaller.posted == sum(kept.posted for rows in smaller.classes for kept in rows)


def test_a_class_that_was_never_seen_gets_its_share() -> None:
    two = sample(PIXELS[LABELS < 2], LABELS[LABELS < 2], 30, seed=0)
    assert counts(two) == [15, 15]
    assert counts(taught(two, [2] * 40, 30)) == [10, 10, 10]


def test_a_sample_of_training_images_has_as_many_of_every_class() -> None:
    assert counts(trained()) == [10, 10, 10]
    assert trained().posted_share == 0
    images = {row.tobytes() for row in PIXELS}
    assert all(kept.pixels in images for rows in trained().classes for kept in rows)
    assert sample(PIXELS, LABELS, 0, seed=0) == NOTHING
    assert counts(sample(PIXELS, LABELS, 10**9, seed=0)) == np.bincount(LABELS).tolist()


def test_every_class_is_drawn_as_often_as_any_other_however_many_of_it_are_kept() -> None:
    memory = taught(trained(), [0] * 5, 1000)
    labels = np.concatenate([memory.draw(64, version)[1] for version in range(200)])
    assert np.bincount(labels) / len(labels) == pytest.approx([1 / 3] * 3, abs=0.02)
    for count in (1, 2, 7, 64):
        drawn = [np.bincount(memory.draw(count, version)[1], minlength=3) for version in range(30)]
        assert all(of_each.max() - of_each.min() <= 1 for of_each in drawn)
        assert np.sum(drawn, axis=0).min() > 0


def test_recent_examples_are_drawn_where_the_network_came_without_a_sample_of_its_training() -> None:
    labels = [0, 1, 2] * 100
    new, old = taught(NOTHING, labels, 300), taught(trained(300), labels, 300)
    recent = {row.pixels for row in new.recent}

    def share(memory: Memory) -> float:
        drawn = np.concatenate([memory.draw(64, version)[0] for version in range(50)])
        return float(np.mean([row.tobytes() in recent for row in drawn]))

    assert share(new) > 0.7
    assert share(old) < 0.1


def test_what_is_drawn_and_what_makes_room_never_changes() -> None:
    """Else the steps that are in the logs of this release lead to other weights in the next one."""
    pixels, labels = trained().draw(8, 17)
    assert labels.tolist() == DRAWN
    assert digest({"x": pixels}) == DRAWN_DIGEST
    assert digest(memory_arrays(taught(trained(), [0, 1, 2, 2, 1, 0, 1] * 20, 30), 6)) == TAUGHT_DIGEST


DRAWN = [1, 1, 1, 2, 2, 2, 0, 0]
DRAWN_DIGEST = "8a1151ed5972c46d"
TAUGHT_DIGEST = "0c537078d0e8b9ed"


def digest(arrays: dict[str, Any]) -> str:
    return sha256(b"".join(name.encode() + array.tobytes() for name, array in sorted(arrays.items()))).hexdigest()[:16]


def test_half_of_what_is_drawn_is_moved_by_a_pixel_in_any_direction_the_same_with_every_release() -> None:
    image = np.zeros((LEAST_SIDE, LEAST_SIDE), np.uint8)
    image[0, 0] = image[8, 9] = 255
    memory = sample(image.reshape(1, -1), np.array([0]), 10, seed=0)
    drawn = memory.draw(900, 5, image.shape)[0].reshape(-1, *image.shape)
    places = [tuple(np.argwhere(one[5:12, 5:13])[0] - (3, 4)) for one in drawn]
    moves = Counter(places)
    assert set(moves) == {(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1)}
    assert moves[0, 0] / 900 == pytest.approx(1 / 2 + 1 / 18, abs=0.05)
    assert all(
        (one[0, 0], one.sum()) == (255, 510) for one, place in zip(drawn, places, strict=True) if place == (0, 0)
    )
    assert all(one.sum() == 255 for one, place in zip(drawn, places, strict=True) if min(place) < 0)
    assert digest({"x": memory.draw(9, 17, image.shape)[0]}) == MOVED_DIGEST


def test_recent_examples_are_not_moved() -> None:
    images = np.zeros((2, LEAST_SIDE, LEAST_SIDE), np.uint8)
    images[0, 3, 3] = images[1, 8, 8] = 255
    first, second = images.reshape(2, -1)
    memory = replace(added(NOTHING, first[np.newaxis], [0], 10, 1), recent=(Recent(second.tobytes(), 0),))
    drawn = memory.draw(200, 5, images.shape[1:])[0].reshape(-1, *images.shape[1:])
    recent = drawn[drawn[:, 6:, 6:].any(axis=(1, 2))]
    assert 50 < len(recent) < 150
    assert (recent == images[1]).all()
    assert not (drawn == images[0]).all(axis=(1, 2))[~drawn[:, 6:, 6:].any(axis=(1, 2))].all()


def test_images_that_are_small_or_of_an_unknown_shape_are_not_moved() -> None:
    image = RANDOM.integers(0, 256, (1, (LEAST_SIDE - 1) * 20), dtype=np.uint8)
    memory = added(NOTHING, image, [0], 10, 1)
    for shape in (None, (LEAST_SIDE - 1, 20), (20, LEAST_SIDE - 1)):
        assert (memory.draw(20, 3, shape)[0] == image).all()
    assert memory.draw(0, 3, (20, 20))[0].size == 0


MOVED_DIGEST = "96339bf74dfedced"


def test_a_memory_goes_through_the_weights_file_as_it_is() -> None:
    params = TwoLayerNet(6, 5, 3, "he", seed=0, dtype=np.float32).params
    posted_alone = replace(taught(NOTHING, [1], 30), recent=())
    for memory in (NOTHING, trained(), taught(trained(), [0, 1, 2] * 30, 30), taught(NOTHING, [1], 30), posted_alone):
        data = weights_file.to_bytes(Weights(params, memory=memory))
        again = weights_file.from_bytes(data)
        assert weights_file.to_bytes(again) == data
        assert again.memory.posted == memory.posted
        assert (again.memory.draw(9, 5)[0] == memory.draw(9, 5)[0]).all() if len(memory) else again.memory == NOTHING


def test_a_memory_is_bounded_in_bytes_too() -> None:
    assert most_examples(1000, 784) == 1000
    assert most_examples(1000, 10**6) * 10**6 <= MOST_BYTES
    images = np.zeros((20, 10**6), np.uint8)
    memory = added(NOTHING, images, [0] * 20, 10, 2)
    assert len(memory.recent) * 10**6 <= MOST_BYTES
    assert memory.size_of_draw(2, 32) * 10**6 <= MOST_BYTES


def test_how_many_are_drawn_is_bounded() -> None:
    memory = trained()
    assert [memory.size_of_draw(count, 8) for count in (1, 30, 100, 1000)] == [8, 240, 256, 1000]
    assert memory.size_of_draw(5, 0) == NOTHING.size_of_draw(5, 8) == 0


def digest_of(memory: Memory) -> str:
    hash_ = sha256(str(memory.posted).encode())
    for label, rows in enumerate(memory.classes):
        for kept in rows:
            hash_.update(f"{label} {kept.posted} ".encode() + kept.pixels)
    for recent in memory.recent:
        hash_.update(f"{recent.label} ".encode() + recent.pixels)
    return hash_.hexdigest()


def test_what_is_kept_is_the_same_with_every_release_to_the_bit() -> None:
    """Classes that come, go and share the largest size; a memory that grows and shrinks."""
    numbers = np.random.Generator(np.random.PCG64(7))
    memory = NOTHING
    for version in range(1, 60):
        count = int(numbers.integers(1, 40))
        pixels = numbers.integers(0, 256, (count, 6), dtype=np.uint8)
        labels = np.minimum(numbers.integers(0, 40, count), numbers.integers(0, 40, count))
        memory = added(memory, pixels, labels, 80 if version % 5 else 30, version)
    assert digest_of(memory) == "899d195e1c82c4e1e8e486e07e1b0c0b131ac88dc424554e5ba5d1f106183cfb"


def test_a_thousand_classes_cost_a_large_step_little() -> None:
    numbers = np.random.Generator(np.random.PCG64(7))
    pixels, labels = numbers.integers(0, 256, (10_000, 4), dtype=np.uint8), numbers.integers(0, 1000, 10_000)
    memory = added(NOTHING, pixels, labels, 5000, 1)
    began = time.process_time()
    added(memory, pixels, labels, 5000, 2)
    assert time.process_time() - began < 1
