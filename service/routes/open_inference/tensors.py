"""The Open Inference Protocol's tensors, as JSON numbers or as bytes after the JSON, in requests and answers."""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import orjson
from flask import Response
from numpy.typing import NDArray
from pydantic import Field

from model.weights_file import Weights
from service.decoders import count_batch
from service.decoders.checks import checked_pixels
from service.decoders.npy import batch_shape
from service.http.json_response import JsonAnswer
from service.http.parsing import digits, occurrences, parse
from service.http.problems import BadInput, Location, Problem
from service.http.request import IncomingRequest
from service.schemas.fields import WHOLE, Request

MOST_AXES = 8
AT: Location = ("inputs", 0)
OUTPUTS = ("probabilities", "labels")
HEADER_LENGTH = "Inference-Header-Content-Length"
DATATYPES: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "FP64": np.dtype("<f8"), "UINT8": np.dtype("u1")}
NAMES_OF_DATATYPES: dict[np.dtype[Any], str] = {np.dtype("f4"): "FP32", np.dtype("i8"): "INT64"}

Parameters = dict[str, Any]
Size = Annotated[int, Field(strict=True, ge=0, le=2**31), WHOLE]


class InputTensor(Request):
    """data: numbers, flat or nested; none if `binary_data_size` bytes of them come after the JSON."""

    name: str
    shape: Annotated[list[Size], Field(min_length=1, max_length=MOST_AXES, fail_fast=True)]
    datatype: Literal["FP32", "FP64", "UINT8"]
    parameters: Parameters | None = None
    data: list[Any] | None = None


class WantedOutput(Request):
    name: Literal["probabilities", "labels"]
    parameters: Parameters | None = None


class InferRequest(Request):
    """Unknown parameters are ignored, as the protocol requires. model_name, model_version: KServe's client repeats
    here what is in the path, which counts."""

    model_name: str | None = None
    model_version: str | None = None
    id: Annotated[str, Field(max_length=1000)] | None = None
    parameters: Parameters | None = None
    inputs: Annotated[list[InputTensor], Field(min_length=1, max_length=1, fail_fast=True)]
    outputs: Annotated[list[WantedOutput], Field(fail_fast=True)] | None = None


MOST_LISTS = 150_000
"""Limit for JSON: numpy needs a second for twice as many."""


@dataclass(frozen=True)
class Inference:
    """pixels: (n, features) as in `Images`; outputs: the requested names, and whether each is sent as bytes."""

    id: str | None
    pixels: NDArray[Any]
    outputs: dict[str, bool]


def read_inference(request: IncomingRequest, weights: Weights) -> Inference:
    """Raises Problem."""
    header, data = parts_of(request)
    if len(header) > MOST_LISTS and occurrences(header, b"[") > MOST_LISTS:
        raise BadInput((), f"more than {MOST_LISTS:,} lists: send the tensor flat, or as bytes")
    infer = parse(header, InferRequest)
    (tensor,) = infer.inputs
    shape = batch_shape(tuple(tensor.shape), weights, (*AT, "shape"))
    pixels = pixels_of(array_of(tensor, data).reshape(shape), tensor)
    count_batch(request, len(pixels))
    return Inference(infer.id, pixels, requested_outputs(infer))


def parts_of(request: IncomingRequest) -> tuple[bytes, bytes]:
    """The JSON, and the bytes after it. Raises Problem."""
    text = request.headers.get(HEADER_LENGTH)
    if text is None:
        if request.mimetype not in ("application/json", "application/octet-stream", ""):
            raise Problem(415, f"unknown content type {request.mimetype}: expected application/json")
        return request.body, b""
    if (length := digits(text)) is None or not 0 < length <= len(request.body):
        raise BadInput((HEADER_LENGTH,), f"expected how many of the {len(request.body)} bytes of the body are JSON")
    return request.body[:length], request.body[length:]


