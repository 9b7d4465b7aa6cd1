"""Protocol linear: logistic regression on frozen features, its settings chosen on held-out samples.

All strengths of regularisation, for each pooling and normalisation, are fitted on the part of the
training samples that is not held out. The setting that does best on the held-out ones is fitted
again on all training samples, and the test samples are scored once.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from workflow_scripts.errors import UserError
from workflow_scripts.probe.choose import described
from workflow_scripts.probe.hold_out import parted
from workflow_scripts.probe.logistic import Fitted, fit
from workflow_scripts.probe.logistic_loss import targets_of
from workflow_scripts.probe.metrics import check_finite, merit
from workflow_scripts.probe.normalise import Normalisation, fit_normalisation
from workflow_scripts.probe.samples import Samples, one_thread, product
from workflow_scripts.probe.trial import Features, Labels, Outcome, Part, Rows, Trial

PROTOCOL = "linear"
_MOST_SCORES = 128 * 2**20  # bytes of scores that are kept at a time, of several strengths

Scores = NDArray[np.float32]


@dataclass(frozen=True)
class Classifier:
    """Solutions of several strengths, and what they are for.

    Attributes:
        normalisation: Of the features.
        fitted: The solutions; None where nothing could be learnt.
        known: (columns,) the classes that could be learnt.
        constant: (classes,) scores of the others, for several labels.
        together: Whether a sample has one class.
    """

    normalisation: Normalisation
    fitted: Fitted | None
    known: NDArray[np.int64]
    constant: Scores
    together: bool

    def scores(self, features: Features, rows: Rows, which: slice) -> Scores:
        """(strengths, len(rows), classes) of some strengths, larger is more likely."""
        strengths = len(range(which.start, which.stop))
        out = np.tile(self.constant, (strengths, len(rows), 1))
        if self.fitted is None:
            return out
        points = self.fitted.points[which].float()
        columns = points.shape[1]
        weights = points[..., :-1].flatten(0, 1).contiguous()
        intercepts = points[..., -1].flatten().contiguous()
        samples = Samples(features, rows, self.normalisation, what=PROTOCOL, hold=False)

        def part(places: slice, block: torch.Tensor) -> None:
            found = product(block, weights, intercepts).view(len(block), strengths, columns)
            values = found.transpose(0, 1).numpy()
            if self.together and columns == 1:
                values = np.concatenate([-values, values], axis=2)
            out[:, places, self.known] = values
            if self.together and len(self.known) < len(self.constant):
                unseen = np.setdiff1d(np.arange(len(self.constant)), self.known)
                out[:, places, unseen] = values.min(axis=2, keepdims=True) - 1

        for _ in samples.map(part):
            pass
        return out


def learnable(labels: Labels) -> NDArray[np.int64]:
    """The classes that samples teach to tell apart: those there are, or with both yes and no."""
    if labels.ndim == 1:
        return np.unique(labels).astype(np.int64)
    return np.flatnonzero(labels.any(axis=0) & ~labels.all(axis=0))


def learn(
    features: Features,
    part: Part,
    classes: int,
    *,
    normalisation: str,
    strengths: Sequence[float],
    what: str = PROTOCOL,
) -> Classifier:
    """Fit some samples with several strengths.

    A class that none of the samples has is never the likeliest; with several labels one that none
    or all of them have gets the same score everywhere, the logarithm of its odds.

    Args:
        features: Of all samples.
        part: What to learn from.
        classes: How many there are.
        normalisation: Its name.
        strengths: C, each once.
        what: Names the fit in a warning.
    """
    known = learnable(part.labels)
    together = part.labels.ndim == 1
    constant = np.zeros(classes, np.float32)
    if together:
        constant[:] = -1
        constant[known] = 0
        labels, columns = np.searchsorted(known, part.labels), len(known)
        enough = columns > 1
    else:
        odds = math.log(2 * len(part) + 1)
        constant[:] = np.where(part.labels.all(axis=0), odds, -odds)
        labels, columns = part.labels[:, known], len(known)
        enough = columns > 0
    how = fit_normalisation(normalisation, features, part.rows, what=PROTOCOL)
    if not enough:
        return Classifier(how, None, known, constant, together)
    samples = Samples(features, part.rows, how, what=PROTOCOL)
    fitted = fit(samples, targets_of(labels, columns), strengths, what=what)
    return Classifier(how, fitted, known, constant, together)


def merits(
    classifier: Classifier, features: Features, held: Part, setting: dict[str, str], strengths: int
) -> Iterator[float]:
    """What each strength is worth on held-out samples."""
    room = max(1, _MOST_SCORES // (4 * len(held) * len(classifier.constant)))
    for first in range(0, strengths, room):
        some = slice(first, min(first + room, strengths))
        for scores in classifier.scores(features, held.rows, some):
            check_finite(scores, described(PROTOCOL, setting))
            yield merit(scores, held.labels)


def choose(trial: Trial) -> dict[str, Any]:
    """The setting that does best on held-out training samples.

    Of equals the one that is regularised most strongly (the smallest C), then the first pooling
    and normalisation.
    """
    settings = trial.settings
    part, held = parted(trial)
    strengths = settings["strengths"]
    found: list[tuple[float, float, int, dict[str, Any]]] = []
    for pooling in settings["poolings"]:
        for normalisation in settings["normalisations"]:
            setting = {"pooling": pooling, "normalisation": normalisation}
            classifier = learn(
                trial.features[pooling], part, trial.classes, normalisation=normalisation,
                strengths=strengths, what=described(PROTOCOL, setting),
            )  # fmt: skip
            worth = merits(classifier, trial.features[pooling], held, setting, len(strengths))
            found += [
                (-merit_, strength, len(found), {**setting, "strength": strength})
                for merit_, strength in zip(worth, strengths, strict=True)
            ]
    return min(found, key=lambda one: one[:3])[3]


def judge(trial: Trial) -> Outcome:
    """Choose on held-out training samples, fit all of them again, and score the test part once.

    Args:
        trial: Its settings are `strengths` (C of scikit-learn's `LogisticRegression`, the larger
            the less the penalty), `poolings`, `normalisations`, and the share `holdout`. With
            several labels each class is a regression of its own, all of one strength.

    Returns:
        Decision values (logits), and `chosen`: pooling, normalisation and strength.

    Raises:
        UserError: An empty list of settings, no such normalisation, no sample that can be held
            out, or features or scores that are not finite.
    """
    for name in ("strengths", "poolings", "normalisations"):
        if not trial.settings[name]:
            raise UserError(f"probe: linear: {name} is empty; give one or more")
    with one_thread():
        chosen = choose(trial)
        features = trial.features[chosen["pooling"]]
        classifier = learn(
            features, trial.train, trial.classes, normalisation=chosen["normalisation"],
            strengths=[chosen["strength"]], what=described(PROTOCOL, chosen),
        )  # fmt: skip
        scores = classifier.scores(features, trial.test.rows, slice(0, 1))[0]
    check_finite(scores, described(PROTOCOL, chosen))
    return Outcome(scores, chosen)
