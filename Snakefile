# From satellite archives to a geospatial foundation model and a report.
# Validation, includes and named targets; the rules are in rules/, in the order data flows.
import sys
from pathlib import Path

sys.path.insert(0, workflow.basedir)


configfile: Path(workflow.basedir) / "config.yaml"


include: "rules/common.smk"
include: "rules/inputs.smk"
include: "rules/site.smk"
include: "rules/fetch.smk"
include: "rules/tile.smk"
include: "rules/split.smk"
include: "rules/pack.smk"
include: "rules/weights.smk"
include: "rules/pretrain.smk"
include: "rules/probe.smk"
include: "rules/scaling.smk"
include: "rules/plan.smk"
include: "rules/card.smk"
include: "rules/report.smk"
include: "rules/ask.smk"


localrules:
    all,
    fetch_all,


rule all:
    default_target: True
    input:
        [f"{RESULTS}/runs/{run}/README.md" for run in wanted_runs(CONFIG)],
        f"{RESULTS}/report.html",
        f"{RESULTS}/ro-crate-metadata.json",


rule fetch_all:
    input:
        # When it is asked for, not when this file is read: other targets need no granule.
        lambda w: [
            file
            for corpus in wanted_corpora(CONFIG)
            for name in corpus_datasets(CONFIG, corpus)
            for file in (day_chips(name) if fetched_by_day(name) else fetched(name))
        ],
        [f"{DATA}/weights/{name}/model.json" for name in wanted_weights(CONFIG)],


PROBED = {"all": CONFIG.benchmarks, **{name: [name] for name in CONFIG.benchmarks}}

for probed, benchmarks in PROBED.items():

    rule:
        name:
            f"probe_{probed.replace('-', '_')}"
        input:
            judgements_of(benchmarks),
        log:
            f"logs/ask/probe_{probed}.log",
        localrule: True
        conda:
            "envs/environment.yaml"
        params:
            baseline=table_baseline(benchmarks),
        shell:
            "python -m workflow_scripts.probe.table {params.baseline} {input:q} 2> {log:q}"
