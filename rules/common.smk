# What the rules share: the checked configuration, each job's recipe and code digest, file names.
import functools
import re
import shlex

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from workflow_scripts.catalogue.known import known
from workflow_scripts.code_digest import code_digest
from workflow_scripts.config_check import check_config, without_samples
from workflow_scripts.config_models import upstream
from workflow_scripts.corpora import (
    BENCH,
    are_assumed,
    corpus_datasets,
    cut_from,
    dataset_days,
    is_chips,
    judging_benchmarks,
    planned_days,
    required_days,
)
from workflow_scripts.digests import canonical
from workflow_scripts.driver import guard, prepare_jobs, where_to_look
from workflow_scripts.driver_notes import note_start, note_success
from workflow_scripts.errors import UserError
from workflow_scripts.export.unfinished import refuse_lost_steps, refuse_to_lose
from workflow_scripts.fetch_recipe import transfer
from workflow_scripts.files import read_json
from workflow_scripts.incomplete import say_incomplete
from workflow_scripts.job_states import translate_states
from workflow_scripts.jobs import Jobs
from workflow_scripts.probed import encoder_folder, probed_encoders, run_of, snapshots_of
from workflow_scripts.report import figure_names
from workflow_scripts.report_recipe import shown as report_shown
from workflow_scripts.results import provenance_path
from workflow_scripts.split.lists import list_files
from workflow_scripts.studies import READING, point, points
from workflow_scripts.submission import submit_patiently
from workflow_scripts.survivors import refuse_doubles
from workflow_scripts.wanted import (
    card_benchmarks,
    judgements,
    own_entries,
    shape,
    wanted_corpora,
    wanted_probes,
    wanted_runs,
    wanted_studies,
    wanted_weights,
)


def refuse_as_workflow_error(action):
    """Run an action; what it has to tell the user ends the workflow without a traceback."""
    try:
        return action()
    except UserError as error:
        raise WorkflowError(str(error)) from None


def named(job):
    """A job by its rule's name and the values of its wildcards."""
    return job.rule.name, tuple(job.wildcards)


def keep_weights(needed):
    """Refuse exports of finished runs that would fail, by the jobs (rule and wildcards) that run."""
    steps = {}
    for name, names in needed:
        if name in ("export", "snapshot"):
            steps.setdefault(names[0], []).extend(map(int, names[1:]))
    for run, wanted in steps.items():
        folder, last = Path(RESULTS) / "runs" / run, CONFIG.runs[run].segments
        if ("pretrain", (run, str(last))) not in needed:
            refuse_as_workflow_error(lambda: refuse_to_lose(folder, last))
            refuse_as_workflow_error(lambda: refuse_lost_steps(folder, last, sorted(wanted)))


# Snakemake's flag for its own report; at the start of a line its parser takes `report` for a keyword.
shown = report

config = without_samples(config, workflow.config_settings.overwrite_config)
CONFIG = refuse_as_workflow_error(lambda: check_config(config))
JOBS = Jobs(CONFIG)
DATA, RESULTS = CONFIG.paths.data, CONFIG.paths.results

prepare_jobs(canonical(config))

if workflow.is_main_process:
    refuse_as_workflow_error(lambda: guard(JOBS))


onstart:
    needed = [named(job) for job in workflow.dag.needrun_jobs()]
    if workflow.non_local_exec:
        refuse_to_submit(needed)
        say_node_hours(points_among(needed))
        refuse_as_workflow_error(translate_states)
        refuse_as_workflow_error(submit_patiently)
    note_start(runs=f"{RESULTS}/runs", submits=workflow.non_local_exec)
    if not workflow.touch:
        refuse_as_workflow_error(
            lambda: refuse_doubles(
                map(named, workflow.dag.jobs),
                needed,
                folder=Path(workflow.workdir_init),
                runs=Path(RESULTS) / "runs",
                submits=workflow.non_local_exec,
            )
        )
        keep_weights(set(needed))


