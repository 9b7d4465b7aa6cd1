"""Draw the graph of jobs as Snakemake plans it, without graphviz.

python -m workflow_scripts.dag --output results/dag.svg        (snakemake dag)
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import networkx as nx

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from workflow_scripts.files import atomic
from workflow_scripts.planned import Planned
from workflow_scripts.report.figure_data import Table, write_csv

_COLOURS = {
    "fetch": "#4477aa", "tile": "#66ccee", "pack": "#228833", "pretrain": "#ccbb44",
    "weights": "#332288", "export": "#ddaa66", "snapshot": "#ddaa66", "probe": "#ee6677",
    "card": "#bb5566", "report": "#aa3377", "crate": "#aa3377",
}  # fmt: skip
_OTHER, _LINE = "#999999", "#888888"
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y = 2.3, 0.62, 0.25, 0.55  # inches


MOST_JOBS = 60  # beyond this the graph of rules is drawn instead of the graph of jobs
_POINT = "point"  # of a scaling study, which can have a hundred that all stand in one row
_LEFT_OUT = frozenset({"all", "dag_figure"})  # they move no data


def job_graph(jobs: Iterable[Planned]) -> nx.DiGraph:
    """Jobs joined by the files that one makes and another takes, without redundant edges.

    The points of a study are one node. More than `MOST_JOBS` nodes become a graph of rules.
    """
    jobs = [job for job in jobs if job.rule not in _LEFT_OUT]

    def group(job: Planned) -> tuple[str, ...]:
        """What is one node: a job, or all points of a study."""
        return (job.rule, *(job.wildcards[:1] if job.rule == _POINT else job.wildcards))

    by_rule = len({group(job) for job in jobs}) > MOST_JOBS
    counts = Counter((job.rule,) if by_rule else group(job) for job in jobs)

    def name(job: Planned) -> tuple[str, ...]:
        if by_rule:
            return (job.rule, _count(counts[job.rule,]))
        return (*group(job), _count(counts[group(job)])) if job.rule == _POINT else group(job)

    maker = {file: name(job) for job in jobs for file in job.outputs}
    graph = nx.DiGraph()
    graph.add_nodes_from(sorted({name(job) for job in jobs}))
    for job in jobs:
        edges = ((maker[file], name(job)) for file in job.inputs if file in maker)
        graph.add_edges_from(edge for edge in edges if edge[0] != edge[1])
    return nx.transitive_reduction(graph)


def _count(jobs: int) -> str:
    return f"{jobs} job{'s' * (jobs > 1)}"


Node = tuple[str, ...]  # a rule, and what tells its jobs apart
_BEND = ""  # the rule of the invisible nodes through which an edge passes the layers between


def layers(graph: nx.DiGraph) -> list[list[Node]]:
    """Nodes by the length of the longest path to them, in an order that keeps edges short.

    An edge over several layers is replaced in `graph` by a chain of invisible nodes, one a layer,
    so that it passes between the boxes and not behind them (Sugiyama's method).
    """
    depth = {n: level for level, row in enumerate(nx.topological_generations(graph)) for n in row}
    for node in graph:  # a source stands just above the first node that needs it
        below = [depth[n] for n in graph.successors(node)]
        if below and not graph.in_degree(node):
            depth[node] = min(below) - 1
    for source, target in sorted(graph.edges):
        bends = [(_BEND, *source, *target, str(n)) for n in range(depth[source] + 1, depth[target])]
        if bends:
            graph.remove_edge(source, target)
            nx.add_path(graph, [source, *bends, target])
            depth |= {bend: int(bend[-1]) for bend in bends}
    rows = [
        sorted(n for n in graph if depth[n] == level) for level in range(1 + max(depth.values()))
    ]
    for sweep in range(12):
        near = graph.successors if sweep % 2 else graph.predecessors
        place = {n: (i + 0.5) / len(row) for row in rows for i, n in enumerate(row)}
        for row in rows[:: -1 if sweep % 2 else 1]:
            around = {n: [place[m] for m in near(n)] or [place[n]] for n in row}
            row.sort(key=lambda n: (sum(around[n]) / len(around[n]), n))
            place |= {n: (i + 0.5) / len(row) for i, n in enumerate(row)}
    return rows


def _width(node: Node) -> float:
    return (_WIDTH if node[0] != _BEND else 0.0) + _GAP_X


def _places(rows: list[list[Node]]) -> dict[Node, tuple[float, float]]:
    """Centres of the nodes, in inches: each row centred, the first at the top."""
    place = {}
    for level, row in enumerate(rows):
        x = -sum(map(_width, row)) / 2
        for node in row:
            place[node] = (x + _width(node) / 2, -level * (_HEIGHT + _GAP_Y))
            x += _width(node)
    return place


def edges(graph: nx.DiGraph, name: str) -> Table:
    """The graph as a table: a row for each job and one that it needs, or for one that needs none.

    Args:
        graph: Of `Node`s.
        name: Of the table.
    """
    pairs = [(node, before) for node in sorted(graph) for before in sorted(graph.pred[node])]
    pairs += [(node, ("",)) for node in sorted(graph) if not graph.pred[node]]
    return Table(
        name=name,
        title="Jobs and what they need",
        columns=["rule", "job", "needs rule", "needs job"],
        rows=[
            [rule, ", ".join(of), before or None, ", ".join(of_before) if before else None]
            for (rule, *of), (before, *of_before) in sorted(pairs)
        ],
        synthetic=False,
    )


def draw(graph: nx.DiGraph, path: Path) -> None:
    """Draw a graph of `Node`s from top to bottom as SVG: equal graphs give equal bytes.

    As CSV beside it lie its jobs and edges.
    """
    write_csv(edges(graph, path.stem), path.parent)
    graph = graph.copy()
    rows = layers(graph)
    place = _places(rows)
    size = (max(sum(map(_width, row)) for row in rows) + 0.3, len(rows) * (_HEIGHT + _GAP_Y))
    with plt.rc_context({"svg.hashsalt": "orbweaver", "svg.fonttype": "none"}):
        figure, axes = plt.subplots(figsize=size)
        axes.set_xlim(-size[0] / 2, size[0] / 2)
        axes.set_ylim(-size[1] + (_HEIGHT + _GAP_Y) / 2, (_HEIGHT + _GAP_Y) / 2)
        axes.set_axis_off()
        for source, target in sorted(graph.edges):
            _draw_edge(axes, place, (source, target))
        for node, centre in place.items():
            if node[0] != _BEND:
                _draw_box(axes, node, centre)
        figure.subplots_adjust(0, 0, 1, 1)
        with atomic(path) as temporary:
            figure.savefig(temporary, format="svg", metadata={"Date": None}, transparent=True)
        plt.close(figure)


def _draw_edge(
    axes: plt.Axes, place: dict[Node, tuple[float, float]], edge: tuple[Node, Node]
) -> None:
    (x0, y0), (x1, y1) = (place[node] for node in edge)
    half = _HEIGHT / 2
    if edge[0][0] == _BEND:  # the vertical piece through the layer of an invisible node
        axes.plot([x0, x0], [y0 + half, y0 - half], color=_LINE, linewidth=0.9, zorder=1)
    head = "-" if edge[1][0] == _BEND else "-|>"
    arrow = FancyArrowPatch(
        (x0, y0 - half), (x1, y1 + half), arrowstyle=head, mutation_scale=9, color=_LINE,
        linewidth=0.9, shrinkA=0, shrinkB=0, zorder=1,
    )  # fmt: skip
    axes.add_patch(arrow)


def _draw_box(axes: plt.Axes, node: Node, centre: tuple[float, float]) -> None:
    x, y = centre
    rule, *details = node
    colour = next((c for name, c in _COLOURS.items() if rule.startswith(name)), _OTHER)
    box = FancyBboxPatch(
        (x - _WIDTH / 2, y - _HEIGHT / 2), _WIDTH, _HEIGHT,
        boxstyle="round,pad=0,rounding_size=0.12", facecolor="white", edgecolor=colour,
        linewidth=1.8, zorder=2,
    )  # fmt: skip
    axes.add_patch(box)
    text = " · ".join(details)
    lift = 0.12 if text else 0.0
    style: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 3, "parse_math": False}
    axes.text(x, y + lift, rule.replace("_", " "), fontsize=10, fontweight="bold", **style)
    axes.text(x, y - 0.14, text, fontsize=8, color="#444444", **style)
