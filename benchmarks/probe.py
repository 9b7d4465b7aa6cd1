"""The linear probe's sweep of settings against scikit-learn; extraction against the forward pass.

`sklearn_sweep`: 40 settings (two normalisations, 20 strengths from 1e-4 to 1e2) fitted on 12,600 ×
1,024 features of 45 classes, ours at once, scikit-learn's `LogisticRegression` (lbfgs) in a loop;
normalisation is timed too. Both are to stop at the same tolerance of the same gradient's largest
entry, and each setting must score within 0.2 point of the other on 4,500 further samples, or the
run is refused. The peer gets each setting in float64 and in float32; float32 counts where it is
faster and did reach the tolerance (its losses stop falling before the gradient is small; what it
takes until then is `…_peer_float32_s`). `sklearn_sweep_default_tolerance` is both at scikit-learn's
own 1e-4, where weakly regularised fits have not got far enough to agree: the largest difference is
among the figures. `sklearn_one_fit` is one fit, of the strength in the middle.

`forward_limit` is of `probe_forward.py`: extraction against the encoder's bare forward pass.

The features are drawn to be like an encoder's: a covariance that falls as a power law over
correlated dimensions, a few dimensions ten times the others, means off zero, classes in overlapping
groups, each of several modes, heavy-tailed within.

Ours runs in between the peer's settings, again and again; its median counts. Both may use all cores
at hand: the peer by OpenBLAS's threads, ours by blocks of samples side by side. Threads that wait
for each other suffer where others use the machine too, so the peer is first tried with one thread
and with all, and has the faster number of them (`peer_threads`). Where that is one,
`…_processor_ratio` is what an idle machine would show if both made perfect use of its cores.

    python benchmarks/probe.py [--quick] [--rounds N]
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
from probe_data import Data, made
from probe_forward import IMAGES, forward_limit
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import Normalizer, StandardScaler
from threadpoolctl import threadpool_limits

from workflow_scripts.probe.logistic import TOLERANCE, fit
from workflow_scripts.probe.logistic_loss import targets_of
from workflow_scripts.probe.normalise import fit_normalisation
from workflow_scripts.probe.samples import Samples, one_thread
from workflow_scripts.probe.trial import InMemory
from workflow_scripts.threads import usable_cores

SCALERS = {"standardize": StandardScaler, "l2": Normalizer}
DEFAULT_TOLERANCE = 1e-4  # scikit-learn's
MOST_APART = 0.2  # points of accuracy
VERSIONS = ("numpy", "scipy", "scikit-learn", "torch")


def accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    """In percent."""
    return 100 * float((scores.argmax(axis=1) == labels).mean())


def clocked(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Seconds, seconds of processor time, and what came out."""
    start, used = time.perf_counter(), time.process_time()
    found = work()
    return time.perf_counter() - start, time.process_time() - used, found


def ours(data: Data, strengths: list[float], names: list[str], tolerance: float) -> list[float]:
    """Fit all settings; the accuracies, which are computed once the clock has stopped."""
    found = []
    with one_thread():
        for name in names:
            features, rows = InMemory(data.train), np.arange(len(data.train))
            how = fit_normalisation(name, features, rows, what="benchmark")
            samples = Samples(features, rows, how, what="benchmark")
            targets = targets_of(data.labels, int(data.labels.max()) + 1)
            fitted = fit(samples, targets, strengths, tolerance=tolerance)
            found += [(how, *pair) for pair in zip(fitted.weights, fitted.intercepts, strict=True)]
    return found


def accuracies(data: Data, found: list[Any]) -> list[float]:
    """Of ours, on the further samples."""
    values = {id(how): how(data.test.copy()).astype(np.float64) for how, _, _ in found}
    return [
        accuracy(values[id(how)] @ weights.numpy().T + intercepts.numpy(), data.test_labels)
        for how, weights, intercepts in found
    ]


def peer_threads(data: Data) -> int:
    """How many threads the peer is faster with, by the best of three turns of a few steps."""
    model = LogisticRegression(tol=0, max_iter=8)
    times: dict[int, list[float]] = {1: [], usable_cores(): []}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(3):
            for threads, rows in times.items():
                with threadpool_limits(limits=threads):
                    rows.append(clocked(lambda: model.fit(data.train, data.labels))[0])
    return min(times, key=lambda threads: min(times[threads]))