onsuccess:
    note_success()
    if incomplete := say_incomplete(CONFIG):
        logger.warning(incomplete)


onerror:
    logger.error(where_to_look(runs=Path(RESULTS) / "runs", submits=workflow.non_local_exec))


def one_of(names):
    """A wildcard constraint: exactly these names."""
    return "|".join(map(re.escape, names)) or "(?!)"


def datasets_of(*kinds):
    """Names of the datasets of some kinds."""
    return [name for name, entry in CONFIG.datasets.items() if entry.kind in kinds]


GRANULES = datasets_of("sample-modis", "modis-l1b")


wildcard_constraints:
    date=r"\d{4}-\d{2}-\d{2}",
    segment=r"\d+",
    step=r"[1-9]\d*",
    run=one_of(CONFIG.runs),
    encoder=one_of(sorted({e for b in CONFIG.benchmarks for e in probed_encoders(CONFIG, b)})),
    weights=one_of(CONFIG.weights),
    study=one_of(CONFIG.studies),
    point=r"[a-z0-9_-]+",
    plan=one_of(CONFIG.plans),
    benchmark=one_of(CONFIG.benchmarks),
    corpus=one_of([*CONFIG.corpora, *(f"{BENCH}{name}" for name in CONFIG.benchmarks)]),
    folder=one_of(datasets_of("image-folder", "image-list", "files", "aicca")),
    generated=one_of(datasets_of("sample-scenes")),
    granules=one_of(GRANULES),


# The two parameters that make a job stale, each one string (Snakemake compares no more than that).
def recipe(rule, *wildcards):
    """A job's recipe as canonical JSON."""
    return lambda w: canonical(
        refuse_as_workflow_error(
            lambda: getattr(JOBS, rule)(*(w[name] for name in wildcards)).recipe
        )
    )


def code(rule, *wildcards):
    """The digest of the code that computes a job."""
    return lambda w: refuse_as_workflow_error(
        lambda: getattr(JOBS, rule)(*(w[name] for name in wildcards)).code
    )


def option(flag, *values):
    """An option of a shell line, quoted; nothing without a value."""
    return shlex.join([flag, *values]) if any(values) else ""


def cores(w, threads):
    """Cores of a job's one process: here its threads, which share out this machine.

    On Slurm the profile states `cpus_per_task` instead: there Snakemake cuts `threads` to the cores
    of the machine that the driver runs on. So shell lines use this and never `threads`.
    """
    return threads


def days_of(dataset):
    """Days of a MODIS dataset; none for images. Only what starts jobs needs granules to be there."""
    starts = workflow.executor_plugin is not None and not workflow.dryrun
    days = refuse_as_workflow_error(
        lambda: (required_days if starts else planned_days)(CONFIG, dataset)
    )
    if are_assumed(CONFIG, dataset):
        say_assumed(dataset, len(days))
    return days


@functools.cache
def say_assumed(dataset, days):
    """Tell once that a plan rests on days of which nothing is there."""
    logger.warning(f"dataset {dataset}: planned with {days} days assumed, no granule is there yet")


@functools.cache
def transfer_option(dataset):
    """The option that says how a dataset is downloaded; nothing of it is part of the result."""
    how = transfer(CONFIG, dataset)
    return option("--transfer", canonical(how) if how else "")


def fetched_by_day(dataset):
    """Whether granules of a dataset are fetched, tiled and deleted day by day."""
    return known(CONFIG.datasets[dataset]).by_day is not None


def fetched(dataset):
    """Manifests of a dataset: one, or one a day."""
    return [f"{DATA}/manifests/{dataset}/{day}.jsonl" for day in days_of(dataset)] or [
        f"{DATA}/manifests/{dataset}.jsonl"
    ]


def day_chips(dataset):
    """The chips of each day of a MODIS dataset, and what they are: of either only what is asked for is
    made again when it is lost."""
    days = days_of(dataset)
    return [f"{DATA}/chips/{dataset}/{day}.{end}" for day in days for end in ("h5", "json")]