def array_of(tensor: InputTensor, data: bytes) -> NDArray[Any]:
    """The numbers of the tensor, as many as its shape has. Raises BadInput."""
    count = math.prod(tensor.shape)
    size = (tensor.parameters or {}).get("binary_data_size")
    if size is None:
        array = array_of_numbers(tensor)
        if data:
            raise BadInput((*AT, "parameters"), f"binary_data_size is missing: {len(data)} bytes come after the JSON")
        if array.size != count:
            raise BadInput((*AT, "data"), f"{array.size} numbers: the shape {tensor.shape} has {count}")
        return array
    if tensor.data is not None:
        raise BadInput((*AT, "data"), "given twice, here and as binary_data_size bytes after the JSON")
    datatype = DATATYPES[tensor.datatype]
    expected = count * datatype.itemsize
    if type(size) is not int or not size == len(data) == expected:
        why = f"expected {expected}, {tensor.datatype} of the shape {tensor.shape}, and as many bytes after the JSON"
        raise BadInput((*AT, "parameters", "binary_data_size"), f"{why}, not {len(data)}")
    return np.frombuffer(data, datatype)


def array_of_numbers(tensor: InputTensor) -> NDArray[Any]:
    kinds, expected = ("iu", "whole numbers") if tensor.datatype == "UINT8" else ("iuf", "numbers")
    if tensor.data is None:
        raise BadInput((*AT, "data"), "it is missing, but required")
    try:
        array = np.asarray(tensor.data) if are_numbers(tensor.data) else np.empty(1, object)
    except ValueError:  # lists of different lengths, or too deep ones
        array = np.empty(1, object)
    if array.size and array.dtype.kind not in kinds:
        raise BadInput((*AT, "data"), f"expected {expected}, flat or nested as the shape says")
    return array


def are_numbers(data: list[Any], depth: int = MOST_AXES) -> bool:
    """Flat or nested. If there were text, numpy would store each number in as many bytes as the longest text."""
    kinds = set(map(type, data))
    if kinds == {list}:
        return depth > 0 and all(are_numbers(part, depth - 1) for part in data)
    return kinds <= {int, float}


def pixels_of(flat: NDArray[Any], tensor: InputTensor) -> NDArray[Any]:
    """flat: (n, features)."""
    if tensor.datatype == "UINT8":
        return flat if flat.dtype == np.uint8 else checked_pixels(flat, 255, lambda n, i: (*AT, "data", n, i))
    if flat.dtype.kind != "f":
        flat = flat.astype(np.float64)
    return checked_pixels(flat, 1, lambda n, i: (*AT, "data", n, i), "datatype UINT8")


def requested_outputs(infer: InferRequest) -> dict[str, bool]:
    all_binary = (infer.parameters or {}).get("binary_data_output") is True
    if not infer.outputs:
        return dict.fromkeys(OUTPUTS, all_binary)
    as_bytes: dict[str, bool] = {}
    for i, output in enumerate(infer.outputs):
        parameters = output.parameters or {}
        if "classification" in parameters:
            raise BadInput(("outputs", i, "parameters"), "unknown parameter classification: see the output labels")
        as_bytes[output.name] = parameters.get("binary_data", all_binary) is True
    return as_bytes


def inference_answer(inference: Inference, about: dict[str, str], arrays: dict[str, NDArray[Any]]) -> Response:
    """about: the model's name and version. As JSON, followed by the outputs that are requested as bytes."""
    outputs: list[dict[str, Any]] = []
    binary = []
    for name, as_bytes in inference.outputs.items():
        array = arrays[name]
        output = {"name": name, "shape": array.shape, "datatype": NAMES_OF_DATATYPES[array.dtype]}
        if as_bytes:
            data = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
            binary.append(data)
            outputs.append({**output, "parameters": {"binary_data_size": len(data)}})
        else:
            outputs.append({**output, "data": array.ravel()})
    request_id = {} if inference.id is None else {"id": inference.id}
    header = orjson.dumps({**about, **request_id, "outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)
    answer = JsonAnswer(b"".join([header, *binary]))
    answer.model_version = int(about["model_version"])
    if binary:
        answer.content_type = "application/octet-stream"
        answer.headers[HEADER_LENGTH] = str(len(header))
    return answer
