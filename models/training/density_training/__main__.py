"""The command line: `python -m density_training MODEL train|export|evaluate`, and `diversity`, `probe`, `fixtures`."""

import argparse
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import torch

from density_training import (
    autoencoder_task,
    classifier_task,
    diversity_task,
    gan_task,
    pixelcnn_background_task,
    pixelcnn_conditional_task,
    pixelcnn_local_task,
    pixelcnn_task,
    pixelrnn_task,
    probe,
    vae_task,
)
from density_training.data import DEFAULT_FOLDER
from density_training.diversity import markdown
from density_training.fashion_mnist import CACHE, LABELS, REPOSITORY
from density_training.fixtures import write_fixtures
from density_training.training import Recipe

TASKS = (
    pixelcnn_task,
    pixelcnn_local_task,
    pixelcnn_background_task,
    pixelcnn_conditional_task,
    pixelrnn_task,
    vae_task,
    autoencoder_task,
    gan_task,
    classifier_task,
)


def main(arguments: list[str] | None = None) -> None:
    """Parse and run one command."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    options.run(options)


def _parser() -> argparse.ArgumentParser:
    formatter = argparse.ArgumentDefaultsHelpFormatter
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of PyTorch")
    data = argparse.ArgumentParser(add_help=False)
    data.add_argument("--data", type=Path, default=DEFAULT_FOLDER, help="folder of Fashion-MNIST, idx or idx.gz")
    mnist = argparse.ArgumentParser(add_help=False)
    mnist.add_argument("--mnist", type=Path, help="folder of MNIST, to report how many digits are rejected")

    parser = argparse.ArgumentParser(prog="python -m density_training", description=__doc__)
    models = parser.add_subparsers(required=True)
    for task in TASKS:
        name = task.NAME.removeprefix("fashion-mnist-")
        commands = models.add_parser(name, help=task.__doc__).add_subparsers(required=True)
        version, checkpoint = REPOSITORY / task.NAME / "1", CACHE / f"{name}.pt"

        command = commands.add_parser(
            "train", parents=[common, data], formatter_class=formatter, help=task.train.__doc__
        )
        command.add_argument("--checkpoint", type=Path, default=checkpoint, help="written often; resumed if it exists")
        _add_recipe(command, task.DEFAULT_RECIPE)
        command.set_defaults(run=lambda o, task=task: task.train(o.data, o.checkpoint, o.recipe(o)))

        command = commands.add_parser(
            "export", parents=[common, data, mnist], formatter_class=formatter, help=task.export.__doc__
        )
        command.add_argument("--checkpoint", type=Path, default=checkpoint)
        command.add_argument("--output", type=Path, default=version, help="folder of the version to write")
        command.set_defaults(run=lambda o, task=task: _export(task, o))

        command = commands.add_parser(
            "evaluate", parents=[common, data, mnist], formatter_class=formatter, help=task.evaluate.__doc__
        )
        command.add_argument("--version", type=Path, default=version, help="folder of the version to measure")
        command.set_defaults(
            run=lambda o, task=task: print(json.dumps(task.evaluate(o.data, o.version, o.mnist), indent=2))
        )

    compare = diversity_task.compare
    command = models.add_parser("diversity", parents=[common, data], formatter_class=formatter, help=compare.__doc__)
    command.add_argument("--draws", type=Path, default=diversity_task.DRAWS, help="folder of <model>/*.npy")
    command.set_defaults(run=lambda o: print(markdown(compare(o.data, o.draws), LABELS)))

    command = models.add_parser("probe", parents=[common], formatter_class=formatter, help=probe.__doc__)
    probe.add_arguments(command)
    command.set_defaults(run=lambda o: print(json.dumps(probe.run(o), indent=2)))

    command = models.add_parser("fixtures", parents=[common], formatter_class=formatter, help=write_fixtures.__doc__)
    command.add_argument("--output", type=Path, default=Path("../../tests/fixtures"))
    command.set_defaults(run=lambda o: write_fixtures(o.output))
    return parser


def _export(task: ModuleType, options: argparse.Namespace) -> None:
    """Export aside and copy at the end, so that a watching server never sees half a version for long."""
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(aside) / options.output.name
        task.export(options.data, options.checkpoint, folder, options.mnist)
        shutil.copytree(folder, options.output, dirs_exist_ok=True)


def _add_recipe(command: argparse.ArgumentParser, default: Recipe) -> None:
    command.add_argument("--steps", type=int, default=default.steps)
    command.add_argument("--decay-steps", type=int, default=default.decay_steps, help="last steps, to rate zero")
    command.add_argument("--batch", type=int, default=default.batch_size)
    command.add_argument("--seed", type=int, default=default.seed)
    command.set_defaults(
        recipe=lambda o: replace(default, steps=o.steps, decay_steps=o.decay_steps, batch_size=o.batch, seed=o.seed)
    )


if __name__ == "__main__":
    main()
