"""A run's encoder starts with another's weights: bit for bit, resized as timm does, listed."""

import json

import pytest
import timm
import torch
from model_folders import write_folder
from safetensors.torch import load_file, save_file
from timm.models import swin_transformer, vision_transformer
from tiny_runs import (
    CPU,
    full,
    run_ranks,
    simmim_recipe,
    start,
    tiny_chips,
    tiny_images,
    tiny_recipe,
    train_here,
)

from workflow_scripts.errors import UserError
from workflow_scripts.export import __main__ as export
from workflow_scripts.models.encoders import timm_architecture
from workflow_scripts.models.folder import content_digest
from workflow_scripts.objectives.mae import patchify
from workflow_scripts.pretrain import parallel
from workflow_scripts.pretrain.construct import meta_objective
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.pretrain.run_digest import check_data, current_identity
from workflow_scripts.shards.corpus import Corpus

VIT = tiny_recipe()["encoder"]
SWIN = simmim_recipe()["encoder"]


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return tiny_images(tmp_path_factory.mktemp("images"))


def folder_of(path, encoder, **more):
    """A model folder of such an encoder, with a learned position table if it is a ViT."""
    name, kwargs = timm_architecture(encoder, more.get("channels", 3))
    return write_folder(path, name, encoder, **(kwargs | more))


def laid(recipe, index, folder=None, *, ranks=None, strategy="no_shard"):
    """The objective on this rank, as the trainer has it before the first step."""
    objective = meta_objective(recipe, Corpus(index, "train"), None, folder)
    model = parallel.laid_out(
        objective, strategy, ranks=ranks or Ranks(), device=CPU, precision="fp32",
        seed=recipe["seed"],
    )  # fmt: skip
    return parallel.plain(model)


def without_start(recipe):
    return {name: value for name, value in recipe.items() if name != "start"}


def test_what_the_start_has_is_taken_and_all_else_is_the_seeds(tmp_path, index):
    folder, model = folder_of(tmp_path / "start", SWIN)
    recipe = simmim_recipe(start="start")
    objective = laid(recipe, index, folder)
    given = model.state_dict()
    for name, value in objective.encoder.state_dict().items():
        assert torch.equal(value, given[name]), name
    drawn = laid(without_start(recipe), index).state_dict()
    others = [name for name in drawn if not name.startswith("encoder.")]
    assert {"mask_token", "decoder.0.weight"} <= set(others)
    for name in others:
        assert torch.equal(objective.state_dict()[name], drawn[name]), name
    report = objective.start.report
    assert sum(report["loaded"].values()) == len(given)
    assert not any(report[fit] for fit in ("resized", "fresh", "missing", "unexpected"))


def test_swin_of_another_window_and_patch_is_resized_as_timm_does(tmp_path, index):
    folder, model = folder_of(
        tmp_path / "start", SWIN | {"image_size": 48, "window": 6, "patch": 4}
    )
    objective = laid(simmim_recipe(start="start"), index, folder)
    name, kwargs = timm_architecture(SWIN, 3)
    wanted = swin_transformer.checkpoint_filter_fn(
        model.state_dict(), timm.create_model(name, **kwargs)
    )
    table = "layers.0.blocks.0.attn.relative_position_bias_table"
    before, after = model.state_dict()[table], wanted[table]
    assert (before.shape, after.shape) == ((121, 1), (49, 1))
    assert torch.allclose(after[24], before[60])  # no offset between query and key
    assert after.min() >= before.min()
    assert after.max() <= before.max()
    for key, value in objective.encoder.state_dict().items():
        assert torch.equal(value, wanted[key]), key
    assert objective.start.report["resized"] == {
        "layers.*.blocks.*.attn.relative_position_bias_table": 2, "patch_embed.proj.weight": 1,
    }  # fmt: skip


@pytest.mark.parametrize("size", [16, 24])
def test_mae_with_a_learned_table_computes_what_timms_resized_model_computes(tmp_path, index, size):
    folder, model = folder_of(tmp_path / "start", VIT | {"image_size": size})
    objective = laid(tiny_recipe(start="start"), index, folder)
    name, kwargs = timm_architecture(VIT, 3)
    peer = timm.create_model(name, **kwargs).eval()
    peer.load_state_dict(vision_transformer.checkpoint_filter_fn(model.state_dict(), peer))
    images = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    everything = torch.arange(16).expand(2, -1)
    with torch.no_grad():
        ours = objective.encode(patchify(images, 4), everything)
        theirs = peer.forward_features(images)
    assert torch.allclose(ours, theirs, atol=1e-5)
    assert torch.equal(objective.positions, peer.pos_embed[0, 1:])
    resized = {"pos_embed": 1} if size != 16 else {}
    assert objective.start.report["resized"] == resized


