"""Files over HTTP into a folder, several at a time: whole and verified, or a clear error."""

import errno
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from workflow_scripts.errors import UserError
from workflow_scripts.logs import ByteMeter
from workflow_scripts.transfer.client import Client
from workflow_scripts.transfer.patience import Stopped
from workflow_scripts.transfer.present import verified
from workflow_scripts.transfer.remote import Received, Remote
from workflow_scripts.transfer.single import receive
from workflow_scripts.transfer.watch import Watch, missing_bytes, require_room

__all__ = ["download", "verified"]

_TICK_S = 1.0
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


def download(
    remotes: Sequence[Remote], folder: Path, *, client: Client, what: str
) -> list[Received]:
    """Download files, those excepted that are there already.

    An interrupted download goes on where it ended when it is started again. After a file that could
    not be had no further one is begun; those under way are brought to their end first.

    Args:
        remotes: The files.
        folder: Where their names begin.
        client: Asks the servers; its settings say how many files at a time.
        what: What they are, for the progress and the log.

    Returns:
        One for each, in their order.

    Raises:
        UserError: Files that no mirror gave, each with its URLs and what was seen there; or there
            is not enough room; or two have one name.
    """
    twice = [
        name for name, count in Counter(remote.name for remote in remotes).items() if count > 1
    ]
    if twice:
        raise UserError(f"{what}: two files of one name: {', '.join(sorted(twice)[:5])}")
    require_room(folder, missing_bytes(remotes, folder), what)
    sizes = [remote.bytes for remote in remotes]
    total = None if None in sizes else sum(size or 0 for size in sizes)
    with ByteMeter(what=what, total=total) as meter:
        watch = Watch(meter)
        with ThreadPoolExecutor(max(client.settings.parallel, 1)) as pool:
            jobs: list[Future[Received]] = []
            try:  # from the first one on: the pool would bring what it has begun to its end
                jobs += (pool.submit(_one, remote, folder, client, watch) for remote in remotes)
                _until_done(jobs, meter, watch)
            except BaseException:  # Ctrl-C, or the end of the batch job
                watch.stop.set()
                pool.shutdown(cancel_futures=True)
                raise
    return _results(jobs)


def _one(remote: Remote, folder: Path, client: Client, watch: Watch) -> Received:
    target = folder / remote.name
    try:
        return receive(remote, target, client, watch)
    except OSError as error:
        full = error.errno in _NO_ROOM
        todo = "make room" if full else "look at the folder, its owner and its file system"
        raise UserError(
            f"{target}: {error.strerror or error}; what has come is kept: {todo}, and start again"
        ) from None


def _until_done(jobs: list[Future[Received]], meter: ByteMeter, watch: Watch) -> None:
    waiting = set(jobs)
    while waiting:
        done, waiting = wait(waiting, timeout=_TICK_S, return_when=FIRST_COMPLETED)
        meter.tick()
        if any(not job.cancelled() and job.exception() for job in done):
            for job in waiting:
                job.cancel()  # those that have not begun


def _results(jobs: list[Future[Received]]) -> list[Received]:
    """What came; else one error for all that did not.

    Raises:
        UserError: Files could not be had.
    """
    errors = [error for job in jobs if not job.cancelled() and (error := job.exception())]
    for error in errors:
        if not isinstance(error, UserError | Stopped):
            raise error
    if errors:
        waiting = sum(job.cancelled() for job in jobs)
        rest = f"\n{waiting} more files were not begun" if waiting else ""
        raise UserError("\n".join(map(str, errors)) + rest) from None
    return [job.result() for job in jobs]
