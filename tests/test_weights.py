"""Pretrained weights from elsewhere: from files of several makers, from a hub, and without one."""

import argparse
import http.server
import json
import os
import subprocess
import sys
import threading
import time
import types

import pytest
import timm
import torch
from huggingface_hub import constants
from model_folders import shaken_model, weights_recipe, write_folder
from safetensors.torch import load_file, save, save_file
from tiny_runs import ROOT, simmim_recipe, tiny_chips, tiny_images

from workflow_scripts import slurm
from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.objectives.gfm import Teacher
from workflow_scripts.pretrain.construct import meta_objective
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.weights import __main__ as stage
from workflow_scripts.weights.card import build, encoder_of
from workflow_scripts.weights.read import read_tensors

VIT = "test_vit.r160_in1k"  # timm's own tiny ViT, 0.4 M parameters


def made(folder, **recipe):
    """Run the stage and return the model folder and its card."""
    recipe = weights_recipe(**recipe)
    parsed = stage.parser().parse_args(
        ["--recipe", json.dumps(recipe), "--model", str(folder / "made" / "model.json")]
    )
    stage.work(parsed, recipe)
    return folder / "made", json.loads((folder / "made" / "model.json").read_text())


def swin(seed=0):
    return shaken_model("swin_orbtest", seed, num_classes=5)


def encoder_state(model):
    """A model's weights without its head."""
    return {n: v for n, v in model.state_dict().items() if not n.startswith("head.")}


