"""How every server is started and asked: density-server by its three protocols, and the peers.

All serve the same two graphs from one process or group of processes, with a worker a core and one thread each, and
those that batch do.
"""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
REPOSITORY = ROOT / "models/repository"
CORES = os.cpu_count() or 1
OPERATIONS = ("score", "encode", "sample")
#: The model of each operation.
MODELS = {"score": "fashion-mnist-pixelcnn", "encode": "fashion-mnist-vae", "sample": "fashion-mnist-pixelcnn"}
#: Of 784: what a peer draws for a request, see model.py.
PIXELS = 14
PYTHON = sys.executable


@dataclass
class Way:
    """How an operation is asked for: a name for the table, and what the load generator is told."""

    name: str
    path: Callable[[str], str]
    #: The kind of bodies, see `write_bodies`.
    bodies: Callable[[str], str]
    content_type: str
    header: str = ""
    operations: tuple[str, ...] = OPERATIONS
    #: Which of the server's ports.
    port: int = 0


@dataclass
class Server:
    """How a server is started, and the ways to ask it."""

    name: str
    #: The folder of its packages, if it is written in Python, and the packages whose versions are told.
    packages: str
    tells: tuple[str, ...]
    command: Callable[[list[int]], list[str]]
    ready: str
    ways: list[Way]
    env: dict[str, str] = field(default_factory=dict)
    #: What part of an image one request for `sample` draws.
    part: float = PIXELS / 784
    #: Writes files of settings into the folder that it runs in.
    prepare: Callable[[Path, list[int]], None] | None = None


def peer_env(**own: str) -> dict[str, str]:
    """What a server for Python around the same graphs is told."""
    common = {"PEER_WORKERS": str(CORES), "PEER_THREADS": "1", "PEER_PIXELS": str(PIXELS)}
    return {**common, "PYTHONDONTWRITEBYTECODE": "1", **own}


def ours(binary: Path, folder: Path) -> Server:
    """density-server with its default settings and the two models that are asked."""
    models = folder / "models"
    models.mkdir()
    for model in set(MODELS.values()):
        (models / model).symlink_to(REPOSITORY / model)

    def command(ports: list[int]) -> list[str]:
        addresses = ("--http", f"127.0.0.1:{ports[0]}", "--grpc", f"127.0.0.1:{ports[1]}")
        return [str(binary), "serve", "--repository", str(models), "--proof-records", "none", *addresses]

    def of_operation(kind: str) -> Callable[[str], str]:
        return lambda operation: f"{kind}-{operation}"

    ways = [
        Way(
            "density-server, HTTP",
            lambda operation: f"/v1/models/{MODELS[operation]}/{operation}",
            lambda operation: "png",
            "image/png",
            operations=("score", "encode"),
        ),
        # What takes no image has its options in JSON.
        Way(
            "density-server, HTTP",
            lambda operation: f"/v1/models/{MODELS[operation]}/{operation}",
            lambda operation: "options",
            "application/json",
            operations=("sample",),
        ),
        Way(
            "density-server, V2 binary",
            lambda operation: f"/v2/models/{MODELS[operation]}:{operation}/infer",
            of_operation("v2"),
            "application/octet-stream",
            header=f"Inference-Header-Content-Length: {len(V2_HEAD)}",
            operations=("score", "encode"),
        ),
        Way(
            "density-server, gRPC",
            lambda operation: f"/density.v1.Density/{operation.capitalize()}",
            of_operation("grpc"),
            "application/grpc",
            port=1,
        ),
    ]
    return Server("density-server", "", (), command, "/readyz", ways, part=1.0)


