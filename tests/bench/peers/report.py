"""What was measured, as a page of Markdown and as a picture (SVG)."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable

#: Of density-server's ways, and of others.
OWN = ("#0b5d8a", "#3b8fc0", "#8cc3e3")
OTHERS = ("#b5651d", "#d99a5b", "#7a7a7a", "#999999", "#b3b3b3", "#c9c9c9", "#dedede")
TITLES = {"score": "score", "encode": "encode", "sample": "sample (images drawn)"}


INTRODUCTION = """Written by `make bench-peers`: every server has the same two graphs (the PixelCNN and the VAE of
Fashion-MNIST in `models/repository`), a worker a core with one thread each, and batches where it has them. One load
generator asks all of them for one image a request, with 1, 16 and 64 requests in flight, on the same cores."""

NOTES = [
    "Command: `{command}`, {seconds:g} s a measurement, {date}, {took:.0f} s in all.",
    """Machine: {machine[processor]}, {machine[cores]} cores, {machine[memory_gib]:.0f} GiB; {machine[system]}; load
    average before the start {machine[load]:.2f}.""",
    "Versions: {told}.",
    """density-server has its default settings, and writes a line of log for each request; no other server does.
    furnace-server is given a model of ours that runs the graphs in ONNX Runtime, and images as reals, since it takes
    no bytes and no files.""",
    """`no server` is the best loop around ONNX Runtime in process, over batches of 1 and 32, on the graph as given.
    With one request in flight no server can have more than one image in hand: there it is the best loop of one caller
    with one image, on one core or all.""",
    """`sample`: density-server draws whole images. The others run the loop that the graph as given asks for, a full
    pass a pixel, for {pixels} of 784 pixels; rates and times are those of whole images, since all passes cost the
    same.""",
    """Memory is the proportional set size of all processes, the largest that was seen between measurements. Start is
    the time until the server says that it is ready, density-server's load gate included.""",
]


def page(found: dict) -> str:
    """The whole page."""
    told = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    lines = [
        "# density-server beside other servers\n",
        filled(INTRODUCTION) + "\n",
        *(filled(note.format(**found, told=told), "- ") for note in NOTES),
        "\n![Images a second by server, operation and requests in flight](benchmark.svg)\n",
        "| operation | server | in flight | images/s | ÷ no server | p50 ms | p99 ms | errors | peak MiB | start s |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|",
        *(row_of(row, found["limits_of_one" if row.get("concurrency") == 1 else "limits"]) for row in found["rows"]),
        *(f"\n{name} did not run: `{reason}`" for name, reason in found["failed"].items()),
    ]
    return "\n".join(lines) + "\n"


def filled(prose: str, mark: str = "") -> str:
    """Prose in lines of at most 118 columns, broken at spaces only."""
    return textwrap.fill(
        " ".join(prose.split()),
        118,
        initial_indent=mark,
        subsequent_indent=" " * len(mark),
        break_long_words=False,
        break_on_hyphens=False,
    )


def row_of(row: dict, limits: dict[str, float]) -> str:
    """A line of the table."""
    if "concurrency" not in row:
        rate = number(row["per_second"])
        return f"| {row['operation']} | no server | {row['callers'] or ''} | {rate} | 1 | | | | | |"
    share = row["per_second"] / limits[row["operation"]]
    cells = [
        *(row["operation"], row["server"], str(row["concurrency"]), number(row["per_second"]), f"{share:.2f}"),
        *(number(row["p50_ms"]), number(row["p99_ms"]), str(row["errors"])),
        *(f"{row['memory'] / 2**20:.0f}", f"{row['start']:.1f}"),
    ]
    return f"| {' | '.join(cells)} |"


def number(value: float | None) -> str:
    """Three digits that count."""
    if not value:
        return "–"
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"


