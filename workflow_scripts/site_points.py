"""Points of scaling studies that a site with Slurm would not run, found before any is submitted."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.config import Config
from workflow_scripts.sites import Limit, Profile, nodes_text, plain, too_many_nodes
from workflow_scripts.studies import points


@dataclass(frozen=True, kw_only=True)
class PointJob:
    """What jobs of a study ask of a site; points that ask the same are one of these.

    Attributes:
        study: Its name.
        nodes: Of the job.
        ranks_per_node: Processes on each, one a GPU.
        minutes: Its time limit.
        set_by: Key of the profile that sets the time limit; None: the study does.
    """

    study: str
    nodes: int
    ranks_per_node: int
    minutes: int
    set_by: str | None = None

    @property
    def minutes_key(self) -> str:
        """Where the time limit is written."""
        return self.set_by or f"studies.{self.study}.minutes"


def point_jobs(
    config: Config, wanted: Iterable[tuple[str, str]], profile: Profile
) -> Counter[PointJob]:  # fmt: skip
    """How many jobs of each kind some points (study and name of each) are."""
    runtime = plain(profile.others.get("point", {}).get("runtime"))
    own = runtime if isinstance(runtime, int) else None
    known = {name: {one.name: one for one in points(config, name)} for name in config.studies}
    found: Counter[PointJob] = Counter()
    for study, name in wanted:
        one = known[study][name]
        found[
            PointJob(
                study=study, nodes=one.nodes, ranks_per_node=one.ranks_per_node,
                minutes=own or config.studies[study].minutes,
                set_by="set-resources.point.runtime of the profile" if own else None,
            )
        ] += 1  # fmt: skip
    return found


def missing_points(config: Config, studies: Iterable[str]) -> list[tuple[str, str]]:
    """Points of some studies that have no result yet, as study and name of each."""
    folder = Path(config.paths.results) / "scaling"
    return [
        (study, one.name)
        for study in studies
        for one in points(config, study)
        if not (folder / study / f"{one.name}.json").is_file()
    ]


def beyond(job: PointJob, partition: str, table: list[Limit]) -> Iterator[str]:
    """More nodes or more time than a job of the partition gets.

    Args:
        job: What is asked for.
        partition: Its name.
        table: Its limits, small jobs first; empty: none.
    """
    if not table:
        return
    if job.nodes > table[-1].nodes:
        yield too_many_nodes(f"studies.{job.study}.nodes", job.nodes, partition, table)
        return
    own = next(limit for limit in table if job.nodes <= limit.nodes)
    if own.minutes is not None and job.minutes > own.minutes:
        yield (
            f"{job.minutes_key}: {job.minutes} minutes, but partition {partition} gives jobs of "
            f"{nodes_text(job.nodes)} {own.minutes} at most; use {own.minutes}, and fewer steps if "
            "a point takes longer"
        )


def beyond_qos(job: PointJob, qos: str, minutes: int) -> Iterator[str]:
    """More time than the quality of service gives."""
    if job.minutes > minutes:
        yield f"{job.minutes_key}: {job.minutes} minutes, but qos {qos} gives {minutes} at most"
