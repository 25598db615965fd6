"""density-server beside what people would write or take otherwise: same graphs, same images, same load, one run.

    python tests/bench/peers --load PROGRAM [--seconds 2] [--packages .runtime/peers] [--output proto]

Writes benchmark.md and benchmark.svg into the folder of --output, and what they are made of to target/tmp. A server
that does not start, or fails, costs its own lines only.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import tomllib
from importlib.metadata import distributions
from pathlib import Path

import report
from running import NotReadyError, memory, running
from servers import (
    CORES,
    HERE,
    OPERATIONS,
    PIXELS,
    PYTHON,
    REPOSITORY,
    ROOT,
    Server,
    Way,
    free_ports,
    furnace,
    ours,
    peers,
    write_bodies,
)

CONCURRENCIES = [1, 16, 64]


def main() -> None:
    """Measures everything and writes it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=2.0, help="of one measurement, at least")
    parser.add_argument("--packages", type=Path, default=ROOT / ".runtime/peers", help="a folder of packages a peer")
    parser.add_argument("--server", type=Path, default=ROOT / "target/release/density-server")
    parser.add_argument("--load", type=Path, required=True, help="the program that `cargo bench --bench load` builds")
    parser.add_argument("--furnace", type=Path, default=ROOT / "target/furnace/release/furnace-peer")
    parser.add_argument("--runtime", type=Path, required=True, help="of ONNX Runtime, for servers in Rust")
    parser.add_argument("--only", nargs="*", default=None, help="names of servers")
    parser.add_argument("--output", type=Path, default=ROOT / "proto")
    given = parser.parse_args()
    # Servers run in folders of their own.
    given.server, given.load, given.runtime = given.server.resolve(), given.load.resolve(), given.runtime.resolve()
    started, load_before = time.time(), os.getloadavg()[0]
    found: dict = {"rows": [], "failed": {}, "seconds": given.seconds, "pixels": PIXELS}
    with tempfile.TemporaryDirectory() as folder:
        bodies = write_bodies(Path(folder))
        servers = [ours(given.server, Path(folder)), furnace(given.furnace.resolve(), given.runtime), *peers()]
        measured = [server for server in servers if given.only is None or server.name in given.only]
        found["limits"], found["limits_of_one"] = limits(given)
        for server in measured:
            # What one server does must not cost the figures of the others.
            try:
                found["rows"].extend(measure(server, bodies, given))
            except (NotReadyError, OSError) as error:
                found["failed"][server.name] = (
                    str(error).strip().splitlines()[-1] if str(error).strip() else "no reason"
                )
                say(f"{server.name} did not run: {error}")
    loops = [(1, found["limits_of_one"]), (None, found["limits"])]
    alone = [
        {"operation": own, "server": "no server", "callers": callers, "per_second": rate}
        for callers, rates in loops
        for own, rate in rates.items()
    ]
    found["rows"] = [row for own in OPERATIONS for row in [*alone, *found["rows"]] if row["operation"] == own]
    found |= {
        "machine": machine(load_before),
        "versions": versions(measured, given),
        "command": "make bench-peers",
        "date": time.strftime("%Y-%m-%d", time.gmtime(started)),
        "took": time.time() - started,
    }
    kept = ROOT / "target/tmp/bench-peers.json"
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps(found, indent=1))
    (given.output / "benchmark.md").write_text(report.page(found))
    (given.output / "benchmark.svg").write_text(report.picture(found))
    print(report.page(found))


def say(words: str) -> None:
    """Tells whoever waits how far it is."""
    print(words, file=sys.stderr, flush=True)


def limits(given: argparse.Namespace) -> tuple[dict[str, float], dict[str, float]]:
    """Images a second of the best loops around the runtime, without a server: of all, and of those with one image."""
    code = (
        "import sys, time, numpy as np; from model import Model, scaled; "
        "session = getattr(Model(), sys.argv[1]); n = int(sys.argv[2]); seconds = float(sys.argv[3]); "
        "feed = {'image': scaled(np.random.default_rng(0).integers(0, 256, (n, 1, 28, 28), dtype=np.uint8))}; "
        "session.run(None, feed); start = time.time(); c = 0\n"
        "while time.time() < start + seconds: session.run(None, feed); c += n\n"
        "print(c / (time.time() - start))"
    )

    def rate(session: str, batch: int, callers: int, threads: int) -> float:
        command = [PYTHON, "-c", code, session, str(batch), str(given.seconds)]
        env = environment(given.packages / "fastapi", {"PEER_THREADS": str(threads)})
        loops = [
            subprocess.Popen(command, cwd=HERE, env=env, stdout=subprocess.PIPE, text=True) for _ in range(callers)
        ]
        return sum(float(loop.communicate()[0]) for loop in loops)

    best, of_one = {}, {}
    for operation, session in [("score", "pixelcnn"), ("encode", "encoder")]:
        # A caller a core, as the servers have a worker a core.
        best[operation] = max(rate(session, batch, CORES, 1) for batch in (1, 32))
        # No server can have more than one image in hand where one is asked for at a time.
        of_one[operation] = max(rate(session, 1, 1, threads) for threads in (1, CORES))
        say(f"no server, {operation}: {best[operation]:.1f} images/s, one at a time {of_one[operation]:.1f}")
    # A full pass a pixel.
    best["sample"], of_one["sample"] = best["score"] / 784, of_one["score"] / 784
    return best, of_one


