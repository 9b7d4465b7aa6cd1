"""The jobs of a plan, read from what `snakemake -n` prints."""

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Planned:
    """A job of Snakemake's plan."""

    rule: str
    wildcards: tuple[str, ...]
    inputs: frozenset[str]
    outputs: frozenset[str]
    reason: str

    @property
    def title(self) -> str:
        """Such as `pretrain scenes-mae 1`."""
        return " ".join((self.rule, *self.wildcards))


def planned_jobs(text: str) -> Iterator[Planned]:
    """The jobs in what `snakemake -n` prints."""
    for block in re.split(r"^(?=(?:local)?rule \S+:$)", text, flags=re.M)[1:]:
        rule = re.match(r"(?:local)?rule (\S+):", block)
        assert rule is not None
        fields = dict(re.findall(r"^ {4}(\w+): (.*)$", block, flags=re.M))
        yield Planned(
            rule.group(1),
            tuple(re.findall(r"\w+=([^,\s]+)", fields.get("wildcards", ""))),
            frozenset(fields.get("input", "").split(", ")) - {""},
            frozenset(fields.get("output", "").split(", ")) - {""},
            fields.get("reason", ""),
        )
