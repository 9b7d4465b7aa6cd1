"""How every figure looks and is saved: the same bytes each time, text as text."""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from workflow_scripts.files import atomic
from workflow_scripts.logs import log
from workflow_scripts.report.figure_data import Table, write_csv

# Okabe and Ito's palette, told apart with any colour vision.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY = "#CC79A7", "#56B4E9"
GREY, INK, FAINT = "#8a919c", "#27303b", "#e4e7eb"
WIDTH = 10.0  # inches, of figures that fill the page
HIDDEN = "#b9bec6"  # removed patches
NO_VALUE = "#efd48a"  # pixels without a value: no grey, and no colour of clouds
# A colour and a marker for each satellite, told apart in grey print too.
PLATFORMS = {"Terra": (BLUE, "o"), "Aqua": (ORANGE, "^")}

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    # Each text of an SVG file names them all: the usual list is half of a figure full of numbers.
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # names from data may hold dollar signs
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.8,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "image.interpolation": "none",
    "image.resample": False,
}


@contextmanager
def styled() -> Iterator[None]:
    """The figures' style for the time of a block; figures made in it are closed at its end."""
    with matplotlib.rc_context(_STYLE):  # type: ignore[arg-type]
        try:
            yield
        finally:
            plt.close("all")


def plain(text: object, most: int = 40) -> str:
    """Text fit for an SVG file: no control characters (XML has no way to write them), not long."""
    kept = "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in ("Cc", "Cs", "Cn") else c
        for c in str(text)
    )
    return kept if len(kept) <= most else kept[: most - 1] + "…"


def pretty_units(units: str) -> str:
    """`W m-2 sr-1` → `W m⁻² sr⁻¹`."""
    raised = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    if units == "1":
        return "dimensionless"
    return re.sub(r"(?<=[^\W\d])-?\d+", lambda found: found[0].translate(raised), plain(units))


def mark_synthetic(figure: Figure, synthetic: bool) -> None:
    """Write into the picture itself, above its top right corner, that its data are generated."""
    if synthetic:
        figure.text(
            1.0, 1.01, "SYNTHETIC DATA", ha="right", va="bottom", fontsize=7.5, color="white",
            fontweight="bold", bbox={"boxstyle": "square,pad=0.35", "fc": RED, "ec": "none"},
        )  # fmt: skip


def bare(axes: Axes) -> None:
    """Axes that only hold a picture."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def platform_style(platform: str) -> tuple[str, str]:
    """Colour and marker of a satellite; the same pair for all that are not known."""
    return PLATFORMS.get(platform, (GREEN, "s"))


def in_order(platforms: Iterable[str]) -> list[str]:
    """Satellites, the oldest first, then others by name."""
    known = list(PLATFORMS)
    return sorted(
        platforms, key=lambda name: (known.index(name) if name in known else len(known), name)
    )


def plain_ticks(axes: Axes, *, x_whole: bool = False) -> None:
    """Tick labels as ordinary numbers, few of them."""
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
    if x_whole:
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True, min_n_ticks=1))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))


def save(figure: Figure, folder: Path, name: str, data: Table) -> Path:
    """Write `<folder>/<name>.svg` and, as `<name>.csv` beside it, the data that it shows.

    Ids inside the picture are salted with the name, so that none clash.

    Args:
        figure: Closed afterwards.
        folder: Where both go.
        name: Of the files.
        data: What the picture shows, as numbers.
    """
    path = folder / f"{name}.svg"
    with matplotlib.rc_context({"svg.hashsalt": name}), atomic(path) as temporary:
        figure.savefig(
            temporary, format="svg", metadata={"Date": None}, bbox_inches="tight", pad_inches=0.08
        )
    plt.close(figure)
    write_csv(replace(data, name=name), folder)
    log.info("%s", path)
    return path