def measure(server: Server, bodies: dict[str, list[Path]], given: argparse.Namespace) -> list[dict]:
    """One server by every way, in every operation, at every concurrency."""
    rows: list[dict] = []
    ports = free_ports(3)
    url = f"http://127.0.0.1:{ports[0]}{server.ready}"
    in_python = environment(given.packages / server.packages, server.env)
    env = in_python if server.packages else {**os.environ, **server.env}
    with tempfile.TemporaryDirectory() as folder:
        where = HERE
        if server.prepare is not None:
            where = Path(folder)
            server.prepare(where, ports)
        with running(server.command(ports), env, where, url) as (process, start):
            peak = memory(process)
            for way in server.ways:
                for operation in way.operations:
                    for concurrency in CONCURRENCIES:
                        row = {"operation": operation, "server": way.name, "concurrency": concurrency}
                        row |= ask(way, operation, concurrency, bodies, ports, given)
                        peak = max(peak, memory(process))
                        if operation == "sample":
                            row = scaled_to_whole_images(row, server.part)
                        rows.append(row)
                        say(f"{way.name}, {operation}, {concurrency} in flight: {row['per_second']:.1f} images/s")
    return [{**row, "start": start, "memory": peak} for row in rows]


def scaled_to_whole_images(row: dict, part: float) -> dict:
    """What was measured of requests that draw a part of an image."""
    times = {name: row[name] and row[name] / part for name in ("p50_ms", "p99_ms")}
    return {**row, **times, "per_second": row["per_second"] * part}


def ask(
    way: Way,
    operation: str,
    concurrency: int,
    bodies: dict[str, list[Path]],
    ports: list[int],
    given: argparse.Namespace,
) -> dict:
    """What the load generator saw, after a while in which pools fill."""
    command = [
        *(str(given.load), "--address", f"127.0.0.1:{ports[way.port]}", "--path", way.path(operation)),
        *("--content-type", way.content_type, "--header", way.header, "--concurrency", str(concurrency)),
    ]
    files = [str(file) for file in bodies[way.bodies(operation)]]
    for seconds in (given.seconds / 4, given.seconds):
        done = subprocess.run(
            [*command, "--seconds", str(seconds), *files], check=False, capture_output=True, text=True, timeout=300
        )
    if done.returncode:
        say(done.stderr[-600:])
        return {"per_second": 0.0, "p50_ms": None, "p99_ms": None, "errors": 1, "error": done.stderr[-300:]}
    seen = json.loads(done.stdout)
    if seen["error"]:
        say(f"{way.name}: {seen['error'][:600]}")
    return seen


def environment(packages: Path, own: dict[str, str]) -> dict[str, str]:
    """What a peer runs in: its own packages and the model."""
    path = os.pathsep.join([str(packages), str(HERE)])
    return {**os.environ, "PYTHONPATH": path, "DENSITY_REPOSITORY": str(REPOSITORY), **own}


def machine(load: float) -> dict:
    """What everything ran on."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":", 1)[1].strip() for line in info.splitlines() if line.startswith("model name")]
    processor = names[0] if names else platform.processor()
    return {
        "processor": processor,
        "cores": CORES,
        "memory_gib": memory_bytes / 2**30,
        "system": platform.platform(),
        "load": load,
    }


def versions(servers: list[Server], given: argparse.Namespace) -> dict[str, str]:
    """Of the server, of Python and of the packages."""
    own = subprocess.run([str(given.server), "--version"], check=False, capture_output=True, text=True).stdout.split()
    locked = tomllib.loads((HERE / "furnace/Cargo.lock").read_text())["package"]
    of_furnace = next(package["version"] for package in locked if package["name"] == "furnace-server")
    told = {
        "density-server": own[-1] if own else "?",
        "furnace-server": of_furnace,
        "Python": platform.python_version(),
    }
    for server in servers:
        for name in server.tells:
            found = distributions(name=name, path=[str(given.packages / server.packages)])
            told.setdefault(name, next((package.version for package in found), "?"))
    return told


if __name__ == "__main__":
    main()
