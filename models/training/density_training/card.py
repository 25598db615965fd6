"""Model cards: the README.md beside each exported version. Every figure in them was measured by the export.

Mitchell et al., "Model Cards for Model Reporting" (2019).
"""

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from density_training.figures import Figures
from density_training.training import Progress, Recipe
from density_training.version import Version

INTERRUPTED = "interrupted and resumed; other work took part of both cores"
ONE_THREAD = "one thread; other work took part of both cores"
ONE_THREAD_INTERRUPTED = "one thread, interrupted and resumed; other work took part of both cores"
UNTOUCHED = "The test images were not trained on, and nothing was selected by them."
MUON = "bfloat16 matrix products, Muon for hidden matrices and AdamW for the rest"
COLUMNS = 120
VERBATIM = ("#", "|", "![", "    ")
"""How lines begin that are not prose: headings, rows of tables, pictures, code."""


@dataclass(frozen=True)
class Report:
    """What a card is written from: what was exported, after which training, and what was measured."""

    version: Version
    number: str
    recipe: Recipe
    progress: Progress
    figures: Figures

    @property
    def title(self) -> str:
        """The heading of the card."""
        return f"# {self.version.name}, version {self.number}"

    @property
    def weights(self) -> str:
        """How many weights the graphs hold."""
        return f"{self.version.provenance['parameters']:,} weights"


def layout(markdown: str) -> str:
    """Fill paragraphs and list items to 120 columns; headings, tables, pictures and code stay as they are."""
    blocks: list[str] = []
    continues = False
    for line in re.sub(r"\n{3,}", "\n\n", markdown).splitlines():
        prose = bool(line) and not line.startswith(VERBATIM)
        if prose and continues and not line.startswith("- "):
            blocks[-1] += f" {line.strip()}"
        else:
            blocks.append(line)
        continues = prose
    return "\n".join(_filled(block) for block in blocks) + "\n"


def _filled(block: str) -> str:
    if not block or block.startswith(VERBATIM):
        return block
    indent = "  " if block.startswith("- ") else ""
    return textwrap.fill(block, COLUMNS, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    return "\n".join([lines[0], "|---" * len(header) + "|", *lines[1:]])


def training_section(report: Report, how: str, run: str, images: str = "no augmentation", test: str = UNTOUCHED) -> str:
    """Data, command, steps and minutes.

    `how` names precision and optimisers, `run` the circumstances, `images` what became of them, `test` what was done
    with the test images.
    """
    provenance, progress = report.version.provenance, report.progress
    epochs = progress.step * report.recipe.batch_size / 60_000
    return f"""## Data and training
- Data: {provenance["data"]} (Zalando Research, MIT licence), {images}. {test}
- Command: `{provenance["command"]}`
- {progress.step:,} steps, {epochs:.1f} epochs, {how}. {progress.seconds / 60:.0f} minutes of wall time on a shared
  two-core CPU (AVX-512 with bfloat16), {run}.
"""


def false_alarm_rows(figures: Figures) -> list[tuple[str, str]]:
    """Rows of the table of figures."""
    return [
        (
            f"false alarms at a requested rate of {label[:-1]} %, the 5,000 test images outside the calibration",
            f"{rate:.2%}",
        )
        for label, rate in figures["false_alarm_rate"].items()
    ]


def accuracy_table(figures: Figures) -> str:
    """Accuracy on the test images of each label."""
    return table(("label", "accuracy"), shares(figures["accuracy_by_label"]))


def shares(by_name: dict[str, float]) -> list[tuple[str, str]]:
    """Rows of names and per cent."""
    return [(name, f"{share:.1%}") for name, share in by_name.items()]


def evaluation_note(command: str, options: str = " --mnist <folder of MNIST>") -> str:
    """Where the figures come from; `command` names the model on the command line."""
    return f"""All figures, those of the next section included, are of the exported graphs in ONNX Runtime on a CPU;
measure them again with

    python -m density_training {command} evaluate{options}
"""


def detection_section(figures: Figures, score: str, *, unit: str, statistic: str, comment: str = "") -> str:
    """How well the score detects what is not clothes.

    `score` names it in a sentence, `unit` above a column; `statistic` is what is large for outliers; a `comment` stands
    before the digits.
    """
    comment = f"\n{comment}\n" if comment else ""
    return f"""## Detection, honestly
The test calibrated here asks whether {score} is unusually low **or unusually high** among 5,000 held-out clothes. A
p-value at or below the requested false-alarm rate means rejected.

{_oddities_table(figures, unit)}
{comment}
{_mnist_table(figures, unit, statistic)}
"""


def _oddities_table(figures: Figures, unit: str) -> str:
    """Scores of the golden images that are not clothes."""
    rows = [
        (name, f"{oddity['bits_per_dim']:.4f}", f"{oddity['p_value']:.4f}")
        for name, oddity in figures["oddities"].items()
    ]
    return table(("one picture each", unit, "p-value"), rows)


def _mnist_table(figures: Figures, unit: str, statistic: str) -> str:
    """How digits score, if that was measured."""
    if "mnist_rejection_rate" not in figures:
        return "How it treats MNIST digits was not measured for this export."
    rates = figures["mnist_rejection_rate"]
    auroc = f"AUROC of {statistic} against held-out clothes; 0.5 is chance, below it digits score higher than clothes"
    rows = [
        (unit, f"{figures['mnist_score_bits_per_dim']:.4f}"),
        ("rejected at a false-alarm rate of 1 %", f"{rates['1%']:.1%}"),
        ("rejected at a false-alarm rate of 5 %", f"{rates['5%']:.1%}"),
        (auroc, f"{figures['mnist_auroc_of_low_scores']:.3f}"),
    ]
    return table(("10,000 MNIST test digits", "figure"), rows)


def limits_section() -> str:
    """What no model of Fashion-MNIST can do."""
    return """## Limits
- Only 28×28 grey images in the manner of Fashion-MNIST: centred, white on black, 256 levels. Colour, resizing, JPEG
  artefacts or an inverted background change every score.
- Fashion-MNIST is a benchmark, not a sample of the world's clothes. The model is an example of what the server serves,
  not a product.
"""
