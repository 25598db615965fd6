"""A client that openapi-python-client generates from /openapi.json."""

from __future__ import annotations

import base64
import importlib
import io
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from conftest import STEP, Server
from PIL import Image

#: What the generated package is called.
NAME = "generated_from_openapi"


@pytest.fixture(scope="module")
def document(server: Server) -> dict:
    with urllib.request.urlopen(f"http://{server.http}/openapi.json") as answer:
        return json.load(answer)


@pytest.fixture(scope="module")
def generated(document: dict, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder: Path = tmp_path_factory.mktemp("openapi")
    path = folder / "openapi.json"
    path.write_text(json.dumps(document))
    options = ["--path", str(path), "--output-path", str(folder / NAME), "--meta", "none"]
    command = [sys.executable, "-m", "openapi_python_client", "generate", *options]
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stdout[-2000:]
    sys.path.insert(0, str(folder))
    yield NAME
    sys.path.remove(str(folder))


def call(generated: str, server: Server, operation: str, model: str, **arguments: object) -> tuple[int, dict]:
    """The status and the answer of one operation."""
    module = importlib.import_module(f"{generated}.api.operations.{operation}")
    client = importlib.import_module(generated).Client(base_url=f"http://{server.http}")
    if "body" in arguments:
        models = importlib.import_module(f"{generated}.models")
        body = getattr(models, f"{operation.capitalize()}JsonBody")
        arguments["body"] = body.from_dict(arguments["body"])
    answer = module.sync_detailed(model, client=client, **arguments)
    return int(answer.status_code), answer.parsed.to_dict()


def of_file(image: np.ndarray) -> dict:
    """The body that sends an image as a PNG."""
    file = io.BytesIO()
    Image.fromarray(image[0] * STEP).save(file, "PNG")
    return {"images": [{"base64": base64.b64encode(file.getvalue()).decode()}]}


def test_every_operation_is_generated(document: dict, generated: str) -> None:
    posts = {path: methods["post"] for path, methods in document["paths"].items() if "post" in methods}
    operations = {own["operationId"] for own in posts.values() if own["tags"] == ["operations"]}
    assert len(operations) >= 11, operations
    for operation in operations:
        importlib.import_module(f"{generated}.api.operations.{operation}")


def test_it_scores_detects_classifies_and_samples(generated: str, server: Server, images: np.ndarray) -> None:
    status, answer = call(generated, server, "score", "tiny-pixelcnn", body=of_file(images[0]))
    assert status == 200, answer
    assert answer["bound"] == "exact"
    assert answer["results"][0]["log_likelihood"] < 0
    status, answer = call(generated, server, "detect", "tiny-pixelcnn", body=of_file(images[0]))
    assert status == 200, answer
    assert answer["results"][0]["decision"] in {"accept", "reject"}
    status, answer = call(generated, server, "classify", "tiny-classifier", body=of_file(images[0]))
    assert status == 200, answer
    assert 0 < answer["results"][0]["probability"] <= 1
    status, answer = call(generated, server, "sample", "tiny-pixelcnn", n=2, seed=1)
    assert status == 200, answer
    assert len(answer["images"]) == 2


def test_a_refusal_is_a_problem(generated: str, server: Server, images: np.ndarray) -> None:
    status, answer = call(generated, server, "classify", "tiny-pixelcnn", body=of_file(images[0]))
    assert status == 422
    assert answer["type"] == "urn:density-server:error:unsupported"
