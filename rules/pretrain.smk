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
        mpi="",
        nodes=launch("nodes"),
        tasks_per_node=launch("ranks_per_node"),
        cpus_per_task=launch("cores_per_rank"),
        runtime=launch("walltime_minutes"),
        layout=lambda w: layout_options(w.run),
        folder=lambda w: f"{RESULTS}/runs/{w.run}",
        previous=lambda w: option("--previous", *segment_before(w)),
        teacher=model_option("teacher"),
        start=model_option("start"),
        pinned=lambda w: (
            f"--pinned {JOBS.pinned(w.run)['run_digest']}" if JOBS.pinned(w.run) else ""
        ),
    params:
        recipe=recipe("pretrain", "run", "segment"),
        code=code("pretrain", "run", "segment"),
    shell:
        "launcher={resources.mpi:q};"
        " export OMP_NUM_THREADS={resources.cpus_per_task};"
        " ${{launcher:+$launcher --kill-on-bad-exit=1 --nodes={resources.nodes}"
        " --cpus-per-task={resources.cpus_per_task}"
        " --ntasks-per-node={resources.tasks_per_node}}}"
        " python -m workflow_scripts.pretrain --recipe {params.recipe:q} --index {input.index:q}"
        " --run {resources.folder:q} --segment {output.segment:q} {resources.previous}"
        " {resources.teacher} {resources.start}"
        " --ranks $(({resources.nodes} * {resources.tasks_per_node})) {resources.layout}"
        " ${{launcher:+--walltime-s $(({resources.runtime} * 60))}} {resources.pinned} 2> {log:q}"


rule export:
    input:
        index=corpus_index,
        segment=lambda w: f"{RESULTS}/runs/{w.run}/segments/{CONFIG.runs[w.run].segments}.json",
        teacher=model_files("teacher"),
    output:
        weights=run_file("weights.safetensors"),
        model=run_file("model.json"),
        history=run_file("history.jsonl"),
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
