"""density-server beside what people would write or take otherwise: same graphs, same images, same load, one run.

    python tests/bench/peers [--seconds 5] [--packages .runtime/peers] [--output FOLDER]

Each peer is asked with one worker that uses all cores, and with a worker a core; the better of the two stands in the
table. Peers that batch do. The images are PNG files (MLServer, whose protocol has none, gets tensors). `limit` is the
best loop around ONNX Runtime without a server. For `sample` the peers run the loop that the graph as given asks for:
one full pass a pixel.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
REPOSITORY = ROOT / "models/repository"
CORES = os.cpu_count() or 1
CONCURRENCIES = [1, 16, 64]
#: Longer than any of them takes to start.
START_SECONDS = 120.0


@dataclass
class Peer:
    """How a server is started and asked."""

    name: str
    package: str
    command: Callable[[int], list[str]]
    path: str = "/"
    operations: tuple[str, ...] = ("score", "encode")
    bodies: str = "png"
    ready: str = "/ready"


PYTHON = sys.executable
UVICORN = ["fastapi_server:app", "--host", "127.0.0.1", "--log-level", "warning", "--no-access-log"]


def bento(port: int) -> list[str]:
    """BentoML's server, as its command line starts it."""
    return [PYTHON, "-m", "bentoml", "serve", "bentoml_server:Peer", "--host", "127.0.0.1", "--port", str(port)]


PEERS = [
    Peer(
        "FastAPI",
        "fastapi",
        lambda port: [
            *(PYTHON, "-m", "uvicorn", *UVICORN, "--port", str(port)),
            *("--workers", os.environ["PEER_WORKERS"]),
        ],
        operations=("score", "encode", "sample"),
    ),
    Peer(
        "LitServe", "litserve", lambda _: [PYTHON, str(HERE / "litserve_server.py")], bodies="base64", ready="/health"
    ),
    Peer("BentoML", "bentoml", bento, bodies="batch", ready="/readyz"),
    Peer("Ray Serve", "ray", lambda _: [PYTHON, str(HERE / "rayserve_server.py")], ready="/-/healthz"),
    Peer(
        "MLServer",
        "mlserver",
        lambda _: [PYTHON, "-m", "mlserver.cli.main", "start", "."],
        path="/v2/models/peer/infer",
        bodies="tensor",
        ready="/v2/models/peer/ready",
    ),
]


