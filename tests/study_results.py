"""Results of studies and plans made by hand, for the report's tests."""

from workflow_scripts.files import write_json

GB = 10**9
# Published images/s of the whole job, 8 ranks a node, batch 32 (facts of arXiv 2404.11706).
NODES = (1, 2, 4, 8, 16, 32, 64, 128)
PUBLISHED = {
    ("base", "ddp"): (853, 1686, 3310, 6590, 13006, 26344, 51610, 98681),
    ("base", "no_shard"): (1207, 2333, 4803, 9069, 17824, 34750, 67977, 138954),
    ("base", "hybrid_shard_1"): (1203, 2476, 4969, 9927, 19835, 39738, 77958, 158667),
    ("base", "hybrid_shard_2"): (1152, 2282, 4427, 9059, 17512, 34024, 66177, 136589),
    ("base", "full_shard"): (1205, 2381, 4666, 8702, 15409, 14471, 27178, 11336),
    ("1b", "ddp"): (89, 179, 336, 690, 1365, 2779, 5523, 10773),
    ("1b", "no_shard"): (187, 373, 745, 1435, 2807, 5802, 11460, 21603),
    ("1b", "hybrid_shard_1"): (189, 383, 763, 1528, 3056, 6171, 12264, 24749),
    ("1b", "hybrid_shard_2"): (188, 377, 753, 1454, 2871, 5611, 9585, 20453),
    ("1b", "full_shard"): (197, 387, 776, 1518, 2995, 5779, 7806, 4099),
    ("5b", "hybrid_shard_2"): (47, 92, 183, 352, 687, 1433, 2893, 4420),
    ("5b", "hybrid_shard_8"): (48, 96, 189, 388, 766, 1440, 2820, 5565),
    ("5b", "full_shard"): (50, 100, 197, 381, 768, 1307, 2306, 2262),
    ("5b", "shard_grad_op"): (49, 99, 197, 389, 783, 1509, 2021, 4207),
}
PARAMETERS = {"base": 86_000_000, "1b": 910_000_000, "5b": 5_349_000_000}


def point(
    rate, *, encoder="tiny", patch=None, mode="synthetic", strategy="no_shard", nodes=1, local=1,
    batch=16, workers=None, prefetch=None, ahead=None, status="done", device="cpu", spread=0.02,
    **more,
):  # fmt: skip
    """A row of a study; `rate` is the median of images/s, None where it failed."""
    ranks, done = nodes * local, status == "done"
    if mode == "io":
        strategy = None
    parts = (encoder, patch, strategy, f"{nodes}x{local}", f"b{batch}", mode, workers, prefetch,
             ahead, device if device != "cpu" else None)  # fmt: skip
    seconds = batch * ranks / rate if done else 0

    def about(value):
        return {"median": value, "least": value * (1 - spread), "most": value * (1 + spread),
                "repeats": [value * (1 - spread), value, value * (1 + spread)]}  # fmt: skip

    return {
        "study": "sample", "point": "_".join(str(p) for p in parts if p is not None),
        "encoder": encoder, "patch": patch, "mode": mode, "strategy": strategy, "nodes": nodes,
        "ranks_per_node": local, "ranks": ranks, "batch": batch, "workers": workers,
        "prefetch": prefetch, "gather_ahead": ahead, "precision": "fp32", "objective": "mae",
        "image_size": 64, "channels": 3, "tokens": (64 // (patch or 8)) ** 2,
        "tokens_by_channel": 3 * (64 // (patch or 8)) ** 2, "parameters": 1_200_000,
        "encoder_parameters": PARAMETERS.get(encoder, 1_000_000), "flops_per_image": 10**9,
        "status": status, "error": None if done else f"rank 0: {status}",
        "images_per_s": about(rate) if done else None, "step_s": about(seconds) if done else None,
        "data_wait": (0.1 if mode == "real" else 0.0) if done else None,
        "peak_memory_bytes": 2 * GB if done else None, "tflops": 1.5 if done else None,
        "mfu": None, "energy_j": None, "watts": None, "energy_counter": None,
        "device": device if done else None, "cores": 2 if done else None,
        "loss": 0.5 if done and mode != "io" else None, **more,
    }  # fmt: skip


def published_points(device="AMD Instinct MI250X"):
    """The published points as a study would have them; one of the largest ran out of memory."""
    memory = {"base": 2.4, "1b": 19.0, "5b": 40.0}
    rows = [
        point(
            rate, encoder=encoder, strategy=strategy, nodes=nodes, local=8, batch=32,
            device=device,
            peak_memory_bytes=memory[encoder] * GB / (4 if "full" in strategy else 1)
            / (1 + 0.05 * nodes if "full" in strategy else 1),
        )
        for (encoder, strategy), rates in PUBLISHED.items()
        for nodes, rate in zip(NODES, rates, strict=True)
    ]  # fmt: skip
    rows += [point(None, encoder="5b", strategy="no_shard", nodes=n, local=8, batch=32,
                   status="out_of_memory") for n in (1, 2)]  # fmt: skip
    rows.append(point(None, encoder="1b", strategy="shard_grad_op", nodes=128, local=8, batch=32,
                      status="timeout"))  # fmt: skip
    return rows


def small_points(strategies=("ddp", "full_shard"), ranks=(1, 2, 4)):
    """A study of this machine: every mode, readers with and without workers."""
    rows = [point(200.0 * (1 + n), mode="io", local=n, workers=w, prefetch=f)
            for n in ranks for w, f in ((0, None), (1, 2), (2, 2), (2, 4))]  # fmt: skip
    for place, strategy in enumerate(strategies):
        for n in ranks:
            if n == 1 and place:
                continue
            name = "no_shard" if n == 1 else strategy
            alone = 100.0 * n * 0.95 ** (n - 1)
            rate = alone * (0.9 ** (place + 1) if n > 1 else 1)
            ahead = 0 if n > 1 and "full" in strategy else None
            common = {"strategy": name, "local": n, "ahead": ahead}
            rows.append(point(rate, **common, peak_memory_bytes=0.6 * 0.9**place * GB))
            if n > 1:
                rows.append(point(alone, mode="no_communication", **common))
            for w, f in ((0, None), (2, 2)):
                rows.append(point(rate * (0.8 + 0.05 * w), mode="real", workers=w, prefetch=f,
                                  **common))  # fmt: skip
    return rows


def write_study(results, name, points, label="Sample study"):
    """A study's result; returns its path."""
    path = results / "scaling" / f"{name}.json"
    write_json(
        path,
        {"schema_version": 1, "stage": "study", "recipe": {}, "digests": {}, "study": name,
         "label": label, "points": [{**row, "study": name} for row in points]},
    )  # fmt: skip
    return path
