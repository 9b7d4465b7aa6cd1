# What the rules of each stage are made from, and their options, in the order data flows.

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
        "strategy", "workers", "prefetch", "gather_ahead", "retries", "accumulate",
        "checkpoint_every", "keep_checkpoints", "log_every", "bad_steps", "stall_minutes",
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


def judgements_of(benchmarks):
    """All results of some benchmarks."""
    return [
        str(result)
        for name in benchmarks
        for encoder in probed_encoders(CONFIG, name)
        for _, result in judgements(CONFIG, encoder, name)
    ]


def table_baseline(names):
    """The option for the encoder that ARP is told over, where it and others are among those judged."""
    judged = {encoder for name in names for encoder in probed_encoders(CONFIG, name)}
    baseline = CONFIG.report.arp_baseline
    return option("--baseline", baseline) if baseline in judged and len(judged) > 1 else ""


# --- scaling and plan --------------------------------------------------------------------------


SCALED = own_entries(CONFIG, "studies")
PLANNED = own_entries(CONFIG, "plans")


def point_of(w):
    """The point of a study that a job measures."""
    return refuse_as_workflow_error(lambda: point(CONFIG, w.study, w.point))


def point_index(w):
    """The corpus of a point that reads one."""
    corpus = CONFIG.studies[w.study].corpus
    return [f"{DATA}/shards/{corpus}/index.json"] if point_of(w).mode in READING else []


def point_minutes(study):
    """Time limit of a study's points; refused where the site has none such."""
    fits_points(study)
    return CONFIG.studies[study].minutes


def points_of(study):
    """The results of a study's points."""
    return [f"{RESULTS}/scaling/{study}/{one.name}.json" for one in points(CONFIG, study)]


def tables_of(names):
    """Tables of studies."""
    return [f"{RESULTS}/scaling/{name}.json" for name in names]


def points_of_all(names):
    """Points of studies: asked for beside the tables, for those that are lost to be made again."""
    return [file for name in names for file in points_of(name)]


def planned_index(w):
    """The corpus whose images a plan counts, unless it says how many there are."""
    entry = CONFIG.plans[w.plan]
    return [] if entry.images else [run_index(entry.run)]


def planned_study(w):
    """The study that a plan's machine was measured by."""
    machine = CONFIG.machines.get(CONFIG.plans[w.plan].machine)
    return tables_of([machine.study] if machine and machine.study else [])


# --- card --------------------------------------------------------------------------------------


def card_probes(w):
    """Results of the probes that stand in a run's model card."""
    return [
        str(file)
        for name in card_benchmarks(CONFIG, w.run)
        for _, file in judgements(CONFIG, w.run, name)
    ]


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
        names = ("summary.json", "summary.provenance.json", "history.jsonl", "power.jsonl")
        names += ("model.json", "reconstructions.npz")
        files += [f"{RESULTS}/runs/{run}/{name}" for name in names]
    for benchmark, encoder in wanted_probes(CONFIG):
        for rule, result in judgements(CONFIG, encoder, benchmark):
            files += [str(result), str(provenance_path(result))]
            files += [str(result.with_suffix(".npz"))] if rule == "probe" else []
    studies = wanted_studies(CONFIG)
    files += [*tables_of(studies), *points_of_all(studies)]
    files += [f"{RESULTS}/plans/{name}.json" for name in CONFIG.all.plans]
    return list(dict.fromkeys(files))


SHOWN = report_shown(CONFIG)


def figures():
    """The figures of the page by category, each an SVG file of its own."""
    return [
        shown(f"{RESULTS}/figures/{name}.svg", category=category)
        for category, names in figure_names.figures(SHOWN).items()
        for name in names
    ]


def figure_data():
    """The data behind each figure."""
    groups = figure_names.figures(SHOWN).values()
    return [f"{RESULTS}/figures/{name}.csv" for names in groups for name in names]


def tables():
    """The tables of the page: for programs, for text pages and for papers."""
    return [
        f"{RESULTS}/tables/{name}.{form}"
        for name in figure_names.tables(SHOWN)
        for form in ("csv", "md", "tex")
    ]
