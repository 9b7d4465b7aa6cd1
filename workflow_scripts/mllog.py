"""Log lines of a timed training as MLPerf HPC asks for them: `:::MLLOG {json}`, one rank, one file.

The lines come from the library mlperf-logging; their keys and their order are those that its
compliance checker asks for (`hpc_1.0.0/common.yaml`). As in MLPerf HPC v1.0 ("Any staging to
node-local disk … should be included in the benchmark time measurement", HPC training rules,
"Data State at Start of Run") `staging_start` and `staging_stop` lie between `run_start` and
`run_stop`; since v3.0 they need not. `run_start` says so.

Nothing here was submitted to MLCommons or reviewed by it, and the benchmarks are our own: a time
from these lines must not be called an MLPerf result. The first lines say so too.

A line is written by the processor that launches the work: on an accelerator it may be early by as
much as is in the queue, which `run_stop` is not where the caller waits for the device before it.
"""

import argparse
import json
import logging
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mlperf_logging.mllog import constants as keys
from mlperf_logging.mllog.mllog import MLLogger

from workflow_scripts.errors import UserError
from workflow_scripts.files import write_text
from workflow_scripts.logs import log as program_log
from workflow_scripts.pretrain.schedule import peak_rate

TOKEN = ":::MLLOG "
CONVENTION = "MLPerf HPC v1.0: data staging is inside the timed run"
NO_SUBMISSION = "none (no submission to MLCommons)"
# Keys of the HPC rules that the library has no constant for.
NODES, ACCELERATORS = "number_of_nodes", "accelerators_per_node"
_ROOT = Path(__file__).parent.parent


