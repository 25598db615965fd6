"""The unmodified HTTP client of Triton against the real server."""

from __future__ import annotations

import contextlib
import io
import urllib.error
import urllib.request
from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.http as triton
from conftest import STEP, Server
from PIL import Image
from tritonclient.utils import InferenceServerException

MODEL = "tiny-pixelcnn"
#: Everything that the server knows to do.
OPERATIONS = [
    *("score", "detect", "classify", "sample", "complete", "encode"),
    *("decode", "reconstruct", "interpolate", "compress", "decompress"),
]


@pytest.fixture
def client(server: Server) -> Iterator[triton.InferenceServerClient]:
    client = triton.InferenceServerClient(server.http)
    yield client
    client.close()


def tensor(name: str, array: np.ndarray, datatype: str, *, binary: bool = True) -> triton.InferInput:
    own = triton.InferInput(name, list(array.shape), datatype)
    own.set_data_from_numpy(array, binary_data=binary)
    return own


def encoded(levels: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, format=kind)
    return buffer.getvalue()


def test_the_server_says_what_it_is(client: triton.InferenceServerClient) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    metadata = client.get_server_metadata()
    assert metadata["name"] == "density-server"
    assert "binary_tensor_data" in metadata["extensions"]


def test_every_model_says_what_it_takes_and_its_configuration_agrees(client: triton.InferenceServerClient) -> None:
    index = client.get_model_repository_index()
    assert {model["name"] for model in index if model["state"] == "READY"} >= {MODEL, "tiny-vae"}
    for model in index:
        if model["state"] != "READY":
            continue
        assert client.is_model_ready(model["name"], model["version"])
        metadata = client.get_model_metadata(model["name"])
        config = client.get_model_config(model["name"])
        assert metadata["versions"] == [model["version"]]
        for ours, theirs in [("input", "inputs"), ("output", "outputs")]:
            assert [own["name"] for own in config[ours]] == [own["name"] for own in metadata[theirs]]
    metadata = client.get_model_metadata(MODEL)
    assert metadata["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, 1, 6, 5]}]
    encode = client.get_model_metadata("tiny-vae:encode")
    assert {"name": "code", "datatype": "FP32"}.items() <= encode["outputs"][-1].items()
    config = client.get_model_config(MODEL)
    assert config["max_batch_size"] == 256
    assert config["parameters"] == {"device": {"string_value": "cpu"}, "precision": {"string_value": "f32"}}


def signatures(client: triton.InferenceServerClient) -> Iterator[dict]:
    """The metadata of everything that every model can do."""
    for model in client.get_model_repository_index():
        for operation in OPERATIONS:
            with contextlib.suppress(InferenceServerException):
                yield client.get_model_metadata(f"{model['name']}:{operation}")


def test_answers_have_the_tensors_that_metadata_declares(client: triton.InferenceServerClient) -> None:
    seen = set()
    for metadata in signatures(client):
        name = metadata["name"]
        streams = name.endswith(":decompress")
        given = [tensor("stream", stream_of(client, name), "BYTES")] if streams else filled(metadata["inputs"])
        # What generic clients do: they ask for every output that is declared.
        outputs = [triton.InferRequestedOutput(own["name"]) for own in metadata["outputs"]]
        # One label is compressed with, which a request has to name.
        label = {"label": "round"} if name == "tiny-conditional-pixelcnn:compress" else None
        answer = client.infer(name, given, outputs=outputs, parameters=label)
        for own in metadata["outputs"]:
            found = answer.get_output(own["name"])
            assert found["datatype"] == own["datatype"], (name, own)
            assert len(found["shape"]) == len(own["shape"]), (name, own, found)
            agree = zip(found["shape"], own["shape"], strict=True)
            assert all(declared in (length, -1) for length, declared in agree), (name, own, found)
        before = {own["name"] for own in client.infer(name, given, parameters=label).get_response()["outputs"]}
        assert before == {own["name"] for own in metadata["outputs"]}, name
        seen.add(name.rsplit(":")[1])
    assert seen == set(OPERATIONS)


def filled(inputs: list[dict]) -> list[triton.InferInput]:
    """Something of the size of every input: nothing but zeros."""
    types = {"UINT8": np.uint8, "FP32": np.float32, "BOOL": np.bool_}
    shapes = {own["name"]: [abs(length) for length in own["shape"]] for own in inputs if own["datatype"] in types}
    kinds = {own["name"]: own["datatype"] for own in inputs}
    return [tensor(name, np.zeros(shape, types[kinds[name]]), kinds[name]) for name, shape in shapes.items()]


def stream_of(client: triton.InferenceServerClient, name: str) -> np.ndarray:
    compress = name.replace(":decompress", ":compress")
    label = {"label": "round"} if "conditional" in name else None
    inputs = filled(client.get_model_metadata(compress)["inputs"])
    return client.infer(compress, inputs, parameters=label).as_numpy("stream")


def test_an_empty_tensor_is_refused_in_words_of_the_protocol(client: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match='input "image": it is empty'):
        client.infer(MODEL, [tensor("image", np.zeros((0, 1, 6, 5), np.uint8), "UINT8")])


def test_only_paths_of_the_protocol_are_refused_in_its_words(server: Server) -> None:
    for path, media_type in {"/v2/nothing": "application/json", "/v1/nothing": "application/problem+json"}.items():
        with pytest.raises(urllib.error.HTTPError) as caught:
            urllib.request.urlopen(f"http://{server.http}{path}")
        assert (caught.value.code, caught.value.headers["content-type"]) == (404, media_type)


@pytest.mark.parametrize("binary", [False, True])
def test_json_and_binary_tensors_say_the_same(
    client: triton.InferenceServerClient, images: np.ndarray, binary: bool
) -> None:
    inputs = [tensor("image", images, "UINT8", binary=binary)]
    names = ["log_likelihood", "bits_per_dim"]
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in names]
    answer = client.infer(MODEL, inputs, outputs=outputs, request_id="seven")
    whole = client.infer(MODEL, [tensor("image", images, "UINT8")])
    assert answer.get_response()["id"] == "seven"
    for name in names:
        assert answer.as_numpy(name).dtype == np.float64
        np.testing.assert_array_equal(answer.as_numpy(name), whole.as_numpy(name))


