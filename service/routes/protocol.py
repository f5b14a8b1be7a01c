"""What answers of the Open Inference Protocol say, as pydantic models; its requests stand in `tensors`."""

from pydantic import BaseModel

from service.routes.tensors import Parameters


class ServerMetadataAnswer(BaseModel):
    name: str
    version: str
    extensions: list[str]


class LiveAnswer(BaseModel):
    live: bool


class ServerReadyAnswer(BaseModel):
    ready: bool


class ModelReadyAnswer(BaseModel):
    name: str
    ready: bool


class TensorMetadataAnswer(BaseModel):
    """shape: -1 stands for any number."""

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
    """data: flat, in the order of rows; without it, parameters.binary_data_size bytes of it stand behind the JSON."""

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
