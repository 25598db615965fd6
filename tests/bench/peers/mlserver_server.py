"""MLServer with its adaptive batches: a runtime of our own, since it has none for ONNX."""

from __future__ import annotations

import os

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from model import Model


class Peer(MLModel):
    """One model a worker. It takes levels as a tensor: the protocol that it speaks has no image files."""

    async def load(self) -> bool:
        """Loads the session."""
        self.model = Model(os.environ["PEER_OPERATION"], int(os.environ["PEER_THREADS"]))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answers about levels [N, 1, H, W]."""
        levels = NumpyCodec.decode_input(payload.inputs[0])
        result = np.asarray(self.model.run(levels.astype(np.uint8)))
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("result", result)])
