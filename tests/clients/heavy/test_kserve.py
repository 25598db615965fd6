"""KServe's own client, over REST and gRPC, against the real server."""

from __future__ import annotations

import asyncio
import io

import numpy as np
import pytest
from conftest import STEP, Server
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, InferResponse
from kserve.inference_client import RESTConfig
from PIL import Image

MODEL = "tiny-pixelcnn"


def asking(name: str, images: np.ndarray, *, binary: bool = True) -> InferRequest:
    own = InferInput("image", list(images.shape), "UINT8")
    own.set_data_from_numpy(images, binary_data=binary)
    return InferRequest(name, [own])


async def over_rest(server: Server, request: InferRequest) -> InferResponse:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    url = f"http://{server.http}"
    assert await client.is_server_live(url)
    assert await client.is_server_ready(url)
    assert await client.is_model_ready(url, request.model_name)
    answer = await client.infer(url, request, model_name=request.model_name)
    await client.close()
    return answer


async def over_grpc(server: Server, request: InferRequest) -> InferResponse:
    async with InferenceGRPCClient(server.grpc) as client:
        assert await client.is_server_live()
        assert await client.is_server_ready()
        assert await client.is_model_ready(request.model_name)
        return await client.infer(request)


def values(answer: InferResponse) -> dict[str, np.ndarray]:
    return {output.name: output.as_numpy() for output in answer.outputs}


def test_both_protocols_say_the_same(server: Server, images: np.ndarray) -> None:
    answers = [
        asyncio.run(ask(server, asking(MODEL, images, binary=binary)))
        for ask in (over_rest, over_grpc)
        for binary in (True, False)
        if binary or ask is over_rest
    ]
    first, *others = [values(answer) for answer in answers]
    assert set(first) == {"log_likelihood", "bits_per_dim"}
    assert first["log_likelihood"].shape == (len(images),)
    for other in others:
        for name, array in first.items():
            np.testing.assert_array_equal(other[name], array)


def test_image_files_are_scored(server: Server, images: np.ndarray) -> None:
    files = []
    for image in images[:, 0] * STEP:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        files.append(file.getvalue())
    own = InferInput("image", [len(files)], "BYTES")
    own.set_data_from_numpy(np.array(files, dtype=object), binary_data=True)
    name = f"{MODEL}:score"
    of_files = values(asyncio.run(over_rest(server, InferRequest(name, [own]))))
    of_levels = values(asyncio.run(over_grpc(server, asking(name, images))))
    np.testing.assert_array_equal(of_files["log_likelihood"], of_levels["log_likelihood"])


def test_a_refusal_says_why(server: Server, images: np.ndarray) -> None:
    with pytest.raises(Exception, match="outside the levels 0 to 3"):
        asyncio.run(over_rest(server, asking(MODEL, images + STEP)))
