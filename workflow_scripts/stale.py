"""What would run, and why, one line a job: Snakemake's own plan with the reasons spelled out.

python -m workflow_scripts.stale        (snakemake stale)
"""

import argparse
import json
import os
import re
import sys

from workflow_scripts.config_check import check_config, load_config
from workflow_scripts.driver import CONFIG_VARIABLE
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.folder import LISTING
from workflow_scripts.jobs import Job, Jobs
from workflow_scripts.nested import ask_snakemake
from workflow_scripts.planned import Planned, planned_jobs
from workflow_scripts.pretrain.earlier import in_words, others, pin
from workflow_scripts.staleness import explain

_REASONS = {
    "Missing output files": "not made yet",
    "Incomplete output files": "half made when its job died",
    "Updated input files": "changed: {files}",
    "Input files updated by another job": "follows: {files}",
    "Set of input files has changed since last execution": "another set of inputs",
    "Forced execution": "asked for",
}
# Params may hold "; " themselves: a reason ends where another begins.
_HEADS = "|".join((*_REASONS, "Params have changed", "Code has changed", "Software"))
_BETWEEN = re.compile(rf"; (?={_HEADS})")


def why(planned: Planned, jobs: dict[str, Job]) -> str:
    """One line on why a planned job would run."""
    known = next((jobs[name] for name in planned.outputs if name in jobs), None)
    parts = []
    for reason in re.split(_BETWEEN, planned.reason):
        head, _, files = reason.partition(": ")
        if head in _REASONS:
            parts.append(_REASONS[head].format(files=files))
        elif "params" in head.lower():
            found = explain(known) if known and known.result.is_file() else []
            watched = known is not None and LISTING in known.recipe
            otherwise = "files in its folder changed" if watched else "its recipe or code changed"
            parts.append(", ".join(found) or otherwise)
        else:
            parts.append(reason)
    own = [part for part in parts if not part.startswith("follows: ")]
    own += _begins_anew(known) if known else []
    return "; ".join(own or parts)  # a job that has a reason of its own needs no other


def _begins_anew(job: Job) -> list[str]:
    """Whether a run without a first segment would find checkpoints, but none of its own."""
    if job.rule != "pretrain" or job.names[1] != "1" or job.result.is_file():
        return []
    run, corpus = job.result.parents[1], job.inputs().get("corpus")
    known = {"recipe": job.recipe, "code": job.code, **({"content": corpus} if corpus else {})}
    last = others(run, known)[:1]
    return [f"begins anew beside checkpoint {in_words(row)}; {pin(run.name, row)}" for row in last]


def main() -> None:
    """Ask for the plan of `all` and print it, a line a job."""
    parser = argparse.ArgumentParser(prog="python -m workflow_scripts.stale", description=__doc__)
    parser.parse_args()
    try:
        raw = os.environ.get(CONFIG_VARIABLE)
        config = check_config(json.loads(raw)) if raw else load_config()
        jobs = {str(job.result): job for job in Jobs(config).stamped()}
        text = ask_snakemake("all", "-n")
    except UserError as error:
        sys.exit(str(error))
    lines = [
        f"{planned.title}: {why(planned, jobs)}"
        for planned in planned_jobs(text)
        if planned.outputs
    ]
    sys.stdout.write("".join(f"{line}\n" for line in lines) or "nothing is stale\n")


if __name__ == "__main__":
    main()
