"""Numbers and tables of the page, as text: a missing one reads "not recorded"."""

from collections.abc import Iterable, Sequence
from typing import Any

from workflow_scripts.report.collect import Collected, CorpusData, Record
from workflow_scripts.report.days import MOST_SINGLE_DAYS
from workflow_scripts.shards.layout import SPLIT_NAMES

ABSENT = "not recorded"
SHORT = 12  # digits of a digest that are shown
MOST_REASONS = 8  # for setting things aside; the others are summed
MOST_DISTINCT = 12  # values listed, of job ids for example

Json = dict[str, Any]


def number(value: float | None, pattern: str = "{:,.0f}") -> str:
    """A number, or that there is none."""
    return ABSENT if value is None else pattern.format(value)


def duration(seconds: float | None) -> str:
    """Seconds as people say them: `8.2 s`, `4 min 05 s`, `3 h 20 min`."""
    if seconds is None:
        return ABSENT
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def size(count: float | None) -> str:
    """Bytes in decimal units."""
    if count is None:
        return ABSENT
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def stages(collected: Collected) -> tuple[list[Json], list[Json]]:
    """Snakemake's records: by stage (time summed, the largest peak), and by job.

    Of a dataset with many days its jobs of a stage are one line.
    """
    by_stage: dict[str, list[Record]] = {}
    by_name: dict[tuple[str, str], list[Record]] = {}
    for record in collected.records:
        by_stage.setdefault(record.stage, []).append(record)
        by_name.setdefault((record.stage, record.job.partition(" / ")[0]), []).append(record)
    totals = [
        {"stage": stage, "jobs": len(rows), **_summed(rows)} for stage, rows in by_stage.items()
    ]
    jobs = []
    for (stage, name), rows in by_name.items():
        if len(rows) > MOST_SINGLE_DAYS:
            jobs.append({"stage": stage, "job": f"{name}, {len(rows):,} jobs", **_summed(rows)})
        else:
            jobs += [{"stage": stage, "job": row.job, **_summed([row])} for row in rows]
    return totals, jobs


def record_sums(
    rows: Sequence[Record],
) -> tuple[float | None, float | None, float | None]:
    """Seconds of wall time and of CPU time, summed, and the largest peak in bytes."""
    seconds = [row.seconds for row in rows if row.seconds is not None]
    cpu = [row.cpu_seconds for row in rows if row.cpu_seconds is not None]
    peaks = [row.peak_mb for row in rows if row.peak_mb is not None]
    return (
        sum(seconds) if seconds else None,
        sum(cpu) if cpu else None,
        max(peaks) * 2**20 if peaks else None,
    )


def _summed(rows: Sequence[Record]) -> dict[str, str]:
    seconds, cpu, peak = record_sums(rows)
    return {"time": duration(seconds), "cpu": duration(cpu), "peak": size(peak)}


def _distinct(values: Iterable[Any]) -> str:
    """The different ones, sorted; of many the first few and how many more there are."""
    found = sorted({str(value) for value in values if value})
    more = len(found) - MOST_DISTINCT
    if more > 0:
        found[MOST_DISTINCT:] = [f"and {more:,} more"]
    return ", ".join(found) or ABSENT


def _time(text: str) -> str:
    return text.replace("T", " ").replace("+00:00", " UTC")


def environment(collected: Collected) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """What the results' provenance says: commit and machine, and versions of packages.

    Results may come from several commits and machines: all of them are named.
    """
    made = collected.provenances
    starts = sorted(str(p["started"]) for p in made if p.get("started"))
    facts = [
        ("git commit", _distinct(p.get("git_commit") for p in made)),
        ("machine", _distinct(p.get("machine") for p in made)),
        ("Slurm jobs", _distinct(p.get("job") or "none" for p in made)),
        ("first result begun", _time(starts[0]) if starts else ABSENT),
        ("last result begun", _time(starts[-1]) if starts else ABSENT),
    ]
    packages = sorted({name for p in made for name in p.get("versions") or {}})
    return facts, [
        (name, _distinct((p.get("versions") or {}).get(name) for p in made)) for name in packages
    ]


def class_counts(corpus: CorpusData) -> Json:
    """Samples by class (rows) and split (columns), with sums."""
    counts: dict[str, dict[str, int]] = corpus.index["class_counts"]
    known = [name for name in SPLIT_NAMES if name in counts]
    splits = known + sorted(set(counts) - set(known))
    order = {name: place for place, name in enumerate(corpus.index["classes"])}
    classes = sorted(
        {name for split in splits for name in counts[split]},
        key=lambda name: (order.get(name, len(order)), name),
    )
    rows = [
        (name, [counts[split].get(name, 0) for split in splits]) for name in classes
    ]  # "none" stands for unlabelled samples
    sums = [sum(counts[split].values()) for split in splits]
    return {"splits": splits, "rows": rows, "sums": sums}


def reasons(counts: dict[str, int], most: int | None = None) -> list[tuple[str, int]]:
    """Reasons and how often, most often first; those beyond `most` of them as one."""
    rows = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    rest = rows[most:] if most is not None else []
    if len(rest) > 1:
        rows[most:] = [(f"{len(rest):,} other reasons", sum(count for _, count in rest))]
    return rows


def near_duplicates(found: Json | None) -> str:
    """A sentence on images that look alike though their files differ; empty if there are none."""
    if not found or not found["samples"]:
        return ""
    return (
        f"{found['samples']:,} images look like another one though their files differ (64-bit "
        f"difference hash), {found['across_splits']:,} of them like one of another split. They "
        f"stay; the first: {'; '.join(' = '.join(keys) for keys in found['groups'][:5])}."
    )


def judged_images(corpus: CorpusData) -> list[str]:
    """A sentence on each dataset whose test images a benchmark uses too."""
    found = corpus.index.get("benchmark_test") or {"handling": "exclude", "images": {}}
    fate = {
        "exclude": "are left out of this corpus",
        "keep": "were in pretraining, as the configuration asks: the benchmark's accuracy on them "
        "is not one on unseen images",
    }[found["handling"]]
    lines = []
    for dataset, count in found["images"].items():
        names = ", ".join(corpus.judged.get(dataset, [])) or ABSENT
        lines.append(f"{count:,} test images of {dataset} (benchmark {names}) {fate}.")
    return lines
