"""Downloads that are killed at random moments; a JSON line of what each left.

    python tests/killed_download.py FOLDER TRIALS SEED FILES

FILES is JSON: name → {"urls": …, "allowed": [sha256, …]} with "bytes" and "sha256" where known.
One process forks the others, so that a trial costs no start of Python; it has no thread of its own.
"""

import hashlib
import json
import math
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from workflow_scripts.errors import UserError
from workflow_scripts.logs import log
from workflow_scripts.transfer.client import Client
from workflow_scripts.transfer.download import download
from workflow_scripts.transfer.remote import Remote
from workflow_scripts.transfer.settings import Settings

SETTINGS = Settings(retries=10, timeout_s=0.2, first_wait_s=0.002, longest_wait_s=0.05)


def main() -> None:
    folder, trials, seed, files = Path(sys.argv[1]), *map(int, sys.argv[2:4]), sys.argv[4]
    rng, files = random.Random(seed), json.loads(files)
    remotes = [
        Remote(name=name, **{key: value for key, value in one.items() if key != "allowed"})
        for name, one in files.items()
    ]
    begin = time.monotonic()
    if one_trial(remotes, folder, math.inf) != "whole":
        raise RuntimeError("a download that nobody killed has failed")
    longest = 1.3 * (time.monotonic() - begin)  # so that some trials end by themselves
    shutil.rmtree(folder)
    for trial in range(trials):
        ended = one_trial(remotes, folder, rng.uniform(0, longest))
        print(json.dumps({"trial": trial, "ended": ended, **left(folder, files)}), flush=True)
        if ended == "whole":
            shutil.rmtree(folder)


def one_trial(remotes: list[Remote], folder: Path, seconds: float) -> str:
    """Start, kill after so many seconds; how it ended."""
    child = os.fork()
    if not child:
        log.setLevel("ERROR")
        status = 3
        try:
            download(remotes, folder, client=Client(SETTINGS), what="killed")
            status = 0
        except UserError as error:
            print(error, file=sys.stderr, flush=True)
        finally:
            os._exit(status)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return {0: "whole"}.get(os.waitstatus_to_exitcode(status), "error")
        time.sleep(0.001)
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return {0: "whole", -signal.SIGKILL: "killed"}.get(os.waitstatus_to_exitcode(status), "error")


def left(folder: Path, files: dict) -> dict:
    """What lies there: names, files that are wrong, and bytes of parts."""
    names = sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
    found = {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in files
        if name in names
    }
    wrong = [name for name, digest in found.items() if digest not in files[name]["allowed"]]
    parts = {name: (folder / name).stat().st_size for name in names if name.endswith(".part")}
    return {"names": names, "wrong": wrong, "parts": parts}


if __name__ == "__main__":
    main()
