"""Every protocol on every split and seed, for an encoder and its floors."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from workflow_scripts.errors import UserError
from workflow_scripts.features.store import COLOUR, TRAINED, StoredSet, view_name
from workflow_scripts.logs import log
from workflow_scripts.probe import metrics
from workflow_scripts.probe.protocols import CHECKS, PROTOCOLS
from workflow_scripts.probe.trial import Features, OfSome, Outcome, Part, Rows, Trial
from workflow_scripts.split.samples import Benchmark, Sides

WHO = ("encoder", "random", COLOUR)
Sets = Mapping[str, StoredSet]
Pooled = dict[str, Features]


@dataclass(frozen=True, kw_only=True)
class Judge:
    """What all trials of a probe share.

    Attributes:
        benchmark: Samples, labels and splits.
        sets: Features by the name of their set.
        layers: Last blocks whose features are joined.
        seeds: One trial each, on each split.
    """

    benchmark: Benchmark
    sets: Sets
    layers: int
    seeds: list[int]

    def trials(self, who: str, settings: dict[str, Any]) -> Iterator[Trial]:
        """A trial of each split and seed, the features those of `encoder` or of a floor.

        One at a time: of a million samples the numbers and labels of all would fill the memory.
        """
        for sides in self.benchmark.splits:
            for seed in self.seeds:
                yield self._trial(who, settings, sides, seed)

    def _trial(self, who: str, settings: dict[str, Any], sides: Sides, seed: int) -> Trial:
        name = {"encoder": TRAINED, "random": f"random-{seed}"}.get(who, who)
        poolings, views = settings["poolings"], settings.get("views", 0)
        if who == COLOUR:
            poolings, views = ["mean"], 0  # of the pixels: there is nothing else
            settings = {**settings, "poolings": poolings, "pooling": "mean"}
        return Trial(
            features=self._pooled(name, poolings),
            train=self.part(sides.train),
            test=self.part(sides.test),
            classes=len(self.benchmark.classes),
            settings=settings,
            seed=seed,
            names=tuple(self.benchmark.classes),
            views=tuple(self._views(view_name(name, n), poolings) for n in range(views)),
        )

    def _pooled(self, name: str, poolings: list[str]) -> Pooled:
        if name not in self.sets:
            raise UserError(
                f"probe: the features have no set {name!r}, only {', '.join(sorted(self.sets))}; "
                "extract them with the seeds and views of this recipe"
            )
        layers = 1 if name == COLOUR else self.layers
        return {one: self.sets[name].features(one, layers) for one in poolings}

    def _views(self, name: str, poolings: list[str]) -> Pooled:
        """Features of a view, which are of the training samples alone."""
        found = self._pooled(name, poolings)
        return {pooling: OfSome(features, self._trained) for pooling, features in found.items()}

    @cached_property
    def _trained(self) -> Rows:
        """Training samples of any split as rows of the features."""
        return np.searchsorted(self.benchmark.used, self.benchmark.trained)

    def part(self, samples: Rows) -> Part:
        """Samples of the corpus as rows of the features, which are of the used ones alone."""
        rows = np.searchsorted(self.benchmark.used, samples)
        labels = self.benchmark.labels[samples]
        if not self.benchmark.multi_label:
            labels = labels.astype(np.int64)  # as torch wants class numbers
        return Part(rows, labels, self.benchmark.contents[samples])


def check(judge: Judge, protocol: str, settings: dict[str, Any]) -> None:
    """Refuse a protocol that some split does not allow, before hours are spent on the others.

    Raises:
        UserError: It cannot be.
    """
    if protocol in CHECKS:
        for trial in judge.trials("encoder", settings):
            CHECKS[protocol](trial)


def judged(
    judge: Judge, protocol: str, settings: dict[str, Any]
) -> tuple[dict[str, Any], Trial, Outcome]:
    """What the result says of one protocol, and the encoder's first trial for pictures.

    Args:
        judge: The trials.
        protocol: Its name in `PROTOCOLS`.
        settings: Its own, of the recipe.
    """
    body: dict[str, Any] = {}
    first: list[tuple[Trial, Outcome]] = []
    classes = judge.benchmark.classes
    names = [(sides.name, seed) for sides in judge.benchmark.splits for seed in judge.seeds]
    for who in WHO:
        found, chosen = [], []
        for trial, (split, seed) in zip(judge.trials(who, settings), names, strict=True):
            outcome = PROTOCOLS[protocol](trial)
            first = first or [(trial, outcome)]
            found.append(metrics.judge(outcome.scores, trial.test.labels, trial.classes))
            chosen.append({"split": split, "seed": seed, **outcome.chosen})
        body[who] = metrics.summarise(found, chosen, classes)
        log.info("%s, %s: %s", protocol, who, metrics.told(body[who]))
    return {"settings": settings, "judged": body}, *first[0]
