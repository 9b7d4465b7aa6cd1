"""Benchmarks that cannot judge an encoder, found in the configuration: before it is pretrained.

The stages refuse the same things, but only when the encoder is there.
"""

from collections.abc import Iterator

from workflow_scripts.config import Config
from workflow_scripts.config_benchmarks import Benchmark
from workflow_scripts.config_data import Aicca
from workflow_scripts.config_modis import Granules
from workflow_scripts.config_weights import family_of
from workflow_scripts.models.shapes import stride
from workflow_scripts.probed import probed_encoders, run_of
from workflow_scripts.protocol_settings import needs_features


def unfit_encoders(config: Config) -> Iterator[str]:
    """What benchmarks ask of their encoders and these cannot give, a line each.

    Args:
        config: The configuration, its types right and its names known.
    """
    for key, benchmark in config.benchmarks.items():
        where = f"benchmarks.{key}"
        dataset = config.datasets[benchmark.dataset]
        if isinstance(dataset, Granules):
            yield (
                f"{where}.dataset: {benchmark.dataset!r} are chips without labels; name a dataset "
                "of kind aicca with these among its chips"
            )
            continue
        # A run once, whatever its steps.
        encoders = [run_of(config, name) or name for name in probed_encoders(config, key)]
        for name in dict.fromkeys(encoders):
            if name in config.runs:
                yield from _unfit_run(config, where, benchmark, name)
            elif family_of(config.weights[name].architecture) != "vit":
                yield from _no_class_token(where, benchmark, name)


def _unfit_run(config: Config, where: str, benchmark: Benchmark, run: str) -> Iterator[str]:
    entry = config.runs[run]
    sources = [config.datasets[name] for name in config.corpora[entry.corpus].datasets]
    chips = any(isinstance(source, Granules) for source in sources)
    if chips != isinstance(config.datasets[benchmark.dataset], Aicca):
        seen, judged = ("chips", "images") if chips else ("images", "chips")
        yield (
            f"{where}.encoders: {run!r} is pretrained on {seen}, {benchmark.dataset!r} has {judged}"
        )
        return
    encoder = entry.encoder.plain()
    step, last = stride(encoder), encoder["depths"][-1]
    size = benchmark.image_size
    if size is not None and size != encoder["image_size"] and size % step:
        yield f"{where}.image_size: {size} is no multiple of {step}, as {run!r} needs it"
    if needs_features(benchmark) and benchmark.layers > last:
        part = "" if encoder["family"] == "vit" else " in its last stage"
        yield f"{where}.layers: {benchmark.layers}, but {run!r} has {last} blocks{part}"
    if encoder["family"] != "vit":
        yield from _no_class_token(where, benchmark, run)


def _no_class_token(where: str, benchmark: Benchmark, encoder: str) -> Iterator[str]:
    """A class token asked of a Swin."""
    asked = {}
    if needs_features(benchmark):
        asked["poolings"] = benchmark.poolings
    if "lars" in benchmark.protocols and benchmark.lars.pooling:
        asked["lars.pooling"] = [benchmark.lars.pooling]
    for field, poolings in asked.items():
        if any("class" in pooling for pooling in poolings):
            yield (
                f"{where}.{field}: {encoder!r} is a Swin, which has no class token; take mean, or "
                "judge it on another benchmark of this dataset"
            )
