"""The cluster job on two workers of a local Ray, against the real server and the command line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from conftest import HEIGHT, LEVELS, ROOT, STEP, WIDTH, Server
from PIL import Image
from serving import BINARY

JOB = ROOT / "docker/ray/score.py"
MODEL = "tiny-pixelcnn"
BAD = "b/torn.png"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with folders in it, and one file that is no image."""
    random = np.random.default_rng(3)
    for name in ["a/1.png", "a/10.png", "a/2.png", "b/1.png", "b/3.png", "c.png", "c/1.png"]:
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        levels = random.integers(0, LEVELS, (HEIGHT, WIDTH), dtype=np.uint8)
        Image.fromarray(levels * STEP).save(path)
    (tmp_path / "images" / BAD).write_bytes(b"\x89PNG\r\n\x1a\n torn")
    return tmp_path / "images"


def run(server: Server, images: Path, output: Path, *options: str) -> subprocess.CompletedProcess[str]:
    where = ["--server", f"http://{server.http}", "--input", str(images), "--output", str(output)]
    return subprocess.run(
        [sys.executable, JOB, "--model", MODEL, *where, "--connections", "2", "--shard", "3", "--batch", "2", *options],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "RAY_AUTH_MODE": "disabled"},
    )


def rows(output: Path) -> list[dict]:
    return pyarrow.parquet.read_table(output).to_pylist()


def test_two_workers_write_what_the_command_line_says_and_go_on_where_they_stopped(
    server: Server, images: Path, tmp_path: Path
) -> None:
    output = tmp_path / "scored"
    done = run(server, images, output)
    assert done.returncode == 0, done.stderr[-3000:]
    assert sorted(path.name for path in output.iterdir()) == ["_job.json", *(f"part-0000{n}.parquet" for n in range(3))]

    command = [BINARY, "score", MODEL, images, "--format", "jsonl", "--repository", ROOT / "tests/fixtures/repository"]
    told = subprocess.run(command, check=False, capture_output=True, text=True, cwd=ROOT).stdout.splitlines()
    expected = {str(Path(row["input"]).relative_to(images)): row for row in map(json.loads, told)}
    found = rows(output)
    # In order of the paths, folder by folder.
    order = ["a/1.png", "a/10.png", "a/2.png", "b/1.png", "b/3.png", BAD, "c/1.png", "c.png"]
    assert [row["input"] for row in found] == order
    assert set(expected) == set(order)
    for row in found:
        own = expected[row["input"]]
        assert row["error"] == own.get("error")
        # The same bits, whatever shared the batch.
        assert row["log_likelihood"] == own.get("log_likelihood")
        assert row["bits_per_dim"] == own.get("bits_per_dim")
    assert [row["input"] for row in found if row["error"]] == [BAD]

    kept = (output / "part-00000.parquet").stat().st_mtime_ns
    (output / "part-00001.parquet").unlink()
    assert run(server, images, output).returncode == 0
    assert (output / "part-00000.parquet").stat().st_mtime_ns == kept
    assert rows(output) == found

    other = run(server, images, output, "--operation", "reconstruct")
    assert other.returncode != 0
    assert "operation was 'score' and is 'reconstruct'" in other.stderr
    shutil.rmtree(output)
    refused = run(server, images, output, "--operation", "encode")
    assert refused.returncode != 0
    assert "has no latent code" in refused.stderr
