# One page on all that `all` made.


rule dag_figure:
    output:
        figure=report(f"{RESULTS}/figures/dag.svg", category="Workflow"),
        data=f"{RESULTS}/figures/dag.csv",
    log:
        "logs/report/dag.log",
    localrule: True
    conda:
        "../envs/environment.yaml"
    params:
        recipe=canonical(shape(CONFIG)),
        code=code_digest("dag_picture"),
    shell:
        "python -m workflow_scripts.dag --output {output.figure:q} 2> {log:q}"


rule report:
    input:
        results=reported,
        dag=f"{RESULTS}/figures/dag.svg",
    output:
        page=report(f"{RESULTS}/report.html", category="Report"),
        json=f"{RESULTS}/report.json",
        figures=figures(),
        data=figure_data(),
        tables=tables(),
    log:
        "logs/report/report.log",
    localrule: True
    conda:
        "../envs/environment.yaml"
    resources:
        results_folder=RESULTS,
        data_folder=DATA,
    params:
        recipe=recipe("report"),
        code=code("report"),
    shell:
        "python -m workflow_scripts.report --recipe {params.recipe:q}"
        " --results {resources.results_folder:q} --data {resources.data_folder:q}"
        " --html {output.page:q} --json {output.json:q}"
        " --figures {resources.results_folder:q}/figures"
        " --tables {resources.results_folder:q}/tables"
        " --records {resources.results_folder:q}/records 2> {log:q}"


# What was made, how and from what, in the terms that archives read; docs/provenance.md.
rule crate:
    input:
        results=reported,
        made=rules.report.output,
        dag=rules.dag_figure.output,
        cards=[f"{RESULTS}/runs/{run}/README.md" for run in wanted_runs(CONFIG)],
    output:
        crate=f"{RESULTS}/ro-crate-metadata.json",
        readme=f"{RESULTS}/README.md",
        workflow=[
            f"{RESULTS}/workflow/{name}"
            for name in ("Snakefile", "config.yaml", "CITATION.cff", "LICENSE")
        ],
    log:
        "logs/report/crate.log",
    localrule: True
    conda:
        "../envs/environment.yaml"
    resources:
        results_folder=RESULTS,
        data_folder=DATA,
    params:
        recipe=recipe("crate"),
        code=code("crate"),
    shell:
        "python -m workflow_scripts.crate --recipe {params.recipe:q}"
        " --results {resources.results_folder:q} --data {resources.data_folder:q}"
        " --crate {output.crate:q} --workflow {resources.results_folder:q}/workflow"
        " --made {input.made:q} {input.dag:q} 2> {log:q}"
