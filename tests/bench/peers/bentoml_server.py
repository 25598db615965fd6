"""BentoML with its adaptive batches."""

from __future__ import annotations

import base64
import os

import bentoml
import numpy as np

from model import Model, levels


@bentoml.service(workers=int(os.environ["PEER_WORKERS"]), traffic={"timeout": 60})
class Peer:
    """One model a worker; requests that wait are put together."""

    def __init__(self) -> None:
        self.model = Model(os.environ["PEER_OPERATION"], int(os.environ["PEER_THREADS"]))

    @bentoml.api(route="/", batchable=True, max_batch_size=32, max_latency_ms=1000)
    def infer(self, image: list[str]) -> list:
        """Answers about image files."""
        return self.model.run(np.stack([levels(base64.b64decode(file)) for file in image]))