def test_classifier_of_a_vit_takes_the_table_as_its_own(tmp_path, index):
    folder, model = folder_of(tmp_path / "start", VIT | {"image_size": 24})
    objective = laid(tiny_recipe(objective="supervised", start="start"), index, folder)
    wanted = vision_transformer.checkpoint_filter_fn(model.state_dict(), objective.encoder)
    for key, value in objective.encoder.state_dict().items():
        assert torch.equal(value, wanted[key]), key


def test_vit_without_a_class_token_leaves_it_to_the_seed(tmp_path, index):
    name, kwargs = timm_architecture(VIT, 3)
    own = {"class_token": False, "global_pool": "avg", "init_values": 1e-5}
    folder, model = write_folder(tmp_path / "start", name, VIT, **(kwargs | own))
    recipe = tiny_recipe(start="start")
    objective = laid(recipe, index, folder)
    assert torch.equal(objective.positions, model.pos_embed[0])
    drawn = laid(without_start(recipe), index)
    assert torch.equal(objective.encoder.cls_token, drawn.encoder.cls_token)
    report = objective.start.report
    assert report["missing"] == {"cls_token": 1, "norm.bias": 1, "norm.weight": 1}
    assert report["unexpected"] == {
        "blocks.*.ls1.gamma": 2, "blocks.*.ls2.gamma": 2, "fc_norm.bias": 1, "fc_norm.weight": 1,
    }  # fmt: skip


def test_patch_embedding_of_other_bands_stays_fresh(tmp_path, index):
    folder, model = folder_of(tmp_path / "start", VIT)
    chips = tiny_chips(tmp_path / "chips")
    recipe = tiny_recipe(start="start", split=None)
    objective = laid(recipe, chips, folder)
    drawn = laid(without_start(recipe), chips)
    for leaf in ("weight", "bias"):
        mine, seeds = (getattr(one.encoder.patch_embed.proj, leaf) for one in (objective, drawn))
        assert torch.equal(mine, seeds)
    assert torch.equal(objective.encoder.blocks[0].attn.qkv.weight, model.blocks[0].attn.qkv.weight)
    fresh = {"patch_embed.proj.bias": 1, "patch_embed.proj.weight": 1}
    assert objective.start.report["fresh"] == fresh


def test_weights_in_half_precision_are_read_as_float32(tmp_path, index):
    folder, model = folder_of(tmp_path / "start", SWIN)
    halves = {name: value.bfloat16() for name, value in model.state_dict().items()}
    save_file(halves, folder / "weights.safetensors")
    objective = laid(simmim_recipe(start="start"), index, folder)
    for name, value in objective.encoder.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, halves[name].float()), name


def test_what_does_not_fit_is_refused_with_both_sides(tmp_path, index):
    wide, _ = folder_of(tmp_path / "wide", VIT | {"width": 32})
    with pytest.raises(UserError, match=r"blocks\.0\.norm1\.weight is \[32\], expected \[24\]"):
        laid(tiny_recipe(start="x"), index, wide)
    narrow, _ = folder_of(tmp_path / "narrow", VIT | {"mlp_ratio": 1.0})
    with pytest.raises(UserError, match=r"fc1\.weight is \[24, 24\], expected \[48, 24\]"):
        laid(tiny_recipe(start="x"), index, narrow)
    heads, _ = folder_of(tmp_path / "heads", VIT | {"heads": [4]})
    with pytest.raises(UserError, match=r"heads \[4\].* has heads \[2\]"):
        laid(tiny_recipe(start="x"), index, heads)
    with pytest.raises(UserError, match=r"family 'vit'.* has family 'swin'"):
        laid(simmim_recipe(start="x"), index, wide)
    save_file({"norm.weight": torch.ones(24)}, heads / "weights.safetensors")
    card = json.loads((heads / "model.json").read_text())
    (heads / "model.json").write_text(json.dumps(card | {"encoder": VIT}))
    with pytest.raises(UserError, match=r"no weights of any block.*only norm\.weight"):
        laid(tiny_recipe(start="x"), index, heads)
    (heads / "weights.safetensors").write_bytes(b"not weights")
    with pytest.raises(UserError, match="not a safetensors file"):
        laid(tiny_recipe(start="x"), index, heads)
    (heads / "model.json").write_text("{}")
    with pytest.raises(UserError, match=r"model\.json: not a model\.json.*lacks architecture"):
        laid(tiny_recipe(start="x"), index, heads)


