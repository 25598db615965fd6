"""A client generated from `proto/density_v1.proto` against the real server."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import grpc
import numpy as np
import pytest
import tritonclient.http as triton
from conftest import Server

MODEL = "tiny-pixelcnn"


@pytest.fixture
def v1(generated: tuple[ModuleType, ModuleType]) -> ModuleType:
    return generated[0]


@pytest.fixture
def stub(server: Server, generated: tuple[ModuleType, ModuleType]) -> Iterator[object]:
    with grpc.insecure_channel(server.grpc) as channel:
        yield generated[1].DensityStub(channel)


def levels(v1: ModuleType, images: np.ndarray) -> object:
    return v1.Images(levels=v1.Levels(shape=images.shape, data=images.tobytes()))


def array(tensor: object) -> np.ndarray:
    return np.frombuffer(tensor.data, np.uint8).reshape(tensor.shape)


def test_scores_are_those_of_the_open_inference_protocol(
    server: Server, v1: ModuleType, stub: object, images: np.ndarray
) -> None:
    options = v1.ScoreRequest.Options(map=True)
    request = v1.ScoreRequest(model=v1.Model(name=MODEL), images=levels(v1, images), options=options)
    answer = stub.Score(request, timeout=60)
    tensor = triton.InferInput("image", list(images.shape), "UINT8")
    tensor.set_data_from_numpy(images)
    client = triton.InferenceServerClient(server.http)
    other = client.infer(MODEL, [tensor], parameters={"map": True})
    client.close()
    np.testing.assert_array_equal(answer.log_likelihood, other.as_numpy("log_likelihood"))
    np.testing.assert_array_equal(answer.bits_per_dim, other.as_numpy("bits_per_dim"))
    values = np.array(answer.log_probability_map.values, np.float32).reshape(answer.log_probability_map.shape)
    np.testing.assert_array_equal(values, other.as_numpy("log_probability_map"))
    assert (answer.head.model, answer.head.version) == (MODEL, 1)


def test_samples_come_with_their_rows_and_end_with_the_images(v1: ModuleType, stub: object) -> None:
    options = v1.SampleRequest.Options(n=2, seed=5)
    *progress, last = stub.Sample(v1.SampleRequest(model=v1.Model(name=MODEL), options=options), timeout=60)
    drawn = array(last.samples.image)
    assert drawn.shape == (2, 1, 6, 5)
    assert last.samples.head.notes["seed"] == "5"
    for event in progress:
        own = event.progress
        rows = np.frombuffer(own.levels, np.uint8).reshape(1, 6, 5)[:, : own.rows]
        np.testing.assert_array_equal(rows, drawn[own.index][:, : own.rows])


def test_every_operation_is_a_method(v1: ModuleType, stub: object, images: np.ndarray) -> None:
    pixelcnn, vae = v1.Model(name=MODEL), v1.Model(name="tiny-vae", version=1)
    given = levels(v1, images)
    assert len(stub.Detect(v1.DetectRequest(model=pixelcnn, images=given)).reject) == 3
    classified = stub.Classify(v1.ClassifyRequest(model=v1.Model(name="tiny-classifier"), images=given))
    assert classified.probabilities.shape[0] == 3
    mask = [True] * 30
    whole = stub.Complete(v1.CompleteRequest(model=pixelcnn, images=given, mask=mask))
    np.testing.assert_array_equal(array(whole.image), images)
    code = stub.Encode(v1.EncodeRequest(model=vae, images=given)).code
    assert list(array(stub.Decode(v1.DecodeRequest(model=vae, latent=code)).image).shape) == [3, 1, 6, 5]
    assert len(stub.Reconstruct(v1.ReconstructRequest(model=vae, images=given)).mean_squared_error) == 3
    two = levels(v1, images[:2])
    steps = v1.InterpolateRequest.Options(steps=4)
    path = stub.Interpolate(v1.InterpolateRequest(model=vae, images=two, options=steps))
    assert path.image.shape[0] == 4
    streams = stub.Compress(v1.CompressRequest(model=pixelcnn, images=given)).stream
    back = stub.Decompress(v1.DecompressRequest(model=pixelcnn, stream=streams))
    np.testing.assert_array_equal(array(back.image), images)


def test_refusals_have_their_status(v1: ModuleType, stub: object, images: np.ndarray) -> None:
    request = v1.ScoreRequest(model=v1.Model(name="nobody"), images=levels(v1, images))
    with pytest.raises(grpc.RpcError) as caught:
        stub.Score(request)
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    options = v1.SampleRequest.Options(n=100_000)
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.Sample(v1.SampleRequest(model=v1.Model(name=MODEL), options=options)))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
