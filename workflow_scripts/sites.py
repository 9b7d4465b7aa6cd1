"""Sites with Slurm: what a profile asks for there, and what the site allows.

A profile names its site in `default-resources`; `profiles/<site>/site.yaml` says what the site
wants to be told, and its limits. `site_checks` compares the two with the configuration.
"""

import ast
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError

from workflow_scripts import slurm
from workflow_scripts.config import Config
from workflow_scripts.config_base import Model, Positive
from workflow_scripts.errors import UserError

PROFILES = Path(__file__).resolve().parent.parent / "profiles"
Values = Mapping[str, Any]


class Variable(Model):
    """A variable of the environment that a site's jobs need."""

    what: str = Field(description="what it says")
    example: str = Field(description="a value")
    holds_work: bool = Field(False, description="it is a folder, below which jobs can write")


class Limit(Model):
    """The time limit that jobs of up to so many nodes may have."""

    nodes: Positive
    minutes: Positive | None = Field(None, description="null: any")


class Qos(Model):
    """What a quality of service allows."""

    minutes: Positive
    segments: Positive


class Site(Model):
    """`site.yaml`."""

    environment: dict[str, Variable] = Field({}, description="what must be set, by name")
    partitions: dict[str, list[Limit]] = Field({}, description="small jobs first; else ask Slurm")
    qos: dict[str, Qos] = Field({}, description="limits of a quality of service")


def load_site(name: str, profiles: Path = PROFILES) -> Site:
    """A site's file.

    Raises:
        UserError: There is none, or it is wrong.
    """
    file = profiles / name / "site.yaml"
    known = ", ".join(sorted(path.parent.name for path in profiles.glob("*/site.yaml")))
    if not file.is_file():
        raise UserError(
            f"default-resources.site of the profile is {name!r}, but there is no {file}; write it, "
            f"or name one of: {known}"
        )
    try:
        return Site.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    except yaml.YAMLError as error:
        raise UserError(f"{file}: not valid YAML: {error}") from None
    except ValidationError as error:
        wrong = [
            f"{'.'.join(map(str, one['loc']))}: {one['msg']} (value {one['input']!r})"
            for one in error.errors(include_url=False)
        ]
        raise UserError(f"{file}: " + "; ".join(wrong)) from None


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Resources of a Snakemake profile as they are written, before Snakemake evaluates them.

    Attributes:
        defaults: Its `default-resources`.
        pretrain: Its `set-resources` of rule pretrain.
        others: Those of other rules, by rule.
    """

    defaults: Values
    pretrain: Values
    others: Mapping[str, Values] = field(default_factory=dict)

    def of_jobs(self, name: str, rule: str = "") -> Any:
        """What jobs of a rule get, or of any other rule; None if the profile does not say."""
        return plain(self.others.get(rule, {}).get(name, self.defaults.get(name)))

    def of_runs(self, name: str) -> Any:
        """What the jobs of rule pretrain get; None if the profile does not say."""
        return plain(self.pretrain.get(name, self.defaults.get(name)))

    @property
    def site(self) -> str:
        """The name of the site; empty for a profile of none."""
        return str(self.of_jobs("site") or "")

    def mentions(self, variable: str) -> bool:
        """Whether a value refers to a variable of the environment."""
        written = [*self.defaults.values(), *self.pretrain.values()]
        return any(f"${variable}" in str(value).replace("{", "") for value in written)


NO_PROFILE = Profile(defaults={}, pretrain={})


def plain(value: Any) -> Any:
    """A resource as Snakemake will see it: variables filled in, quotes taken off.

    Expressions (`2 * attempt`) stay as they are written.
    """
    if not isinstance(value, str):
        return value
    text = os.path.expandvars(value)
    try:
        read = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return read if isinstance(read, str | int) else text


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """How a run is laid over a site.

    Attributes:
        run: Its name.
        nodes: Of each of its jobs.
        ranks_per_node: Processes on each, one a GPU.
        cores_per_rank: Cores of each process.
        minutes: The time limit of a job.
        segments: Jobs, one after the other.
    """

    run: str
    nodes: int
    ranks_per_node: int
    cores_per_rank: int
    minutes: int
    segments: int

    @property
    def ranks(self) -> int:
        """Processes on all nodes."""
        return self.nodes * self.ranks_per_node


def geometry(config: Config, run: str, profile: Profile) -> Geometry:
    """How a run is laid over the site of a profile, whose values go before the run's `launch`."""
    entry = config.runs[run]

    def whole(name: str, otherwise: int) -> int:
        value = plain(profile.pretrain.get(name))
        return value if isinstance(value, int) else otherwise

    return Geometry(
        run=run,
        nodes=whole("nodes", entry.launch.nodes),
        ranks_per_node=whole("tasks_per_node", entry.launch.ranks_per_node),
        cores_per_rank=whole("cpus_per_task", entry.launch.cores_per_rank),
        minutes=whole("runtime", entry.launch.walltime_minutes),
        segments=entry.segments,
    )


def limits(site: Site, partition: str, found: Mapping[str, slurm.Partition]) -> list[Limit]:
    """What jobs of a partition may ask for, small jobs first.

    Args:
        site: What its file says.
        partition: A name.
        found: What Slurm says, by name; empty if it does not.

    Raises:
        UserError: There is no such partition.
    """
    table = sorted(site.partitions.get(partition, []), key=lambda limit: limit.nodes)
    names = sorted({*site.partitions, *found})
    if not table and partition not in found:
        if not names:
            return []  # neither says anything
        raise UserError(f"no partition is called {partition!r}; there are {', '.join(names)}")
    if partition not in found:
        return table
    real = found[partition]
    lower = [0, *(limit.nodes for limit in table)]
    return [
        Limit(nodes=min(limit.nodes, real.nodes), minutes=_shorter(limit.minutes, real.minutes))
        for below, limit in zip(lower, table or [Limit(nodes=real.nodes)], strict=False)
        if below < real.nodes
    ]


def _shorter(*minutes: int | None) -> int | None:
    return min((limit for limit in minutes if limit is not None), default=None)


def nodes_text(count: int) -> str:
    """`1 node`, `8 nodes`."""
    return f"{count} node{'s' * (count != 1)}"


def too_many_nodes(key: str, nodes: int, partition: str, table: list[Limit]) -> str:
    """What to say of a job of more nodes than its partition gives.

    Args:
        key: Where its nodes are written.
        nodes: How many they are.
        partition: Its name.
        table: The partition's limits, small jobs first.
    """
    return (
        f"{key}: {nodes_text(nodes)}, but partition {partition} gives a job {table[-1].nodes} at "
        "most; use fewer, or another one"
    )
