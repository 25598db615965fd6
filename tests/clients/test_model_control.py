"""Models loaded and unloaded by the unmodified clients of Triton, where the operator lets them."""

from __future__ import annotations

import json
import shutil
import time
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


def post(server: Server, path: str) -> dict[int, bool]:
    """Versions, and whether they answer requests that name none."""
    request = urllib.request.Request(f"http://{server.http}/v1/repository/{path}", method="POST")
    with urllib.request.urlopen(request, timeout=60) as answer:
        return {own["version"]: own["default"] for own in json.load(answer)["models"]}


def test_the_servers_own_words_say_which_version_serves(operated: Server) -> None:
    assert post(operated, "scan")[2]
    assert post(operated, f"models/{MODEL}/rollback") == {1: True, 2: False}
    assert post(operated, f"models/{MODEL}/versions/2/pin") == {1: False, 2: True}
    assert post(operated, f"models/{MODEL}/unpin") == {1: False, 2: True}


def test_a_pin_is_kept_over_a_restart_where_the_operator_wants_it(tmp_path: Path) -> None:
    for version in ("1", "2"):
        shutil.copytree(FIXTURES / MODEL / "1", tmp_path / MODEL / version)
    flags = ("--model-control", "kept", "--proof-records", str(tmp_path / ".proofs"))
    with serving(tmp_path, *flags) as server:
        assert post(server, f"models/{MODEL}/rollback") == {1: True, 2: False}
    with serving(tmp_path, *flags) as server:
        assert post(server, "scan") == {1: True, 2: False}
    with serving(tmp_path, "--model-control") as server:
        assert post(server, "scan") == {1: False, 2: True}


def test_a_version_that_is_copied_in_file_by_file_is_seen_and_serves_when_it_is_whole(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / MODEL / "1", tmp_path / MODEL / "1")
    with serving(tmp_path, "--watch") as server:
        client = tritonclient.http.InferenceServerClient(server.http)
        (tmp_path / MODEL / "2").mkdir()
        for file in sorted((FIXTURES / MODEL / "1").iterdir()):
            assert states(client).get("2") != "READY"
            shutil.copy(file, tmp_path / MODEL / "2")
        end = time.monotonic() + 60
        while states(client).get("2") != "READY":
            assert time.monotonic() < end, states(client)
        client.close()