@pytest.mark.parametrize("method", ["gzip", "deflate"])
def test_bodies_and_answers_may_be_compressed(
    client: triton.InferenceServerClient, images: np.ndarray, method: str
) -> None:
    many = np.repeat(images, 20, axis=0)
    inputs = [tensor("image", many, "UINT8")]
    packed = client.infer(
        MODEL,
        inputs,
        parameters={"map": True},
        request_compression_algorithm=method,
        response_compression_algorithm=method,
    )
    plain = client.infer(MODEL, inputs, parameters={"map": True})
    np.testing.assert_array_equal(packed.as_numpy("log_probability_map"), plain.as_numpy("log_probability_map"))


def test_files_come_as_bytes(client: triton.InferenceServerClient, images: np.ndarray) -> None:
    files = np.array([encoded(image[0] * STEP, "PNG") for image in images], dtype=np.object_)
    whole = client.infer(MODEL, [tensor("image", files, "BYTES")])
    levels = client.infer(MODEL, [tensor("image", images, "UINT8")])
    np.testing.assert_array_equal(whole.as_numpy("log_likelihood"), levels.as_numpy("log_likelihood"))
    dark = np.zeros((8, 8), dtype=np.uint8)
    jpeg = np.array([encoded(dark, "JPEG")], dtype=np.object_)
    answer = client.infer(MODEL, [tensor("image", jpeg, "BYTES")], parameters={"resize": True})
    black = client.infer(MODEL, [tensor("image", np.zeros((1, 1, 6, 5), np.uint8), "UINT8")])
    np.testing.assert_array_equal(answer.as_numpy("log_likelihood"), black.as_numpy("log_likelihood"))