def main() -> None:
    """Measures everything and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one measurement")
    parser.add_argument("--packages", type=Path, default=ROOT / ".runtime/peers", help="a folder of packages a peer")
    parser.add_argument("--server", type=Path, default=ROOT / "target/release/density-server")
    parser.add_argument("--load", type=Path, required=True, help="the program that `cargo bench --bench load` builds")
    parser.add_argument("--only", nargs="*", default=None, help="names of peers")
    parser.add_argument("--output", type=Path, default=ROOT / "target/tmp/bench-peers.json")
    given = parser.parse_args()
    peers = [peer for peer in PEERS if given.only is None or peer.name in given.only]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        images = write_images(Path(folder))
        for operation in ("score", "encode", "sample"):
            if operation != "sample":
                rows.append(limit(operation, given))
            rows.extend(ours(operation, images, given))
            for peer in peers:
                if operation in peer.operations:
                    rows.extend(theirs(peer, operation, images, given))
            # The machine may have changed its mood since.
            rows.extend(ours(operation, images, given, name="density-server, again"))
    given.output.parent.mkdir(parents=True, exist_ok=True)
    machine = {"cores": CORES, "processor": processor(), "system": platform.platform()}
    given.output.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))
    print_table(rows)


def write_images(folder: Path) -> dict[str, list[Path]]:
    """The golden images as bodies: PNG files, the same in JSON, and tensors of the Open Inference Protocol."""
    import numpy as np  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    levels = np.load(REPOSITORY / "fashion-mnist-pixelcnn/1/golden_images.npy")
    written: dict[str, list[Path]] = {"none": [folder / "none"]}
    (folder / "none").write_bytes(b"")
    for index, image in enumerate(levels):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        tensor = {"name": "image", "shape": [1, 1, *image.shape], "datatype": "UINT8", "data": image.ravel().tolist()}
        text = base64.b64encode(file.getvalue()).decode()
        bodies = {"tensor": {"inputs": [tensor]}, "base64": {"image": text}, "batch": {"image": [text]}}
        encoded = {kind: json.dumps(body).encode() for kind, body in bodies.items()}
        for kind, data in {"png": file.getvalue(), **encoded}.items():
            path = folder / f"{index}.{kind}"
            path.write_bytes(data)
            written.setdefault(kind, []).append(path)
    return written


def limit(operation: str, given: argparse.Namespace) -> dict:
    """The best loop around the runtime, without a server."""
    code = (
        "import sys, time, numpy as np; from model import Model; "
        "m = Model(sys.argv[1], int(sys.argv[2])); n = int(sys.argv[3]); "
        "x = np.random.default_rng(0).integers(0, 256, (n, 1, 28, 28), dtype=np.uint8); m.run(x); "
        "feed = {'image': x.astype(np.float32) / np.float32(255)}; "
        "end = time.time() + float(sys.argv[4]); c = 0\n"
        "while time.time() < end: m.session.run(None, feed); c += n\n"
        "print(c / float(sys.argv[4]))"
    )
    best = 0.0
    for callers, threads in [(1, CORES), (CORES, 1)]:
        for batch in (1, 32):
            command = [PYTHON, "-c", code, operation, str(threads), str(batch), str(given.seconds)]
            env = environment(given.packages / "fastapi")
            running = [
                subprocess.Popen(command, cwd=HERE, env=env, stdout=subprocess.PIPE, text=True) for _ in range(callers)
            ]
            best = max(best, sum(float(process.communicate()[0]) for process in running))
    return {"operation": operation, "server": "limit", "per_second": best}


def ours(
    operation: str, images: dict[str, list[Path]], given: argparse.Namespace, name: str = "density-server"
) -> list:
    """density-server with its default settings."""
    port = free_port()
    options = ["--http", f"127.0.0.1:{port}", "--grpc", "off", "--proof-records", "none"]
    command = [str(given.server), "serve", *options]
    # One model, as the peers have one.
    model = {"score": "fashion-mnist-pixelcnn", "encode": "fashion-mnist-vae", "sample": "fashion-mnist-pixelcnn"}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "models").mkdir()
        (Path(folder) / "models" / model[operation]).symlink_to(REPOSITORY / model[operation])
        env = {**os.environ, "DENSITY_REPOSITORY": f"{folder}/models"}
        path = f"/v1/models/{model[operation]}/{operation}"
        with running(command, env, port, f"http://127.0.0.1:{port}/readyz", ROOT) as (start, memory):
            return measure(name, "", operation, path, "png", images, port, start, memory, given)


def theirs(peer: Peer, operation: str, images: dict[str, list[Path]], given: argparse.Namespace) -> list:
    """A peer in both of its set-ups; the better one at each concurrency."""
    found: dict[int, dict] = {}
    packages = given.packages / peer.name.lower().replace(" ", "")
    for workers, threads in [(1, CORES), (CORES, 1)]:
        port = free_port()
        own = {
            "PEER_OPERATION": operation,
            "PEER_WORKERS": str(workers),
            "PEER_THREADS": str(threads),
            "PEER_PORT": str(port),
        }
        env = {**environment(packages), **own}
        with tempfile.TemporaryDirectory() as folder:
            where = HERE
            if peer.name == "MLServer":
                where = Path(folder)
                write_mlserver(where, port, workers)
            os.environ.update(own)
            command = peer.command(port)
            url = f"http://127.0.0.1:{port}{peer.ready}"
            setup = f"{workers} × {threads}"
            try:
                with running(command, env, port, url, where) as (start, memory):
                    kind = peer.bodies
                    rows = measure(peer.name, setup, operation, peer.path, kind, images, port, start, memory, given)
            except RuntimeError as error:
                rows = [{"operation": operation, "server": peer.name, "setup": setup, "error": str(error)}]
        for row in rows:
            before = found.get(row.get("concurrency", 0))
            if before is None or row.get("per_second", 0) > before.get("per_second", 0):
                found[row.get("concurrency", 0)] = row
    return list(found.values())


def measure(
    name: str,
    setup: str,
    operation: str,
    path: str,
    kind: str,
    images: dict[str, list[Path]],
    port: int,
    start: float,
    memory: Callable[[], int],
    given: argparse.Namespace,
) -> list[dict]:
    """One server at every concurrency."""
    bodies = images["none" if operation == "sample" else kind]
    content_type = "image/png" if kind == "png" else "application/json"
    rows = []
    for concurrency in [1, 16] if operation == "sample" else CONCURRENCIES:
        # Enough to fill every worker's pools first.
        for seconds in (1.0, given.seconds if operation != "sample" else 2 * given.seconds):
            command = [
                *(str(given.load), "--address", f"127.0.0.1:{port}", "--path", path, "--content-type", content_type),
                *("--concurrency", str(concurrency), "--seconds", str(seconds), *map(str, bodies)),
            ]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
        row = {"operation": operation, "server": name, "setup": setup, "concurrency": concurrency, "start": start}
        if done.returncode:
            rows.append({**row, "error": done.stderr[-300:]})
        else:
            rows.append({**row, **json.loads(done.stdout), "memory": memory()})
    return rows


@contextlib.contextmanager
def running(
    command: list[str], env: dict[str, str], port: int, url: str, folder: Path
) -> Iterator[tuple[float, Callable[[], int]]]:
    """A server while it runs: seconds until it was ready, and the peak of its memory, children included."""
    started = time.monotonic()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=env, cwd=folder, stdout=log, stderr=log, start_new_session=True)
        try:
            while not answers(url):
                log.seek(0)
                if process.poll() is not None or time.monotonic() - started > START_SECONDS:
                    raise RuntimeError(log.read()[-600:].decode(errors="replace"))
                time.sleep(0.05)
            start = time.monotonic() - started
            peak, stop = [0], threading.Event()

            def watch() -> None:
                while not stop.wait(0.2):
                    peak[0] = max(peak[0], resident(process.pid))

            watching = threading.Thread(target=watch)
            watching.start()
            try:
                yield start, lambda: peak[0]
            finally:
                stop.set()
                watching.join()
        finally:
            # Servers with workers are groups of processes.
            subprocess.run(["pkill", "-TERM", "-s", str(process.pid)], check=False)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            subprocess.run(["pkill", "-KILL", "-s", str(process.pid)], check=False)
            process.wait()


def answers(url: str) -> bool:
    """Whether a GET is answered with 200."""
    with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
        return answer.status == 200
    return False


def resident(server: int) -> int:
    """Bytes that a server and its descendants hold; what they share is counted in each of them."""
    parents, sizes = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rsplit(") ", 1)[1].split()
            own = int(stat.parent.name)
            parents[own], sizes[own] = int(fields[1]), int(fields[21]) * os.sysconf("SC_PAGE_SIZE")

    def descends(process: int | None) -> bool:
        return process is not None and (process == server or descends(parents.get(process)))

    return sum(size for process, size in sizes.items() if descends(process))


def environment(packages: Path) -> dict[str, str]:
    """What a peer runs in: its own packages and the model."""
    path = os.pathsep.join([str(packages), str(HERE)])
    return {**os.environ, "PYTHONPATH": path, "DENSITY_REPOSITORY": str(REPOSITORY), "RAY_AUTH_MODE": "disabled"}


def write_mlserver(folder: Path, port: int, workers: int) -> None:
    """MLServer's files of settings."""
    parallel = 0 if workers == 1 else workers
    settings = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port(), "parallel_workers": parallel}
    (folder / "settings.json").write_text(json.dumps({**settings, "host": "127.0.0.1", "debug": False}))
    model = {"name": "peer", "implementation": "mlserver_server.Peer", "max_batch_size": 32, "max_batch_time": 0.001}
    (folder / "model-settings.json").write_text(json.dumps(model))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as own:
        own.bind(("127.0.0.1", 0))
        return own.getsockname()[1]


