"""The command line: `python -m density_training MODEL train|export|evaluate`, and `diversity`, `probe`, `fixtures`."""

import argparse
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from density_training import (
    autoencoder,
    classifier,
    diversity,
    exporting,
    gan,
    pixelcnn,
    pixelcnn_colour,
    pixelcnn_conditional,
    pixelrnn,
    probe,
    vae,
    vae_colour,
)
from density_training.cifar10 import Cifar10
from density_training.data import DEFAULT_FOLDER, LABELS, DataError, Dataset
from density_training.fixtures import write_fixtures
from density_training.model import CACHE, REPOSITORY, Model
from density_training.training import Recipe
from density_training.version import ParityError

MODELS: tuple[Model[Any, Any], ...] = (
    pixelcnn.MODEL,
    pixelcnn.LOCAL,
    pixelcnn.BACKGROUND,
    pixelcnn_conditional.MODEL,
    pixelrnn.MODEL,
    vae.MODEL,
    autoencoder.MODEL,
    gan.MODEL,
    classifier.MODEL,
)
"""Every model that can be trained; to add one is to write its file and name it here."""


def main(arguments: list[str] | None = None, models: tuple[Model[Any, Any], ...] = MODELS) -> None:
    """Parse and run one command."""
    options = _parser(models).parse_args(arguments)
    torch.set_num_threads(options.threads)
    try:
        options.run(options)
    except (DataError, ParityError, FileNotFoundError) as error:
        sys.exit(f"density_training: {error}")


def _parser(models: tuple[Model[Any, Any], ...]) -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--threads", type=int, default=torch.get_num_threads(), help="threads of PyTorch")
    data = argparse.ArgumentParser(add_help=False, parents=[common])
    data.add_argument("--data", type=Path, default=DEFAULT_FOLDER, help="folder of Fashion-MNIST, idx or idx.gz")
    mnist = argparse.ArgumentParser(add_help=False, parents=[data])
    mnist.add_argument("--mnist", type=Path, help="folder of MNIST, to report how many digits are rejected")

    parser = argparse.ArgumentParser(prog="python -m density_training", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for model in models:
        name = model.command
        actions = commands.add_parser(name, help=model.description).add_subparsers(required=True, metavar="ACTION")
        version, checkpoint = REPOSITORY / model.name / "1", CACHE / f"{name}.pt"

        action = _add(actions, "train", data, model.train.__doc__, _train(model))
        action.add_argument("--checkpoint", type=Path, default=checkpoint, help="written often; resumed if it exists")
        _add_recipe(action, model.recipe)

        action = _add(actions, "export", mnist, model.export.__doc__, _export(model))
        action.add_argument("--checkpoint", type=Path, default=checkpoint, help="what was trained")
        action.add_argument("--output", type=Path, default=version, help="folder of the version to write")

        action = _add(actions, "evaluate", mnist, Model.evaluate.__doc__, _evaluate(model))
        action.add_argument("--version", type=Path, default=version, help="folder of the version to measure")

    _add_cifar10(commands, common)
    command = _add(commands, "diversity", data, diversity.compare.__doc__, _compare)
    command.add_argument("--draws", type=Path, default=diversity.DRAWS, help="folder of <model>/*.npy")
    probe.add_arguments(_add(commands, "probe", common, probe.__doc__, lambda o: _print(probe.run(o))))
    exporting.add_arguments(_add(commands, "export", common, exporting.run.__doc__, exporting.run))
    command = _add(commands, "fixtures", common, write_fixtures.__doc__, lambda o: write_fixtures(o.output))
    command.add_argument("--output", type=Path, default=Path("../../tests/fixtures"), help="folder to write")
    return parser


def _add(
    commands: Any,
    name: str,
    parent: argparse.ArgumentParser,
    description: str | None,
    run: Callable[[argparse.Namespace], None],
) -> argparse.ArgumentParser:
    summary = (description or "").split("\n\n")[0]
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        parents=[parent],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        help=summary,
        description=description,
    )
    command.set_defaults(run=run)
    return command


def _add_cifar10(commands: Any, common: argparse.ArgumentParser) -> None:
    """The densities of colour images, each a module with the same functions."""
    _add_colour(commands, common, pixelcnn_colour, "PixelCNN of CIFAR-10, one evaluation for three channels")
    _add_colour(commands, common, vae_colour, "VAE of CIFAR-10, whose code is a map")


def _add_colour(commands: Any, common: argparse.ArgumentParser, module: Any, summary: str) -> None:
    data = argparse.ArgumentParser(add_help=False, parents=[common])
    data.add_argument("--data", type=Path, required=True, help="folder of CIFAR-10, as `density_training.cifar10` says")
    name, recipe = module.NAME, module.RECIPE
    version, checkpoint = REPOSITORY / name / "1", CACHE / f"{name}.pt"
    actions = commands.add_parser(name, help=summary).add_subparsers(required=True, metavar="ACTION")

    def train(o: argparse.Namespace) -> None:
        module.train(Cifar10.read(o.data), o.checkpoint, replace(recipe, minutes=o.minutes))

    action = _add(actions, "train", data, module.train.__doc__, train)
    action.add_argument("--checkpoint", type=Path, default=checkpoint, help="written often; resumed if it exists")
    action.add_argument("--minutes", type=float, default=recipe.minutes, help="how long to train in all")

    def export(o: argparse.Namespace) -> None:
        _aside(o.output, lambda folder: module.export(Cifar10.read(o.data), o.checkpoint, folder))

    action = _add(actions, "export", data, module.export.__doc__, export)
    action.add_argument("--checkpoint", type=Path, default=checkpoint, help="what was trained")
    action.add_argument("--output", type=Path, default=version, help="folder of the version to write")

    def evaluate(o: argparse.Namespace) -> None:
        _print(module.evaluate(Cifar10.read(o.data), o.version))

    action = _add(actions, "evaluate", data, module.evaluate.__doc__, evaluate)
    action.add_argument("--version", type=Path, default=version, help="folder of the version to measure")


def _add_recipe(command: argparse.ArgumentParser, default: Recipe) -> None:
    command.add_argument("--steps", type=int, default=default.steps, help="until which step")
    command.add_argument("--decay-steps", type=int, default=default.decay_steps, help="last steps, to rate zero")
    command.add_argument("--batch", type=int, default=default.batch_size, help="images a step")
    command.add_argument("--seed", type=int, default=default.seed, help="of weights, batches and noise")


def _train(model: Model[Any, Any]) -> Callable[[argparse.Namespace], None]:
    def run(o: argparse.Namespace) -> None:
        recipe = replace(model.recipe, steps=o.steps, decay_steps=o.decay_steps, batch_size=o.batch, seed=o.seed)
        model.train(Dataset.read(o.data), o.checkpoint, recipe)

    return run


def _export(model: Model[Any, Any]) -> Callable[[argparse.Namespace], None]:
    return lambda o: _aside(o.output, lambda folder: model.export(Dataset.read(o.data, o.mnist), o.checkpoint, folder))


def _aside(output: Path, write: Callable[[Path], None]) -> None:
    """Write a version aside, and copy it at the end, so that a watching server never sees half of one for long."""
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(aside) / output.name
        write(folder)
        shutil.copytree(folder, output, dirs_exist_ok=True)


def _evaluate(model: Model[Any, Any]) -> Callable[[argparse.Namespace], None]:
    return lambda o: _print(model.evaluate(Dataset.read(o.data, o.mnist), o.version))


def _compare(o: argparse.Namespace) -> None:
    print(diversity.markdown(diversity.compare(Dataset.read(o.data), o.draws), LABELS))


def _print(figures: object) -> None:
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
