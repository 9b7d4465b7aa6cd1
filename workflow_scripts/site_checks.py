"""What a site with Slurm would refuse late and job by job, found before any is submitted."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import Any

from workflow_scripts import slurm
from workflow_scripts.config import Config
from workflow_scripts.config_check import impossible_layout
from workflow_scripts.errors import UserError
from workflow_scripts.site_points import beyond, beyond_qos, point_jobs
from workflow_scripts.sites import (
    Geometry,
    Limit,
    Profile,
    Site,
    geometry,
    limits,
    load_site,
    nodes_text,
    too_many_nodes,
)

FETCH = "snakemake --profile profiles/local-fetch"
_WARNING = re.compile(r"--signal=(?:[A-Z]+:)?\w+@(\d+)")


class OnSite:
    """The checks of one driver: a configuration on the site that a profile names."""

    def __init__(self, config: Config, profile: Profile) -> None:
        self.config = config
        self.profile = profile
        self.site: Site = load_site(profile.site)

    # --- what the user still has to set or to fetch ----------------------------------------------

    def not_ready(self, missing: Sequence[str] = (), *, fetch: str = "fetch_all") -> str | None:
        """What keeps jobs from being submitted, and what to type; None if nothing does.

        Args:
            missing: What `network.needs_network` found.
            fetch: What follows the profile in the command that fetches it.
        """
        unset = [name for name in self.site.environment if self._is_missing(name)]
        said = [f"{name} is not set: {self.site.environment[name].what}" for name in unset]
        said += [*self._wrong_account(), *self._outside(), *missing]
        if not said:
            return None
        lines = [f"profile {self.profile.site}: no job can be submitted yet", *_indented(said)]
        if unset:
            typed = [f"export {name}={self.site.environment[name].example}" for name in unset]
            lines += ["Type, with values of your own:", *_indented(typed)]
        if missing:
            told = "Jobs download nothing. Where the network is, in this folder:"
            lines += [told, *_indented([f"{FETCH} {fetch}"])]
        return "\n".join(lines)

    def _is_missing(self, name: str) -> bool:
        needed = self.site.environment[name].holds_work or self.profile.mentions(name)
        return needed and not os.environ.get(name)

    def _wrong_account(self) -> Iterator[str]:
        """Accounts that are not the user's, where Slurm tells which are."""
        asked = str(self.profile.of_runs("slurm_account") or "")
        names = [name for name in re.split(r"[,\s]+", asked) if name and "$" not in name]
        ours = slurm.accounts() if names else []
        for name in names if ours else ():
            if name.lower() not in [account.lower() for account in ours]:
                yield f"account {name!r} is none of yours: you have {', '.join(ours)}"

    def _outside(self) -> Iterator[str]:
        """Folders that jobs would have to write to and cannot."""
        names = [name for name, one in self.site.environment.items() if one.holds_work]
        paths = self.config.paths
        for name in names:
            top = os.path.realpath(os.environ.get(name) or "/")
            if not os.path.isdir(top):
                yield f"{name}={os.environ[name]} is no folder"
                continue
            here = os.path.realpath(".")
            places = {"the folder you work in": here}
            places |= {"paths.data": paths.data, "paths.results": paths.results}
            for what, folder in places.items():
                real = os.path.realpath(folder)
                told = folder is not here and _is_below(real, here)
                if not told and not _is_below(real, top):
                    yield f"{what}, {real}, is not below {name}={top}; work there"

    # --- what the site would not run -------------------------------------------------------------

    def geometry(self, run: str) -> Geometry:
        """How a run is laid over the site."""
        return geometry(self.config, run, self.profile)

    @cached_property
    def _found(self) -> dict[str, slurm.Partition]:
        return slurm.partitions()

    def refuse(self, runs: Iterable[str], points: Iterable[tuple[str, str]] = ()) -> None:
        """Refuse runs and points that the site would not take, or that could not start.

        Args:
            runs: Names.
            points: Of studies: study and name of each.

        Raises:
            UserError: All that is wrong, one line a mistake, with what to write instead.
        """
        found = [*self._of_runs(list(dict.fromkeys(runs))), *self._of_points(points)]
        found += self._of_other_jobs()
        if found:
            head = f"profile {self.profile.site} cannot run this configuration:"
            raise UserError("\n".join([head, *_indented(dict.fromkeys(found))]))

    def _of_runs(self, runs: list[str]) -> Iterator[str]:
        for run in runs:
            entry, laid = self.config.runs[run], self.geometry(run)
            shape = {"nodes": laid.nodes, "ranks_per_node": laid.ranks_per_node}
            launch = entry.launch.model_copy(update=shape)
            per_node = f"{nodes_text(laid.nodes)} × {laid.ranks_per_node} ranks"
            for mistake in impossible_layout(f"runs.{run}", entry.batch, launch):
                yield f"{mistake} ({per_node})"
            yield from self._beyond_qos(laid)
            yield from self._too_short(laid)
            yield from self._too_few_ranks(laid)
            # Of several partitions Slurm takes the one that a job fits.
            names = self._partitions(self.profile.of_runs("slurm_partition"))
            yield from min((list(self._beyond(laid, name)) for name in names), key=len, default=())

    def _of_points(self, points: Iterable[tuple[str, str]]) -> Iterator[str]:
        asked = self.profile.of_jobs("slurm_partition", "point")
        qos = str(self.profile.of_jobs("qos", "point") or "")
        for job in point_jobs(self.config, points, self.profile):
            if limit := self.site.qos.get(qos):
                yield from beyond_qos(job, qos, limit.minutes)
            try:
                tables = {name: self._table(name) for name in self._partitions(asked)}
            except UserError as error:
                yield f"slurm_partition: {error}"
                continue
            # Of several partitions Slurm takes the one that a job fits.
            found = [list(beyond(job, name, table)) for name, table in tables.items()]
            yield from min(found, key=len, default=())

    def _of_other_jobs(self) -> Iterator[str]:
        """Time limits of the other rules, whose jobs have one node."""
        for rule, own in {"": {}, **self.profile.others}.items():
            if rule == "point":  # `_of_points`: their time limit is the study's
                continue
            key = f"set-resources.{rule}" if "runtime" in own else "default-resources"
            names = self._partitions(self.profile.of_jobs("slurm_partition", rule))
            minutes = self.profile.of_jobs("runtime", rule)
            found = [list(self._longer(f"{key}.runtime", minutes, name)) for name in names]
            yield from min(found, key=len, default=())

    def _partitions(self, named: Any) -> list[str]:
        """The partitions that a resource names; before it is set the site's usual one."""
        if "$" in str(named):
            return list(self.site.partitions)[:1]
        return [name for name in str(named or "").split(",") if name]

    def _table(self, partition: str) -> list[Limit]:
        return limits(self.site, partition, self._found)

    def _longer(self, key: str, minutes: Any, partition: str) -> Iterator[str]:
        """More time than the partition gives a job of one node."""
        try:
            table = self._table(partition)
        except UserError as error:
            yield f"slurm_partition: {error}"
            return
        longest = table[0].minutes if table else None
        if isinstance(minutes, int) and longest is not None and minutes > longest:
            yield (
                f"{key} of the profile: {minutes} minutes, but partition {partition} gives a job "
                f"of one node {longest} at most; use that"
            )

    def _beyond(self, laid: Geometry, partition: str) -> Iterator[str]:
        """More nodes or more time than a job of the partition gets."""
        try:
            table = self._table(partition)
        except UserError as error:
            yield f"slurm_partition: {error}"
            return
        if not table:
            return
        if laid.nodes > table[-1].nodes:
            yield too_many_nodes(self._key(laid, "nodes"), laid.nodes, partition, table)
            return
        own = next(limit for limit in table if laid.nodes <= limit.nodes)
        if own.minutes is None or laid.minutes <= own.minutes:
            return
        below = dict(zip(table, [0, *(limit.nodes for limit in table)], strict=False))
        larger = [limit for limit in table if limit.nodes > own.nodes]
        longer = [limit for limit in larger if (limit.minutes or laid.minutes) >= laid.minutes]
        more = f", or {below[longer[0]] + 1} nodes and more" if longer else ""
        yield (
            f"{self._key(laid, 'runtime')}: {laid.minutes} minutes, but partition {partition} "
            f"gives jobs of {nodes_text(laid.nodes)} {own.minutes} at most; use {own.minutes} and "
            f"more segments{more}"
        )

    def _beyond_qos(self, laid: Geometry) -> Iterator[str]:
        name = str(self.profile.of_runs("qos") or "")
        limit = self.site.qos.get(name)
        if limit and laid.minutes > limit.minutes:
            yield (
                f"{self._key(laid, 'runtime')}: {laid.minutes} minutes, but qos {name} gives "
                f"{limit.minutes} at most"
            )
        if limit and laid.segments > limit.segments:
            yield f"runs.{laid.run}.segments: qos {name} forbids chains of jobs; use 1, or no qos"

    def _too_short(self, laid: Geometry) -> Iterator[str]:
        """A limit that is over when the warning before it is due."""
        warning = _WARNING.search(str(self.profile.of_runs("slurm_extra") or ""))
        if warning and laid.minutes * 60 <= int(warning[1]):
            yield (
                f"{self._key(laid, 'runtime')}: {laid.minutes} minutes, but the profile has a "
                f"segment told {warning[1]} s before its end to stop; use more"
            )

    def _too_few_ranks(self, laid: Geometry) -> Iterator[str]:
        """A job that the Slurm plugin (2.8) takes for none of srun's."""
        if laid.ranks_per_node == 1 and self.profile.of_runs("mpi"):
            yield (
                f"{self._key(laid, 'tasks_per_node')}: 1 rank a node, but Snakemake's Slurm plugin "
                "submits no srun of fewer than 2; take nodes of two GPUs or more, or train on one "
                "node with `snakemake all` in a batch script of your own"
            )

    def _key(self, laid: Geometry, resource: str) -> str:
        """Where a value of a run is written."""
        if resource in self.profile.pretrain:
            return f"runs.{laid.run}, set-resources.pretrain.{resource} of the profile"
        keys = {"runtime": "walltime_minutes", "tasks_per_node": "ranks_per_node"}
        return f"runs.{laid.run}.launch.{keys.get(resource, resource)}"


def _is_below(folder: str, top: str) -> bool:
    return os.path.commonpath([folder, top]) == top


def _indented(lines: Iterable[str]) -> list[str]:
    return [f"  {line}" for line in lines]