def processor() -> str:
    """The name of the processor."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.processor()


def version(packages: Path, name: str) -> str:
    """Of a package in a folder."""
    return next(iter(own.version for own in distributions(name=name, path=[str(packages)])), "?")


def print_table(rows: list[dict]) -> None:
    """As Markdown."""
    print("| | server | workers × threads | at once | images/s | ÷ limit | p50 ms | p99 ms | peak MiB | start s |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    limits = {row["operation"]: row["per_second"] for row in rows if row["server"] == "limit"}
    for row in rows:
        if "error" in row:
            print(f"| {row['operation']} | {row['server']} | {row.get('setup', '')} | | {row['error']!r} |")
        elif row["server"] == "limit":
            print(f"| {row['operation']} | no server | | | {row['per_second']:.1f} | 1 | | | | |")
        else:
            of = row["per_second"] / limits[row["operation"]] if row["operation"] in limits else float("nan")
            print(
                f"| {row['operation']} | {row['server']} | {row['setup']} | {row['concurrency']} "
                f"| {row['per_second']:.1f} | {of:.2f} | {row['p50_ms']:.1f} | {row['p99_ms']:.1f} "
                f"| {row['memory'] / 2**20:.0f} | {row['start']:.1f} |"
            )


if __name__ == "__main__":
    main()
