"""Asks a density-server about every image of a data set, on the workers of a Ray cluster.

    python score.py --model fashion-mnist-gate --operation detect --input s3://bucket/images --output s3://bucket/judged

The images are all files below the input folder, in order of their paths. Each shard of them becomes one Parquet file,
`part-00000.parquet` and so on, whose rows are in that order: `input`, `error`, and a column for every tensor of the
operation. An image that is none, or that the server refuses, is a row with an error. A shard is written whole or not at
all, so the same command goes on where it was interrupted.

Folders may be local (then shared by all workers) or anything else that Arrow reads: `s3://`, `gs://`, `hdfs://`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs
import pyarrow.parquet
import ray
from density_client import Answer, Client, DensityError

#: Names that begin with a line are passed over by what reads folders of Parquet files.
JOB = "_job.json"
#: What can be asked about images that stand for themselves.
OPERATIONS = ["score", "detect", "classify", "encode", "reconstruct"]
#: A refusal of one image says which of the request it is about, from 0.
ABOUT_ONE = re.compile(r"image (\d+): (.*)", re.DOTALL)


@dataclass(frozen=True)
class Job:
    """What is asked of every image. It is kept beside the answers, so that nobody goes on with something else."""

    model: str
    version: int
    operation: str
    options: dict[str, Any]
    shard: int
    #: Of the paths of all images, in order.
    inputs: str
    images: int


@dataclass(frozen=True)
class Shard:
    """Images that become one file."""

    number: int
    paths: list[str] = field(default_factory=list)

    @property
    def file(self) -> str:
        """What it is called."""
        return f"part-{self.number:05}.parquet"


class Asker:
    """A worker with one connection to the server."""

    def __init__(self, server: str, job: Job, source: str, target: str, batch: int) -> None:
        self.client = Client(server, retries=12, longest_wait=60.0, timeout=600.0)
        self.job = job
        self.images, self.root = pyarrow.fs.FileSystem.from_uri(source)
        self.results, self.folder = pyarrow.fs.FileSystem.from_uri(target)
        self.batch = batch

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Writes the file of one shard, and says how many of its images failed."""
        shard = Shard(row["number"], list(row["paths"]))
        rows: list[dict[str, Any]] = []
        for start in range(0, len(shard.paths), self.batch):
            rows.extend(self.ask(shard.paths[start : start + self.batch]))
        names = dict.fromkeys(name for row in rows for name in row)
        table = pa.Table.from_pylist([{name: row.get(name) for name in names} for row in rows])
        # A column of nothing but nulls would have a type of its own.
        errors = table["error"].cast(pa.string())
        table = table.set_column(table.column_names.index("error"), "error", errors)
        unfinished = f"{self.folder}/_{shard.file}"
        pyarrow.parquet.write_table(table, unfinished, filesystem=self.results)
        self.results.move(unfinished, f"{self.folder}/{shard.file}")
        return {"file": shard.file, "images": len(rows), "failed": sum(row["error"] is not None for row in rows)}

    def ask(self, paths: list[str]) -> list[dict[str, Any]]:
        """The rows of some images, in their order."""
        rows: list[dict[str, Any]] = [{"input": path, "error": None} for path in paths]
        files: dict[int, bytes] = {}
        for index, path in enumerate(paths):
            try:
                with self.images.open_input_stream(f"{self.root}/{path}") as stream:
                    files[index] = stream.read()
            except OSError as error:
                rows[index]["error"] = str(error)
        while files:
            try:
                # Only of several is one named, and a bad option must not look like a bad image.
                several = list(files.values()) if len(files) > 1 else [*files.values()] * 2
                answer = self.infer(several)
            except DensityError as refusal:
                about = ABOUT_ONE.fullmatch(refusal.message)
                # What is wrong with all of them, such as a model that cannot do this, is an error of the job.
                if refusal.status != 400 or about is None:
                    raise
                index = list(files)[int(about[1])]
                del files[index]
                rows[index]["error"] = about[2]
            else:
                for place, index in enumerate(files):
                    rows[index].update({name: tensor[place].tolist() for name, tensor in answer.items()})
                break
        return rows

    def infer(self, files: list[bytes]) -> Answer:
        ask = getattr(self.client, self.job.operation)
        return ask(self.job.model, files, version=self.job.version, **self.job.options)


