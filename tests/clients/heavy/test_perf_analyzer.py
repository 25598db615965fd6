"""Triton's perf_analyzer, the binary of its Python package, measures the real server over HTTP and gRPC."""

from __future__ import annotations

import csv
import os
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, Server

#: Where make puts the last package that holds a binary for Debian's C library, and the library that it is linked with.
TOOLS = ROOT / ".runtime/perf"


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("model", ["tiny-vae:encode", "tiny-pixelcnn"])
def test_it_measures(server: Server, tmp_path: Path, protocol: str, model: str) -> None:
    report = tmp_path / "report.csv"
    windows = ["--measurement-mode", "count_windows", "--measurement-request-count", "200"]
    # However much the machine is disturbed, three windows are enough: what is tested is that it can measure.
    settled = ["--input-data", "zero", "--stability-percentage", "999", "--max-trials", "3", "-f", str(report)]
    where = ["-m", model, "-i", protocol, "-u", getattr(server, protocol)]
    done = subprocess.run(
        [TOOLS / "bin/perf_analyzer", *where, "--concurrency-range", "4", *windows, *settled],
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "LD_LIBRARY_PATH": str(TOOLS / "nvidia/cuda_runtime/lib")},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [row] = csv.DictReader(report.read_text().splitlines())
    assert float(row["Inferences/Second"]) > 0
    assert int(row["p99 latency"]) > 0
    # The server's own counts were read, too.
    assert int(row["Server Compute Infer"]) > 0
