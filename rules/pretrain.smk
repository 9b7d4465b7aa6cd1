# A run: a chain of segments, each one batch job, then the weights and the summary.
# Checkpoints lie in the run's folder, undeclared, so that a restart finds them.


rule pretrain:
    input:
        index=corpus_index,
        previous=segment_before,
        teacher=model_files("teacher"),
        start=model_files("start"),
    output:
        segment=run_file("segments/{segment}.json"),
        provenance=run_file("segments/{segment}.provenance.json"),
    log:
        "logs/pretrain/{run}/{segment}.log",
    benchmark:
        f"{RESULTS}/records/pretrain/{{run}}/{{segment}}.tsv"
    conda:
        "../envs/environment.yaml"
    # On Slurm the cores are asked for by cpus_per_task; threads only share out a local machine.
    threads: lambda w: ranks(w) * CONFIG.runs[w.run].launch.cores_per_rank
    resources:
        # A Slurm profile sets the first three: srun, flags for it alone, a file to source before it.
        mpi="",
        srun_extra="",
        environment="",
        over=lambda w, input: int(run_is_over(input.previous)),
        nodes=lambda w, input: 1 if run_is_over(input.previous) else launch("nodes")(w),
        tasks_per_node=launch("ranks_per_node"),
        cpus_per_task=launch("cores_per_rank"),
        runtime=lambda w, input: (
            MINUTES_TO_SAY_SO if run_is_over(input.previous) else launch("walltime_minutes")(w)
        ),
        layout=lambda w: layout_options(w.run),
        folder=lambda w: f"{RESULTS}/runs/{w.run}",
        previous=lambda w: option("--previous", *segment_before(w)),
        teacher=model_option("teacher"),
        start=model_option("start"),
        pinned=lambda w: (
            f"--pinned {JOBS.pinned(w.run)['run_digest']}" if JOBS.pinned(w.run) else ""
        ),
        launcher=LAUNCHER,
    params:
        recipe=recipe("pretrain", "run", "segment"),
        code=code("pretrain", "run", "segment"),
    shell:
        "LAUNCHER={resources.mpi:q} SRUN_EXTRA={resources.srun_extra:q}"
        " ENVIRONMENT={resources.environment:q} OVER={resources.over} NODES={resources.nodes}"
        " RANKS_PER_NODE={resources.tasks_per_node} CORES_PER_RANK={resources.cpus_per_task}"
        " MINUTES={resources.runtime} bash {resources.launcher:q} {log:q}"
        " python -m workflow_scripts.pretrain --recipe {params.recipe:q} --index {input.index:q}"
        " --run {resources.folder:q} --segment {output.segment:q} {resources.previous}"
        " {resources.teacher} {resources.start} {resources.layout} {resources.pinned}"


rule export:
    input:
        index=corpus_index,
        segment=last_segment,
        teacher=model_files("teacher"),
    output:
        weights=run_file("weights.safetensors"),
        model=run_file("model.json"),
        history=run_file("history.jsonl"),
        power=run_file("power.jsonl"),
        times=run_file("mllog.txt"),
        reconstructions=run_file("reconstructions.npz"),
        summary=run_file("summary.json"),
        provenance=run_file("summary.provenance.json"),
    log:
        "logs/export/{run}.log",
    benchmark:
        f"{RESULTS}/records/export/{{run}}.tsv"
    conda:
        "../envs/environment.yaml"
    resources:
        folder=lambda w: f"{RESULTS}/runs/{w.run}",
        teacher=model_option("teacher"),
    params:
        recipe=recipe("export", "run"),
        code=code("export", "run"),
    shell:
        "python -m workflow_scripts.export --recipe {params.recipe:q} --index {input.index:q}"
        " --run {resources.folder:q} --segment {input.segment:q} {resources.teacher} 2> {log:q}"


rule snapshot:
    input:
        index=corpus_index,
        segment=last_segment,
        teacher=model_files("teacher"),
    output:
        weights=run_file("steps/{step}/weights.safetensors"),
        model=run_file("steps/{step}/model.json"),
        provenance=run_file("steps/{step}/model.provenance.json"),
    log:
        "logs/snapshot/{run}/{step}.log",
    benchmark:
        f"{RESULTS}/records/snapshot/{{run}}/{{step}}.tsv"
    conda:
        "../envs/environment.yaml"
    resources:
        folder=lambda w: f"{RESULTS}/runs/{w.run}",
        teacher=model_option("teacher"),
    params:
        recipe=recipe("snapshot", "run", "step"),
        code=code("snapshot", "run", "step"),
    shell:
        "python -m workflow_scripts.snapshot --recipe {params.recipe:q} --index {input.index:q}"
        " --run {resources.folder:q} --segment {input.segment:q} {resources.teacher}"
        " --model {output.model:q} 2> {log:q}"
