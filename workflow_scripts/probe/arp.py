"""Average relative performance: one number for an encoder over several tasks, against a baseline.

Source: Mendieta et al., Towards Geospatial Foundation Models via Continual Pretraining (GFM). Their
published 4.47 does not follow from the task scores on their slides; it is cited beside ours and
nothing here is tuned to it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from workflow_scripts.errors import UserError
from workflow_scripts.probe.protocol_order import in_order
from workflow_scripts.probe.reading import Json, judged, metrics, split_digests

OTHER_SPLIT = "judged on another split than the baseline"
NO_BASELINE = "the baseline was not judged so"


@dataclass(frozen=True)
class Arp:
    """ARP under one protocol.

    Attributes:
        percent: The mean over `tasks`.
        tasks: Benchmarks that count, by name.
        left_out: Benchmarks of the encoder that do not, and why.
    """

    percent: float
    tasks: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]


def arp(scores: Mapping[str, float], baseline: Mapping[str, float]) -> float:
    """Mean over tasks of (score − baseline's score) / baseline's score, in percent.

    Args:
        scores: The encoder's score of each task, in the baseline's units.
        baseline: The baseline's score of each of these tasks; more of them do not matter.

    Raises:
        UserError: No task, or a baseline's score that nothing can be divided by.
    """
    if not scores:
        raise UserError(
            "ARP: no task; judge the encoder and the baseline on one benchmark at least"
        )
    for task in scores:
        if baseline[task] <= 0:
            raise UserError(
                f"ARP: the baseline's score of {task!r} is {baseline[task]:g}; a change relative "
                "to it means nothing, leave the task out"
            )
    return 100 * sum((scores[t] - baseline[t]) / baseline[t] for t in sorted(scores)) / len(scores)


def by_protocol(results: Iterable[Json], *, encoder: str, baseline: str) -> dict[str, Arp]:
    """ARP of an encoder under each protocol that it shares with the baseline on some benchmark.

    A task is a benchmark; its score is the mean of top-1, or of micro average precision where
    samples have several labels. It counts where both were judged under that protocol on splits of
    the same digests.

    Args:
        results: Results of probes and of fine-tuning, of any encoders.
        encoder: Whose ARP is wanted.
        baseline: The encoder it is relative to.

    Raises:
        UserError: As `arp`.
    """
    found = list(results)
    theirs = _tasks(found, baseline)
    scores: dict[str, dict[str, float]] = {}
    left_out: dict[str, list[tuple[str, str]]] = {}
    for (protocol, benchmark), (score, splits) in _tasks(found, encoder).items():
        other = theirs.get((protocol, benchmark))
        if other is None or other[1] != splits:
            why = NO_BASELINE if other is None else OTHER_SPLIT
            left_out.setdefault(protocol, []).append((benchmark, why))
        else:
            scores.setdefault(protocol, {})[benchmark] = score
    return {
        protocol: Arp(
            arp(tasks, {b: theirs[protocol, b][0] for b in tasks}),
            tuple(sorted(tasks)),
            tuple(sorted(left_out.get(protocol, []))),
        )
        for protocol, tasks in ((name, scores[name]) for name in in_order(scores))
    }


def _tasks(
    results: list[Json], encoder: str
) -> dict[tuple[str, str], tuple[float, list[tuple[str, str]]]]:
    """Score and splits of an encoder by protocol and benchmark."""
    return {
        (protocol, result["benchmark"]): (score["mean"], split_digests(result))
        for result in results
        if result["encoder"] == encoder
        for protocol in result["protocols"]
        if (score := judged(result, protocol, "encoder", metrics(result)[0][0])) is not None
    }
