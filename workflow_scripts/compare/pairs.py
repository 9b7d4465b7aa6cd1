"""Which runs of several results are the same run: of one name, or of one recipe."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from workflow_scripts.compare.site import Site

Json = dict[str, Any]


@dataclass
class Group:
    """Runs that correspond.

    Attributes:
        label: What they are called together.
        members: By the place of the site among all, the name that the run has there.
    """

    label: str
    members: dict[int, str] = field(default_factory=dict)


def corresponding(sites: Sequence[Site]) -> list[Group]:
    """The runs of all sites in groups: one name first, then one recipe under different names.

    A run without a partner is a group of its own.
    """
    by_name: dict[str, Group] = {}
    for place, site in enumerate(sites):
        for run in site.report["runs"]:
            by_name.setdefault(run["name"], Group(run["label"])).members[place] = run["name"]
    groups: list[Group] = []
    by_recipe: dict[str, list[Group]] = {}
    for group in by_name.values():
        digests = {sites[p].run(name)["recipe_digest"] for p, name in group.members.items()}
        one = digests.pop() if len(digests) == 1 else None  # of several recipes: no third by recipe
        partner = next(
            (g for g in by_recipe.get(one or "", []) if not g.members.keys() & group.members), None
        )
        if partner:
            partner.members |= group.members
            partner.label = " = ".join(dict.fromkeys((partner.label, group.label)))
            continue
        groups.append(group)
        if one:
            by_recipe.setdefault(one, []).append(group)
    return groups


def runs_of(group: Group, sites: Sequence[Site]) -> list[Json | None]:
    """The group's run in each site, None where it has none."""
    return [
        site.run(group.members[place]) if place in group.members else None
        for place, site in enumerate(sites)
    ]
