"""What the runs of `all` may take of a machine: nodes, ranks, batch jobs and node-hours at most.

Every segment is counted with its whole time limit, so a run costs no more than this unless it dies
and is started again.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.config import Config
from workflow_scripts.config_check import load_config
from workflow_scripts.config_encoders import Swin, Vit, named_encoder
from workflow_scripts.config_runs import RunBase
from workflow_scripts.errors import UserError
from workflow_scripts.models.library import LIBRARY
from workflow_scripts.site_points import PointJob, point_jobs
from workflow_scripts.sites import NO_PROFILE, Geometry, Profile, geometry
from workflow_scripts.wanted import wanted_runs

_HEAD = ("run", "encoder", "nodes", "ranks", "batch a rank", "strategy", "segments", "node-hours")


@dataclass(frozen=True, kw_only=True)
class Row:
    """A run as it is laid over the machine.

    Attributes:
        laid: Over which nodes, ranks and jobs.
        encoder: In words.
        batch: Samples of a rank in a step.
        strategy: One of `strategies.NAMES`.
    """

    laid: Geometry
    encoder: str
    batch: float
    strategy: str

    @property
    def node_hours(self) -> float:
        """The most that all segments take."""
        return self.laid.nodes * self.laid.segments * self.laid.minutes / 60

    @property
    def cells(self) -> tuple[str, ...]:
        """What the table says of it, below `_HEAD`."""
        laid = self.laid
        return (
            laid.run, self.encoder, f"{laid.nodes}", f"{laid.ranks}", f"{self.batch:g}",
            self.strategy, f"{laid.segments} × {laid.minutes} min", f"{self.node_hours:,.1f}",
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class StudyRow:
    """Points of a study that would be measured.

    Attributes:
        study: Its name.
        jobs: What they ask for, and how many ask for it.
    """

    study: str
    jobs: tuple[tuple[PointJob, int], ...]

    @property
    def node_hours(self) -> float:
        """The most that all of them take."""
        return sum(count * job.nodes * job.minutes / 60 for job, count in self.jobs)

    @property
    def cells(self) -> tuple[str, ...]:
        """What the table says of them, below `_HEAD`."""
        nodes = [job.nodes for job, _ in self.jobs]
        ranks = [job.nodes * job.ranks_per_node for job, _ in self.jobs]
        count = sum(count for _, count in self.jobs)
        return (
            f"study {self.study}", "", _range(nodes), _range(ranks), "", "",
            f"{count} × {_range([job.minutes for job, _ in self.jobs])} min",
            f"{self.node_hours:,.1f}",
        )  # fmt: skip


def _range(numbers: Sequence[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low}" if low == high else f"{low}–{high}"


def study_rows(
    config: Config, points: Iterable[tuple[str, str]], profile: Profile = NO_PROFILE
) -> list[StudyRow]:
    """A row for each study that some points (study and name of each) are of."""
    found: dict[str, list[tuple[PointJob, int]]] = {}
    for job, count in point_jobs(config, points, profile).items():
        found.setdefault(job.study, []).append((job, count))
    return [StudyRow(study=study, jobs=tuple(jobs)) for study, jobs in found.items()]


def rows(config: Config, profile: Profile = NO_PROFILE) -> list[Row]:
    """A row for each run of `all`, with those that these need.

    Args:
        config: The configuration.
        profile: The site's, whose geometry goes before that of each run's `launch`.
    """
    return [
        _row(config.runs[name], geometry(config, name, profile)) for name in wanted_runs(config)
    ]


def _row(run: RunBase, laid: Geometry) -> Row:
    # What a site would refuse, a batch that does not divide among them, is told by its checks.
    return Row(
        laid=laid,
        encoder=_in_words(run.encoder),
        batch=run.batch / laid.ranks,
        strategy=run.launch.strategy,
    )


def _in_words(encoder: Vit | Swin) -> str:
    """Such as `vit_base, 224 px`, or `vit 192 × 6, 64 px` of one that has no name."""
    plain, size = encoder.plain(), encoder.image_size
    for name in LIBRARY:
        if named_encoder(name).plain() | {"image_size": size} == plain:
            return f"{name}, {size} px"
    return f"{encoder.family} {encoder.width} × {'-'.join(map(str, plain['depths']))}, {size} px"


def table(rows: Sequence[Row | StudyRow]) -> str:
    """The rows and their sum, as text."""
    lines: list[tuple[str, ...]] = [_HEAD, *(row.cells for row in rows)]
    lines.append(("sum, at most", *[""] * 6, f"{sum(row.node_hours for row in rows):,.1f}"))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    to_the_left = {0, 1, 5}
    return "\n".join(
        "  ".join(
            f"{cell:<{width}}" if place in to_the_left else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m workflow_scripts.plan node-hours`."""
    add = parser.add_argument
    add("--configfile", type=Path, nargs="*", default=[], help="over the embedded default")
    add("--ranks-per-node", type=int,
        help="of the site, before that of each run (Frontier: 8)")  # fmt: skip


def plan(arguments: argparse.Namespace) -> None:
    """Print the table of the runs of `all`."""
    if arguments.ranks_per_node is not None and arguments.ranks_per_node < 1:
        raise UserError(f"--ranks-per-node is {arguments.ranks_per_node}; expected 1 or more")
    config = load_config(*arguments.configfile)
    ranks = arguments.ranks_per_node
    profile = Profile(defaults={}, pretrain={"tasks_per_node": ranks} if ranks else {})
    sys.stdout.write(table(rows(config, profile)) + "\n")
