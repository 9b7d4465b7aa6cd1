"""Protocol linear never has all samples in memory where they are many."""

import multiprocessing
import resource

import numpy as np
from probe_trials import SETTINGS, part

from workflow_scripts.probe import samples
from workflow_scripts.probe.linear import judge
from workflow_scripts.probe.normalise import BLOCK
from workflow_scripts.probe.trial import Trial

COUNT, WIDTH, CLASSES = 100_000, 512, 3  # 205 MB
ALLOWED = 100_000_000


class Made:
    """Features that are made when they are asked for."""

    shape = (COUNT, WIDTH)

    def __init__(self, labels):
        self.labels = labels
        self.noise = np.random.default_rng(0).normal(size=(BLOCK, WIDTH)).astype(np.float32)
        self.asked = 0

    def take(self, rows):
        assert len(rows) <= BLOCK
        self.asked += len(rows)
        found = self.noise[rows % BLOCK]
        found[:, :CLASSES] += 2 * np.eye(CLASSES, dtype=np.float32)[self.labels[rows]]
        return found


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def judged(count):
    labels = np.random.default_rng(1).integers(0, CLASSES, COUNT)
    features, cut = Made(labels), count * 4 // 5
    rows = np.arange(count)
    settings = {**SETTINGS["linear"], "normalisations": ["standardize"], "strengths": [1e-4]}
    judge(
        Trial(
            features={"mean": features}, train=part(rows[:cut], labels[rows[:cut]]),
            test=part(rows[cut:], labels[rows[cut:]]), classes=CLASSES, settings=settings, seed=0,
        )
    )  # fmt: skip
    return features.asked


def grown(sender):
    samples.MOST_HELD = 0
    judged(8 * BLOCK)  # what libraries take once
    before = peak()
    asked = judged(COUNT)
    sender.send((asked, peak() - before))


def test_a_judgement_takes_far_less_than_the_samples():
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=grown, args=(sender,))
    process.start()
    sender.close()
    asked, growth = receiver.recv()
    process.join()
    assert asked > 3 * COUNT
    assert growth < ALLOWED < COUNT * WIDTH * 4 / 2