def picture(found: dict) -> str:
    """Bars, a panel an operation, on a logarithmic axis."""
    width, height, top, left = 900, 230, 40, 60
    names = list(dict.fromkeys(row["server"] for row in found["rows"] if "concurrency" in row))
    colours = dict(zip(names, colours_of(names), strict=True))
    parts = []
    for index, (operation, title) in enumerate(TITLES.items()):
        rows = [row for row in found["rows"] if row["operation"] == operation and row["per_second"]]
        if rows:
            parts += panel(title, rows, colours, (left, top + index * (height + 50)), (width - left - 10, height))
    legend = top + 3 * (height + 50)
    for index, name in enumerate(names):
        x, y = left + (index % 4) * 205, legend + (index // 4) * 20
        parts.append(f'<rect x="{x}" y="{y - 10}" width="12" height="12" fill="{colours[name]}"/>')
        parts.append(text(x + 18, y, name))
    total = legend + 20 * math.ceil(len(names) / 4) + 10
    box = f'viewBox="0 0 {width} {total}" font-family="sans-serif" font-size="12"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {box}>\n'
        f'<rect width="{width}" height="{total}" fill="white"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def colours_of(names: Iterable[str]) -> list[str]:
    """A colour for each server."""
    own, others = iter(OWN * 3), iter(OTHERS * 3)
    return [next(own if name.startswith("density-server") else others) for name in names]


def panel(
    title: str, rows: list[dict], colours: dict[str, str], at: tuple[int, int], size: tuple[int, int]
) -> list[str]:
    """One operation: groups of bars by requests in flight, and the limit as a line."""
    (left, top), (width, height) = at, size
    rates = [row["per_second"] for row in rows]
    low, high = math.floor(math.log10(min(rates))), math.log10(max(rates) * 1.6)

    def y(rate: float) -> float:
        return top + height * (1 - (math.log10(rate) - low) / (high - low))

    parts = [text(left, top - 10, f"{title}: images a second", weight="bold")]
    for power in range(low, math.floor(high) + 1):
        parts.append(line(left, left + width, y(10.0**power), "#e4e4e4"))
        parts.append(text(left - 6, y(10.0**power) + 4, f"{10.0**power:g}", anchor="end"))
    concurrencies = sorted({row["concurrency"] for row in rows if "concurrency" in row})
    for group, concurrency in enumerate(concurrencies):
        start, span = left + width * group / len(concurrencies), width / len(concurrencies)
        bar = (span - 20) / len(colours)
        parts.append(text(start + span / 2, top + height + 18, f"{concurrency} in flight", anchor="middle"))
        for index, name in enumerate(colours):
            own = [row for row in rows if row["server"] == name and row.get("concurrency") == concurrency]
            for row in own:
                x, rate = start + 10 + index * bar, row["per_second"]
                parts.append(
                    f'<rect x="{x:.1f}" y="{y(rate):.1f}" width="{bar - 2:.1f}" height="{top + height - y(rate):.1f}"'
                    f' fill="{colours[name]}"><title>{name}: {number(rate)}</title></rect>'
                )
                parts.append(text(x + bar / 2 - 1, y(rate) - 3, number(rate), anchor="middle", size=8))
    for row in rows:
        if "concurrency" not in row and row["callers"] is None:
            parts.append(line(left, left + width, y(row["per_second"]), "#c0392b", dashes="5 4"))
            parts.append(text(left + width, y(row["per_second"]) - 4, "no server", anchor="end"))
    return parts


def line(start: float, end: float, y: float, colour: str, dashes: str = "none") -> str:
    """A horizontal line."""
    ends = f'x1="{start:.1f}" x2="{end:.1f}" y1="{y:.1f}" y2="{y:.1f}"'
    return f'<line {ends} stroke="{colour}" stroke-dasharray="{dashes}"/>'


def text(x: float, y: float, words: str, *, anchor: str = "start", weight: str = "normal", size: int = 12) -> str:
    """Words."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" font-size="{size}">{words}</text>'
    )
