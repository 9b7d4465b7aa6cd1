"""Reading alone by loader processes and batches ahead, against what training takes."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator

from workflow_scripts.report.figure_data import Column, Table
from workflow_scripts.report.panels import (
    MOST_PANELS,
    failed_handles,
    legend,
    mark_failed,
    panels,
)
from workflow_scripts.report.study_columns import RATES
from workflow_scripts.report.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    RED,
    plain,
    plain_ticks,
    save,
)
from workflow_scripts.scaling.words import DONE, IO, REAL, SYNTHETIC
from workflow_scripts.study.points import PointData, StudyData

# Of a number of batches ahead.
_LOOKS = ((BLUE, "o"), (RED, "^"), (GREEN, "s"), (PURPLE, "D"), (ORANGE, "v"))

Panel = tuple[int | None, int, int, int]  # image size, batch, nodes, ranks a node
Curve = tuple[int | None, str | None]  # prefetch, device


def panels_of(study: StudyData) -> dict[Panel, list[PointData]]:
    """Points that only read, by what is read and on how many ranks."""
    found: dict[Panel, list[PointData]] = {}
    for one in study.of(IO):
        key = (one.image_size, one.batch, one.nodes, one.ranks_per_node)
        found.setdefault(key, []).append(one)
    return found


def curves(points: Sequence[PointData]) -> dict[Curve, list[PointData]]:
    """Measured points by batches ahead and device, by rising number of loader processes.

    Without loader processes nothing is ahead: such a point begins every curve of its device.
    """
    done = [one for one in points if one.status == DONE]
    ahead: dict[Curve, None] = dict.fromkeys(
        (one.prefetch, one.device) for one in done if one.prefetch is not None
    )
    keys = ahead or dict.fromkeys((one.prefetch, one.device) for one in done)
    return {
        (prefetch, device): sorted(
            (one for one in done if one.device == device and one.prefetch in (None, prefetch)),
            key=lambda one: one.workers or 0,
        )
        for prefetch, device in keys
    }


def wanted(study: StudyData, panel: Panel) -> dict[tuple[str, str | None], float]:
    """Images/s that training takes on these ranks, by encoder and device: the fastest layout.

    On a batch in memory where that was measured.
    """
    mode = SYNTHETIC if study.of(SYNTHETIC) else REAL
    found: dict[tuple[str, str | None], float] = {}
    for one in study.of(mode):
        if one.rate and (one.image_size, one.batch, one.nodes, one.ranks_per_node) == panel:
            name = one.encoder + (f", patch {one.patch}" if one.patch else "")
            key = (name, one.device)
            found[key] = max(found.get(key, 0.0), one.rate.median)
    return found


def reading_figure(study: StudyData, folder: Path) -> Path:
    """`reading_<study>.svg`: images/s that are read over loader processes of a rank.

    A panel for each number of ranks; dashed lines are what training takes there: reading that lies
    above one can be hidden behind it.
    """
    found = dict(list(panels_of(study).items())[:MOST_PANELS])
    figure, axes = panels(len(found), height=3.2)
    several = {key: len({getattr(one, key) for one in study.of(IO)}) > 1
               for key in ("image_size", "batch", "device")}  # fmt: skip
    ahead = sorted({key[0] or 0 for points in found.values() for key in curves(points)})
    for number, ((panel, points), (place,)) in enumerate(zip(found.items(), axes, strict=True)):
        for (prefetch, device), line in curves(points).items():
            look = _LOOKS[ahead.index(prefetch or 0) % len(_LOOKS)]
            _curve(place, line, look, plain(device or "") if several["device"] else "")
        _needs(place, wanted(study, panel))
        ticks = sorted({one.workers or 0 for one in points})
        place.set_ylim(0, 1.08 * place.get_ylim()[1])
        plain_ticks(place)
        place.xaxis.set_major_locator(FixedLocator([float(tick) for tick in ticks]))
        place.margins(x=0.1)
        mark_failed(place, [(one, float(one.workers or 0), INK) for one in points
                            if one.status != DONE])  # fmt: skip
        place.set_xlabel("loader processes of a rank")
        place.set_title(plain(_title(panel, several), 44))
        if number % 3 == 0:
            place.set_ylabel("images/s of the job")
    handles: list[Artist] = [
        Line2D([], [], color=colour, marker=marker, ms=5.5, mec="white", mew=0.5,
               label=f"{prefetch} batch{'es' if prefetch > 1 else ''} ahead" if prefetch else
               "reading")
        for prefetch, (colour, marker) in zip(ahead, _LOOKS * len(ahead), strict=False)
    ]  # fmt: skip
    handles.append(Line2D([], [], color=INK, ls=(0, (4, 2)), lw=1, label="training takes"))
    legend(figure, [*handles, *failed_handles(study.of(IO))])
    return save(figure, folder, f"reading_{study.name}", reading_table(study))


def _title(panel: Panel, several: dict[str, bool]) -> str:
    image_size, batch, nodes, local = panel
    ranks = nodes * local
    parts = [f"{ranks:,} rank{'s' if ranks > 1 else ''}"]
    parts += [f"on {nodes:,} nodes"] if nodes > 1 else []
    parts += [f"{image_size} px"] if several["image_size"] else []
    parts += [f"batch {batch}"] if several["batch"] else []
    return ", ".join(parts)


def _curve(axes: Axes, line: Sequence[PointData], look: tuple[str, str], name: str) -> None:
    rates = [one.rate for one in line if one.rate is not None]
    axes.errorbar(
        [one.workers or 0 for one in line], [rate.median for rate in rates],
        yerr=[[rate.arms[side] for rate in rates] for side in (0, 1)], fmt=look[1], ls="-",
        color=look[0], ms=5.5, mec="white", mew=0.5, capsize=2.5, elinewidth=1,
    )  # fmt: skip
    if name:
        axes.annotate(name, (line[-1].workers or 0, rates[-1].median), (0, 5), fontsize=7.5,
                      textcoords="offset points", ha="right", color=look[0])  # fmt: skip


def _needs(axes: Axes, rates: dict[tuple[str, str | None], float]) -> None:
    """What training takes, named at the right end of each line."""
    several = len({device for _, device in rates}) > 1
    for (name, device), rate in rates.items():
        axes.axhline(rate, color=INK, ls=(0, (4, 2)), lw=1)
        text = f"{name}, {device}" if several else name
        axes.text(0.99, rate, plain(text, 30), transform=axes.get_yaxis_transform(), ha="right",
                  va="bottom", fontsize=7.5, color=GREY)  # fmt: skip


def reading_table(study: StudyData) -> Table:
    """The data of the figure."""
    rows = []
    for panel, points in panels_of(study).items():
        need = wanted(study, panel)
        for one in points:
            takes = [rate for (_, device), rate in need.items() if device == one.device]
            rows.append([
                one.image_size, one.batch, one.nodes, one.ranks, one.workers, one.prefetch,
                one.status, one.device, *one.rates, max(takes, default=None),
            ])  # fmt: skip
    return Table(
        name=f"reading_{study.name}",
        title=f"Reading alone, {study.label}",
        columns=[
            Column("image size", "px"), "batch of a rank", "nodes", "ranks", "workers", "prefetch",
            "status", "device", *RATES, Column("the fastest training takes", "1/s"),
        ],
        rows=rows,
        synthetic=False,
    )  # fmt: skip
