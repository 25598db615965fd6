"""MLServer with its adaptive batches: a runtime of our own, since it has none for ONNX."""

from __future__ import annotations

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from model import Model


class Peer(MLModel):
    """A model for each operation. They take levels as a tensor: the protocol that it speaks has no image files."""

    async def load(self) -> bool:
        """Loads the sessions."""
        self.model = Model()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answers about levels [N, 1, H, W]."""
        levels = NumpyCodec.decode_input(payload.inputs[0])
        result = np.asarray(self.model.run(self.name, levels.astype(np.uint8)))
        return InferenceResponse(model_name=self.name, outputs=[NumpyCodec.encode_output("result", result)])
