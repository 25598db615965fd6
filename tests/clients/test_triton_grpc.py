"""The unmodified gRPC client of Triton against the real server."""

from __future__ import annotations

import queue
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from conftest import Server
from tritonclient.utils import InferenceServerException

MODEL = "tiny-pixelcnn"


@pytest.fixture
def client(server: Server) -> Iterator[triton.InferenceServerClient]:
    client = triton.InferenceServerClient(server.grpc)
    yield client
    client.close()


def tensor(name: str, array: np.ndarray, datatype: str) -> triton.InferInput:
    own = triton.InferInput(name, list(array.shape), datatype)
    own.set_data_from_numpy(array)
    return own


def test_the_server_says_what_it_is(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.get_server_metadata().name == "density-server"
    metadata = client.get_model_metadata(MODEL)
    config = client.get_model_config(MODEL).config
    assert [own.name for own in metadata.outputs] == [own.name for own in config.output]
    assert list(metadata.inputs[0].shape) == [-1, 1, 6, 5]
    assert list(config.input[0].dims) == [1, 6, 5]
    assert config.parameters["precision"].string_value == "f32"
    states = {model.name: model.state for model in client.get_model_repository_index().models}
    assert states[MODEL] == "READY"


def test_tensors_go_in_and_out(client: triton.InferenceServerClient, images: np.ndarray) -> None:
    answer = client.infer(MODEL, [tensor("image", images, "UINT8")], request_id="seven", timeout=60_000_000)
    assert answer.get_response().id == "seven"
    assert answer.as_numpy("log_likelihood").shape == (3,)
    drawn = client.infer(f"{MODEL}:sample", [], parameters={"n": 2, "seed": 5})
    assert drawn.as_numpy("image").shape == (2, 1, 6, 5)
    packed = client.infer(MODEL, [tensor("image", images, "UINT8")], compression_algorithm="gzip")
    np.testing.assert_array_equal(packed.as_numpy("log_likelihood"), answer.as_numpy("log_likelihood"))


def test_statistics_count_images_and_requests(client: triton.InferenceServerClient, images: np.ndarray) -> None:
    def counts() -> object:
        return client.get_inference_statistics(f"{MODEL}:score").model_stats[0]

    before = counts()
    client.infer(MODEL, [tensor("image", images, "UINT8")])
    after = counts()
    assert after.inference_count - before.inference_count == 3
    assert after.inference_stats.success.count - before.inference_stats.success.count == 1


def test_a_stream_answers_in_order_and_goes_on_after_a_refusal(
    client: triton.InferenceServerClient, images: np.ndarray
) -> None:
    answers: queue.Queue = queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put((result, error)))
    client.async_stream_infer(MODEL, [tensor("image", images, "UINT8")], request_id="good")
    client.async_stream_infer(MODEL, [tensor("image", images[:, :, :5], "UINT8")], request_id="bad")
    client.async_stream_infer(MODEL, [tensor("image", images[:1], "UINT8")], request_id="good again")
    got = [answers.get(timeout=60) for _ in range(3)]
    client.stop_stream()
    assert [error is None for _, error in got] == [True, False, True]
    assert "[-1, 1, 6, 5]" in got[1][1].message()
    assert got[2][0].get_response().id == "good again"


def test_a_stream_says_that_no_more_comes_of_a_request_to_who_waits_for_it(
    client: triton.InferenceServerClient, images: np.ndarray
) -> None:
    answers: queue.Queue = queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put(result or error))
    for asked in [True, False]:
        client.async_stream_infer(MODEL, [tensor("image", images, "UINT8")], enable_empty_final_response=asked)
    got = [answers.get(timeout=60).get_response().parameters for _ in range(2)]
    client.stop_stream()
    assert [parameters["triton_final_response"].bool_param for parameters in got[:1]] == [True]
    assert "triton_final_response" not in got[1]


def test_a_model_that_is_not_there_is_not_ready(client: triton.InferenceServerClient) -> None:
    assert not client.is_model_ready("nobody")
    assert not client.is_model_ready(MODEL, "99")


def test_an_output_is_asked_for_once(client: triton.InferenceServerClient, images: np.ndarray) -> None:
    outputs = [triton.InferRequestedOutput("bits_per_dim")] * 2
    with pytest.raises(InferenceServerException, match='"bits_per_dim" is asked for twice') as caught:
        client.infer(MODEL, [tensor("image", images, "UINT8")], outputs=outputs)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_what_is_not_offered_is_named(client: triton.InferenceServerClient) -> None:
    for call in [client.get_system_shared_memory_status, client.get_trace_settings, client.get_log_settings]:
        with pytest.raises(InferenceServerException, match=r"there is no method ./inference.GRPCInference") as caught:
            call()
        assert caught.value.status() == "StatusCode.UNIMPLEMENTED"


def test_bytes_that_are_no_message_are_a_mistake_of_the_client(server: Server) -> None:
    with grpc.insecure_channel(server.grpc) as channel:
        for method in ["inference.GRPCInferenceService/ModelInfer", "density.v1.Density/Score"]:
            with pytest.raises(grpc.RpcError, match="not one of this method") as caught:
                channel.unary_unary(f"/{method}")(b"\xff\xff", timeout=60)
            assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("model", "shape", "code"),
    [
        ("nobody", (1, 1, 6, 5), "NOT_FOUND"),
        ("tiny-vae:compress", (1, 1, 6, 5), "UNIMPLEMENTED"),
        (MODEL, (1, 1, 5, 6), "INVALID_ARGUMENT"),
    ],
)
def test_refusals_have_their_status(
    client: triton.InferenceServerClient, model: str, shape: tuple[int, ...], code: str
) -> None:
    with pytest.raises(InferenceServerException) as caught:
        client.infer(model, [tensor("image", np.zeros(shape, np.uint8), "UINT8")])
    assert caught.value.status() == f"StatusCode.{code}"


def test_messages_may_be_larger_than_the_default_of_grpc(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="at most 256"):
        client.infer(MODEL, [tensor("image", np.zeros((1 << 18, 1, 6, 5), np.uint8), "UINT8")])


def test_a_deadline_that_has_passed_ends_the_call(client: triton.InferenceServerClient, images: np.ndarray) -> None:
    many = np.repeat(images, 85, axis=0)
    with pytest.raises(InferenceServerException) as caught:
        client.infer(MODEL, [tensor("image", many, "UINT8")], client_timeout=1e-6)
    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"


def test_health_and_reflection_are_there(server: Server) -> None:
    with grpc.insecure_channel(server.grpc) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=60) == b"\x08\x01"
        reflect = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        # Field 7 of the question asks for the names of the services.
        answer = next(reflect(iter([b"\x3a\x00"]), timeout=60))
        for name in [b"inference.GRPCInferenceService", b"grpc.health.v1.Health"]:
            assert name in answer
