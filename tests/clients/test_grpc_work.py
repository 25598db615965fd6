"""What becomes of work over gRPC when its client goes, when time is up, when there is too much, and at the end."""

from __future__ import annotations

import itertools
import shutil
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import grpc
import numpy as np
import pytest
from conftest import FIXTURES, ROOT, Server, serving

#: A model whose work takes long enough to be caught at it: a score takes milliseconds.
MODEL = "fashion-mnist-pixelcnn"
#: The largest message, as documented.
LIMIT = 32 << 20


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    shutil.copytree(ROOT / "models/repository" / MODEL / "1", folder / MODEL / "1")
    return folder


@pytest.fixture(scope="module")
def busy(repository: Path) -> Iterator[Server]:
    """A server with one worker and little room."""
    with serving(repository, "--workers", "1", "--interactive-queue", "2") as server:
        yield server


@pytest.fixture
def v1(generated: tuple[ModuleType, ModuleType]) -> ModuleType:
    return generated[0]


@pytest.fixture
def stub(busy: Server, generated: tuple[ModuleType, ModuleType]) -> Iterator[object]:
    with grpc.insecure_channel(busy.grpc) as channel:
        yield generated[1].DensityStub(channel)


def many(v1: ModuleType, count: int = 64) -> object:
    """A request for so many scores."""
    levels = v1.Levels(shape=(count, 1, 28, 28), data=bytes(count * 28 * 28))
    return v1.ScoreRequest(model=v1.Model(name=MODEL), images=v1.Images(levels=levels))


def samples(v1: ModuleType, n: int) -> object:
    return v1.SampleRequest(model=v1.Model(name=MODEL), options=v1.SampleRequest.Options(n=n, seed=1))


def metric(server: Server, start: str) -> float:
    """The sum of the metrics whose line starts so."""
    with urllib.request.urlopen(f"http://{server.http}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(start))


def eventually(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "never came true"


def rows_run(server: Server) -> float:
    return metric(server, "density_batch_size_rows_sum")


def waiting(server: Server) -> float:
    return metric(server, "density_queue_items")


def test_a_call_that_is_cancelled_ends_its_work(busy: Server, v1: ModuleType, stub: object) -> None:
    before = rows_run(busy)
    call = stub.Score.future(many(v1))
    eventually(lambda: waiting(busy) > 0)
    call.cancel()
    eventually(lambda: waiting(busy) == 0)
    assert call.code() == grpc.StatusCode.CANCELLED
    # A worker that takes a call means that what was cancelled is not in front of it any more.
    stub.Score(many(v1, 1), timeout=60)
    assert rows_run(busy) - before < 64


def test_a_stream_that_is_cancelled_ends_its_work(busy: Server, v1: ModuleType, stub: object) -> None:
    call = stub.Sample(samples(v1, 64))
    next(call)
    call.cancel()
    eventually(lambda: waiting(busy) == 0)
    before = rows_run(busy)
    stub.Score(many(v1, 1), timeout=60)
    # At most the turn that was under way, and the score.
    assert rows_run(busy) - before < 64 * 28


def test_a_deadline_ends_the_work(busy: Server, v1: ModuleType, stub: object) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        list(stub.Sample(samples(v1, 64), timeout=0.2))
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    eventually(lambda: waiting(busy) == 0)
    assert stub.Score(many(v1, 1), timeout=60).log_likelihood[0] < 0


def test_overload_says_when_to_come_back(busy: Server, v1: ModuleType, stub: object) -> None:
    def outcome(_: int) -> grpc.RpcError | None:
        try:
            stub.Score(many(v1), timeout=300)
        except grpc.RpcError as error:
            return error
        return None

    with ThreadPoolExecutor(16) as threads:
        outcomes = list(threads.map(outcome, range(16)))
    refused = [error for error in outcomes if error is not None]
    assert 0 < len(refused) < len(outcomes)
    for error in refused:
        assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        told = dict(error.trailing_metadata())
        assert int(told["retry-after"]) >= 1
        assert int(told["grpc-retry-pushback-ms"]) == 1000 * int(told["retry-after"])
        assert b"google.rpc.RetryInfo" in told["grpc-status-details-bin"]


def test_messages_have_at_most_32_mebibytes(busy: Server, v1: ModuleType, stub: object) -> None:
    size = 28 * 28
    with pytest.raises(grpc.RpcError, match="at most 256") as caught:
        stub.Score(many(v1, (LIMIT - 1024) // size))
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    with pytest.raises(grpc.RpcError) as caught:
        stub.Score(many(v1, LIMIT // size + 1))
    assert caught.value.code() in {grpc.StatusCode.OUT_OF_RANGE, grpc.StatusCode.RESOURCE_EXHAUSTED}


def test_what_was_accepted_is_answered_at_the_end_and_nothing_new_is_taken(
    repository: Path, generated: tuple[ModuleType, ModuleType]
) -> None:
    v1, stubs = generated
    room = ("--workers", "1", "--interactive-queue", "600")
    with serving(repository, *room) as server, grpc.insecure_channel(server.grpc) as channel:
        stub = stubs.DensityStub(channel)
        expected = stub.Score(many(v1, 1), timeout=60).log_likelihood[0]
        call = stub.Score.future(many(v1), timeout=300)
        eventually(lambda: waiting(server) > 0)
        server.process.terminate()
        assert last_word(server, lambda late: stubs.DensityStub(late).Score(many(v1, 1), timeout=60)) == (
            grpc.StatusCode.UNAVAILABLE
        )
        assert np.array_equal(call.result().log_likelihood, [expected] * 64)
        assert server.process.wait(60) == 0


def test_a_stream_that_says_nothing_more_does_not_hold_up_the_end() -> None:
    silent = threading.Event()
    try:
        with serving(FIXTURES) as server, grpc.insecure_channel(server.grpc) as channel:
            calls = []
            for method in [
                "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
                "inference.GRPCInferenceService/ModelStreamInfer",
            ]:
                # Field 7 of a question to reflection asks for the names of the services; the other answers an error.
                said = itertools.chain([b"\x3a\x00" if "reflection" in method else b""], iter(silent.wait, True))
                calls.append(channel.stream_stream(f"/{method}")(said))
                next(calls[-1])
            server.process.terminate()
            assert server.process.wait(30) == 0
    finally:
        silent.set()


def last_word(server: Server, ask: Callable[[grpc.Channel], object]) -> grpc.StatusCode:
    """Asks over a connection of its own until that is refused; the status of the refusal."""
    with grpc.insecure_channel(server.grpc) as channel:
        while True:
            try:
                ask(channel)
            except grpc.RpcError as error:
                return error.code()
