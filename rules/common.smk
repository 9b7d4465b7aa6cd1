# What the rules share: the checked configuration, each job's recipe and code digest, file names.
import functools
import re
import shlex

from snakemake.exceptions import WorkflowError
from snakemake.logging import logger

from workflow_scripts.code_digest import code_digest
from workflow_scripts.config_check import check_config
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
from workflow_scripts.job_states import translate_states
from workflow_scripts.jobs import Jobs
from workflow_scripts.probed import encoder_folder, probed_encoders, run_of, snapshots_of
from workflow_scripts.report_recipe import reported_probes
from workflow_scripts.report.figure_names import probe_figures
from workflow_scripts.results import provenance_path
from workflow_scripts.split.lists import list_files
from workflow_scripts.submission import submit_patiently
from workflow_scripts.survivors import refuse_doubles
from workflow_scripts.wanted import (
    card_benchmarks,
    shape,
    wanted_corpora,
    wanted_probes,
    wanted_runs,
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
        say_node_hours()
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
    benchmark=one_of(CONFIG.benchmarks),
    corpus=one_of([*CONFIG.corpora, *(f"{BENCH}{name}" for name in CONFIG.benchmarks)]),
    folder=one_of(datasets_of("image-folder", "image-list", "aicca")),
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


def transfer_option(dataset):
    """The option that says how a dataset is downloaded; nothing of it is part of the result."""
    how = transfer(CONFIG, dataset)
    return option("--transfer", canonical(how) if how else "")


def fetched(dataset):
    """Manifests of a dataset: one, or one a day."""
    return [f"{DATA}/manifests/{dataset}/{day}.jsonl" for day in days_of(dataset)] or [
        f"{DATA}/manifests/{dataset}.jsonl"
    ]


# --- pack --------------------------------------------------------------------------------------


def day_files(w, ending):
    """Files of the days of a MODIS corpus."""
    names = corpus_datasets(CONFIG, w.corpus) if is_chips(CONFIG, w.corpus) else []
    return [f"{DATA}/chips/{name}/{day}.{ending}" for name in names for day in days_of(name)]


def listed_manifests(w):
    """Manifests of the images of a corpus, or of the labels that its chips get."""
    names = [name for name in corpus_datasets(CONFIG, w.corpus) if name not in GRANULES]
    return [manifest for name in names for manifest in fetched(name)]


def judged_tables(w):
    """Splits of the benchmarks whose test images may be among those of a corpus."""
    return [f"{DATA}/splits/{name}.csv" for name in judging_benchmarks(CONFIG, w.corpus)]


def pack_sources(w, manifests, judged):
    """The options that say what is packed; days are in the recipe, thousands would be too many."""
    chips = [f"{DATA}/chips"] if is_chips(CONFIG, w.corpus) else []
    options = {"--chips-root": chips, "--manifests": manifests, "--judged": judged}
    return " ".join(option(flag, *values) for flag, values in options.items()).strip()


# --- split -------------------------------------------------------------------------------------


def judged_manifest(w):
    """The manifest of a benchmark's dataset."""
    return fetched(CONFIG.benchmarks[w.benchmark].dataset)


def split_lists(w):
    """The lists that a benchmark's splits are read from."""
    return [str(path) for path in list_files(JOBS.split(w.benchmark).recipe["split"])]


# --- pretrain, export --------------------------------------------------------------------------


def run_file(path):
    """A file in a run's folder."""
    return f"{RESULTS}/runs/{{run}}/{path}"


def kept(run, path):
    """An input, or for a pinned run one whose changes are no reason to start again.

    A file that is there is cut from the job that makes it (`before_update`): where that job runs and
    only ancient inputs lead on from it, Snakemake plans nothing of what lies behind, new probes of the
    run among it.
    """
    if not CONFIG.runs[run].pinned:
        return path
    return ancient(before_update(path) if Path(path).is_file() else path)


def run_index(run):
    """The index of a run's corpus."""
    return kept(run, f"{DATA}/shards/{CONFIG.runs[run].corpus}/index.json")


def corpus_index(w):
    """The index of a run's corpus."""
    return run_index(w.run)


def model_files(role):
    """Weights and model of a run's `teacher` or `start`; none if it has none."""

    def files(w):
        folder = JOBS.model_folder(w.run, role)
        names = ("weights.safetensors", "model.json") if folder else ()
        return [kept(w.run, f"{folder}/{name}") for name in names]

    return files


def model_option(role):
    """The option that names a run's `teacher` or `start`."""
    return lambda w: option(f"--{role}", str(JOBS.model_folder(w.run, role) or ""))


def segment_before(w):
    """The segment that this one goes on from."""
    number = int(w.segment) - 1
    return [f"{RESULTS}/runs/{w.run}/segments/{number}.json"] if number else []


def last_segment(w):
    """The segment with which a run should be done."""
    return f"{RESULTS}/runs/{w.run}/segments/{CONFIG.runs[w.run].segments}.json"


# Time of a job that only says that its run was over before: Snakemake starts, Python reads two files.
MINUTES_TO_SAY_SO = 10
LAUNCHER = str(Path(workflow.basedir) / "envs" / "launch.sh")


def run_is_over(previous):
    """Whether the segment before this one did the last step; asked anew when that has ended."""
    files = [Path(path) for path in previous]
    return any(path.is_file() and read_json(path)["reason"] == "done" for path in files)


def launch(key):
    """A launch setting of a run; these are resources, so that changing one reruns nothing."""
    return lambda w: getattr(CONFIG.runs[w.run].launch, key)


def layout_options(run):
    """The trainer's options for how a run is laid over its ranks; refused where the site has none."""
    fits_site(run)
    settings = CONFIG.runs[run].launch
    switches = {
        "skip_bad": settings.bad_samples == "skip",
        "activation_checkpointing": settings.activation_checkpointing,
        "compile": settings.compile,
        "async_checkpoints": settings.async_checkpoints,
    }
    values = (
        "strategy", "workers", "retries", "accumulate", "checkpoint_every", "keep_checkpoints",
        "log_every", "bad_steps", "stall_minutes",
    )  # fmt: skip
    options = [(name, f" {getattr(settings, name)}") for name in values]
    options += [
        (name, f" {shlex.quote(str(value))}")
        for name in ("stage_to", "stage_gb")
        if (value := getattr(settings, name)) is not None
    ]
    steps = ",".join(map(str, snapshots_of(CONFIG, run)))
    options += [("snapshots", f" {steps}")] if steps else []
    options += [(name, "") for name, on in switches.items() if on]
    return " ".join(f"--{name.replace('_', '-')}{value}" for name, value in options)


def ranks(w):
    """Processes of a run."""
    return CONFIG.runs[w.run].launch.nodes * CONFIG.runs[w.run].launch.ranks_per_node


# --- probe -------------------------------------------------------------------------------------


def encoder_files(w):
    """Weights and model of an encoder that is judged."""
    folder = encoder_folder(CONFIG, w.encoder)
    return [f"{folder}/{name}" for name in ("weights.safetensors", "model.json")]


def encoder_corpora(w):
    """Indexes of what an encoder was pretrained on, and its start and teachers before it.

    None for weights from elsewhere.
    """
    run = run_of(CONFIG, w.encoder)
    runs = [run, *upstream(CONFIG, run)] if run else []
    return list(dict.fromkeys(map(run_index, runs)))


def split_table(w):
    """The splits of a benchmark of images; chips have theirs in the index."""
    chips = is_chips(CONFIG, f"{BENCH}{w.benchmark}")
    return [] if chips else [f"{DATA}/splits/{w.benchmark}.csv"]


def judgements(encoder, benchmark):
    """The results that say how good an encoder is on a benchmark."""
    return [str(job.result) for job in JOBS.judging(encoder, benchmark)]


def judgements_of(benchmarks):
    """All results of some benchmarks."""
    return [
        result
        for name in benchmarks
        for encoder in probed_encoders(CONFIG, name)
        for result in judgements(encoder, name)
    ]


TABLE_BASELINE = option("--baseline", CONFIG.report.arp_baseline or "")


# --- card --------------------------------------------------------------------------------------


def card_probes(w):
    """Results of the probes that stand in a run's model card."""
    return [file for name in card_benchmarks(CONFIG, w.run) for file in judgements(w.run, name)]


# --- report ------------------------------------------------------------------------------------


def reported(w):
    """Every result and provenance file the page shows."""
    files = []
    for corpus in wanted_corpora(CONFIG):
        files += [f"{DATA}/shards/{corpus}/index.{kind}" for kind in ("json", "provenance.json")]
        for name in corpus_datasets(CONFIG, corpus):
            files += [manifest.removesuffix("l") for manifest in fetched(name)]
            files += [f"{DATA}/chips/{name}/{day}.json" for day in dataset_days(CONFIG, name)]
    for run in wanted_runs(CONFIG):
        names = ("summary.json", "summary.provenance.json", "history.jsonl", "model.json")
        files += [f"{RESULTS}/runs/{run}/{name}" for name in (*names, "reconstructions.npz")]
    for benchmark, encoder in wanted_probes(CONFIG):
        for job in JOBS.judging(encoder, benchmark):
            files += [str(job.result), str(provenance_path(job.result))]
            files += [str(job.result.with_suffix(".npz"))] if job.rule == "probe" else []
    return list(dict.fromkeys(files))


def figures():
    """The figures of the page by category, each an SVG file of its own."""
    names = {"Data": [f"data_{corpus}" for corpus in wanted_corpora(CONFIG)]}
    for corpus in wanted_corpora(CONFIG):
        if is_chips(CONFIG, corpus):
            names["Data"] += [f"{kind}_{corpus}" for kind in ("map", "bands")]
            names["Data"] += [f"dropped_{corpus}"] if cut_from(CONFIG, corpus) else []
    names["Runs"] = [f"run_{run}" for run in wanted_runs(CONFIG)]
    names["Reconstructions"] = [
        f"reconstruction_{run}"
        for run in wanted_runs(CONFIG)
        if CONFIG.runs[run].objective != "supervised"
    ]
    names["Probes"] = probe_figures(reported_probes(CONFIG))
    return [
        shown(f"{RESULTS}/figures/{name}.svg", category=category)
        for category, group in names.items()
        for name in group
    ]
