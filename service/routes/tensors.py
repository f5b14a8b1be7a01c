"""The Open Inference Protocol's tensors: as JSON numbers, or as bytes behind the JSON, in and out."""

import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import orjson
from flask import Response
from numpy.typing import NDArray
from pydantic import Field

from model.weights import Weights
from service.http.answers import JsonAnswer
from service.http.incoming import IncomingRequest
from service.http.problems import BadInput, Location, Problem
from service.http.queries import digits, occurrences, parse
from service.images import count_batch
from service.images.batch import checked_pixels
from service.images.npy_body import batch_shape
from service.schemas import WHOLE, Request

MOST_AXES = 8
OUTPUTS = ("probabilities", "labels")
HEADER_LENGTH = "Inference-Header-Content-Length"
DATATYPES: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "FP64": np.dtype("<f8"), "UINT8": np.dtype("u1")}
NAMES_OF_DATATYPES: dict[np.dtype[Any], str] = {np.dtype("f4"): "FP32", np.dtype("i8"): "INT64"}

Parameters = dict[str, Any]
Size = Annotated[int, Field(strict=True, ge=0, le=2**31), WHOLE]


class InputTensor(Request):
    """data: numbers, flat or nested; none where they stand as bytes behind the JSON, `binary_data_size` of them."""

    name: str
    shape: Annotated[list[Size], Field(min_length=1, max_length=MOST_AXES, fail_fast=True)]
    datatype: Annotated[str, Field(json_schema_extra={"enum": [*DATATYPES]})]
    parameters: Parameters | None = None
    data: list[Any] | None = None


class WantedOutput(Request):
    name: Annotated[str, Field(json_schema_extra={"enum": [*OUTPUTS]})]
    parameters: Parameters | None = None


class InferRequest(Request):
    """What a parameter means that is not known here is the client's matter, says the protocol. model_name,
    model_version: KServe's client says again what is in the path, which counts."""

    model_name: str | None = None
    model_version: str | None = None
    id: Annotated[str, Field(max_length=1000)] | None = None
    parameters: Parameters | None = None
    inputs: Annotated[list[InputTensor], Field(min_length=1, fail_fast=True, json_schema_extra={"maxItems": 1})]
    outputs: Annotated[list[WantedOutput], Field(fail_fast=True)] | None = None


MOST_LISTS = 150_000
"""In JSON: numpy takes a second for twice as many."""


@dataclass(frozen=True)
class Inference:
    """pixels: (n, features) as `Images` has them; outputs: the names that are wanted, and which of them as bytes."""

    id: str | None
    pixels: NDArray[Any]
    outputs: dict[str, bool]


def read_inference(request: IncomingRequest, weights: Weights) -> Inference:
    """Raises Problem."""
    header, behind = parts_of(request)
    if len(header) > MOST_LISTS and occurrences(header, b"[") > MOST_LISTS:
        raise BadInput((), f"more than {MOST_LISTS:,} lists: send the tensor flat, or as bytes")
    asked = parse(header, InferRequest)
    if len(asked.inputs) != 1:
        raise BadInput(("inputs",), f"{len(asked.inputs)} tensors: expected one, the images")
    (tensor,) = asked.inputs
    at: Location = ("inputs", 0)
    shape = batch_shape(tuple(tensor.shape), weights, (*at, "shape"))
    pixels = pixels_of(array_of(tensor, behind, at).reshape(shape), tensor, at)
    count_batch(request, len(pixels))
    return Inference(asked.id, pixels, wanted_outputs(asked))


def parts_of(request: IncomingRequest) -> tuple[bytes, bytes]:
    """The JSON, and what stands behind it. Raises Problem."""
    text = request.headers.get(HEADER_LENGTH)
    if text is None:
        if request.mimetype not in ("application/json", "application/octet-stream", ""):
            raise Problem(415, f"the content type {request.mimetype} is not understood here: expected application/json")
        return request.body, b""
    if (length := digits(text)) is None or not 0 < length <= len(request.body):
        raise BadInput((HEADER_LENGTH,), f"expected how many of the {len(request.body)} bytes of the body are JSON")
    return request.body[:length], request.body[length:]