def main() -> int:
    """Runs the job; 0 if every image has its row."""
    given = arguments().parse_args()
    source = pyarrow.fs.FileSystem.from_uri(absolute(given.input))
    results, folder = pyarrow.fs.FileSystem.from_uri(absolute(given.output))
    paths = list_images(*source)
    if not paths:
        sys.exit(f"{given.input}: no file in it")
    with Client(given.server) as client:
        version = given.version or newest(client, given.model)
    options = dict(pair.split("=", 1) for pair in given.option)
    digest = hashlib.sha256("\0".join(paths).encode()).hexdigest()
    job = Job(given.model, version, given.operation, options, given.shard, digest, len(paths))

    results.create_dir(folder, recursive=True)
    begin(results, folder, job, given.output)
    done = {info.base_name for info in results.get_file_info(pyarrow.fs.FileSelector(folder))}
    shards = [shard for shard in cut(paths, given.shard) if shard.file not in done]
    print(f"{len(paths)} images; {len(shards)} files of at most {given.shard} to write", file=sys.stderr)

    ray.init(address=given.ray, log_to_driver=False, include_dashboard=False)
    written = ask_all(shards, given, job)
    for result in written:
        print(f"{result['file']}: {result['images']} images, {result['failed']} failed", file=sys.stderr)
    return 0


def ask_all(shards: list[Shard], given: argparse.Namespace, job: Job) -> Iterator[dict[str, Any]]:
    """Has the workers write the files of shards; yields what became of each as it is done."""
    if not shards:
        return
    asked = ray.data.from_items([asdict(shard) for shard in shards], override_num_blocks=len(shards)).map(
        Asker,
        fn_constructor_args=(given.server, job, absolute(given.input), absolute(given.output), given.batch),
        # One connection each; asking costs no processor to speak of.
        compute=ray.data.ActorPoolStrategy(size=min(given.connections, len(shards))),
        num_cpus=0.25,
    )
    yield from asked.iter_rows()


def arguments() -> argparse.ArgumentParser:
    """The flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", default=os.environ.get("DENSITY_URL", "http://127.0.0.1:8000"))
    parser.add_argument("--model", required=True)
    parser.add_argument("--version", type=int, help="the newest that is ready now, if it is left out")
    parser.add_argument("--operation", default="score", choices=OPERATIONS)
    parser.add_argument("--option", action="append", default=[], metavar="NAME=VALUE", help="of the operation")
    parser.add_argument("--input", required=True, help="folder or URI of images")
    parser.add_argument("--output", required=True, help="folder or URI of the Parquet files")
    parser.add_argument("--connections", type=int, default=4, help="workers, each with a connection of its own")
    parser.add_argument("--batch", type=int, default=64, help="images a request")
    parser.add_argument("--shard", type=int, default=4096, help="images a file")
    parser.add_argument("--ray", help="address of the cluster; by default the one that this runs in, or a local one")
    return parser


def absolute(place: str) -> str:
    """A place that is the same for every worker."""
    return place if "://" in place else str(Path(place).resolve())


def list_images(files: pyarrow.fs.FileSystem, root: str) -> list[str]:
    """Paths below a folder, in order. Hidden files and folders are not images."""
    found = files.get_file_info(pyarrow.fs.FileSelector(root, recursive=True))
    names = [info.path.removeprefix(root).lstrip("/") for info in found if info.type == pyarrow.fs.FileType.File]
    seen = [name for name in names if not any(part.startswith(".") for part in name.split("/"))]
    return sorted(seen, key=lambda name: name.split("/"))


def cut(paths: list[str], size: int) -> list[Shard]:
    """Shards of so many images; the last may have fewer."""
    starts = range(0, len(paths), size)
    return [Shard(number, paths[start : start + size]) for number, start in enumerate(starts)]


def newest(client: Client, model: str) -> int:
    """The newest version of the model that is ready. All images are asked about the same one."""
    ready = [int(own["version"]) for own in client.models() if own["name"] == model and own["state"] == "READY"]
    if not ready:
        sys.exit(f"no version of {model!r} is ready on the server")
    return max(ready)


def begin(results: pyarrow.fs.FileSystem, folder: str, job: Job, output: str) -> None:
    """Leaves a note of the job beside its answers, or refuses to go on with another one."""
    path = f"{folder}/{JOB}"
    if results.get_file_info(path).type == pyarrow.fs.FileType.NotFound:
        with results.open_output_stream(path) as stream:
            stream.write(json.dumps(asdict(job), indent=2).encode())
        return
    with results.open_input_stream(path) as stream:
        before = json.loads(stream.read())
    other = [name for name, value in asdict(job).items() if before.get(name) != value]
    if other:
        told = ", ".join(f"{name} was {before.get(name)!r} and is {getattr(job, name)!r}" for name in other)
        sys.exit(f"{output} holds answers of another job: {told}. Name another folder, or delete {JOB} and the parts.")


if __name__ == "__main__":
    sys.exit(main())
