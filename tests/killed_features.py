"""Trials for test_features: extractions are killed with SIGKILL, then run to their end.

python tests/killed_features.py FOLDER TRIALS SEED    (one line of JSON for each trial)

torch is imported once, here; extractions are forked from this process, which starts no thread.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from feature_cases import RECIPE, arrays, benchmark, extract_here, left_over, model_folder

from workflow_scripts.lifetime import die_with_parent
from workflow_scripts.pretrain.launch import Ranks

OTHER = "other.json"  # the second result, where two extractions share their sets


def fork(folder: Path, output: Path, ranks: Ranks, threads: int) -> int:
    """An extraction, or a rank of one, in a child; its exit status tells whether it ended well."""
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        die_with_parent(parent)
        extract_here(
            {**RECIPE, "seeds": []}, folder / "model", folder / "bench" / "index.json", output,
            "--threads", str(threads), ranks=ranks,
        )  # fmt: skip
        os._exit(0)
    except BaseException as error:
        print(error, file=sys.stderr, flush=True)
        os._exit(1)


def started(folder: Path, output: Path, dice: random.Random) -> list[int]:
    """One process, two ranks, or two processes whose results name the same sets.

    The results of those two are their own: the stage holds the lock of its result, not of its sets.
    """
    how = dice.choice(("alone", "ranks", "twice"))
    if how == "ranks":
        ranks = [Ranks(rank=r, world=2, local_rank=r, local_world=2) for r in range(2)]
        todo = [(output, rank) for rank in ranks]
    else:
        outputs = [output, output.with_name(OTHER)]
        todo = [(one, Ranks()) for one in outputs[: 1 if how == "alone" else 2]]
    return [fork(folder, one, rank, dice.choice((1, 2))) for one, rank in todo]


def wait_for_part(output: Path, seconds: float) -> None:
    """Wait until an extraction has made a part of a set, or all, so many seconds at most."""
    end = time.monotonic() + seconds
    while not output.exists() and time.monotonic() < end:
        if any((output.parent / "store").glob("*/part-*")):
            break
        time.sleep(0.001)


def trial(folder: Path, dice: random.Random, number: int, seconds: float) -> dict:
    """Kill some extractions at random moments, let others end, and look at what is there.

    Args:
        folder: Has the benchmark, the model, and the result of an extraction left alone.
        dice: What is done is drawn from it.
        number: Of the trial.
        seconds: What that extraction took.
    """
    output = folder / f"trial-{number}" / "result.json"
    met = set()
    for _ in range(dice.choice((1, 2, 3))):
        children = started(folder, output, dice)
        if dice.random() < 0.5:  # however long that takes beside what else the machine does
            wait_for_part(output, 20 * seconds)
        else:
            time.sleep(dice.uniform(0.0, seconds))
        for child in children:
            os.kill(child, signal.SIGKILL)
        for child in children:
            os.waitpid(child, 0)
        store = output.parent / "store"
        met |= {path.name.split("-")[0].split(".")[-1] for path in store.glob("*/part-*")}
        met |= {"temporary" for _ in store.glob("*/.*.tmp")}
    children = started(folder, output, dice)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    found = {"codes": codes, "met": sorted(met), "left": left_over(output)}
    whole = arrays(folder / "whole" / "result.json")
    made = {output, *output.parent.glob(OTHER)}
    found["same"] = all(arrays(path) == whole for path in made)
    shutil.rmtree(output.parent)
    return found


def main() -> None:
    """Run the trials."""
    folder, trials, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    dice = random.Random(seed)
    benchmark(folder / "bench", count=450)
    model_folder(folder / "model")
    began = time.monotonic()
    os.waitpid(fork(folder, folder / "whole" / "result.json", Ranks(), 1), 0)
    seconds = time.monotonic() - began
    for number in range(trials):
        threads = len(os.listdir("/proc/self/task"))
        if threads != 1:
            raise RuntimeError(f"{threads} threads: a fork would be of one of them only")
        print(json.dumps(trial(folder, dice, number, seconds)), flush=True)


if __name__ == "__main__":
    main()
