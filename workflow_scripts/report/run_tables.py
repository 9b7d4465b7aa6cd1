"""Tables of what was run: time and memory of jobs, versions, facts of runs, energy and CO2."""

from workflow_scripts.energy import climate
from workflow_scripts.energy.measured import measured
from workflow_scripts.published import groups
from workflow_scripts.report import tables
from workflow_scripts.report.collect import Collected, Record, RunData
from workflow_scripts.report.figure_data import SYNTHETIC, Column, Table, Value
from workflow_scripts.report.run_facts import how_it_ran

UNKNOWN = f"{climate.NOT_MEASURED} or stated"  # energy and CO2, of ours or of others
_TIMES = [
    Column("wall time", "s", ",.1f", absent=tables.ABSENT),
    Column("CPU time", "s", ",.1f", absent=tables.ABSENT),
    Column("peak memory", "MB", ",.1f", absent=tables.ABSENT),
]


def job_tables(collected: Collected) -> list[Table]:
    """Snakemake's records by stage and by job, and where all was made."""
    by_stage: dict[str, list[Record]] = {}
    for record in collected.records:
        by_stage.setdefault(record.stage, []).append(record)
    note = "From Snakemake's records; peak memory is resident memory, all processes of a job."
    facts, versions = tables.environment(collected)
    return [
        Table(
            name="stages", title="Time and memory by stage", columns=["stage", "jobs", *_TIMES],
            rows=[[stage, len(rows), *_times(rows)] for stage, rows in by_stage.items()],
            synthetic=False, note=note,
        ),
        Table(
            name="jobs", title="Time and memory of each job", columns=["stage", "job", *_TIMES],
            rows=[[row.stage, row.job, *_times([row])] for row in collected.records],
            synthetic=False, note=note,
        ),
        Table(
            name="environment", title="Where it was made", columns=["what", "which"],
            rows=[*facts, *((f"version of {name}", found) for name, found in versions)],
            synthetic=False,
        ),
    ]  # fmt: skip


def _times(rows: list[Record]) -> list[Value]:
    seconds, cpu, peak = tables.record_sums(rows)
    return [seconds, cpu, None if peak is None else peak / 1e6]


def runs_table(collected: Collected) -> Table:
    """A row for each run: what it was, and how it went."""
    return Table(
        name="runs",
        title="Runs",
        columns=[
            "run", Column("name", detail=True), "objective", "corpus", "images of the corpus",
            "encoder", "parameters of the encoder", Column("parameters trained", detail=True),
            Column("channels", detail=True), Column("image size", "px"), "epochs",
            Column("steps", detail=True), Column("batch", detail=True), "samples seen",
            Column("unreadable samples skipped", detail=True),
            Column("steps not finite, skipped", detail=True), Column("first loss", detail=True),
            Column("last loss", "", ".4f"),
            Column("speed", "images/s", ",.1f", absent=tables.ABSENT),
            Column("ranks, strategy", detail=True), Column("segments", detail=True),
            Column("peak memory of a rank", "MB", detail=True),
            Column("peak memory of a device", "MB", detail=True), Column("seed", detail=True),
            Column("digest", detail=True), SYNTHETIC,
        ],
        rows=[_run(run) for run in collected.runs],
        synthetic=any(run.synthetic for run in collected.runs),
    )  # fmt: skip


def _run(run: RunData) -> list[Value]:
    told, ran = run.summary, how_it_ran(run)
    peaks = (ran["rank_peak"], ran["device_peak"])
    return [
        run.label, run.name, run.objective, told["corpus"]["name"], told["corpus"]["count"],
        run.model["family"], told["encoder_parameters"], told["parameters"],
        run.model["channels"], run.model["image_size"], told["epochs"], told["steps"],
        told["batch"], told["samples_seen"], told.get("samples_skipped", 0),
        told.get("bad_steps", 0), told["loss_first"], told["loss_last"], ran["speed"],
        ran["layouts"], ran["segments"], *(None if peak is None else peak / 1e6 for peak in peaks),
        (told.get("recipe") or {}).get("seed"), told["run_digest"],
        "yes" if run.synthetic else "no",
    ]  # fmt: skip


def co2_table(collected: Collected) -> Table:
    """Energy and CO2 of each run, then what others published of theirs."""
    grid = collected.recipe["energy"]
    rows: list[list[Value]] = []
    for run in collected.runs:
        used, told = measured(run.facts or {}).whole, run.summary
        rows.append(
            [run.label, told["corpus"]["name"], told["corpus"]["count"], told["epochs"],
             how_it_ran(run)["layouts"], None if used is None else climate.kwh(used),
             None if used is None else climate.co2_kg(used, grid), "these results",
             "yes" if run.synthetic else "no"]
        )  # fmt: skip
    rows += [
        [row["model"], row["data"], row.get("images"), row.get("epochs"), None, None,
         row["co2_kg"], group["source"], "no"]
        for group in groups()
        for row in group["rows"]
        if "co2_kg" in row
    ]  # fmt: skip
    return Table(
        name="co2",
        title="Energy and CO2 of pretraining",
        columns=[
            "run or model", "pretrained on", "images", "epochs",
            Column("ranks, strategy", detail=True),
            Column("energy", "kWh", absent=UNKNOWN),
            Column("CO2e", "kg", absent=UNKNOWN), "source", SYNTHETIC,
        ],
        rows=rows,
        synthetic=any(run.synthetic for run in collected.runs),
        note=f"Ours: {climate.grid_words(grid)}. Published: other data, machines and grids; "
        "context, not a comparison.",
    )  # fmt: skip
