"""The compliance checker of mlperf-logging, as far as it applies to benchmarks of our own."""

from pathlib import Path

from mlperf_logging.compliance_checker import mlp_compliance


def complaints(path, ruleset="1.0.0"):
    """What the checker says of a log by the rules that hold for every HPC benchmark.

    The list of benchmarks that MLCommons has is left out, and the rules of each: ours is not there.
    """
    lines, errors = mlp_compliance.mlp_parser.parse_file(str(path), ruleset)
    assert not errors
    checker = mlp_compliance.make_checker("hpc", ruleset, quiet=False, werror=True)
    for rules in ("common", "closed_common"):
        folder = Path(mlp_compliance.__file__).parent / f"hpc_{ruleset}"
        checker.configured_checks(lines, folder / f"{rules}.yaml")
        mlp_compliance.enqueued_configs.clear()
    assert '"orbweaver_' in checker.overwritable.pop("submission_benchmark")
    return [*checker.overwritable.values(), *checker.not_overwritable]
