# A scaling study: each point one job, then the table. What failed or did not fit is a result too.


rule point:
    input:
        index=point_index,
    output:
        point=f"{RESULTS}/scaling/{{study}}/{{point}}.json",
        provenance=f"{RESULTS}/scaling/{{study}}/{{point}}.provenance.json",
        mllog=f"{RESULTS}/scaling/{{study}}/{{point}}.mllog",
    log:
        "logs/scaling/{study}/{point}.log",
    benchmark:
        f"{RESULTS}/records/scaling/{{study}}/{{point}}.tsv"
    conda:
        "../envs/environment.yaml"
    # All cores of a local machine, so that nothing else runs beside a measurement; on Slurm they are
    # asked for by cpus_per_task.
    threads: workflow.cores
    resources:
        # As for rule pretrain: a Slurm profile sets srun, its flags and what is sourced before it.
        mpi="",
        srun_extra="",
        environment="",
        nodes=lambda w: point_of(w).nodes,
        # Snakemake's Slurm plugin submits no srun of fewer than two tasks; a point of one rank a node
        # asks for room for two.
        tasks_per_node=lambda w: max(2, point_of(w).ranks_per_node),
        ranks_per_node=lambda w: point_of(w).ranks_per_node,
        cpus_per_task=lambda w: CONFIG.studies[w.study].cores_per_rank,
        runtime=lambda w: point_minutes(w.study),
        index=lambda w, input: option("--index", *input.index),
        launcher=LAUNCHER,
    params:
        recipe=recipe("point", "study", "point"),
        code=code("point", "study", "point"),
    shell:
        "LAUNCHER={resources.mpi:q} SRUN_EXTRA={resources.srun_extra:q}"
        " ENVIRONMENT={resources.environment:q} NODES={resources.nodes}"
        " RANKS_PER_NODE={resources.ranks_per_node} CORES_PER_RANK={resources.cpus_per_task}"
        " bash {resources.launcher:q} {log:q}"
        " python -m workflow_scripts.scaling --recipe {params.recipe:q} {resources.index}"
        " --output {output.point:q} --walltime-s $(({resources.runtime} * 60))"
        " || python -m workflow_scripts.scaling --ended $? --recipe {params.recipe:q}"
        " {resources.index} --output {output.point:q} --log {log:q}"


rule study:
    input:
        points=lambda w: points_of(w.study),
    output:
        study=f"{RESULTS}/scaling/{{study}}.json",
        provenance=f"{RESULTS}/scaling/{{study}}.provenance.json",
    log:
        "logs/scaling/{study}.log",
    localrule: True
    conda:
        "../envs/environment.yaml"
    resources:
        folder=lambda w: f"{RESULTS}/scaling/{w.study}",
    params:
        recipe=recipe("study", "study"),
        code=code("study", "study"),
    shell:
        "python -m workflow_scripts.study --recipe {params.recipe:q} --points {resources.folder:q}"
        " --output {output.study:q} 2> {log:q}"


rule scaling:
    input:
        tables=tables_of(SCALED),
        points=points_of_all(SCALED),
    log:
        "logs/ask/scaling.log",
    localrule: True
    conda:
        "../envs/environment.yaml"
    shell:
        "python -m workflow_scripts.study --show {input.tables:q} 2> {log:q}"