def settings_of(
    recipe: Mapping[str, Any], *, nodes: int, ranks_per_node: int, train_samples: int,
    accumulate: int = 1, accelerated: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """What the rules want to know of a training, by key, in the order of the lines.

    The keys are those of the HPC benchmarks: CosmoFlow's for the rate, DeepCAM's for AdamW.

    Args:
        recipe: The recipe of pretraining.
        nodes: How many.
        ranks_per_node: Processes, one an accelerator.
        train_samples: Images of an epoch.
        accumulate: Parts of a rank's batch.
        accelerated: Whether ranks have an accelerator, or only cores.
    """
    optim = recipe["optim"]
    return {
        NODES: nodes,
        ACCELERATORS: ranks_per_node if accelerated else 0,
        keys.SEED: recipe["seed"],
        keys.GLOBAL_BATCH_SIZE: recipe["batch"],
        keys.GRADIENT_ACCUMULATION_STEPS: accumulate,
        keys.OPT_NAME: "AdamW",
        keys.OPT_BASE_LR: peak_rate(optim, batch=recipe["batch"]),
        keys.OPT_END_LR: optim["min_lr"],
        "opt_betas": list(optim["betas"]),
        "opt_eps": 1e-8,  # PyTorch's
        keys.OPT_WEIGHT_DECAY: optim["weight_decay"],
        "scheduler_type": "cosine_annealing",
        keys.OPT_LR_WARMUP_EPOCHS: optim["warmup_epochs"],
        **({keys.OPT_GRADIENT_CLIP_NORM: optim["clip"]} if optim["clip"] else {}),
        keys.TRAIN_SAMPLES: train_samples,
        keys.EVAL_SAMPLES: 0,  # pretraining has no evaluation of its own
    }


class _Lines(logging.Handler):
    """Appends lines, each whole or (killed) cut off; a full disk is told once and ends nothing."""

    def __init__(self, path: Path, *, append: bool) -> None:
        super().__init__()
        self._path, self._broken = path, False
        path.parent.mkdir(parents=True, exist_ok=True)
        if not append:
            path.write_bytes(b"")

    def emit(self, record: logging.LogRecord) -> None:
        if self._broken:
            return
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(record.getMessage() + "\n")
        except OSError as error:
            self._broken = True
            program_log.warning("%s; no further MLLOG line is written", error)


class MlLog:
    """The log of one timed training, as a context: what it leaves without `run_stop` was aborted.

    Args:
        path: The file; None (every rank but one) writes nothing.
        benchmark: What is timed, such as `orbweaver_scaling`.
        platform: What it ran on, such as `AMD Instinct MI250X`; no name of a host.
        settings: What `settings_of` returned.
        began: When initialisation began, in seconds since 1970; now by default.
        append: Go on with the file, instead of beginning it anew.
    """

    def __init__(
        self, path: Path | None, *, benchmark: str, platform: str, settings: Mapping[str, Any],
        began: float | None = None, append: bool = False,
    ) -> None:  # fmt: skip
        self._logger = logging.Logger(__name__)  # of its own: the library's would print
        self._logger.addHandler(
            logging.NullHandler() if path is None else _Lines(path, append=append)
        )
        # The call's place goes into each line: relative, so that no line holds a machine's path.
        self._lines = MLLogger(self._logger, root_dir=re.escape(str(_ROOT)))
        self._stopped = False
        self._about = {
            keys.SUBMISSION_BENCHMARK: benchmark,
            keys.SUBMISSION_ORG: NO_SUBMISSION,
            keys.SUBMISSION_DIVISION: keys.OPEN,
            keys.SUBMISSION_STATUS: keys.RESEARCH,
            keys.SUBMISSION_PLATFORM: platform,
            keys.CACHE_CLEAR: False,  # caches of the node are as they were
        }
        self._settings = dict(settings)
        self._began = time.time() if began is None else began

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        if not self._stopped:
            self.run_stop(False)

    def run_start(self, at: float | None = None) -> None:
        """Write what the log begins with, the end of initialisation, and the start of the clock.

        Call it before the training data are touched.

        Args:
            at: When, in seconds since 1970; now by default.
        """
        self.start(keys.INIT_START, at=self._began)
        for key, value in {**self._about, **self._settings}.items():
            self.event(key, value, at=at)
        self.stop(keys.INIT_STOP, at=at)
        self.start(keys.RUN_START, at=at, staging=CONVENTION)

    @contextmanager
    def staging(self) -> Iterator[None]:
        """Around copying data to the nodes; part of the timed run."""
        self.start(keys.STAGING_START)
        yield
        self.stop(keys.STAGING_STOP)

    @contextmanager
    def block(self, *, first_epoch: int = 1, epochs: float = 1) -> Iterator[None]:
        """Around training without an evaluation: its first epoch (from 1) and how many."""
        self.start(keys.BLOCK_START, first_epoch_num=first_epoch, epoch_count=epochs)
        yield
        self.stop(keys.BLOCK_STOP, first_epoch_num=first_epoch)

    def run_stop(self, ok: bool) -> None:
        """Stop the clock: `success`, or `aborted`."""
        self._stopped = True
        self.stop(keys.RUN_STOP, status=keys.SUCCESS if ok else keys.ABORTED)

    def start(self, key: str, *, at: float | None = None, **metadata: Any) -> None:
        """Write the start of an interval."""
        self._lines.start(key, metadata=metadata, time_ms=_ms(at))

    def stop(self, key: str, *, at: float | None = None, **metadata: Any) -> None:
        """Write the end of an interval."""
        self._lines.end(key, metadata=metadata, time_ms=_ms(at))

    def event(self, key: str, value: Any, *, at: float | None = None, **metadata: Any) -> None:
        """Write a fact."""
        self._lines.event(key, value, metadata=metadata, time_ms=_ms(at))


def _ms(at: float | None) -> int | None:
    return None if at is None else int(at * 1e3)


def end_aborted(path: Path) -> None:
    """See that a log ends with `run_stop`: for what looks after a process that died.

    A line that the death cut off is left out. A file that is not there is made: its process died
    before the clock started.
    """
    lines = read(path)
    if any(line["key"] == keys.RUN_STOP for line in lines):
        return
    write(path, lines)
    MlLog(path, benchmark="", platform="", settings={}, append=True).run_stop(False)


def write(path: Path, lines: list[dict[str, Any]]) -> None:
    """Write the lines of a log anew."""
    write_text(path, "".join(f"{TOKEN}{json.dumps(line)}\n" for line in lines))


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a log, comments (`#`) apart; a last line that a kill cut off is left out.

    Raises:
        UserError: Another line is none.
    """
    rows: list[dict[str, Any]] = []
    lines = path.read_bytes().splitlines() if path.is_file() else []
    for number, line in enumerate(lines, 1):
        if line.startswith(b"#"):
            continue
        try:
            row = dict(json.loads(line.decode().removeprefix(TOKEN)))
            if not isinstance(row["key"], str) or not isinstance(row["time_ms"], int | float):
                raise ValueError
            rows.append(row)
        except (KeyError, ValueError, TypeError):
            if number < len(lines):
                raise UserError(
                    f"{path}: line {number} of {len(lines)} is no MLLOG line; delete this line (of "
                    "the record of times, no training is lost) and start again"
                ) from None
    return rows


def times(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Seconds of a log: `init_s`, `staging_s` and `run_s` (time to train), and `status`.

    `run_s` is from `run_start` to `run_stop`, staging and, between segments, waiting included; each
    is None where its lines are not there. `segment_s` is the part of it in which a segment ran.
    """

    def spans(start: str, stop: str) -> list[float]:
        began, found = None, []
        for line in lines:
            if line["key"] == start:
                began = line["time_ms"]
            elif line["key"] == stop and began is not None:
                found.append((line["time_ms"] - began) / 1e3)
                began = None
        return found

    def total(name: str) -> float | None:
        found = spans(f"{name}_start", f"{name}_stop")
        return round(sum(found), 3) if found else None

    ends = [line for line in lines if line["key"] == keys.RUN_STOP]
    return {
        **{f"{name}_s": total(name) for name in ("init", "staging", "segment", "run")},
        "status": (ends[-1].get("metadata") or {}).get("status") if ends else None,
    }


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _timed(file: Path) -> dict[str, Any]:
    """The times of a log that has to be there.

    Raises:
        UserError: There is no such file, or not one MLLOG line in it.
    """
    lines = read(file)
    if not lines:
        what = "no MLLOG line in it" if file.is_file() else "no such file"
        raise UserError(f"{file}: {what}; name a point's .mllog or a run's mllog.txt")
    return times(lines)


def main() -> None:
    """Print the times of some logs: `python -m workflow_scripts.mllog FILE …`."""
    parser = argparse.ArgumentParser(
        prog="python -m workflow_scripts.mllog", description=main.__doc__
    )
    parser.add_argument("file", type=Path, nargs="+", help="a point's .mllog, a run's mllog.txt")
    files = parser.parse_args().file
    try:
        logs = [_timed(file) for file in files]
    except UserError as error:
        sys.exit(str(error))
    print("time to train (s)  of it running  staging  initialisation  status   file")
    for file, one in zip(files, logs, strict=True):
        print(
            f"{_seconds(one['run_s']):>17}  {_seconds(one['segment_s']):>13}"
            f"  {_seconds(one['staging_s']):>7}  {_seconds(one['init_s']):>14}"
            f"  {one['status'] or '-':7}  {file}"
        )


if __name__ == "__main__":
    main()
