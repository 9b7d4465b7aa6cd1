# How good an encoder's features are, and the same encoder's with random weights; and, if asked for,
# what becomes of it when it is fine-tuned.


rule features:
    input:
        model=encoder_files,
        index=f"{DATA}/shards/{BENCH}{{benchmark}}/index.json",
        splits=split_table,
    output:
        features=f"{RESULTS}/features/{{encoder}}/{{benchmark}}.json",
        provenance=f"{RESULTS}/features/{{encoder}}/{{benchmark}}.provenance.json",
    log:
        "logs/features/{encoder}/{benchmark}.log",
    benchmark:
        f"{RESULTS}/records/features/{{encoder}}/{{benchmark}}.tsv"
    conda:
        "../envs/environment.yaml"
    threads: 2
    resources:
        # As for rule pretrain: a Slurm profile sets srun, its flags and what is sourced before it.
        mpi="",
        srun_extra="",
        environment="",
        nodes=1,
        tasks_per_node=1,
        cpus_per_task=cores,
        device="cpu",
        folder=lambda w: str(encoder_folder(CONFIG, w.encoder)),
        store=f"{RESULTS}/features/store",
        splits=lambda w, input: option("--splits", *input.splits),
        launcher=LAUNCHER,
    params:
        recipe=recipe("features", "encoder", "benchmark"),
        code=code("features", "encoder", "benchmark"),
    shell:
        "LAUNCHER={resources.mpi:q} SRUN_EXTRA={resources.srun_extra:q}"
        " ENVIRONMENT={resources.environment:q} NODES={resources.nodes}"
        " RANKS_PER_NODE={resources.tasks_per_node} CORES_PER_RANK={resources.cpus_per_task}"
        " bash {resources.launcher:q} {log:q}"
        " python -m workflow_scripts.features --recipe {params.recipe:q}"
        " --model {resources.folder:q} --index {input.index:q} {resources.splits}"
        " --output {output.features:q} --store {resources.store:q} --device {resources.device}"
        " --threads {resources.cpus_per_task}"


rule probe:
    input:
        features=f"{RESULTS}/features/{{encoder}}/{{benchmark}}.json",
        index=f"{DATA}/shards/{BENCH}{{benchmark}}/index.json",
        splits=split_table,
        corpora=encoder_corpora,
    output:
        result=f"{RESULTS}/probes/{{encoder}}/{{benchmark}}.json",
        pictures=f"{RESULTS}/probes/{{encoder}}/{{benchmark}}.npz",
        provenance=f"{RESULTS}/probes/{{encoder}}/{{benchmark}}.provenance.json",
    log:
        "logs/probe/{encoder}/{benchmark}.log",
    benchmark:
        f"{RESULTS}/records/probe/{{encoder}}/{{benchmark}}.tsv"
    conda:
        "../envs/environment.yaml"
    threads: 2
    resources:
        cpus_per_task=cores,
        store=f"{RESULTS}/features/store",
        splits=lambda w, input: option("--splits", *input.splits),
        corpora=lambda w, input: option("--corpora", *input.corpora),
    params:
        recipe=recipe("probe", "encoder", "benchmark"),
        code=code("probe", "encoder", "benchmark"),
    shell:
        "python -m workflow_scripts.probe --recipe {params.recipe:q}"
        " --features {input.features:q} --store {resources.store:q} --index {input.index:q}"
        " {resources.splits} {resources.corpora} --output {output.result:q}"
        " --threads {resources.cpus_per_task} 2> {log:q}"


rule finetune:
    input:
        model=encoder_files,
        index=f"{DATA}/shards/{BENCH}{{benchmark}}/index.json",
        splits=split_table,
        corpora=encoder_corpora,
    output:
        result=f"{RESULTS}/finetune/{{encoder}}/{{benchmark}}.json",
        provenance=f"{RESULTS}/finetune/{{encoder}}/{{benchmark}}.provenance.json",
    log:
        "logs/finetune/{encoder}/{benchmark}.log",
    benchmark:
        f"{RESULTS}/records/finetune/{{encoder}}/{{benchmark}}.tsv"
    conda:
        "../envs/environment.yaml"
    threads: 2
    resources:
        cpus_per_task=cores,
        device="cpu",
        folder=lambda w: str(encoder_folder(CONFIG, w.encoder)),
        # Checkpoints lie here, undeclared, so that a restart finds them.
        work=f"{RESULTS}/finetune/checkpoints",
        splits=lambda w, input: option("--splits", *input.splits),
        corpora=lambda w, input: option("--corpora", *input.corpora),
    params:
        recipe=recipe("finetune", "encoder", "benchmark"),
        code=code("finetune", "encoder", "benchmark"),
    shell:
        "python -m workflow_scripts.finetune --recipe {params.recipe:q}"
        " --model {resources.folder:q} --index {input.index:q} {resources.splits}"
        " {resources.corpora} --output {output.result:q} --work {resources.work:q}"
        " --device {resources.device} --threads {resources.cpus_per_task} 2> {log:q}"
