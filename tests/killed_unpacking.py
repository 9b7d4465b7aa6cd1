"""Trials for test_unpack_kill: unpacking is killed with SIGKILL and begun again.

python tests/killed_unpacking.py FOLDER TRIALS SEED    (one line of JSON for each trial)

Modules are imported once, here; each start is forked from this process.
"""

import json
import os
import random
import shutil
import signal
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pyarrow as pa
import pyarrow.parquet as pq
from forked import fork
from made_archives import tar_bytes

from workflow_scripts.archives.target import BEGUN, DONE
from workflow_scripts.archives.unpack import unpack

MARKS = {BEGUN, DONE, ".unpacking.tmp"}
JPEG = b"\xff\xd8\xff"


def write_archives(folder: Path, dice: random.Random) -> dict[str, dict[str, bytes]]:
    """Archives of three kinds, and what each becomes, by its name."""
    files = {f"{n % 5}/{n}.jpg": JPEG + dice.randbytes(dice.randrange(40_000)) for n in range(300)}
    (folder / "files.tgz").write_bytes(tar_bytes(files, "w:gz", compresslevel=1))
    with zipfile.ZipFile(folder / "files.zip", "w", zipfile.ZIP_LZMA) as file:
        some = dict(list(files.items())[:40])
        for key, data in some.items():
            file.writestr(key, data)
    rows = {"image": list(files.values()), "label": [key[0] for key in files]}
    pq.write_table(pa.table(rows), folder / "files.parquet", row_group_size=50)
    table = {f"{key[0]}/files-{n}.jpg": data for n, (key, data) in enumerate(files.items())}
    return {"files.tgz": files, "files.zip": some, "files.parquet": table}


def look(target: Path, expected: dict[str, bytes]) -> dict[str, Any]:
    """What is there: whole files by inode, others by name, and whether it is marked complete."""
    whole, wrong = {}, []
    for path in target.rglob("*") if target.exists() else ():
        key = path.relative_to(target).as_posix()
        if path.is_dir() or key in MARKS or key.endswith(".tmp"):
            continue
        if expected.get(key) == path.read_bytes():
            whole[key] = path.stat().st_ino
        else:
            wrong.append(key)
    return {"whole": whole, "wrong": wrong, "done": (target / DONE).exists()}


def trial(folder: Path, name: str, expected: dict[str, bytes], seconds: float) -> dict[str, Any]:
    """Start, kill after so many seconds, look; a folder that is complete is made anew."""
    target = folder / f"{name}-target" / "out"
    before = look(target, expected)["whole"]
    child = fork(unpack, folder / name, target)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    found = look(target, expected)
    kept = all(found["whole"].get(key) == inode for key, inode in before.items())
    beside = {path.name for path in target.parent.iterdir()} if target.parent.exists() else set()
    if found["done"]:
        shutil.rmtree(target.parent)
    return {
        "archive": name, "before": len(before), "files": len(found["whole"]), "kept": kept,
        "wrong": found["wrong"], "done": found["done"], "all": len(expected), "status": status,
        "beside": sorted(beside - {"out", ".out.lock"}),
    }  # fmt: skip


def main() -> None:
    """Run the trials, then let each archive finish."""
    folder, trials, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    dice = random.Random(seed)
    archives = write_archives(folder, dice)
    for number in range(trials):
        name = list(archives)[number % 3]
        seconds = dice.uniform(0, dice.choice((0.01, 0.05, 0.2)))
        print(json.dumps(trial(folder, name, archives[name], seconds)), flush=True)
    for name, expected in archives.items():
        target = folder / f"{name}-target" / "out"
        status = os.waitpid(fork(unpack, folder / name, target), 0)[1]
        found = look(target, expected)
        whole = len(found["whole"]) == len(expected) and not found["wrong"] and found["done"]
        names = sorted(path.name for path in target.iterdir() if path.name.startswith("."))
        print(json.dumps({"end": name, "status": status, "whole": whole, "hidden": names}))


if __name__ == "__main__":
    main()
