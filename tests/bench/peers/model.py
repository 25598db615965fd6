"""What every peer runs: the committed graphs in ONNX Runtime, as one would write it around a server for Python."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

REPOSITORY = Path(os.environ["DENSITY_REPOSITORY"])


class Model:
    """Scores by a PixelCNN, or encodes by a VAE."""

    def __init__(self, operation: str, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        file = "fashion-mnist-vae/1/encoder.onnx" if operation == "encode" else "fashion-mnist-pixelcnn/1/model.onnx"
        self.session = onnxruntime.InferenceSession(REPOSITORY / file, options, ["CPUExecutionProvider"])
        self.random = np.random.default_rng()
        self.run = {"score": self.score, "encode": self.encode, "sample": self.sample}[operation]

    def score(self, levels: np.ndarray) -> list[float]:
        """Log-likelihoods in nats of levels [N, 1, H, W]."""
        (logits,) = self.session.run(["logits"], {"image": levels.astype(np.float32) / np.float32(255)})
        top = logits.max(axis=1, keepdims=True)
        normal = top + np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
        given = np.take_along_axis(logits, levels.astype(np.int64), axis=1)
        return (given - normal).sum(axis=(1, 2, 3), dtype=np.float64).tolist()

    def sample(self, levels: np.ndarray) -> list:
        """New images [N, 1, H, W], one full pass a pixel; of those given only the shape counts."""
        drawn = np.zeros_like(levels)
        for row, column in np.ndindex(*drawn.shape[2:]):
            (logits,) = self.session.run(["logits"], {"image": drawn.astype(np.float32) / np.float32(255)})
            # The largest of logits and Gumbel noise is a draw from their softmax.
            noise = self.random.gumbel(size=logits.shape[:2])
            drawn[:, 0, row, column] = (logits[:, :, row, column] + noise).argmax(axis=1)
        return drawn.tolist()

    def encode(self, levels: np.ndarray) -> list[list[float]]:
        """Posterior means of levels [N, 1, H, W]."""
        (mean,) = self.session.run(["mean"], {"image": levels.astype(np.float32) / np.float32(255)})
        return mean.tolist()


def levels(file: bytes) -> np.ndarray:
    """Levels [1, H, W] of an image file."""
    return np.asarray(Image.open(io.BytesIO(file)))[None]