def as_simmim_published_it(state):
    """Names as in SimMIM's checkpoints: merging at the end of a stage, buffers, and a decoder."""
    out = {}
    for name, value in state.items():
        if name.startswith("head."):
            continue
        name = name.replace("layers.1.downsample", "layers.0.downsample")
        out[f"encoder.{name}"] = value
    out["encoder.mask_token"] = torch.zeros(1, 1, 12)
    out["encoder.layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(16, 16).long()
    out["decoder.0.weight"] = torch.zeros(48, 24, 1, 1)
    out["projector.bias"] = out["teacher.patch_embed.proj.bias"] = torch.zeros(24)  # GFM's
    return out


def as_mae_published_it(state):
    decoder = {"mask_token": torch.zeros(1, 1, 8), "decoder_pos_embed": torch.zeros(1, 5, 8)}
    return {**state, **decoder, "decoder_embed.weight": torch.zeros(8, 64)}


FILES = {
    "safetensors": ("a.safetensors", lambda state: state, {"head.fc.bias": 1, "head.fc.weight": 1}),
    "nested": ("a.pth", lambda state: {"model": state, "epoch": 3}, None),
    "wrapped": (
        "a.pt",
        lambda state: {"state_dict": {f"module.{n}": v for n, v in state.items()}},
        None,
    ),
    "simmim": (
        "a.pth",
        lambda state: {"model": as_simmim_published_it(state)},
        {"decoder.*.weight": 1, "encoder.mask_token": 1, "projector.bias": 1,
         "teacher.patch_embed.proj.bias": 1},
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_a_local_file_becomes_a_model_folder(tmp_path, kind):
    name, packed, left_out = FILES[kind]
    model = swin()
    file = tmp_path / name
    if name.endswith(".safetensors"):
        save_file(packed(model.state_dict()), file)
    else:
        torch.save(packed(model.state_dict()), file)
    folder, card = made(tmp_path, file=str(file))
    again = timm.create_model(card["architecture"], **card["kwargs"])
    again.load_state_dict(load_file(folder / "weights.safetensors"), strict=True)
    for key, value in encoder_state(model).items():
        assert torch.equal(again.state_dict()[key], value), key
    assert card["digests"]["inputs"] == {"source": file_sha256(file)}
    assert "listing_digest" not in card["recipe"]
    if left_out is not None:
        assert card["left_out"] == left_out
    assert (folder / "model.provenance.json").is_file()


def test_the_card_says_how_to_build_and_feed_the_model(tmp_path):
    save_file(swin().state_dict(), tmp_path / "a.safetensors")
    _, card = made(tmp_path, architecture="swin_orbtest.made_up", file=f"{tmp_path}/a.safetensors")
    assert card["encoder"] == {
        "family": "swin", "image_size": 32, "patch": 4, "width": 12, "depths": [2, 2],
        "heads": [2, 4], "mlp_ratio": 2.0, "window": 4,
    }  # fmt: skip
    assert card["normalisation"] == {
        "scale": "unit", "missing": None, "clip": None, "mean": [0.4, 0.5, 0.6],
        "std": [0.2, 0.3, 0.25],
    }  # fmt: skip
    assert (card["family"], card["channels"], card["image_size"]) == ("swin", 3, 32)
    assert (card["licence"], card["source"]) == ("mit", "a.safetensors")


def test_published_names_give_the_published_numbers():
    """GFM's teacher as timm knows it, without its weights."""
    recipe = weights_recipe("swin_base_patch4_window7_224.ms_in22k")
    with torch.device("meta"):
        model = build(recipe)
    assert sum(p.numel() for p in model.parameters()) == 86_743_224
    assert encoder_of(model, "x") == {
        "family": "swin", "image_size": 224, "patch": 4, "width": 128, "depths": [2, 2, 18, 2],
        "heads": [4, 8, 16, 32], "mlp_ratio": 4.0, "window": 7,
    }  # fmt: skip
    assert model.pretrained_cfg["hf_hub_id"] == "timm/swin_base_patch4_window7_224.ms_in22k"


def test_mae_checkpoint_with_its_decoder_is_read_as_the_encoder(tmp_path):
    model = shaken_model(VIT)
    torch.save({"model": as_mae_published_it(model.state_dict())}, tmp_path / "mae.pth")
    folder, card = made(tmp_path, architecture=VIT, file=str(tmp_path / "mae.pth"))
    found = load_file(folder / "weights.safetensors")
    for key, value in encoder_state(model).items():
        assert torch.equal(found[key], value), key
    assert set(card["left_out"]) == {
        "decoder_embed.weight", "decoder_pos_embed", "head.bias", "head.weight", "mask_token",
    }  # fmt: skip
    assert card["encoder"]["window"] is None


class CfgNode(dict):
    """As in yacs, with whose settings SimMIM and GFM write their checkpoints."""


def test_settings_beside_the_tensors_are_read_as_data(tmp_path, monkeypatch):
    yacs = types.ModuleType("yacs.config")
    yacs.CfgNode = CfgNode
    monkeypatch.setattr(CfgNode, "__module__", "yacs.config")
    for name in ("yacs", "yacs.config"):
        monkeypatch.setitem(sys.modules, name, yacs)
    settings = {"config": CfgNode(DATA=CfgNode(SIZE=192)), "args": argparse.Namespace(lr=0.1)}
    torch.save({"model": {"a": torch.ones(2)}, "optimizer": {"b": 1}, **settings}, tmp_path / "a")
    for name in ("yacs", "yacs.config"):
        monkeypatch.delitem(sys.modules, name)
    assert list(read_tensors(tmp_path / "a")) == ["a"]


class Hostile:
    def __reduce__(self):
        return (os.system, ("true",))


def test_files_that_are_not_what_they_should_be_are_refused(tmp_path):
    file = tmp_path / "a.pth"
    with pytest.raises(UserError, match=r"weights\.elsewhere\.file: .*a\.pth is no file"):
        made(tmp_path, file=str(file))
    torch.save({"model": Hostile()}, file)
    with pytest.raises(UserError, match=r"a\.pth: cannot be read .* of tensors alone"):
        made(tmp_path, file=str(file))
    short = tmp_path / "a.safetensors"
    short.write_bytes(save({"norm.weight": torch.ones(24)})[:-8])
    with pytest.raises(UserError, match=r"a\.safetensors: cannot be read .*: fetch it again"):
        made(tmp_path, file=str(short))
    torch.save({"epoch": 1}, file)
    with pytest.raises(UserError, match="holds no tensors by name"):
        made(tmp_path, file=str(file))
    torch.save(shaken_model(VIT).state_dict(), file)
    with pytest.raises(UserError, match=r"proj\.weight is \[64, 3, 16, 16\], expected \[12, 3"):
        made(tmp_path, file=str(file))
    torch.save({"norm.weight": torch.ones(24), "norm.bias": torch.ones(24)}, file)
    with pytest.raises(UserError, match=r"lacks .* of SwinTransformer, such as patch_embed"):
        made(tmp_path, file=str(file))
    torch.save(shaken_model("swin_orbtest", window_size=2).state_dict(), file)
    with pytest.raises(UserError, match=r"bias_table is \[9, 2\], expected \[49, 2\]"):
        made(tmp_path, file=str(file))
    _, card = made(tmp_path, file=str(file), window=2)
    assert card["encoder"]["window"] == 2
    assert card["kwargs"]["window_size"] == 2
    with pytest.raises(UserError, match=r"timm has no 'vit_bsae_.*mean 'vit_base_patch16_224'"):
        made(tmp_path, architecture="vit_bsae_patch16_224", file=str(file))
    with pytest.raises(UserError, match=r"timm cannot build .*Invalid pretrained tag"):
        made(tmp_path, architecture=f"{VIT}k", file=str(file))
    with pytest.raises(UserError, match="is no plain ViT, Swin or Swin V2"):
        made(tmp_path, architecture="vit_base_r50_s16_224", file=str(file))
    assert not (tmp_path / "made" / "weights.safetensors.tmp").exists()


def test_weights_with_a_nan_are_refused_though_attention_may_hide_it(tmp_path):
    state = shaken_model("swin_orbtest").state_dict()
    state["layers.0.blocks.0.attn.qkv.weight"][0, 0] = torch.nan
    torch.save(state, tmp_path / "a.pth")
    told = r"a\.pth: 1 tensors hold NaN or infinite values, such as layers\.0\.blocks\.0\.attn\.qkv"
    with pytest.raises(UserError, match=told):
        made(tmp_path, file=str(tmp_path / "a.pth"))


# --- the hub ------------------------------------------------------------------------------------


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the Hugging Face hub as its client asks for to get one file."""

    content, asked = b"", []

    def _answer(self, body):
        self.asked.append((self.path, self.headers.get("Authorization")))
        found = self.path.endswith("/resolve/main/model.safetensors")
        self.send_response(200 if found else 404)
        if not found:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("X-Repo-Commit", "c" * 40)
        self.send_header("ETag", '"made-up"')
        self.send_header("Content-Length", str(len(self.content) if found else 0))
        self.end_headers()
        if body and found:
            self.wfile.write(self.content)

    def do_HEAD(self):
        self._answer(body=False)

    def do_GET(self):
        self._answer(body=True)

    def log_message(self, *_):
        pass


def in_a_process(folder, *, endpoint, **environment):
    """Run the stage as a process; the hub's client reads its variables when it is imported."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))}
    no_proxy = {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    own = {"HF_HOME": str(folder / "hub"), "HF_ENDPOINT": endpoint, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "workflow_scripts.weights", "--recipe",
         json.dumps(weights_recipe(VIT)), "--model", "data/weights/elsewhere/model.json"],
        cwd=folder, env=clean | no_proxy | own | environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def test_a_name_is_enough_where_the_hub_answers_and_offline_once_it_did(tmp_path):
    model = shaken_model(VIT)
    save_file(model.state_dict(), tmp_path / "served")
    Hub.content, Hub.asked = (tmp_path / "served").read_bytes(), []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        done = in_a_process(tmp_path, endpoint=endpoint, HF_TOKEN="hf_secret")
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert (f"/timm/{VIT}/resolve/main/model.safetensors", "Bearer hf_secret") in Hub.asked
    folder = tmp_path / "data" / "weights" / "elsewhere"
    found = load_file(folder / "weights.safetensors")
    for key, value in encoder_state(model).items():
        assert torch.equal(found[key], value), key
    first = (folder / "model.json").read_bytes()
    card = json.loads(first)
    assert card["source"] == f"timm/{VIT}/model.safetensors"
    assert card["digests"]["inputs"]["source"] == file_sha256(tmp_path / "served")
    facts = json.loads((folder / "model.provenance.json").read_text())
    assert facts["revision"] == "c" * 40
    for path in (folder / "model.json", folder / "model.provenance.json"):
        assert "hf_secret" not in path.read_text()
    assert "hf_secret" not in done.stdout + done.stderr
    for offline in ({"HF_HUB_OFFLINE": "1"}, {slurm.JOBS_VARIABLE: "1"}):
        (folder / "model.json").unlink()
        again = in_a_process(tmp_path, endpoint=endpoint, **offline)
        assert again.returncode == 0, again.stderr
        assert (folder / "model.json").read_bytes() == first


def test_a_slurm_job_asks_no_hub_and_says_where_to_fetch(tmp_path, monkeypatch):
    Hub.content, Hub.asked = b"never sent", []
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv(slurm.JOBS_VARIABLE, "1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(UserError, match="jobs on Slurm download nothing") as error:
            made(tmp_path / "data" / "weights", architecture=VIT)
        server.shutdown()
    assert Hub.asked == []
    assert "snakemake --profile profiles/local-fetch fetch_all" in str(error.value)


def test_without_network_the_error_says_how_to_place_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # between the client's five trials
    with pytest.raises(UserError) as error:
        made(tmp_path / "data" / "weights", architecture=VIT)
    place = tmp_path / "data" / "raw" / f"{VIT}.safetensors"
    for words in (
        f"http://127.0.0.1:9/timm/{VIT}/resolve/main/model.safetensors",
        f"put it at {place}",
        f"weights: {{elsewhere: {{file: {place}}}}}",
    ):
        assert words in str(error.value)


# --- teachers -----------------------------------------------------------------------------------


def test_gfm_takes_it_as_its_teacher(tmp_path):
    model = swin()
    save_file(model.state_dict(), tmp_path / "a.safetensors")
    folder, card = made(tmp_path, file=str(tmp_path / "a.safetensors"))
    teacher = Teacher(folder, 3)
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    values = [torch.tensor(card["normalisation"][n]).view(3, 1, 1) for n in ("mean", "std")]
    with torch.no_grad():
        x = model.patch_embed((images - values[0]) / values[1])
        wanted = model.layers[1].downsample(model.layers[0](x)).mean(dim=(1, 2))
    assert torch.allclose(teacher(images), wanted, atol=1e-6)
    recipe = simmim_recipe() | {"objective": "gfm", "gfm": {"alpha": 1.0}}
    corpus = Corpus(tiny_images(tmp_path / "images"), "train")
    assert meta_objective(recipe, corpus, folder).teacher.width == 24


def test_a_teacher_of_images_is_refused_for_chips(tmp_path):
    folder, _ = write_folder(
        tmp_path / "teacher", "swin_orbtest", simmim_recipe()["encoder"], channels=2
    )
    recipe = simmim_recipe() | {"objective": "gfm", "gfm": {"alpha": 1.0}}
    chips = Corpus(tiny_chips(tmp_path / "chips"))
    with pytest.raises(UserError, match=r"scale is 'unit' and corpus 'tiny-chips' has 'physical'"):
        meta_objective(recipe, chips, folder)
