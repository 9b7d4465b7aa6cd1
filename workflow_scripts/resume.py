"""Go on after a driver died: see that none lives, unlock, start the same command again.

python -m workflow_scripts.resume        (make resume)
"""

import argparse
import os
import socket
import subprocess
import sys
from pathlib import Path

from workflow_scripts.driver import NOTES, command, lives, notes
from workflow_scripts.errors import UserError
from workflow_scripts.logs import log, start_logging


def arguments_to_resume(*, assume_dead: bool = False) -> list[str]:
    """The arguments of the last driver that did not end well, once it is certain that none lives.

    Raises:
        UserError: There is none, one still runs, or one ran on another host.
    """
    found = notes()
    if not found:
        locked = any(Path(".snakemake/locks").glob("*.lock"))
        first = "`snakemake --unlock`, then " if locked else ""
        raise UserError(f"nothing to resume: {NOTES} names no driver; {first}`snakemake all`")
    here = socket.gethostname()
    for _, note in found:
        if note["host"] != here and not assume_dead:
            raise UserError(
                f"a driver ran on {note['host']} (process {note['pid']}), and this is {here}: "
                "look there first; if it is gone, run "
                "`python -m workflow_scripts.resume --assume-dead`"
            )
        if note["host"] == here and lives(note):
            raise UserError(
                f"the driver still runs (process {note['pid']}): let it work, or stop it with "
                f"`kill {note['pid']}` and resume then"
            )
    path, note = found[-1]
    path.unlink()  # the driver that goes on leaves a note of its own
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
        arguments = arguments_to_resume(assume_dead=options.assume_dead)
    except UserError as error:
        log.error("%s", error)
        sys.exit(1)
    unlocked = subprocess.run(command(*arguments, "--unlock"), check=False)
    if unlocked.returncode:
        sys.exit(unlocked.returncode)
    log.info("going on with: snakemake %s", " ".join(arguments))
    sys.stderr.flush()
    os.execv(sys.executable, command(*arguments))


if __name__ == "__main__":
    main()
