"""Go on after a driver died: see that none lives, wait for its jobs, unlock, start it again.

python -m workflow_scripts.resume        (make resume)

Jobs, trainers and points that outlived the driver are left to end: their work is used, not done
twice.
"""

import argparse
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from workflow_scripts.driver import command
from workflow_scripts.driver_notes import NOTES, how_to_stop, lives, notes, take_over
from workflow_scripts.errors import UserError
from workflow_scripts.logs import log, start_logging
from workflow_scripts.survivors import wait_for_all


def driver_to_resume(*, assume_dead: bool = False) -> tuple[Path, dict[str, Any]]:
    """The note of the last driver that did not end well, once it is certain that none lives.

    Raises:
        UserError: There is none, one still runs, or one ran on another host.
    """
    found = notes()
    if not found:
        locked = any(Path(".snakemake/locks").glob("*.lock"))
        first = "`snakemake --unlock`, then " if locked else ""
        raise UserError(f"nothing to resume: {NOTES} names no driver; {first}`snakemake all`")
    for _, note in found:
        _refuse_living(note, assume_dead=assume_dead)
    return found[-1]


def _refuse_living(note: dict[str, Any], *, assume_dead: bool) -> None:
    here = socket.gethostname()
    if note["host"] != here and not assume_dead:
        raise UserError(
            f"a driver ran on {note['host']} (process {note['pid']}), and this is {here}: "
            "look there first; if it is gone, run "
            "`python -m workflow_scripts.resume --assume-dead`"
        )
    if note["host"] == here and note["pid"] != os.getpid() and lives(note):
        raise UserError(
            f"the driver still runs (process {note['pid']}), or a `make resume` waits in its "
            f"place: let it work, or {how_to_stop(note)}; then resume"
        )


def resume(*, assume_dead: bool) -> list[str]:
    """Take the place of the driver that died, and wait for the jobs that it left.

    Args:
        assume_dead: Whether drivers of other hosts are known to be gone.

    Returns:
        The driver's arguments.

    Raises:
        UserError: There is nothing to resume, or a driver lives.
    """
    path, note = driver_to_resume(assume_dead=assume_dead)
    take_over(path, note)
    # Notes of earlier versions do not tell these two.
    wait_for_all(Path(note.get("runs", "results/runs")), submitted=note.get("submits", False))
    driver_to_resume(assume_dead=assume_dead)  # none has begun while this one waited
    return list(note["arguments"])


def main() -> None:
    """Unlock and start again."""
    parser = argparse.ArgumentParser(prog="python -m workflow_scripts.resume", description=__doc__)
    parser.add_argument(
        "--assume-dead", action="store_true", help="the driver ran on another host and is gone"
    )
    options = parser.parse_args()
    start_logging()
    try:
        arguments = resume(assume_dead=options.assume_dead)
    except UserError as error:
        log.error("%s", error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    unlocked = subprocess.run(command(*arguments, "--unlock"), check=False)
    if unlocked.returncode:
        sys.exit(unlocked.returncode)
    log.info("going on with: snakemake %s", " ".join(arguments))
    sys.stderr.flush()
    os.execv(sys.executable, command(*arguments))  # the same process: its note holds


if __name__ == "__main__":
    main()
