"""The clients: one that waits for answers, one whose answers are awaited. Both try again when the server says so."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx
import numpy.typing as npt

from . import wire
from .wire import Answer, Array, DensityError, Images, Option, Tensor

#: Statuses of a server that is busy or on its way up or down.
PASSING = frozenset({429, 503})


class _Retries:
    """How often and when a request is tried again."""

    def __init__(self, retries: int, longest_wait: float) -> None:
        self.retries = retries
        self.longest_wait = longest_wait

    def wait(self, attempt: int, outcome: httpx.Response | httpx.TransportError) -> float | None:
        """Seconds until the next try, or `None` if there is to be none."""
        if attempt >= self.retries or not _is_passing(outcome):
            return None
        told = outcome.headers.get("Retry-After") if isinstance(outcome, httpx.Response) else None
        if told is not None and told.isdigit():
            seconds = float(told)
            # Waiting less than the server asks for would be rude, and waiting longer than the caller wants pointless.
            return seconds if seconds <= self.longest_wait else None
        # Clients that failed together should not come back together.
        return min(self.longest_wait, 0.1 * 2**attempt) * random.uniform(0.5, 1.0)


def _is_passing(outcome: httpx.Response | httpx.TransportError) -> bool:
    # Asking twice changes nothing, so a connection that broke under way is no reason to give up; an answer that does
    # not come in time is.
    if isinstance(outcome, httpx.Response):
        return outcome.status_code in PASSING
    return isinstance(outcome, httpx.ConnectTimeout) or not isinstance(outcome, httpx.TimeoutException)


def _answered(outcome: httpx.Response | httpx.TransportError) -> httpx.Response:
    if isinstance(outcome, httpx.TransportError):
        raise outcome
    return outcome


def _path(model: str, operation: str, version: int | None) -> str:
    name = quote(f"{model}:{operation}", safe="")
    return f"/v2/models/{name}/infer" if version is None else f"/v2/models/{name}/versions/{version}/infer"


def _read(response: httpx.Response) -> Answer:
    if response.status_code != httpx.codes.OK:
        raise wire.error(response.status_code, response.content)
    return wire.answer(response.content, response.headers.get(wire.HEADER_LENGTH))


def _outputs(outputs: Sequence[str] | str) -> Sequence[str]:
    return [outputs] if isinstance(outputs, str) else outputs


class Client:
    """Asks a server and waits for its answers. Options are those of the server's operations, by their names."""

    def __init__(
        self, url: str = "http://127.0.0.1:8000", *, timeout: float = 60.0, retries: int = 4, longest_wait: float = 30.0
    ) -> None:
        self._http = httpx.Client(base_url=url, timeout=timeout)
        self._retries = _Retries(retries, longest_wait)

    def __enter__(self) -> Self:
        """Opens nothing yet."""
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Closes the connections."""
        self.close()

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def _send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> httpx.Response:
        attempt = 0
        while True:
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = self._http.request(method, path, content=body, headers=headers)
            except httpx.TransportError as error:
                outcome = error
            wait = self._retries.wait(attempt, outcome)
            if wait is None:
                return _answered(outcome)
            time.sleep(wait)
            attempt += 1

    def models(self) -> list[dict[str, Any]]:
        """Every version of every model, and how far it is."""
        response = self._send("POST", "/v2/repository/index", b"", {})
        if response.status_code != httpx.codes.OK:
            raise wire.error(response.status_code, response.content)
        return response.json()

    def infer(
        self,
        model: str,
        operation: str,
        tensors: Sequence[Tensor],
        *,
        version: int | None = None,
        outputs: Sequence[str] | str = (),
        **options: Option | None,
    ) -> Answer:
        """Any operation of any model."""
        body, headers = wire.request(tensors, _outputs(outputs), options)
        return _read(self._send("POST", _path(model, operation, version), body, headers))

    def score(self, model: str, images: Images, **options: Any) -> Answer:
        """`log_likelihood` and `bits_per_dim`; with `map=True` also `log_probability_map`."""
        return self.infer(model, "score", [wire.images(images)], **options)

    def detect(self, model: str, images: Images, **options: Any) -> Answer:
        """`p_value` and `reject`."""
        return self.infer(model, "detect", [wire.images(images)], **options)

    def classify(self, model: str, images: Images, **options: Any) -> Answer:
        """`probabilities`."""
        return self.infer(model, "classify", [wire.images(images)], **options)

    def sample(self, model: str, **options: Any) -> Answer:
        """`image`."""
        return self.infer(model, "sample", [], **options)

    def complete(self, model: str, images: Images, mask: Array | None = None, **options: Any) -> Answer:
        """`image`: pictures with the pixels that the mask leaves out drawn anew."""
        tensors = [wire.images(images)] + ([] if mask is None else [wire.mask(mask)])
        return self.infer(model, "complete", tensors, **options)

    def encode(self, model: str, images: Images, **options: Any) -> Answer:
        """`code`."""
        return self.infer(model, "encode", [wire.images(images)], **options)

    def decode(self, model: str, latents: npt.ArrayLike, **options: Any) -> Answer:
        """`image`."""
        return self.infer(model, "decode", [wire.latents(latents)], **options)

    def reconstruct(self, model: str, images: Images, **options: Any) -> Answer:
        """`image` and `mean_squared_error`."""
        return self.infer(model, "reconstruct", [wire.images(images)], **options)

    def interpolate(self, model: str, images: Images, **options: Any) -> Answer:
        """`image`: the way from the first of two pictures to the second."""
        return self.infer(model, "interpolate", [wire.images(images)], **options)

    def compress(self, model: str, images: Images, **options: Any) -> Answer:
        """`stream`."""
        return self.infer(model, "compress", [wire.images(images)], **options)

    def decompress(self, model: str, streams: Sequence[bytes], **options: Any) -> Answer:
        """`image`."""
        return self.infer(model, "decompress", [wire.strings("stream", list(streams))], **options)


class AsyncClient:
    """Asks a server; answers are awaited. Its methods are those of `Client`."""

    def __init__(
        self, url: str = "http://127.0.0.1:8000", *, timeout: float = 60.0, retries: int = 4, longest_wait: float = 30.0
    ) -> None:
        self._http = httpx.AsyncClient(base_url=url, timeout=timeout)
        self._retries = _Retries(retries, longest_wait)

    async def __aenter__(self) -> Self:
        """Opens nothing yet."""
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Closes the connections."""
        await self.close()

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def _send(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> httpx.Response:
        attempt = 0
        while True:
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = await self._http.request(method, path, content=body, headers=headers)
            except httpx.TransportError as error:
                outcome = error
            wait = self._retries.wait(attempt, outcome)
            if wait is None:
                return _answered(outcome)
            await asyncio.sleep(wait)
            attempt += 1

    async def models(self) -> list[dict[str, Any]]:
        """Every version of every model, and how far it is."""
        response = await self._send("POST", "/v2/repository/index", b"", {})
        if response.status_code != httpx.codes.OK:
            raise wire.error(response.status_code, response.content)
        return response.json()

    async def infer(
        self,
        model: str,
        operation: str,
        tensors: Sequence[Tensor],
        *,
        version: int | None = None,
        outputs: Sequence[str] | str = (),
        **options: Option | None,
    ) -> Answer:
        """Any operation of any model."""
        body, headers = wire.request(tensors, _outputs(outputs), options)
        return _read(await self._send("POST", _path(model, operation, version), body, headers))

    async def score(self, model: str, images: Images, **options: Any) -> Answer:
        """`log_likelihood` and `bits_per_dim`; with `map=True` also `log_probability_map`."""
        return await self.infer(model, "score", [wire.images(images)], **options)

    async def detect(self, model: str, images: Images, **options: Any) -> Answer:
        """`p_value` and `reject`."""
        return await self.infer(model, "detect", [wire.images(images)], **options)

    async def classify(self, model: str, images: Images, **options: Any) -> Answer:
        """`probabilities`."""
        return await self.infer(model, "classify", [wire.images(images)], **options)

    async def sample(self, model: str, **options: Any) -> Answer:
        """`image`."""
        return await self.infer(model, "sample", [], **options)

    async def complete(self, model: str, images: Images, mask: Array | None = None, **options: Any) -> Answer:
        """`image`: pictures with the pixels that the mask leaves out drawn anew."""
        tensors = [wire.images(images)] + ([] if mask is None else [wire.mask(mask)])
        return await self.infer(model, "complete", tensors, **options)

    async def encode(self, model: str, images: Images, **options: Any) -> Answer:
        """`code`."""
        return await self.infer(model, "encode", [wire.images(images)], **options)

    async def decode(self, model: str, latents: npt.ArrayLike, **options: Any) -> Answer:
        """`image`."""
        return await self.infer(model, "decode", [wire.latents(latents)], **options)

    async def reconstruct(self, model: str, images: Images, **options: Any) -> Answer:
        """`image` and `mean_squared_error`."""
        return await self.infer(model, "reconstruct", [wire.images(images)], **options)

    async def interpolate(self, model: str, images: Images, **options: Any) -> Answer:
        """`image`: the way from the first of two pictures to the second."""
        return await self.infer(model, "interpolate", [wire.images(images)], **options)

    async def compress(self, model: str, images: Images, **options: Any) -> Answer:
        """`stream`."""
        return await self.infer(model, "compress", [wire.images(images)], **options)

    async def decompress(self, model: str, streams: Sequence[bytes], **options: Any) -> Answer:
        """`image`."""
        return await self.infer(model, "decompress", [wire.strings("stream", list(streams))], **options)


__all__ = ["AsyncClient", "Client", "DensityError"]