def theirs(
    data: Data, strength: float, name: str, tolerance: float, dtype: type, threads: int
) -> dict[str, float]:
    """One setting by scikit-learn: its time with the normalisation, and its accuracy."""
    model = LogisticRegression(C=strength, tol=tolerance, max_iter=10_000)
    scaler = SCALERS[name]()
    train = data.train.astype(dtype)
    with warnings.catch_warnings(record=True) as said, threadpool_limits(limits=threads):
        warnings.simplefilter("always")
        seconds, cpu, _ = clocked(lambda: model.fit(scaler.fit_transform(train), data.labels))
    scores = model.decision_function(scaler.transform(data.test.astype(np.float64)))
    return {
        "seconds": seconds, "cpu": cpu, "steps": int(model.n_iter_[0]), "warnings": len(said),
        "largest": largest_gradient(scaler.transform(train), data.labels, model),
        "accuracy": accuracy(scores, data.test_labels),
    }  # fmt: skip


def largest_gradient(values: np.ndarray, labels: np.ndarray, model: LogisticRegression) -> float:
    """The largest entry of the gradient of what the peer minimises, in float64."""
    values, weights = values.astype(np.float64), model.coef_.astype(np.float64)
    residual = softmax(values @ weights.T + model.intercept_, axis=1)
    residual[np.arange(len(labels)), labels] -= 1
    gradient = (residual.T @ values + weights / model.C) / len(labels)
    return max(float(np.abs(gradient).max()), float(np.abs(residual.mean(axis=0)).max()))


def best_of(results: dict[str, dict[str, float]], tolerance: float) -> dict[str, float]:
    """The peer's float64, or its float32 where that is faster and has reached the tolerance."""
    double, single = results["float64"], results["float32"]
    good = single["largest"] <= 1.01 * tolerance and single["seconds"] < double["seconds"]
    return single if good else double


def sweep(
    data: Data, strengths: list[float], tolerance: float, *, rounds: int, threads: int
) -> dict[str, Any]:
    """All settings, the peer's in between runs of ours."""
    settings = [(name, strength) for name in SCALERS for strength in strengths]
    mine: list[tuple[float, float]] = []
    peers: list[dict[str, float]] = []
    single = dict.fromkeys(("float64", "float32"), 0.0)
    for number in range(rounds + 1):
        seconds, cpu, found = clocked(lambda: ours(data, strengths, list(SCALERS), tolerance))
        mine.append((seconds, cpu))
        # Settings of a round are spread over all of them, so that each round meets easy and hard.
        for name, strength in settings[number::rounds] if number < rounds else []:
            both = {
                kind: theirs(data, strength, name, tolerance, getattr(np, kind), threads)
                for kind in single
            }
            for kind, one in both.items():
                single[kind] += one["seconds"]
            peers.append(best_of(both, tolerance) | {"place": settings.index((name, strength))})
            print(f"{name} {strength:.2g}: {both}", file=sys.stderr)
    peers.sort(key=lambda one: one["place"])
    reached = accuracies(data, found)
    apart = [abs(a - b["accuracy"]) for a, b in zip(reached, peers, strict=True)]
    return {
        "ours_s": statistics.median(one[0] for one in mine),
        "ours_cpu_s": statistics.median(one[1] for one in mine),
        "ours_least_s": min(mine)[0], "ours_most_s": max(mine)[0],
        "peer_s": sum(one["seconds"] for one in peers),
        "peer_cpu_s": sum(one["cpu"] for one in peers),
        "peer_steps": sum(int(one["steps"]) for one in peers),
        "peer_float64_s": single["float64"], "peer_float32_s": single["float32"],
        "processor_ratio": sum(one["cpu"] for one in peers)
        / statistics.median(one[1] for one in mine),
        "peer_largest_gradient": max(one["largest"] for one in peers),
        "apart": max(apart), "accuracies": [round(one, 2) for one in reached],
        "peer_accuracies": [round(one["accuracy"], 2) for one in peers],
    }  # fmt: skip


