# Pretrained weights from elsewhere: judged by probes, teachers of GFM, or what runs start from.
# A local rule: a compute node may have no network.


rule weights:
    output:
        weights=f"{DATA}/weights/{{weights}}/weights.safetensors",
        model=f"{DATA}/weights/{{weights}}/model.json",
        provenance=f"{DATA}/weights/{{weights}}/model.provenance.json",
    log:
        "logs/weights/{weights}.log",
    benchmark:
        f"{RESULTS}/records/weights/{{weights}}.tsv"
    priority: 100
    localrule: True
    conda:
        "../envs/environment.yaml"
    params:
        recipe=recipe("weights", "weights"),
        code=code("weights", "weights"),
    shell:
        "python -m workflow_scripts.weights --recipe {params.recipe:q} --model {output.model:q}"
        " 2> {log:q}"
