"""`python -m density_training …`."""

import argparse
from pathlib import Path

import torch

from density_training import pixelcnn
from density_training.data import DEFAULT_FOLDER, load_images
from density_training.likelihood import bits_per_dim, categorical_log_likelihood
from density_training.training import Schedule, train


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=DEFAULT_FOLDER)
    parser.add_argument("--steps", type=int, default=24000)
    parser.add_argument("--decay-steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoint", type=Path, default=Path(".cache/pixelcnn.pt"))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    images = torch.from_numpy(load_images(options.data, "train"))
    test = torch.from_numpy(load_images(options.data, "test"))
    model = pixelcnn.PixelCNN().to(memory_format=torch.channels_last)
    matrices = pixelcnn.muon_parameters(model)
    others = [p for p in model.parameters() if all(p is not m for m in matrices)]
    optimisers = [
        torch.optim.Muon(matrices, lr=0.02, weight_decay=0.05),
        torch.optim.AdamW(others, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0),
    ]

    @torch.no_grad()
    def report(epoch: int) -> None:
        total = []
        for batch in test[:1000].split(50):
            total.append(categorical_log_likelihood(model(pixelcnn.levels_to_input(batch, 256)), batch))
        print(f"\nepoch {epoch}: {bits_per_dim(torch.cat(total), 784):.4f} bits/dim on 1,000 test images", flush=True)

    train(
        model,
        lambda batch, step: pixelcnn.training_loss(model, batch),
        optimisers,
        images,
        Schedule(options.steps, options.decay_steps),
        options.batch,
        options.seed,
        options.checkpoint,
        report,
    )


main()
