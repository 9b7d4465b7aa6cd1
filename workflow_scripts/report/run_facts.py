"""Facts of a run, line by line: what it was, how it went, whether it is pinned."""

from statistics import harmonic_mean
from typing import Any

from workflow_scripts.report.collect import RunData
from workflow_scripts.report.tables import ABSENT, SHORT, number, size

Json = dict[str, Any]


def mean_of_segments(run: RunData, name: str) -> float | None:
    """The mean of a recorded speed over a run's segments: all that they did over all their time.

    That is the harmonic mean, each weighed by its steps, which are all of as many images.

    Returns:
        In the speed's unit; None where no segment has it.
    """
    facts = run.facts or {}
    found = [
        (row[name], max(row.get("end_step", 1) - row.get("start_step", 0), 1))
        for row in facts.get("segments") or [facts]
        if row.get(name) is not None
    ]
    return harmonic_mean(*zip(*found, strict=True)) if found else None


def how_it_ran(run: RunData) -> Json:
    """Speed, ranks and memory from the provenance: of all segments of the run together.

    Returns:
        `speed` in images/s, `layouts` in words, `segments`, and `rank_peak` and `device_peak`, the
        peak memory of a rank and of a device in bytes; None where nothing was recorded.
    """
    facts = run.facts or {}
    segments = facts.get("segments") or [facts]
    host, device = (
        max((row.get(f"{where}_peak_memory_bytes") or 0 for row in segments), default=0) or None
        for where in ("rank", "device")
    )
    layouts = dict.fromkeys(
        f"{row['ranks']} × {row.get('device', 'device not recorded')}, {row['strategy']}"
        for row in segments
        if "ranks" in row and "strategy" in row
    )
    return {
        "speed": mean_of_segments(run, "images_per_s"),
        "layouts": "; ".join(layouts) or None,
        "segments": len(segments) if facts.get("segments") else None,
        "rank_peak": host,
        "device_peak": device,
    }


def _how_it_ran(run: RunData) -> list[tuple[str, str]]:
    found = how_it_ran(run)
    device = found["device_peak"]
    return [
        ("speed", number(found["speed"], "{:,.1f} images/s")),
        ("ranks, strategy", found["layouts"] or ABSENT),
        ("segments", number(found["segments"])),
        ("peak memory of a rank", size(found["rank_peak"])),
        *([("peak memory of a device", size(device))] if device else []),
    ]


def run_facts(run: RunData) -> list[tuple[str, str]]:
    """What a run was and how it went, line by line."""
    summary = run.summary
    recipe = summary.get("recipe") or {}
    optim, mask = recipe.get("optim") or {}, recipe.get("mask") or {}
    lines = [
        ("objective", run.objective),
        ("corpus", f"{summary['corpus']['name']}, {summary['corpus']['count']:,} samples"),
        ("encoder", f"{run.model['family']}, {number(summary['encoder_parameters'])} "
         "parameters"),
        ("parameters trained", number(summary["parameters"])),
        ("input", f"{run.model['channels']} × {run.model['image_size']} × "
         f"{run.model['image_size']}"),
        ("epochs, steps", f"{summary['epochs']:,}, {summary['steps']:,} of batch "
         f"{summary['batch']:,}"),
        ("samples seen", number(summary["samples_seen"])),
        ("unreadable samples skipped", number(summary.get("samples_skipped", 0))),
        ("steps not finite, skipped", number(summary.get("bad_steps", 0))),
        ("loss, first → last", f"{_loss(summary['loss_first'])} → {_loss(summary['loss_last'])}"),
    ]  # fmt: skip
    terms = sorted((summary.get("terms_last") or {}).items())
    lines += [(f"last {name.replace('_', ' ')}", _loss(value)) for name, value in terms]
    lines += _how_it_ran(run)
    if "base_lr" in optim:
        lines.append(
            ("base learning rate", f"{optim['base_lr']:g} × batch / {optim['lr_reference_batch']}")
        )
    if mask.get("ratio"):
        lines.append(("hidden", f"{100 * mask['ratio']:g} % of the image"))
    return [*lines, ("seed", str(recipe.get("seed", ABSENT)))]


def _loss(value: float | None) -> str:
    return number(value, "{:.4f}")


def pins(run: RunData) -> Json | None:
    """Both digests of a pinned run."""
    if not run.pinned:
        return None
    stored, current = run.digests.get("stored"), run.digests.get("current")
    return {
        "stored": _digest(stored),
        "current": _digest(current),
        "same": bool(stored) and stored == current,
    }


def _digest(value: str | dict[str, str] | None) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {text[:SHORT]}" for name, text in sorted(value.items()))
    return value[:SHORT] if value else ABSENT
