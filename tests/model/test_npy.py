"""Untrusted bytes: an array, or an NpyError."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from model.safe_npz import MOST_ARRAYS, NpyError, read_npy, read_npz

X = np.arange(12, dtype=np.float32).reshape(3, 4)


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def packed(members: list[tuple[str, bytes]], packing: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", packing) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return stream.getvalue()


def header(descr: object, shape: str, version: int = 1) -> bytes:
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + bytes([version, 0]) + len(text).to_bytes(2 if version == 1 else 4, "little") + text


@pytest.mark.parametrize(
    "array",
    [
        X,
        np.asfortranarray(X),
        X.astype(">f8"),
        X.astype(np.uint8),
        X > 3,
        X.astype(complex),
        np.zeros((0, 784)),
        np.array(7),
        np.array("text"),
        np.array(b"bytes"),
        np.zeros((1,) * 32),
    ],
    ids=str,
)
def test_plain_numbers_and_text_are_read_as_numpy_wrote_them(array: np.ndarray) -> None:
    found = read_npy(npy(array))
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert (found == array).all()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (npy(np.zeros(2, "<M8[s]")), "only plain numbers"),
        (npy(np.zeros(2, "<m8[s]")), "only plain numbers"),
        (npy(np.zeros(2, "V3")), "only plain numbers"),
        (npy(np.zeros(2, [("a", "u1")])), "only plain numbers"),
        (header("(2,3)<f4", "(1,)") + bytes(24), "only plain numbers"),
        (header("<U0", "(1000000000, 1000000000)"), "only plain numbers"),
        (header("<f8", "(0, 4611686018427387904)"), "not a possible shape"),
        (header("<f8", f"({'9' * 4000}, {'9' * 4000})"), "not a possible shape"),
        (header("<f8", f"(0, {'9' * 4000}, {'9' * 4000})"), "not a possible shape"),
        (header("<f8", "(" + "1, " * 65 + ")") + bytes(8), "not a possible shape"),
        (header("<f8", "(True, 6)") + bytes(48), "not a possible shape"),
        (header("<f8", "(-1, -6)") + bytes(48), "not a possible shape"),
        (header("<f8", "(6,)" + " " * 20_000) + bytes(48), "header can't be read"),
        (header("<f8", "[" * 150 + "]" * 150), "header can't be read"),
        (header("<f8", "(6,)", version=3) + bytes(48), "version 3.0 is not supported"),
    ],
)
def test_an_array_that_is_none_is_an_npy_error(data: bytes, message: str) -> None:
    for read in (read_npy, lambda data: read_npz(packed([("x.npy", data)]), 100_000)):
        with pytest.raises(NpyError, match=message) as caught:
            read(data)
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("packing", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_compression_that_numpy_never_uses_is_refused(packing: int) -> None:
    with pytest.raises(NpyError, match=f"'x' has compression method {packing}: expected none or deflate"):
        read_npz(packed([("x.npy", npy(X))], packing), 100_000)


def test_an_array_twice_and_an_encrypted_one_are_refused() -> None:
    with pytest.raises(NpyError, match="array 'x' twice"):
        read_npz(packed([("x.npy", npy(X)), ("x", npy(X))]), 100_000)
    encrypted = bytearray(packed([("x.npy", npy(X))]))
    encrypted[encrypted.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(NpyError, match="'x' is encrypted"):
        read_npz(bytes(encrypted), 100_000)


def test_more_arrays_than_any_file_of_ours_has_are_refused_before_their_directory_is_read() -> None:
    with pytest.raises(NpyError, match=f"65 arrays, more than {MOST_ARRAYS}"):
        read_npz(packed([(f"{i}.npy", npy(X)) for i in range(MOST_ARRAYS + 1)]), 10**6)
    with pytest.raises(NpyError, match=f"more than {MOST_ARRAYS} arrays"):
        read_npz(packed([(f"{i}", b"") for i in range(5000)]), 10**6)


def test_an_array_may_hold_any_bytes_those_of_a_directory_too() -> None:
    x = np.frombuffer(b"PK\x01\x02PK\x05\x06" * 500, np.uint8)
    assert (read_npz(packed([("x.npy", npy(x))]), 10**6)["x"] == x).all()


@pytest.mark.parametrize("stated", [0, 1, 127, 175, 177, 10**4])
@pytest.mark.parametrize("packing", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_array_of_another_size_than_the_directory_says_is_refused(packing: int, stated: int) -> None:
    data = npy(X)
    assert len(data) == 176
    changed = bytearray(packed([("x.npy", data)], packing))
    at = changed.index(b"PK\x01\x02") + 24
    changed[at : at + 4] = stated.to_bytes(4, "little")
    with pytest.raises(NpyError, match=r"not a \.npz file"):
        read_npz(bytes(changed), 100_000)


def test_a_directory_that_understates_a_bomb_does_not_let_it_in() -> None:
    bomb = bytearray(packed([("x.npy", bytes(64 * 2**20))], zipfile.ZIP_DEFLATED))
    at = bomb.index(b"PK\x01\x02") + 24
    bomb[at : at + 4] = (1000).to_bytes(4, "little")
    tracemalloc.start()
    with pytest.raises(NpyError, match=r"not a \.npz file"):
        read_npz(bytes(bomb), 2000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20


WHOLE = [
    packed([("x.npy", npy(X)), ("t.npy", npy(np.arange(3)))], packing)
    for packing in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
]


@given(
    which=st.integers(0, len(WHOLE) - 1),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8),
)
@hypothesis_settings(deadline=None, max_examples=150, derandomize=True)
def test_no_damage_raises_anything_but_an_npy_error(which: int, changes: list[tuple[int, int]]) -> None:
    data = bytearray(WHOLE[which])
    for at, byte in changes:
        data[at % len(data)] = byte
    try:
        arrays = read_npz(bytes(data), 10_000)
    except NpyError:
        return
    assert sum(array.nbytes for array in arrays.values()) <= 10_000
