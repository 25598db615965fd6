"""The same bits by every way in: /v1, the Open Inference Protocol over REST and over gRPC, and `density.v1`."""

from __future__ import annotations

import base64
import io
import json
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from types import ModuleType

import grpc
import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from conftest import Server

#: Images of which the first three rows are given.
MASK = [[1] * 5] * 3 + [[0] * 5] * 3


def v1(server: Server, path: str, body: dict, accept: str) -> bytes:
    headers = {"Accept": accept, "Content-Type": "application/json"}
    url = f"http://{server.http}/v1/models/{path}"
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers)
    with urllib.request.urlopen(request, timeout=60) as response:
        return response.read()


def v2(library: ModuleType, address: str, name: str, inputs: dict[str, np.ndarray], parameters: dict) -> dict:
    """Every tensor that is answered."""
    client = library.InferenceServerClient(address)
    tensors = []
    for own, array in inputs.items():
        datatype = {"uint8": "UINT8", "float32": "FP32", "bool": "BOOL"}.get(array.dtype.name, "BYTES")
        tensors.append(library.InferInput(own, list(array.shape), datatype))
        tensors[-1].set_data_from_numpy(array)
    answer = client.infer(name, tensors, parameters=parameters)
    response = answer.get_response()
    outputs = response["outputs"] if isinstance(response, dict) else response.outputs
    names = [own["name"] if isinstance(own, dict) else own.name for own in outputs]
    tensors = {own: answer.as_numpy(own) for own in names}
    client.close()
    return tensors


def array_of(value: object) -> np.ndarray:
    """A field of an answer of `density.v1` as the tensor that it is."""
    if hasattr(value, "data"):
        return np.frombuffer(value.data, np.uint8).reshape(value.shape)
    if hasattr(value, "values"):
        dtype = np.float64 if type(value).__name__ == "Doubles" else np.float32
        return np.array(value.values, dtype).reshape(value.shape)
    kind = {bytes: np.object_, bool: np.bool_}.get(type(value[0]), np.float64)
    return np.array(list(value), kind)


@dataclass(frozen=True)
class Case:
    """An operation of a model: options, and what of its answer stands in the results of /v1 under the same name."""

    model: str
    operation: str
    options: dict = field(default_factory=dict)
    numbers: tuple[str, ...] = ()
    pictures: bool = False


CASES = [
    Case("tiny-pixelcnn", "score", {"map": True}, ("log_likelihood", "bits_per_dim", "log_probability_map")),
    Case("tiny-conditional-pixelcnn", "score", {}, ("log_likelihood", "bits_per_dim")),
    Case("tiny-vae", "score", {"k": 4, "seed": 3}, ("log_likelihood", "bits_per_dim")),
    Case("tiny-pixelcnn", "detect", {"false_alarm_rate": 0.05}, ("p_value",)),
    Case("tiny-classifier", "classify", {}, ("probabilities",)),
    Case("tiny-conditional-pixelcnn", "classify", {}, ("probabilities",)),
    Case("tiny-pixelcnn", "sample", {"n": 2, "seed": 11}, pictures=True),
    Case("tiny-gan", "sample", {"n": 2, "seed": 11}, pictures=True),
    Case("tiny-pixelcnn", "complete", {"seed": 11}, pictures=True),
    Case("tiny-vae", "encode", {}, ("code", "log_variance")),
    Case("tiny-vae", "decode", {"observation": "sample", "seed": 5}, pictures=True),
    Case("tiny-autoencoder", "reconstruct", {"map": True}, ("mean_squared_error", "squared_error_map")),
    Case("tiny-vae", "reconstruct", pictures=True),
    Case("tiny-vae", "interpolate", {"steps": 4}, pictures=True),
    Case("tiny-pixelcnn", "compress", {}, ("stream",)),
    Case("tiny-pixelcnn", "decompress", pictures=True),
]