def test_operations_are_names_or_parameters(client: triton.InferenceServerClient, images: np.ndarray) -> None:
    inputs = [tensor("image", images, "UINT8")]
    named = client.infer("tiny-vae:encode", inputs)
    asked = client.infer("tiny-vae", inputs, parameters={"operation": "encode"})
    np.testing.assert_array_equal(named.as_numpy("code"), asked.as_numpy("code"))
    codes = named.as_numpy("code")
    decoded = client.infer("tiny-vae:decode", [tensor("latent", codes, "FP32")])
    assert decoded.as_numpy("image").shape == images.shape
    drawn = [client.infer(f"{MODEL}:sample", [], parameters={"n": 2, "seed": 5}).as_numpy("image") for _ in range(2)]
    assert drawn[0].shape == (2, 1, 6, 5)
    np.testing.assert_array_equal(*drawn)
    streams = client.infer(f"{MODEL}:compress", inputs).as_numpy("stream")
    back = client.infer(f"{MODEL}:decompress", [tensor("stream", streams, "BYTES")])
    np.testing.assert_array_equal(back.as_numpy("image"), images)


def test_the_mask_says_which_pixels_are_given(client: triton.InferenceServerClient, images: np.ndarray) -> None:
    mask = np.zeros((1, 6, 5), dtype=bool)
    mask[:, :3] = True
    inputs = [tensor("image", images[:1], "UINT8"), tensor("mask", mask, "BOOL")]
    drawn = client.infer(f"{MODEL}:complete", inputs, parameters={"seed": 1}).as_numpy("image")
    np.testing.assert_array_equal(drawn[0, 0, :3], images[0, 0, :3])


def test_an_output_on_request_is_asked_for_by_its_name(
    client: triton.InferenceServerClient, images: np.ndarray
) -> None:
    outputs = [triton.InferRequestedOutput("log_probability_map")]
    answer = client.infer(MODEL, [tensor("image", images, "UINT8")], outputs=outputs)
    total = answer.as_numpy("log_probability_map").astype(np.float64).sum(axis=(1, 2, 3))
    scores = client.infer(MODEL, [tensor("image", images, "UINT8")]).as_numpy("log_likelihood")
    np.testing.assert_allclose(total, scores, rtol=1e-4)


def test_statistics_count_images_and_requests(client: triton.InferenceServerClient, images: np.ndarray) -> None:
    def counts() -> dict:
        return client.get_inference_statistics(f"{MODEL}:score")["model_stats"][0]

    before = counts()
    client.infer(MODEL, [tensor("image", images, "UINT8")])
    after = counts()
    assert after["inference_count"] - before["inference_count"] == 3
    # Workers may share the images.
    assert 1 <= after["execution_count"] - before["execution_count"] <= 3
    success = after["inference_stats"]["success"]
    assert success["ns"] >= after["inference_stats"]["compute_infer"]["ns"] > 0
    assert MODEL in {own["name"] for own in client.get_inference_statistics()["model_stats"]}


@pytest.mark.parametrize(
    ("model", "shape", "parameters", "status", "words"),
    [
        ("nobody", (1, 1, 6, 5), {}, "404", "no model"),
        ("tiny-vae:compress", (1, 1, 6, 5), {}, "501", "cannot compress"),
        (MODEL, (1, 1, 5, 6), {}, "400", "[-1, 1, 6, 5]"),
        (MODEL, (257, 1, 6, 5), {}, "400", "at most 256"),
        (MODEL, (1, 1, 6, 5), {"colour": 1}, "400", "colour"),
        (MODEL, (1, 1, 6, 5), {"operation": "paint"}, "404", "score"),
    ],
)
def test_refusals_say_what_would_be_right(
    client: triton.InferenceServerClient, model: str, shape: tuple[int, ...], parameters: dict, status: str, words: str
) -> None:
    inputs = [tensor("image", np.zeros(shape, np.uint8), "UINT8")]
    with pytest.raises(InferenceServerException) as caught:
        client.infer(model, inputs, parameters=parameters)
    assert caught.value.status() == status
    assert words in caught.value.message()


def test_a_bad_image_fails_the_request_by_its_place(client: triton.InferenceServerClient, images: np.ndarray) -> None:
    images[2, 0, 0, 0] = 200
    with pytest.raises(InferenceServerException, match="image 2"):
        client.infer(MODEL, [tensor("image", images, "UINT8")])


def test_loading_is_not_a_clients_business_unless_the_operator_says_so(client: triton.InferenceServerClient) -> None:
    for call in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="--model-control") as caught:
            call(MODEL)
        assert caught.value.status() == "501"
