"""BentoML with its adaptive batches."""

from __future__ import annotations

import base64
import os

import bentoml
import numpy as np

from model import Model, levels

#: Longer than anything waits: what would take longer is refused.
PATIENCE = 300


@bentoml.service(workers=int(os.environ["PEER_WORKERS"]), traffic={"timeout": PATIENCE})
class Peer:
    """Sessions a worker; requests that wait are put together."""

    def __init__(self) -> None:
        self.model = Model()

    @bentoml.api(route="/score", batchable=True, max_batch_size=32, max_latency_ms=1000 * PATIENCE)
    def score(self, image: list[str]) -> list:
        """Log-likelihoods of image files."""
        return self.run("score", image)

    @bentoml.api(route="/encode", batchable=True, max_batch_size=32, max_latency_ms=1000 * PATIENCE)
    def encode(self, image: list[str]) -> list:
        """Codes of image files."""
        return self.run("encode", image)

    @bentoml.api(route="/sample", batchable=True, max_batch_size=32, max_latency_ms=1000 * PATIENCE)
    def sample(self, image: list[str]) -> list:
        """An image for each file, which may be empty."""
        return self.run("sample", image)

    def run(self, operation: str, image: list[str]) -> list:
        """Answers about image files."""
        return self.model.run(operation, np.stack([levels(base64.b64decode(file)) for file in image]))
