"""The Python client against the real server, and its patience against one that is busy."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from conftest import STEP, Server
from density_client import AsyncClient, Client, DensityError
from density_client.client import _Retries
from PIL import Image

MODEL = "tiny-pixelcnn"


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(f"http://{server.http}") as client:
        yield client


def test_arrays_pictures_paths_and_bytes_score_the_same(client: Client, images: np.ndarray, tmp_path: Path) -> None:
    arrays = client.score(MODEL, images)
    assert (arrays.model, arrays.version) == (f"{MODEL}:score", "1")
    pictures = [Image.fromarray(image[0] * STEP) for image in images]
    paths = [tmp_path / f"{index}.png" for index in range(len(pictures))]
    for picture, path in zip(pictures, paths, strict=True):
        picture.save(path)
    buffer = io.BytesIO()
    pictures[0].save(buffer, format="PNG")
    for same in [images[:, 0], list(images[:, 0]), pictures, paths, [str(path) for path in paths]]:
        np.testing.assert_array_equal(client.score(MODEL, same)["log_likelihood"], arrays["log_likelihood"])
    for one in [images[0, 0], pictures[0], paths[0], buffer.getvalue()]:
        np.testing.assert_array_equal(client.score(MODEL, one)["log_likelihood"], arrays["log_likelihood"][:1])


def test_every_operation_is_a_method(client: Client, images: np.ndarray) -> None:
    assert MODEL in {model["name"] for model in client.models()}
    assert client.detect(MODEL, images)["reject"].dtype == bool
    assert client.classify("tiny-classifier", images)["probabilities"].shape[0] == 3
    assert client.sample(MODEL, n=2, seed=1)["image"].shape == (2, 1, 6, 5)
    mask = np.ones((6, 5), dtype=bool)
    np.testing.assert_array_equal(client.complete(MODEL, images[:1], mask, seed=1)["image"], images[:1])
    codes = client.encode("tiny-vae", images)["code"]
    assert client.decode("tiny-vae", codes)["image"].shape == images.shape
    assert client.reconstruct("tiny-vae", images)["image"].shape == images.shape
    assert client.interpolate("tiny-vae", images[:2])["image"].ndim == 4
    streams = client.compress(MODEL, images)["stream"]
    np.testing.assert_array_equal(client.decompress(MODEL, list(streams))["image"], images)
    assert list(client.score(MODEL, images, outputs="log_probability_map")) == ["log_probability_map"]


def test_what_is_refused_is_an_error_with_words(client: Client, images: np.ndarray) -> None:
    with pytest.raises(DensityError, match="no model") as caught:
        client.score("nobody", images)
    assert caught.value.status == 404
    with pytest.raises(TypeError, match="uint8"):
        client.score(MODEL, images / 255)


def test_numbers_of_numpy_are_options_and_a_colour_picture_is_one_image(client: Client) -> None:
    drawn = client.sample(MODEL, n=np.int64(2), seed=np.uint8(1), temperature=np.float32(0.5))["image"]
    np.testing.assert_array_equal(drawn, client.sample(MODEL, n=2, seed=1, temperature=0.5)["image"])
    picture = client.sample("tiny-rgb-pixelcnn", n=1, seed=1)["image"]
    scores = [client.score("tiny-rgb-pixelcnn", one) for one in (picture, picture[0].transpose(1, 2, 0))]
    np.testing.assert_array_equal(scores[0]["log_likelihood"], scores[1]["log_likelihood"])


def test_a_timeout_is_one_of_seconds(client: Client, images: np.ndarray) -> None:
    assert len(client.score(MODEL, images, timeout=30)["bits_per_dim"]) == len(images)
    with pytest.raises(DensityError, match="deadline") as caught:
        client.score(MODEL, images, timeout=1e-6)
    assert caught.value.status == 503


def test_what_is_no_answer_of_the_server_is_an_error_with_words(server: Server, images: np.ndarray) -> None:
    with Client(f"http://{server.grpc}", retries=0) as client, pytest.raises(DensityError, match="HTTP port"):
        client.score(MODEL, images)
    with (
        Client(f"http://{server.http}/elsewhere") as client,
        pytest.raises(DensityError, match="404: there is nothing"),
    ):
        client.score(MODEL, images)


def test_answers_can_be_awaited(server: Server, client: Client, images: np.ndarray) -> None:
    async def score() -> list[np.ndarray]:
        async with AsyncClient(f"http://{server.http}") as own:
            answers = await asyncio.gather(*(own.score(MODEL, image[None]) for image in images))
            return [answer["log_likelihood"][0] for answer in answers]

    np.testing.assert_array_equal(asyncio.run(score()), client.score(MODEL, images)["log_likelihood"])


def test_a_busy_server_says_when_to_come_back() -> None:
    retries = _Retries(2, longest_wait=5)
    busy = httpx.Response(429, headers={"Retry-After": "3"})
    assert retries.wait(0, busy) == 3
    assert retries.wait(2, busy) is None
    assert retries.wait(0, httpx.Response(429, headers={"Retry-After": "60"})) is None
    assert retries.wait(0, httpx.Response(400)) is None
    assert 0 < retries.wait(1, httpx.Response(503)) <= 0.2