def started_on_ranks(ranks, folder, index, source, strategy):
    parallel.join(ranks, timeout_s=300)
    objective = laid(tiny_recipe(start="x"), index, source, ranks=ranks, strategy=strategy)
    state = {name: full(value) for name, value in objective.state_dict().items()}
    if ranks.is_first:
        torch.save(state, folder / f"{strategy}.pt")
    parallel.leave()


@pytest.mark.distributed
def test_every_layout_starts_with_the_same_bits(tmp_path, index):
    source, _ = folder_of(tmp_path / "start", VIT | {"image_size": 24})
    alone = laid(tiny_recipe(start="x"), index, source).state_dict()
    assert "positions" in alone
    run_ranks(2, started_on_ranks, tmp_path, index, source, "full_shard")
    found = torch.load(tmp_path / "full_shard.pt", weights_only=True)
    assert found.keys() == alone.keys()
    for name, value in alone.items():
        assert torch.equal(found[name], value), name


def exported(recipe, index, run):
    line = ["--recipe", json.dumps(recipe), "--index", str(index), "--run", str(run)]
    parsed = export.parser().parse_args([*line, "--segment", str(run / "segments" / "1.json")])
    export.work(parsed, recipe)
    return load_file(run / "weights.safetensors")


@pytest.mark.distributed
def test_a_run_goes_on_from_another_and_its_results_say_so(tmp_path, index):
    """Run A → run B of another image size: B keeps A's table, resized, through its checkpoints."""
    first = tiny_recipe(epochs=1)
    train_here(first, index, tmp_path / "a")
    weights = exported(first, index, tmp_path / "a")
    larger = VIT | {"image_size": 24}
    second = tiny_recipe(epochs=1, encoder=larger, start="a")
    laid_out = ("--ranks", "2", "--strategy", "full_shard", "--start", str(tmp_path / "a"))
    process = start(second, index, tmp_path / "b", *laid_out)
    told = process.communicate()[1]
    assert process.returncode == 0, told
    assert f"start {tmp_path / 'a'}: 1 resized: pos_embed (1)" in told
    segment = json.loads((tmp_path / "b" / "segments" / "1.json").read_text())
    digest = content_digest(tmp_path / "a", "start")
    assert segment["digests"]["inputs"]["start"] == digest
    assert segment["start"]["resized"] == {"pos_embed": 1}
    card = json.loads((tmp_path / "a" / "model.json").read_text())
    assert segment["start"]["from"]["run_digest"] == card["run_digest"]
    assert segment["start"]["missing"] == segment["start"]["unexpected"] == {}

    name, kwargs = timm_architecture(larger, 3)
    peer = timm.create_model(name, **kwargs)
    wanted = vision_transformer.checkpoint_filter_fn(weights, peer)["pos_embed"]
    own = exported(second, index, tmp_path / "b")  # without the start, from the checkpoint
    assert torch.equal(own["pos_embed"][:, 1:], wanted[:, 1:])
    assert not own["pos_embed"][:, 0].any()
    peer.load_state_dict(own, strict=True)
    summary = json.loads((tmp_path / "b" / "summary.json").read_text())
    assert summary["start"] == segment["start"]

    before = current_identity(second, json.loads(index.read_text()), None, tmp_path / "a")
    weights["norm.weight"] += 1
    save_file(weights, tmp_path / "a" / "weights.safetensors")
    after = current_identity(second, json.loads(index.read_text()), None, tmp_path / "a")
    assert before.run_digest == segment["run_digest"] != after.run_digest
    with pytest.raises(UserError, match="its start is another now"):
        check_data(before, json.loads(index.read_text()), None, tmp_path / "a")


def test_recipe_and_command_line_agree_on_a_start(tmp_path, index):
    folder, _ = folder_of(tmp_path / "start", VIT)
    with pytest.raises(UserError, match="recipe's start is None and --start is"):
        train_here(tiny_recipe(), index, tmp_path / "run", "--start", str(folder))
    with pytest.raises(UserError, match="recipe's start is 'start' and --start is not given"):
        train_here(tiny_recipe(start="start"), index, tmp_path / "run")
    empty = ("--start", str(tmp_path / "none"))
    with pytest.raises(UserError, match="the start has no exported weights"):
        train_here(tiny_recipe(start="none"), index, tmp_path / "run", *empty)
