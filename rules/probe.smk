# How good an encoder's features are, and the same encoder's with random weights.


rule probe:
    input:
        weights=f"{RESULTS}/runs/{{run}}/weights.safetensors",
        model=f"{RESULTS}/runs/{{run}}/model.json",
        index=f"{DATA}/shards/{BENCH}{{benchmark}}/index.json",
        corpus=corpus_index,
    output:
        result=f"{RESULTS}/probes/{{run}}/{{benchmark}}.json",
        provenance=f"{RESULTS}/probes/{{run}}/{{benchmark}}.provenance.json",
    log:
        "logs/probe/{run}/{benchmark}.log",
    benchmark:
        f"{RESULTS}/records/probe/{{run}}/{{benchmark}}.tsv"
    conda:
        "../envs/environment.yaml"
    threads: 2
    resources:
        cpus_per_task=cores,
        device="cpu",
        folder=lambda w: f"{RESULTS}/runs/{w.run}",
    params:
        recipe=recipe("probe", "run", "benchmark"),
        code=code("probe", "run", "benchmark"),
    shell:
        "python -m workflow_scripts.probe --recipe {params.recipe:q} --run {resources.folder:q}"
        " --index {input.index:q} --corpus {input.corpus:q} --output {output.result:q}"
        " --threads {resources.cpus_per_task} --device {resources.device} 2> {log:q}"
