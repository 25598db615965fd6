"""Requests and answers as bytes: tensors of the Open Inference Protocol in its binary form.

Nothing here opens a connection, so that the client that waits and the one that is awaited share all of it.
"""

from __future__ import annotations

import io
import json
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image as Pillow

Array: TypeAlias = npt.NDArray[Any]
Option: TypeAlias = bool | int | float | str
#: One picture: levels, the path or the bytes of a file, or a picture of Pillow.
Image: TypeAlias = "Array | str | Path | bytes | Pillow.Image"
#: One picture or several.
Images: TypeAlias = "Image | Sequence[Image]"

HEADER_LENGTH = "Inference-Header-Content-Length"
TYPES = {"FP64": "<f8", "FP32": "<f4", "UINT8": "u1", "BOOL": "?"}


class DensityError(Exception):
    """The server refused or failed; `status` is that of HTTP."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


@dataclass(frozen=True)
class Answer(Mapping[str, Array]):
    """The tensors of an answer by name, their first axis the pictures; in `notes` what holds for all, as a seed."""

    model: str
    version: str
    tensors: dict[str, Array]
    notes: dict[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Array:
        """The tensor of that name."""
        return self.tensors[name]

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self.tensors)

    def __len__(self) -> int:
        """How many tensors there are."""
        return len(self.tensors)


@dataclass(frozen=True)
class Tensor:
    """A tensor on its way out."""

    name: str
    datatype: str
    shape: list[int]
    data: bytes


def strings(name: str, values: Sequence[bytes]) -> Tensor:
    """Strings of bytes, each with its length before it."""
    return Tensor(name, "BYTES", [len(values)], b"".join(struct.pack("<I", len(value)) + value for value in values))


def four(array: Array) -> Array:
    """Levels [N, C, H, W] from [H, W], [N, H, W], [N, C, H, W], or three levels a pixel, [H, W, 3] or [N, H, W, 3]."""
    if array.dtype != np.uint8:
        raise TypeError(
            f"levels are uint8, not {array.dtype}; scaling would change the likelihood, so it is not done here"
        )
    if array.ndim == 2:
        return array[None, None]
    if array.ndim == 3 and array.shape[-1] == 3:
        return array.transpose(2, 0, 1)[None]
    if array.ndim == 3:
        return array[:, None]
    if array.ndim != 4:
        raise ValueError(f"an array of images has two to four axes, not the shape {array.shape}")
    return array.transpose(0, 3, 1, 2) if array.shape[-1] == 3 and array.shape[1] != 3 else array


def levels(array: Array) -> Tensor:
    """Levels as a tensor."""
    array = four(array)
    return Tensor("image", "UINT8", list(array.shape), np.ascontiguousarray(array).tobytes())


def images(given: Images) -> Tensor:
    """Pictures of any form as a tensor."""
    if isinstance(given, np.ndarray):
        return levels(given)
    several = list(given) if isinstance(given, Sequence) and not isinstance(given, str | bytes) else [given]
    arrays = [one for one in several if isinstance(one, np.ndarray)]
    if arrays and len(arrays) == len(several):
        return levels(np.concatenate([four(one) for one in arrays]))
    if arrays:
        raise TypeError("a request brings arrays or files, not both")
    return strings("image", [file(one) for one in several])


def file(given: Any) -> bytes:
    """The bytes of one image file."""
    if isinstance(given, bytes):
        return given
    if isinstance(given, str | Path):
        return Path(given).read_bytes()
    if hasattr(given, "save"):
        buffer = io.BytesIO()
        given.save(buffer, format="PNG")
        return buffer.getvalue()
    raise TypeError(f"an image is an array, a path, the bytes of a file or a picture, not {type(given).__name__}")


def mask(given: Array) -> Tensor:
    """Given pixels [H, W]."""
    flags = np.asarray(given, dtype=bool)
    return Tensor("mask", "BOOL", list(flags.shape), np.ascontiguousarray(flags).tobytes())


def latents(given: npt.ArrayLike) -> Tensor:
    """Latent codes [N, L], or one of them."""
    codes = np.atleast_2d(np.asarray(given, dtype="<f4"))
    return Tensor("latent", "FP32", list(codes.shape), np.ascontiguousarray(codes).tobytes())


def plain(value: Any) -> Option:
    """An option as JSON has it: a number of NumPy as one of Python."""
    return value.item() if isinstance(value, np.generic) else value


def request(
    tensors: Sequence[Tensor], outputs: Sequence[str], options: Mapping[str, Option | None]
) -> tuple[bytes, dict[str, str]]:
    """A body and the headers that go with it."""
    parameters = {name: plain(value) for name, value in options.items() if value is not None}
    if "timeout" in parameters:
        # The option has seconds, as everywhere; the protocol has microseconds.
        parameters["timeout"] = math.ceil(1e6 * float(parameters["timeout"]))
    inputs = [
        {
            "name": own.name,
            "datatype": own.datatype,
            "shape": own.shape,
            "parameters": {"binary_data_size": len(own.data)},
        }
        for own in tensors
    ]
    head: dict[str, Any] = {
        "inputs": inputs,
        "parameters": {**parameters, "binary_data_output": True},
    }
    if outputs:
        head["outputs"] = [{"name": name} for name in outputs]
    text = json.dumps(head).encode()
    headers = {HEADER_LENGTH: str(len(text)), "Content-Type": "application/octet-stream"}
    return b"".join([text, *(own.data for own in tensors)]), headers


def answer(body: bytes, header_length: str | None) -> Answer:
    """The tensors of a body."""
    try:
        return tensors_of(body, header_length)
    except (ValueError, KeyError, TypeError) as wrong:
        raise DensityError(200, f"the answer is none of density-server's HTTP port: {body[:60]!r}") from wrong


def tensors_of(body: bytes, header_length: str | None) -> Answer:
    """The tensors of a body of the protocol; an error, if it is none."""
    length = len(body) if header_length is None else int(header_length)
    head = json.loads(body[:length])
    tensors = {}
    for output in head["outputs"]:
        size = output["parameters"]["binary_data_size"]
        tensors[output["name"]] = values(output["datatype"], output["shape"], body[length : length + size])
        length += size
    return Answer(head["model_name"], head["model_version"], tensors, head.get("parameters", {}))


def values(datatype: str, shape: list[int], data: bytes) -> Array:
    """The values of one tensor; strings become an array of `bytes` objects."""
    if datatype != "BYTES":
        return np.frombuffer(data, dtype=TYPES[datatype]).reshape(shape)
    array = np.empty(math.prod(shape), dtype=object)
    place = 0
    for index in range(len(array)):
        (size,) = struct.unpack_from("<I", data, place)
        array[index] = data[place + 4 : place + 4 + size]
        place += 4 + size
    return array.reshape(shape)


def error(status: int, body: bytes) -> DensityError:
    """What an answer that is none says."""
    try:
        own = json.loads(body)
        return DensityError(status, own["error"] if "error" in own else own["detail"])
    except (ValueError, KeyError, TypeError):
        return DensityError(status, body[:200].decode(errors="replace"))