def v2_head(name: str, datatype: str, size: int) -> bytes:
    """The JSON before the binary tensor of one image."""
    image = {"name": name, "shape": [1, 1, 28, 28], "datatype": datatype}
    return json.dumps(
        {
            "inputs": [{**image, "parameters": {"binary_data_size": 784 * size}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()


V2_HEAD, V2_REAL_HEAD = v2_head("image", "UINT8", 1), v2_head("input", "FP32", 4)


def furnace(program: Path, library: Path) -> Server:
    """furnace-server, which is written in Rust, too. It takes no bytes, so that levels are reals."""

    def command(ports: list[int]) -> list[str]:
        return ["env", f"PEER_PORT={ports[0]}", f"PEER_GRPC_PORT={ports[1]}", str(program)]

    ways = [
        Way(
            "furnace-server, V2 binary",
            lambda operation: f"/v2/models/{operation}/infer",
            lambda _: "v2-real",
            "application/octet-stream",
            header=f"Inference-Header-Content-Length: {len(V2_REAL_HEAD)}",
        ),
        Way(
            "furnace-server, gRPC",
            lambda _: "/inference.GRPCInferenceService/ModelInfer",
            lambda operation: f"grpc-real-{operation}",
            "application/grpc",
            port=1,
        ),
    ]
    env = peer_env(DENSITY_REPOSITORY=str(REPOSITORY), ORT_DYLIB_PATH=str(library))
    return Server("furnace-server", "", (), command, "/readyz", ways, env=env)


def peers() -> list[Server]:
    """The others, each in the set-up that its documentation recommends for a model that the processor runs."""

    def by_path(operation: str) -> str:
        return f"/{operation}"

    def mlserver(folder: Path, ports: list[int]) -> None:
        own = dict(zip(("http_port", "grpc_port", "metrics_port"), ports, strict=True))
        settings = {**own, "parallel_workers": CORES, "host": "127.0.0.1", "debug": False}
        (folder / "settings.json").write_text(json.dumps(settings))
        for operation in OPERATIONS:
            (folder / operation).mkdir()
            model = {"name": operation, "implementation": "mlserver_server.Peer"}
            batches = {"max_batch_size": 32, "max_batch_time": 0.001}
            (folder / operation / "model-settings.json").write_text(json.dumps({**model, **batches}))

    return [
        Server(
            "FastAPI",
            "fastapi",
            ("fastapi", "uvicorn", "onnxruntime"),
            lambda ports: [
                *(PYTHON, "-m", "uvicorn", "fastapi_server:app", "--host", "127.0.0.1", "--port", str(ports[0])),
                *("--log-level", "warning", "--no-access-log", "--workers", str(CORES)),
            ],
            "/ready",
            [Way("FastAPI", by_path, lambda operation: "none" if operation == "sample" else "png", "image/png")],
            env=peer_env(),
        ),
        Server(
            "LitServe",
            "litserve",
            ("litserve", "onnxruntime"),
            lambda ports: ["env", f"PEER_PORT={ports[0]}", PYTHON, str(HERE / "litserve_server.py")],
            "/health",
            [Way("LitServe", lambda _: "/", lambda operation: f"lit-{operation}", "application/json")],
            env=peer_env(),
        ),
        Server(
            "BentoML",
            "bentoml",
            ("bentoml", "onnxruntime"),
            lambda ports: [
                *(PYTHON, "-m", "bentoml", "serve", "bentoml_server:Peer"),
                *("--host", "127.0.0.1", "--port", str(ports[0])),
            ],
            "/readyz",
            [Way("BentoML", by_path, lambda _: "bento", "application/json")],
            env=peer_env(BENTOML_DO_NOT_TRACK="True"),
        ),
        Server(
            "MLServer",
            "mlserver",
            ("mlserver", "onnxruntime"),
            lambda _: [PYTHON, "-m", "mlserver.cli.main", "start", "."],
            "/v2/health/ready",
            [
                Way(
                    "MLServer",
                    lambda operation: f"/v2/models/{operation}/infer",
                    lambda _: "tensor",
                    "application/json",
                )
            ],
            env=peer_env(),
            prepare=mlserver,
        ),
        Server(
            "Ray Serve",
            "rayserve",
            ("ray", "onnxruntime"),
            lambda ports: ["env", f"PEER_PORT={ports[0]}", PYTHON, str(HERE / "rayserve_server.py")],
            "/-/healthz",
            [Way("Ray Serve", by_path, lambda operation: "none" if operation == "sample" else "png", "image/png")],
            # A proxy that is not ready within 5 s is shot, three times, and then the server gives up: on few cores
            # the imports alone take longer.
            env=peer_env(
                RAY_AUTH_MODE="disabled",
                RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S="120",
                RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S="120",
                RAY_USAGE_STATS_ENABLED="0",
            ),
        ),
    ]


def write_bodies(folder: Path) -> dict[str, list[Path]]:
    """The golden images in every form that a server takes, and requests for a drawn image."""
    import numpy as np  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415

    levels = np.load(REPOSITORY / "fashion-mnist-pixelcnn/1/golden_images.npy")
    written: dict[str, list[Path]] = {}

    def write(kind: str, data: bytes) -> None:
        paths = written.setdefault(kind, [])
        paths.append(folder / f"{len(paths)}.{kind}")
        paths[-1].write_bytes(data)

    for image in levels:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        png, text = file.getvalue(), base64.b64encode(file.getvalue()).decode()
        tensor = {"name": "image", "shape": [1, 1, *image.shape], "datatype": "UINT8", "data": image.ravel().tolist()}
        write("png", png)
        write("bento", json.dumps({"image": [text]}).encode())
        write("tensor", json.dumps({"inputs": [tensor]}).encode())
        for operation in ("score", "encode"):
            write(f"lit-{operation}", json.dumps({"operation": operation, "image": text}).encode())
            write(f"v2-{operation}", V2_HEAD + image.tobytes())
            # Model and images: `files` of the form `files`.
            images = field_of(2, field_of(2, field_of(1, png)))
            write(f"grpc-{operation}", field_of(1, field_of(1, MODELS[operation].encode())) + images)
        reals = image.astype("<f4").tobytes()
        write("v2-real", V2_REAL_HEAD + reals)
        for operation in OPERATIONS:
            # Model, the input's name, type and shape, and its numbers.
            tensor = field_of(1, b"input") + field_of(2, b"FP32") + field_of(3, bytes([1, 1, 28, 28]))
            write(f"grpc-real-{operation}", field_of(1, operation.encode()) + field_of(5, tensor) + field_of(7, reals))
    write("none", b"")
    write("options", json.dumps({"n": 1}).encode())
    write("lit-sample", json.dumps({"operation": "sample", "image": ""}).encode())
    write("grpc-sample", field_of(1, field_of(1, MODELS["sample"].encode())))
    return written


def field_of(number: int, data: bytes) -> bytes:
    """A field of bytes as protocol buffers write it."""
    length, rest = b"", len(data)
    while rest > 127:
        length, rest = length + bytes([rest & 127 | 128]), rest >> 7
    return bytes([number << 3 | 2]) + length + bytes([rest]) + data


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for own in sockets:
        own.bind(("127.0.0.1", 0))
    ports = [own.getsockname()[1] for own in sockets]
    for own in sockets:
        own.close()
    return ports
