"""Pack images: choose what the manifests list, plan the shards, and write them side by side.

Shards are planned from the manifests alone and each is a function of its items and the recipe, so
they are packed in any number of processes, and packed again after a crash, with the same bytes.
"""

import math
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from workflow_scripts.code_digest import code_digest
from workflow_scripts.errors import UserError
from workflow_scripts.logs import log, progress
from workflow_scripts.pack.choose import Tally, choose, plan_shards
from workflow_scripts.pack.image_shard import (
    Facts,
    ShardTask,
    check_set_aside,
    pack_shard,
    pack_shard_apart,
)
from workflow_scripts.pack.looks import Looks
from workflow_scripts.pack.statistics import ImageStatistics
from workflow_scripts.processes import map_in_processes
from workflow_scripts.threads import usable_cores

_LISTED = 100


def pack_images(
    recipe: dict[str, Any],
    manifests: Sequence[tuple[str, Path]],
    index: Path,
    *,
    judged: Mapping[str, Path] | None = None,
    workers: int | None = None,
) -> dict[str, Any]:
    """Write the shards of an image corpus beside its index, and return the index's body.

    Memory holds the columns of one shard and a few images a worker, whatever the corpus's size, and
    nine bytes a sample to find near duplicates (twelve at the end).

    Args:
        recipe: The pack recipe of kind `images`.
        manifests: (dataset, manifest) of each, in the recipe's order.
        index: The `index.json` that the caller will write.
        judged: Tables of splits of the recipe's `benchmark_test`, by benchmark.
        workers: Processes and threads that read and decode, all together; as many as usable cores
            by default. With 0 everything runs here, and a crash of a library ends the job.

    Raises:
        UserError: Data changed since the manifest, too many images set aside, nothing to pack.
    """
    workers = usable_cores() if workers is None else workers
    tally = Tally()
    with _scratch(index) as scratch:
        chosen = choose(manifests, recipe, tally, scratch=scratch, judged=judged)
        plan = plan_shards(chosen, recipe["shard_bytes"], scratch)
        if not plan:
            raise UserError(_nothing(manifests, recipe, tally))
        log.info("%d images in %d shards", tally.count, len(plan))
        # An index never stands beside shards that it does not describe.
        index.unlink(missing_ok=True)
        processes = min(workers, len(plan))
        tasks = [
            ShardTask(
                items=items,
                shard=index.with_name(f"{items.stem}.h5"),
                scratch=scratch,
                recipe=recipe,
                classes=sorted(tally.classes),
                code=code_digest("pack"),
                allowed=most_set_aside(recipe["max_set_aside"], tally.count),
                threads=max(1, workers // max(1, processes)),
            )
            for items in plan
        ]
        facts = map_in_processes(pack_shard, tasks, workers=processes, crashed=pack_shard_apart)
        return _body(progress(facts, what="shards", total=len(plan)), tasks, tally)


def most_set_aside(share: float, count: int) -> int:
    """The share of so many images; 0.29 of 100 are 29, though their product is a bit less."""
    return math.floor(share * count + 1e-6)


@contextmanager
def _scratch(index: Path) -> Iterator[Path]:
    """A hidden folder beside the index for what is needed meanwhile, empty at the start."""
    folder = index.with_name(".packing")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _nothing(manifests: Sequence[tuple[str, Path]], recipe: dict[str, Any], tally: Tally) -> str:
    listed = ", ".join(str(manifest) for _, manifest in manifests)
    left_out = ", ".join(f"{count} × {reason}" for reason, count in tally.left_out.items())
    return (
        f"{listed}: no item of the splits {recipe['splits']} is left to pack (left out: "
        f"{left_out or 'none'}); look at the dataset's split and at the corpus's keys"
    )


def _body(results: Iterator[Facts], tasks: list[ShardTask], tally: Tally) -> dict[str, Any]:
    """What the index says, from the facts of the shards in their order."""
    statistics, looks, task = ImageStatistics(), Looks(), tasks[0]
    shards: list[dict[str, Any]] = []
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    reasons: Counter[str] = Counter()
    first: list[dict[str, str]] = []
    for facts in results:
        statistics.add(np.array(facts["histogram"], np.int64))
        looks.add(facts["looks"])
        for split, names in facts["class_counts"].items():
            counts[split].update(names)
        for row in facts["set_aside"]:
            log.warning("%s set aside: %s", row["key"], row["reason"])
            reasons[row["reason"]] += 1
        first += facts["set_aside"][: _LISTED - len(first)]
        check_set_aside(reasons.total(), first, allowed=task.allowed)
        if facts["count"]:
            shards.append({key: facts[key] for key in ("file", "sha256", "count", "bytes")})
    if not shards:
        raise UserError(f"all {tally.count} images were set aside: nothing to pack")
    mean, std = statistics.result()
    judged = task.recipe["benchmark_test"]
    datasets = sorted(set(judged["benchmarks"].values()))
    return {
        "channels": 3,
        "bands": ["red", "green", "blue"],
        "classes": task.classes,
        "shards": shards,
        "mean": mean,
        "std": std,
        "class_counts": {split: dict(sorted(names.items())) for split, names in counts.items()},
        "set_aside": dict(reasons),
        "set_aside_items": first[:_LISTED],
        "left_out": dict(tally.left_out),
        "near_duplicates": looks.result(one.sidecar for one in tasks),
        "benchmark_test": {
            "handling": judged["handling"],
            "images": {name: tally.test_images[name] for name in datasets},
        },
    }
