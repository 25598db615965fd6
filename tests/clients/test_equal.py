"""The same bits by every way in: /v1, the Open Inference Protocol over REST and over gRPC."""

from __future__ import annotations

import json
import urllib.request
from types import ModuleType

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from conftest import Server


def v1(server: Server, model: str, operation: str, body: dict) -> dict:
    request = urllib.request.Request(
        f"http://{server.http}/v1/models/{model}/{operation}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def v2(
    library: ModuleType, address: str, name: str, inputs: dict[str, tuple[np.ndarray, str]], parameters: dict
) -> dict:
    client = library.InferenceServerClient(address)
    tensors = []
    for own, (array, datatype) in inputs.items():
        tensors.append(library.InferInput(own, list(array.shape), datatype))
        tensors[-1].set_data_from_numpy(array)
    answer = client.infer(name, tensors, parameters=parameters)
    response = answer.get_response()
    outputs = response["outputs"] if isinstance(response, dict) else response.outputs
    names = [own["name"] if isinstance(own, dict) else own.name for own in outputs]
    tensors = {own: answer.as_numpy(own) for own in names}
    client.close()
    return tensors


@pytest.mark.parametrize(
    ("model", "operation", "parameters", "tensor", "key"),
    [
        ("tiny-pixelcnn", "score", {}, "log_likelihood", "log_likelihood"),
        ("tiny-pixelcnn", "detect", {"false_alarm_rate": "0.05"}, "p_value", "p_value"),
        ("tiny-vae", "score", {"k": 4, "seed": 3}, "log_likelihood", "log_likelihood"),
        ("tiny-vae", "encode", {}, "code", "code"),
        ("tiny-autoencoder", "reconstruct", {}, "mean_squared_error", "mean_squared_error"),
    ],
)
def test_operations_on_images_answer_the_same_bits(
    server: Server, images: np.ndarray, model: str, operation: str, parameters: dict, tensor: str, key: str
) -> None:
    options = {name: float(value) if isinstance(value, str) else value for name, value in parameters.items()}
    results = v1(
        server, model, operation, {"images": [{"pixels": image} for image in images[:, 0].tolist()], **options}
    )["results"]
    name = f"{model}:{operation}"
    inputs = {"image": (images, "UINT8")}
    rest = v2(tritonclient.http, server.http, name, inputs, parameters)
    call = v2(tritonclient.grpc, server.grpc, name, inputs, parameters)
    assert rest.keys() == call.keys()
    for own, values in rest.items():
        np.testing.assert_array_equal(values, call[own], strict=True)
    ours = np.array([result[key] for result in results], dtype=rest[tensor].dtype)
    np.testing.assert_array_equal(ours, rest[tensor], strict=True)


def test_samples_of_one_seed_are_the_same_pictures(server: Server) -> None:
    parameters = {"n": 2, "seed": 11}
    rest = v2(tritonclient.http, server.http, "tiny-pixelcnn:sample", {}, parameters)
    call = v2(tritonclient.grpc, server.grpc, "tiny-pixelcnn:sample", {}, parameters)
    np.testing.assert_array_equal(rest["image"], call["image"], strict=True)
    assert rest["image"].max() < 4


def test_streams_are_the_same_bytes(server: Server, images: np.ndarray) -> None:
    inputs = {"image": (images, "UINT8")}
    rest = v2(tritonclient.http, server.http, "tiny-pixelcnn:compress", inputs, {})
    call = v2(tritonclient.grpc, server.grpc, "tiny-pixelcnn:compress", inputs, {})
    assert rest["stream"].tolist() == call["stream"].tolist()