def array_of(tensor: InputTensor, behind: bytes, at: Location) -> NDArray[Any]:
    """The tensor's numbers, as many as its shape has. Raises BadInput."""
    if tensor.datatype not in DATATYPES:
        raise BadInput((*at, "datatype"), f"{tensor.datatype[:20]!r}: expected one of {', '.join(DATATYPES)}")
    count = math.prod(tensor.shape)
    size = (tensor.parameters or {}).get("binary_data_size")
    if size is None:
        array = array_of_numbers(tensor, at)
        if behind:
            raise BadInput((*at, "parameters"), f"{len(behind)} bytes stand behind the JSON, but no binary_data_size")
        if array.size != count:
            raise BadInput((*at, "data"), f"{array.size} numbers: the shape {tensor.shape} has {count}")
        return array
    if tensor.data is not None:
        raise BadInput((*at, "data"), "given twice, here and with binary_data_size behind the JSON")
    datatype = DATATYPES[tensor.datatype]
    if type(size) is not int or size != len(behind):
        raise BadInput((*at, "parameters", "binary_data_size"), f"{len(behind)} bytes stand behind the JSON")
    if size != count * datatype.itemsize:
        raise BadInput(
            (*at, "parameters", "binary_data_size"),
            f"{size} bytes: {tensor.datatype} of the shape {tensor.shape} has {count * datatype.itemsize}",
        )
    return np.frombuffer(behind, datatype)


def array_of_numbers(tensor: InputTensor, at: Location) -> NDArray[Any]:
    kinds, expected = ("iu", "whole numbers") if tensor.datatype == "UINT8" else ("iuf", "numbers")
    if tensor.data is None:
        raise BadInput((*at, "data"), "it is missing, but required")
    try:
        array = np.asarray(tensor.data) if are_numbers(tensor.data) else np.empty(1, object)
    except ValueError:  # lists of different lengths, or too deep ones
        array = np.empty(1, object)
    if array.size and array.dtype.kind not in kinds:
        raise BadInput((*at, "data"), f"expected {expected}, flat or nested as the shape says")
    return array


def are_numbers(data: list[Any], depth: int = MOST_AXES) -> bool:
    """Flat or nested. Among numbers, numpy would give each the room of the longest text."""
    kinds = set(map(type, data))
    if kinds == {list}:
        return depth > 0 and all(are_numbers(part, depth - 1) for part in data)
    return kinds <= {int, float}


def pixels_of(flat: NDArray[Any], tensor: InputTensor, at: Location) -> NDArray[Any]:
    """flat: (n, features)."""
    if tensor.datatype == "UINT8":
        return flat if flat.dtype == np.uint8 else checked_pixels(flat, 255, lambda n, i: (*at, "data", n, i))
    if flat.dtype.kind != "f":
        flat = flat.astype(np.float64)
    return checked_pixels(flat, 1, lambda n, i: (*at, "data", n, i), "datatype UINT8")


def wanted_outputs(asked: InferRequest) -> dict[str, bool]:
    all_binary = (asked.parameters or {}).get("binary_data_output") is True
    if not asked.outputs:
        return dict.fromkeys(OUTPUTS, all_binary)
    found = {}
    for i, output in enumerate(asked.outputs):
        parameters = output.parameters or {}
        if output.name not in OUTPUTS:
            raise BadInput(("outputs", i, "name"), f"{output.name[:40]!r}: expected one of {', '.join(OUTPUTS)}")
        if "classification" in parameters:
            raise BadInput(("outputs", i, "parameters"), "classification is not known here: the output labels has it")
        found[output.name] = parameters.get("binary_data", all_binary) is True
    return found


def inference_answer(inference: Inference, about: dict[str, str], arrays: dict[str, NDArray[Any]]) -> Response:
    """about: the model's name and version. As JSON, or where an output is wanted so, with bytes behind it."""
    outputs: list[dict[str, Any]] = []
    behind = []
    for name, as_bytes in inference.outputs.items():
        array = arrays[name]
        output = {"name": name, "shape": array.shape, "datatype": NAMES_OF_DATATYPES[array.dtype]}
        if as_bytes:
            data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
            behind.append(data)
            outputs.append({**output, "parameters": {"binary_data_size": len(data)}})
        else:
            outputs.append({**output, "data": array.ravel()})
    told = {} if inference.id is None else {"id": inference.id}
    header = orjson.dumps({**about, **told, "outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
    answer = JsonAnswer(b"".join([header, *behind]))
    answer.model_version = int(about["model_version"])
    if behind:
        answer.content_type = "application/octet-stream"
        answer.headers[HEADER_LENGTH] = str(len(header))
    return answer
