"""Fixtures that several test modules share."""

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from source_servers import hub, own_settings, stac, store  # noqa: F401 (fixtures)

from tests.web import web  # noqa: F401  (a web server, for whichever test takes it)

ROOT = Path(__file__).resolve().parent.parent
# In this order `make test` hands the files to its processes: the longest first, so that no process
# has nothing to do at the end; those on a Slurm mostly wait for it.
LONGEST_FIRST = ("slurm", "kill", "pipeline", "distributed")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files with the longest tests first; within a file the order stays."""

    def length(item: pytest.Item) -> int:
        marks = (n for n, name in enumerate(LONGEST_FIRST) if item.get_closest_marker(name))
        return min(marks, default=len(LONGEST_FIRST))

    first: dict[Path, int] = {}
    for item in items:
        first[item.path] = min(first.get(item.path, len(LONGEST_FIRST)), length(item))
    items.sort(key=lambda item: first[item.path])


@pytest.fixture(autouse=True)
def logger_as_it_was() -> Iterator[None]:
    """The pipeline's logger after each test as before: a stage that runs in here sets it up.

    Left so, pytest would hear every line twice from then on.
    """
    log = logging.getLogger("orbweaver")
    handlers, propagate, level = log.handlers[:], log.propagate, log.level
    yield
    log.handlers[:], log.propagate = handlers, propagate
    log.setLevel(level)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared real data: ORBWEAVER_TEST_DATA or ../shared/data beside the checkout."""
    folder = Path(os.environ.get("ORBWEAVER_TEST_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        reason = f"the shared real data is not at {folder} (set ORBWEAVER_TEST_DATA)"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One thread for torch: on tiny tensors several mostly wait for each other."""
    import torch  # only where it is needed: most tests do without

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def training_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Training takes over signals of its process; equal bytes need equal threads."""
    import torch  # only where it is needed: most tests do without

    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    taken = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in taken}
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    for number, handler in before.items():
        signal.signal(number, handler)
