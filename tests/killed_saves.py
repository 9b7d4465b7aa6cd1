"""Trials for test_checkpoint_kill: ranks that save in a tight loop are killed with SIGKILL.

python tests/killed_saves.py FOLDER TRIALS SEED    (one line of JSON for each trial)

torch is imported once, here; ranks and the reader of what they leave are forked from this process,
which starts no thread, so that a trial takes a fraction of a second.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from forked import fork
from torch import nn

from workflow_scripts.pretrain import checkpoint, parallel, saved
from workflow_scripts.pretrain.launch import Ranks

SNAPSHOTS = range(5, 10**6, 5)  # steps whose checkpoints stay
_SECONDS = (0.02, 0.1)  # the longest time to the kill: within one save, or several


class State:
    """A few weights and their moments, every number of which is the step."""

    def __init__(self) -> None:
        self.model = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 8))
        self.optimizer = torch.optim.AdamW(self.model.parameters(), fused=True)
        self.model(torch.ones(1, 64)).sum().backward()
        self.optimizer.step()  # so that there are moments

    def tensors(self) -> dict[str, torch.Tensor]:
        """Weights, moments and counters by name."""
        found = dict(self.model.named_parameters())
        for name, parameter in self.model.named_parameters():
            for part, value in self.optimizer.state[parameter].items():
                found[f"{name}.{part}"] = value
        return found

    def fill(self, step: int) -> None:
        """Set every number."""
        with torch.no_grad():
            for tensor in self.tensors().values():
                tensor.fill_(step)

    def load(self, root: Path, step: int) -> None:
        """Load a checkpoint, all of which must be of one step."""
        meta = checkpoint.load(root, step, objective=self.model, optimizer=self.optimizer)
        assert meta == {"meta": step, "step": step}, meta
        for name, tensor in self.tensors().items():
            assert bool((tensor == step).all()), f"{name} of step {step} is {tensor}"


def save_for_ever(ranks: Ranks, root: Path, how: dict[str, Any], begun: int) -> None:
    """One rank, as a run does it: load the last checkpoint, then step and save until killed."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    device = parallel.join(ranks, timeout_s=300)
    one = State()
    if ranks.is_first:
        root.mkdir(exist_ok=True)
        saved.clear_leftovers(root)
    step = parallel.from_first(saved.latest(root) or 0, device)
    if step:
        one.load(root, step)
    saver = checkpoint.Saver(
        root, objective=one.model, optimizer=one.optimizer, snapshots=SNAPSHOTS, **how
    )
    while True:
        if ranks.is_first:
            os.write(begun, b".")
        step += 1
        one.fill(step)
        saver.save(step, {"meta": step})


def read_all(root: Path, told: int) -> None:
    """Load every checkpoint that has a name, and tell their steps."""
    one, found = State(), saved.steps(root)
    for step in found:
        one.load(root, step)
    os.write(told, json.dumps(found).encode())


def trial(root: Path, dice: random.Random, number: int) -> dict[str, Any]:
    """Start ranks, kill one or all at a random moment, and read what is there."""
    world, background = 1 + number % 2, bool(number // 2 % 2)
    how = {"keep": dice.choice((1, 2)), "background": background}
    root = root / f"{world}-{background}"
    before = saved.latest(root) or 0
    heard, begun = os.pipe()
    store = root.with_name(f"store-{number}")
    places = [
        Ranks(rank=rank, world=world, local_rank=rank, local_world=world,
              rendezvous=f"file://{store}")
        for rank in range(world)
    ]  # fmt: skip
    children = [fork(save_for_ever, ranks, root, how, begun) for ranks in places]
    os.close(begun)
    for _ in range(dice.choice((1, 2, 4))):
        if not os.read(heard, 1):
            raise RuntimeError("the ranks ended before they were killed")
    time.sleep(dice.uniform(0, dice.choice(_SECONDS)))
    dice.shuffle(children)
    for child in children:
        os.kill(child, signal.SIGKILL)
        time.sleep(dice.choice((0.0, 0.02)))  # the other rank may live on for a moment
    for child in children:
        os.waitpid(child, 0)
    os.close(heard)
    names = sorted(path.name for path in root.iterdir())
    heard, told = os.pipe()
    reader = fork(read_all, root, told)
    os.close(told)
    steps = json.loads(os.read(heard, 65536) or "null")
    os.close(heard)
    os.waitpid(reader, 0)
    return {"world": world, **how, "before": before, "steps": steps, "names": names}


def main() -> None:
    """Run the trials."""
    folder, trials, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    dice = random.Random(seed)
    for number in range(trials):
        threads = len(os.listdir("/proc/self/task"))
        if threads != 1:
            raise RuntimeError(f"{threads} threads: a fork would be of one of them only")
        began = time.monotonic()
        found = trial(folder, dice, number)
        found["seconds"] = round(time.monotonic() - began, 3)
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
