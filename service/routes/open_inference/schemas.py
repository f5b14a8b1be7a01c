"""Answers of the Open Inference Protocol; its requests are in `tensors`."""

from pydantic import BaseModel

from service.routes.open_inference.tensors import Parameters


class ServerMetadataAnswer(BaseModel):
    name: str
    version: str
    extensions: list[str]


class ModelNamesAnswer(BaseModel):
    models: list[str]


class LiveAnswer(BaseModel):
    live: bool


class ServerReadyAnswer(BaseModel):
    ready: bool


class ModelReadyAnswer(BaseModel):
    name: str
    ready: bool


class TensorMetadataAnswer(BaseModel):
    """shape: -1 means any number."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadataAnswer(BaseModel):
    """versions: the newest first."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadataAnswer]
    outputs: list[TensorMetadataAnswer]


class OutputTensorAnswer(BaseModel):
    """data: flat, row by row; without it, parameters.binary_data_size bytes of it come after the JSON."""

    name: str
    shape: list[int]
    datatype: str
    parameters: Parameters | None = None
    data: list[float] | None = None


class InferAnswer(BaseModel):
    """id: the request's."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[OutputTensorAnswer]


class InferenceErrorAnswer(BaseModel):
    """error: what is wrong, and where."""

    error: str
