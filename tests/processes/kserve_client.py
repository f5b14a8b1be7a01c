"""What KServe's client says of a running service: `python -m tests.processes.kserve_client URL`, in an environment that
has it (requirements/kserve.txt) and nothing of the service. Prints JSON."""

import asyncio
import json
import sys

import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig
from kserve.protocol.infer_type import RequestedOutput


async def asked(url: str) -> dict[str, object]:
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=0))
    said: dict[str, object] = {
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "model ready": await client.is_model_ready(url, "twolayernet"),
    }
    x = np.arange(2 * 784, dtype=np.uint8).reshape(2, 784)
    for datatype, array in (("UINT8", x), ("FP32", (x / 255).astype(np.float32)), ("FP64", x / 255)):
        for binary in (True, False):
            tensor = InferInput("images", list(x.shape), datatype)
            tensor.set_data_from_numpy(array, binary_data=binary)
            outputs = [RequestedOutput(name, {"binary_data": binary}) for name in ("labels", "probabilities")]
            request = InferRequest("twolayernet", [tensor], request_id="42", request_outputs=outputs)
            answer = await client.infer(url, request, model_name="twolayernet")
            found = {output.name: output.as_numpy().tolist() for output in answer.outputs}
            said[f"{datatype} {'binary' if binary else 'JSON'}"] = [answer.id, answer.model_name, found]
    bad = InferInput("images", [1, 3], "FP32")
    bad.set_data_from_numpy(np.zeros((1, 3), np.float32), binary_data=False)
    try:
        await client.infer(url, InferRequest("twolayernet", [bad]), model_name="twolayernet")
    except Exception as error:
        said["error"] = str(error)
    await client.close()
    return said


if __name__ == "__main__":
    print(json.dumps(asyncio.run(asked(sys.argv[1]))))