def given(case: Case, images: np.ndarray, server: Server) -> tuple[dict, dict]:
    """What the operation takes: as JSON of /v1, and as tensors."""
    pixels = [{"pixels": image} for image in images[:, 0].tolist()]
    match case.operation:
        case "sample":
            return {}, {}
        case "interpolate":
            return {"images": pixels[:2]}, {"image": images[:2]}
        case "complete":
            return {"images": pixels, "mask": MASK}, {"image": images, "mask": np.array([MASK], bool)}
        case "decode":
            codes = v2(tritonclient.http, server.http, "tiny-vae:encode", {"image": images}, {})["code"]
            return {"latents": codes.astype(float).tolist()}, {"latent": codes}
        case "decompress":
            streams = v2(tritonclient.http, server.http, "tiny-pixelcnn:compress", {"image": images}, {})["stream"]
            return {"streams": [base64.b64encode(own).decode() for own in streams]}, {"stream": streams}
        case _:
            return {"images": pixels}, {"image": images}


def typed(messages: ModuleType, stub: object, case: Case, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The answer of `density.v1`, by the names of its fields."""
    name = case.operation.title()
    request = getattr(messages, f"{name}Request")
    fields = {"model": messages.Model(name=case.model)}
    if case.options:
        fields["options"] = request.Options(**case.options)
    for own, array in tensors.items():
        match own:
            case "image":
                levels = messages.Levels(shape=array.shape, data=array.tobytes())
                fields["images"] = messages.Images(levels=levels)
            case "mask":
                fields["mask"] = array.ravel().tolist()
            case "latent":
                fields["latent"] = messages.Floats(shape=array.shape, values=array.ravel())
            case "stream":
                fields["stream"] = array.tolist()
    answer = getattr(stub, name)(request(**fields), timeout=60)
    if case.operation == "sample":
        *_, last = answer
        answer = last.samples
    own = {field.name: value for field, value in answer.ListFields() if field.name != "head"}
    return {name: array_of(value) for name, value in own.items()}


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.model}-{case.operation}")
def test_an_operation_answers_the_same_bits_everywhere(
    server: Server, generated: tuple[ModuleType, ModuleType], images: np.ndarray, case: Case
) -> None:
    body, tensors = given(case, images, server)
    name = f"{case.model}:{case.operation}"
    rest = v2(tritonclient.http, server.http, name, tensors, case.options)
    call = v2(tritonclient.grpc, server.grpc, name, tensors, case.options)
    with grpc.insecure_channel(server.grpc) as channel:
        own = typed(generated[0], generated[1].DensityStub(channel), case, tensors)
    assert rest.keys() == call.keys() == own.keys()
    for tensor, values in rest.items():
        np.testing.assert_array_equal(values, call[tensor], strict=True)
        np.testing.assert_array_equal(values, own[tensor], strict=True)

    query = urllib.parse.urlencode({key: json.dumps(value).strip('"') for key, value in case.options.items()})
    path = f"{case.model}/{case.operation}?{query}"
    if case.pictures:
        array = np.load(io.BytesIO(v1(server, path, body, "application/x-npy")))
        np.testing.assert_array_equal(array, rest["image"][:, 0], strict=True)
    results = json.loads(v1(server, path, body, "application/json"))["results"] if case.numbers else []
    for key in case.numbers:
        values = [result[key] for result in results]
        if key == "stream":
            values = [base64.b64decode(own) for own in values]
        if key == "probabilities":
            values = [list(own.values()) for own in values]
        ours = np.array(values, dtype=rest[key].dtype).reshape(rest[key].shape)
        np.testing.assert_array_equal(ours, rest[key], strict=True)


def test_every_operation_has_a_case(server: Server) -> None:
    with urllib.request.urlopen(f"http://{server.http}/v1/models/tiny-vae", timeout=60) as response:
        known = {own["name"] for own in json.load(response)["capabilities"]}
    assert {case.operation for case in CASES} == known