def one_fit(
    data: Data, strength: float, tolerance: float, *, rounds: int, threads: int
) -> dict[str, float]:
    """One setting, ours and the peer's in turn; medians."""
    mine, peer = [], []
    for _ in range(rounds):
        mine.append(clocked(lambda: ours(data, [strength], ["standardize"], tolerance))[0])
        both = {
            kind: theirs(data, strength, "standardize", tolerance, getattr(np, kind), threads)
            for kind in ("float64", "float32")
        }
        peer.append(best_of(both, tolerance)["seconds"])
    return {
        "ours_s": statistics.median(mine), "peer_s": statistics.median(peer),
        "ratio": statistics.median(p / m for p, m in zip(peer, mine, strict=True)),
    }  # fmt: skip


def print_table(results: dict[str, dict[str, Any]]) -> None:
    """Seconds, ours with its spread, and what each of them found."""
    print(f"{'sweep':<32} {'ours, s':>8}  {'(least … most)':<16} {'peer, s':>9} "
          f"{'processor, s':>15} {'apart, points':>14}")  # fmt: skip
    for name, row in results.items():
        spread = f"({row['ours_least_s']:.2f} … {row['ours_most_s']:.2f})"
        cpu = f"{row['ours_cpu_s']:.1f} / {row['peer_cpu_s']:.1f}"
        print(f"  {name:<30} {row['ours_s']:8.2f}  {spread:<16} {row['peer_s']:9.1f} {cpu:>15} "
              f"{row['apart']:14.2f}")  # fmt: skip
        for whose in ("accuracies", "peer_accuracies"):
            print(f"    {whose}: {' '.join(f'{value:.1f}' for value in row[whose])}")


def main() -> None:
    """Measure, print the table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small problem, few settings")
    parser.add_argument("--images", type=Path, default=IMAGES, help="a folder of class folders")
    parser.add_argument("--rounds", type=int, default=4, help="runs of ours between the peer's")
    arguments = parser.parse_args()
    rounds = 1 if arguments.quick else arguments.rounds
    shape = (4000, 2000, 384, 20) if arguments.quick else (12_600, 4500, 1024, 45)
    strengths = [
        float(c) for c in (np.logspace(-4, 0, 4) if arguments.quick else np.logspace(-4, 2, 20))
    ]
    data = made(*shape)
    tolerances = {"sklearn_sweep": TOLERANCE, "sklearn_sweep_default_tolerance": DEFAULT_TOLERANCE}
    how = {"rounds": rounds, "threads": peer_threads(data)}
    results = {name: sweep(data, strengths, tol, **how) for name, tol in tolerances.items()}
    single = one_fit(data, strengths[len(strengths) // 2], TOLERANCE, **how)
    forward = forward_limit(arguments.quick, arguments.images)
    print(f"{shape[0]} × {shape[2]}, {shape[3]} classes, {2 * len(strengths)} settings, tolerances "
          f"{TOLERANCE:g} and {DEFAULT_TOLERANCE:g}; load {os.getloadavg()[0]:.1f}")  # fmt: skip
    print_table(results)
    print(f"  one fit: ours {single['ours_s']:.2f} s, scikit-learn {single['peer_s']:.2f} s")
    print(f"  extraction: {forward['extraction']:.1f} images/s, the bare forward pass "
          f"{forward['forward']:.1f}")  # fmt: skip
    figures = {
        f"{name}_{key}": float(f"{value:.4g}")
        for name, row in results.items()
        for key, value in row.items()
        if not isinstance(value, list)
    }
    print(json.dumps({
        "benchmark": "probe",
        "machine": f"{platform.machine()}, {usable_cores()} cores",
        "versions": {"python": platform.python_version(), **{n: version(n) for n in VERSIONS}},
        "figures": figures | {"peer_threads": how["threads"]}
        | {f"forward_{key}": round(v, 2) for key, v in forward.items() if key != "ratio"}
        | {f"one_fit_{key}": round(v, 3) for key, v in single.items()},
        "ratios": {name: round(row["peer_s"] / row["ours_s"], 2) for name, row in results.items()}
        | {"sklearn_one_fit": round(single["ratio"], 2),
           "forward_limit": round(forward["ratio"], 3)},
    }))  # fmt: skip
    if results["sklearn_sweep"]["apart"] > MOST_APART:
        raise SystemExit(f"accuracies differ by more than {MOST_APART} point: no like with like")


if __name__ == "__main__":
    main()
