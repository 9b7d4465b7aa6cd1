"""The command line that checks a packed corpus: `pack --verify index.json`, without a recipe."""

import argparse
import time
from pathlib import Path

from workflow_scripts.errors import UserError
from workflow_scripts.logs import log
from workflow_scripts.shards.verify import verify
from workflow_scripts.stage import add_log

VERIFY = "--verify"


def verify_parser() -> argparse.ArgumentParser:
    """The command line of the check."""
    parser = argparse.ArgumentParser(
        prog="python -m workflow_scripts.pack",
        description="Compare a corpus with its index: every bit, every file, every count.",
        epilog="Without --verify this program packs; its own --help tells how.",
    )
    parser.add_argument(
        VERIFY, type=Path, required=True, metavar="INDEX", help="the index.json of the corpus"
    )
    parser.add_argument("--workers", type=int, help="threads, each on a file (default: all cores)")
    add_log(parser)
    return parser


def check(arguments: argparse.Namespace) -> None:
    """Check the corpus and say in a line what was checked.

    Raises:
        UserError: Something is wrong; each fault has a line.
    """
    start = time.monotonic()
    index: Path = arguments.verify
    verified = verify(index, workers=arguments.workers)
    checked = f"{verified.samples} samples in {verified.files} files, {verified.bytes / 1e6:.1f} MB"
    if verified.faults:
        lines = "".join(f"\n  {fault}" for fault in verified.faults)
        raise UserError(f"{index}: {len(verified.faults)} faults ({checked}):{lines}")
    seconds = time.monotonic() - start
    log.info("%s: all as packed: %s, checked in %.1f s", index, checked, seconds)
