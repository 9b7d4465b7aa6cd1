# What the rules share: the checked configuration, each job's recipe and code digest, file names.
import re
import shlex

from snakemake.exceptions import WorkflowError

from workflow_scripts.code_digest import code_digest
from workflow_scripts.config_check import check_config
from workflow_scripts.corpora import (
    BENCH,
    corpus_datasets,
    cut_from,
    dataset_days,
    is_chips,
    required_days,
)
from workflow_scripts.digests import canonical
from workflow_scripts.driver import guard, note_start, note_success, prepare_jobs, require_account
from workflow_scripts.errors import UserError
from workflow_scripts.jobs import Jobs
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


# Snakemake's flag for its own report; at the start of a line its parser takes `report` for a keyword.
shown = report

CONFIG = refuse_as_workflow_error(lambda: check_config(config))
JOBS = Jobs(CONFIG)
DATA, RESULTS = CONFIG.paths.data, CONFIG.paths.results

prepare_jobs(canonical(config))

if workflow.is_main_process:
    refuse_as_workflow_error(lambda: guard(JOBS))


onstart:
    if workflow.non_local_exec:
        refuse_as_workflow_error(require_account)
    note_start()


onsuccess:
    note_success()


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
    run=one_of(CONFIG.runs),
    weights=one_of(CONFIG.weights),
    benchmark=one_of(CONFIG.benchmarks),
    corpus=one_of([*CONFIG.corpora, *(f"{BENCH}{name}" for name in CONFIG.benchmarks)]),
    folder=one_of(datasets_of("image-folder", "aicca")),
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


def days_of(dataset):
    """Days of a MODIS dataset; none for images."""
    return refuse_as_workflow_error(lambda: required_days(CONFIG, dataset))


def fetched(dataset):
    """Manifests of a dataset: one, or one a day."""
    return [f"{DATA}/manifests/{dataset}/{day}.jsonl" for day in days_of(dataset)] or [
        f"{DATA}/manifests/{dataset}.jsonl"
    ]


def probe_result(run, benchmark):
    """The result of one probe."""
    return f"{RESULTS}/probes/{run}/{benchmark}.json"


# --- pack --------------------------------------------------------------------------------------


def day_files(w, ending):
    """Files of the days of a MODIS corpus."""
    names = corpus_datasets(CONFIG, w.corpus) if is_chips(CONFIG, w.corpus) else []
    return [f"{DATA}/chips/{name}/{day}.{ending}" for name in names for day in days_of(name)]


def listed_manifests(w):
    """Manifests of the images of a corpus, or of the labels that its chips get."""
    names = [name for name in corpus_datasets(CONFIG, w.corpus) if name not in GRANULES]
    return [manifest for name in names for manifest in fetched(name)]


def pack_sources(w, manifests):
    """The options that say what is packed; days are in the recipe, thousands would be too many."""
    chips = [f"{DATA}/chips"] if is_chips(CONFIG, w.corpus) else []
    return " ".join([option("--chips-root", *chips), option("--manifests", *manifests)]).strip()


# --- pretrain, export --------------------------------------------------------------------------


def run_file(path):
    """A file in a run's folder."""
    return f"{RESULTS}/runs/{{run}}/{path}"


def kept(run, path):
    """An input, or for a pinned run one whose changes are no reason to start again."""
    return ancient(path) if CONFIG.runs[run].pinned else path


def corpus_index(w):
    """The index of a run's corpus."""
    return kept(w.run, f"{DATA}/shards/{CONFIG.runs[w.run].corpus}/index.json")


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


def launch(key):
    """A launch setting of a run; these are resources, so that changing one reruns nothing."""
    return lambda w: getattr(CONFIG.runs[w.run].launch, key)


def layout_options(run):
    """The trainer's options for how a run is laid over its ranks."""
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
    options += [(name, "") for name, on in switches.items() if on]
    return " ".join(f"--{name.replace('_', '-')}{value}" for name, value in options)


def ranks(w):
    """Processes of a run."""
    return CONFIG.runs[w.run].launch.nodes * CONFIG.runs[w.run].launch.ranks_per_node


# --- card --------------------------------------------------------------------------------------


def card_probes(w):
    """Results of the probes that stand in a run's model card."""
    return [probe_result(w.run, name) for name in card_benchmarks(CONFIG, w.run)]


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
    for benchmark, run in wanted_probes(CONFIG):
        files += [
            probe_result(run, benchmark),
            f"{RESULTS}/probes/{run}/{benchmark}.provenance.json",
        ]
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
    names["Probes"] = [f"probe_{run}_{name}" for name, run in wanted_probes(CONFIG)]
    names["Probes"] += ["accuracy"] if wanted_probes(CONFIG) else []
    return [
        shown(f"{RESULTS}/figures/{name}.svg", category=category)
        for category, group in names.items()
        for name in group
    ]
