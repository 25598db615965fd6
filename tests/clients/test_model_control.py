"""Models loaded and unloaded by the unmodified clients of Triton, where the operator lets them."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import tritonclient.grpc
import tritonclient.http
from conftest import FIXTURES, Server, serving
from tritonclient.utils import InferenceServerException

MODEL = "tiny-pixelcnn"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    shutil.copytree(FIXTURES / MODEL, folder / MODEL)
    return folder


@pytest.fixture(scope="module")
def operated(repository: Path) -> Iterator[Server]:
    with serving(repository, "--model-control") as server:
        yield server


def states(client: object) -> dict[str, str]:
    index = client.get_model_repository_index()
    if isinstance(index, list):
        return {own["version"]: own["state"] for own in index}
    return {own.version: own.state for own in index.models}


@pytest.mark.parametrize("way", [tritonclient.http, tritonclient.grpc])
def test_models_are_unloaded_and_loaded(operated: Server, repository: Path, way: ModuleType) -> None:
    client = way.InferenceServerClient(operated.http if way is tritonclient.http else operated.grpc)
    assert states(client)["1"] == "READY"
    client.unload_model(MODEL)
    assert set(states(client).values()) == {"UNAVAILABLE"}
    assert not client.is_model_ready(MODEL)
    # A version that comes meanwhile is loaded with the others.
    shutil.copytree(FIXTURES / MODEL / "1", repository / MODEL / "2", dirs_exist_ok=True)
    client.load_model(MODEL)
    assert states(client) == {"1": "READY", "2": "READY"}
    assert client.is_model_ready(MODEL, "2")
    client.unload_model(MODEL, unload_dependents=True)
    client.load_model(MODEL)
    with pytest.raises(InferenceServerException, match="no model"):
        client.load_model("nobody")
    with pytest.raises(InferenceServerException, match="as its folder has it"):
        client.load_model(MODEL, config="{}")
    client.close()


def test_the_servers_own_words_say_which_version_serves(operated: Server) -> None:
    def post(path: str) -> dict[int, bool]:
        request = urllib.request.Request(f"http://{operated.http}/v1/repository/{path}", method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return {own["version"]: own["default"] for own in json.load(answer)["models"]}

    assert post("scan")[2]
    assert post(f"models/{MODEL}/rollback") == {1: True, 2: False}
    assert post(f"models/{MODEL}/versions/2/pin") == {1: False, 2: True}
    assert post(f"models/{MODEL}/unpin") == {1: False, 2: True}
