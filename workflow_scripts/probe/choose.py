"""The choice of a protocol's settings by their scores of held-out samples."""

from collections.abc import Iterable, Mapping
from typing import Any

from workflow_scripts.probe.metrics import Scores, check_finite, merit
from workflow_scripts.probe.trial import Labels


def described(protocol: str, setting: Mapping[str, Any]) -> str:
    """A protocol and a setting in words, for messages: `knn with k 5, pooling mean`."""
    return f"{protocol} with " + ", ".join(f"{name} {value}" for name, value in setting.items())


def best(
    candidates: Iterable[tuple[dict[str, Any], Scores]], labels: Labels, *, protocol: str
) -> dict[str, Any]:
    """The setting whose scores are worth most; of equals, the first.

    Args:
        candidates: Settings, one or more, and their scores of the held-out samples.
        labels: Of the held-out samples.
        protocol: Its name, for messages.

    Raises:
        UserError: A score is not finite.
    """
    found: dict[str, Any] = {}
    most = -1.0
    for setting, scores in candidates:
        check_finite(scores, described(protocol, setting))
        worth = merit(scores, labels)
        if worth > most:
            found, most = setting, worth
    return found
