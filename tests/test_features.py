"""Features: what they are, at any size, as views, and of which samples."""

import io
import json

import numpy as np
import pytest
import timm
import torch
from feature_cases import (
    AUGMENT,
    MEAN,
    RECIPE,
    STD,
    SWIN,
    VIT,
    arrays,
    benchmark,
    extract_here,
    model_folder,
    png,
    split_table,
    write_index,
)
from PIL import Image
from six_bands import holes, six_band_chips, six_band_corpus
from tiny_runs import tensors, tiny_batches, tiny_recipe

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.features.encoder import (
    BF16,
    Pooled,
    load_model,
    random_like,
    set_image_size,
)
from workflow_scripts.features.job import extract_share, join_sets, prepare
from workflow_scripts.features.samples import (
    VIEW_SEED,
    Seen,
    Views,
    mean_colour,
    read_chip,
    read_image,
)
from workflow_scripts.features.store import open_set
from workflow_scripts.loader.normalise import Normalise
from workflow_scripts.models.encoders import random_encoder
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.shards.writer import (
    ChipSample,
    ImageSample,
    write_chip_shard,
    write_image_shard,
)

NORMALISATION = {"mean": MEAN, "std": STD, "scale": "unit"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a benchmark of 300 images, a model, and what is extracted from them."""
    folder = tmp_path_factory.mktemp("features")
    benchmark(folder / "bench", count=300)
    model_folder(folder / "model")
    extract_here(RECIPE, *inputs(folder), folder / "out" / "result.json", "--threads", "1")
    return folder


def inputs(folder):
    return folder / "model", folder / "bench" / "index.json"


def stored(output, name):
    entry = json.loads(output.read_text())["sets"][name]
    return open_set(output.parent / "store", entry["digest"])


def everything(features):
    return features.take(slice(None))


def by_hand(index, rows, size=16):
    """Images as the encoder sees them, by Pillow."""
    corpus, seen = Corpus(index), []
    for row in rows:
        with Image.open(io.BytesIO(corpus.image(row))) as image:
            scale = size / min(image.size)
            wide, high = (max(size, round(side * scale)) for side in image.size)
            left, top = (wide - size) // 2, (high - size) // 2
            small = image.resize((wide, high), Image.Resampling.BICUBIC)
            seen.append(np.asarray(small.crop((left, top, left + size, top + size))))
    pixels = torch.from_numpy(np.stack(seen)).permute(0, 3, 1, 2) / 255
    return (pixels - torch.tensor(MEAN).view(-1, 1, 1)) / torch.tensor(STD).view(-1, 1, 1)


def tokens_by_timm(folder, images, *, blocks):
    """Tokens after each of the last blocks and the final norm, by a loop over timm's own parts."""
    card = json.loads((folder / "model.json").read_text())
    model = timm.create_model(card["architecture"], **card["kwargs"]).eval()
    model.load_state_dict(load_model(folder)[1].state_dict())
    found = []
    with torch.no_grad():
        for last in range(len(model.blocks) - blocks + 1, len(model.blocks) + 1):
            cut = timm.create_model(card["architecture"], **{**card["kwargs"], "depth": last})
            cut.load_state_dict(model.state_dict(), strict=False)
            found.append(cut.eval().forward_features(images))
    return found


# --- what they are ---------------------------------------------------------------------------


def test_features_are_timms_of_samples_resized_by_pillow(place):
    used = [number for number in range(300) if number % 5 != 4]  # the others have no split
    result = json.loads((place / "out" / "result.json").read_text())
    assert result["count"] == len(used)
    found = stored(place / "out" / "result.json", "trained")
    assert (found.shape, found.poolings, found.layers) == ((240, 64), ["mean", "class"], 2)
    tokens = tokens_by_timm(place / "model", by_hand(inputs(place)[1], used), blocks=2)
    means, classes = [one[:, 1:].mean(1) for one in tokens], [one[:, 0] for one in tokens]
    # The two resizes differ by a unit of rounding in some pixels.
    close = {"rtol": 0, "atol": 0.02}
    np.testing.assert_allclose(everything(found.features("mean", 1)), means[1], **close)
    np.testing.assert_allclose(
        everything(found.features("mean+class", 2)), torch.cat([*means, *classes], 1), **close
    )
    assert np.abs(everything(found.features("mean", 2))[:, :16] - means[1].numpy()).max() > 0.1


def test_features_of_the_same_pixels_are_timms_to_rounding(place):
    corpus = Corpus(inputs(place)[1])
    images = Seen(corpus, normalisation=NORMALISATION, size=16, views=None).batch(np.arange(8))
    encoder = load_model(place / "model")[1]
    found = Pooled(encoder, poolings=["mean+class"], layers=2)(images)
    tokens = tokens_by_timm(place / "model", images, blocks=2)
    expected = [one[:, 1:].mean(1) for one in tokens] + [one[:, 0] for one in tokens]
    np.testing.assert_allclose(found, torch.cat(expected, 1), rtol=1e-4, atol=1e-5)


def test_pixels_are_pillows_to_a_unit_of_rounding_and_the_same_where_nothing_is_resized(tmp_path):
    random = np.random.default_rng(1)
    for size in (16, 7, 33):
        index = benchmark(tmp_path / str(size), count=6)
        ours = torch.stack([read_image(Corpus(index), row, size) for row in range(6)])
        theirs = by_hand(index, range(6), size) * torch.tensor(STD).view(-1, 1, 1)
        theirs = (theirs + torch.tensor(MEAN).view(-1, 1, 1)) * 255
        assert (ours.float() - theirs).abs().max() < 1.01
        assert (ours.float() - theirs).abs().mean() < 0.2
    image = random.integers(0, 256, (9, 5, 3), dtype=np.uint8)
    sample = ImageSample(key="a", data=png(image), height=9, width=5)
    write_image_shard(tmp_path / "s.h5", [sample], classes=[])
    index = write_index(tmp_path, [tmp_path / "s.h5"], [1])
    found = read_image(Corpus(index), 0, 5)
    np.testing.assert_array_equal(found.permute(1, 2, 0), image[2:7])


def test_chips_are_read_in_physical_units(tmp_path):
    counts = np.full((2, 8, 8), 1000, np.uint16)
    chip = ChipSample(
        key="c", counts=counts, scale=np.array([0.01, 0.5]), offset=np.array([0.0, 200.0])
    )
    write_chip_shard(tmp_path / "c.h5", [chip], bands=["a", "b"], size=8, attributes={})
    own = {"kind": "chips", "channels": 2, "bands": ["a", "b"]}
    index = write_index(tmp_path, [tmp_path / "c.h5"], [1], **own)
    for size in (8, 16):
        found = read_chip(Corpus(index), 0, size, [0.0, 0.0])
        assert found.shape == (2, size, size)
        np.testing.assert_allclose(found[0], 10.0, rtol=1e-5)
        np.testing.assert_allclose(found[1], 400.0, rtol=1e-5)


def test_mean_colour_of_images_is_that_of_the_square_in_the_middle(place):
    images = by_hand(inputs(place)[1], [0, 1, 2])
    seen = images * torch.tensor(STD).view(-1, 1, 1) + torch.tensor(MEAN).view(-1, 1, 1)
    found = stored(place / "out" / "result.json", "mean-colour")
    assert (found.poolings, found.layers, found.shape[1]) == (["mean"], 1, 3)
    np.testing.assert_allclose(
        everything(found.features("mean", 1))[:3], seen.mean((2, 3)), atol=1e-3
    )


def test_mean_colour_of_chips_leaves_missing_pixels_out(tmp_path):
    counts = six_band_chips(count=9)
    lost = holes(counts.shape)
    lost[0, 2] = True
    whole = six_band_corpus(tmp_path / "whole", counts)
    holed = six_band_corpus(tmp_path / "holed", np.where(lost, 65535, counts))
    missing, physical = [float(n) for n in range(6)], Corpus(whole).physical(0).astype(np.float64)
    found = mean_colour(Corpus(holed), 0, size=8, missing=missing)
    for band in range(6):
        known = physical[band][~lost[0, band]]
        assert found[band] == pytest.approx(known.mean() if known.size else missing[band])
    assert found[2] == 2.0


def test_random_weights_are_those_a_run_of_that_seed_starts_from(place):
    card = json.loads((place / "model" / "model.json").read_text())
    expected = random_encoder(VIT, 3, 5).state_dict()
    found = random_like(card, 5).state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("architecture", "kwargs"),
    [
        ("vit_base_patch16_224", {"class_token": False, "global_pool": "avg"}),
        ("vit_base_patch16_224", {"reg_tokens": 4, "no_embed_class": False, "init_values": 1e-5}),
        ("vit_small_patch14_reg4_dinov2", {"patch_size": 16}),
    ],
)
def test_architectures_from_elsewhere_get_random_weights_too(architecture, kwargs):
    small = {"img_size": 64, "embed_dim": 16, "depth": 2, "num_heads": 2, "num_classes": 0}
    card = {"architecture": architecture, "kwargs": {**small, **kwargs}}
    ours, again, other = (random_like(card, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(ours[name], again[name]) for name in ours)
    assert not torch.equal(ours["blocks.0.mlp.fc1.weight"], other["blocks.0.mlp.fc1.weight"])
    built = timm.create_model(architecture, **card["kwargs"])
    before = ours["pos_embed"].shape[1] - 16
    assert before == (0 if built.no_embed_class else built.num_prefix_tokens)
    assert (ours["pos_embed"][:, :before] == 0).all()
    for name in ours:  # layer scales stay as the architecture has them
        if "gamma" in name:
            assert torch.equal(ours[name], built.state_dict()[name])
    encoder = random_like(card, 1)
    found = Pooled(encoder, poolings=["mean"], layers=1)(torch.randn(2, 3, 64, 64))
    assert found.shape == (2, 16)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("encoder", [VIT, SWIN])
def test_last_layers_are_joined_each_after_the_norm(encoder):
    model = random_encoder(encoder, 3, 0)
    for name, parameter in model.named_parameters():  # SwinV2's blocks start as the identity
        if "blocks" in name and "norm" in name and "weight" in name:
            torch.nn.init.constant_(parameter, 0.5)
    images = torch.randn(2, 3, encoder["image_size"], encoder["image_size"])
    both = Pooled(model, poolings=["mean"], layers=2)(images)
    last = Pooled(model, poolings=["mean"], layers=1)(images)
    width = both.shape[1] // 2
    np.testing.assert_allclose(both[:, width:], last, rtol=1e-5)
    assert np.abs(both[:, :width] - last).max() > 1e-3
    # With the norm's weight at 1 and bias at 0 every token has mean 0, so has each layer's mean.
    np.testing.assert_allclose(both[:, :width].mean(axis=1), 0, atol=1e-5)


def test_half_precision_differs_by_rounding_and_goes_the_same_way(place, tmp_path):
    model, index = inputs(place)
    job = prepare(RECIPE, model=model, index=index, splits=None, store=tmp_path, precision=BF16)
    extract_share(job, ranks=Ranks(), device="cpu", threads=2)
    found = join_sets(job, patience_s=1)["trained"]
    whole = stored(place / "out" / "result.json", "trained")
    assert found.folder.name != whole.folder.name
    ours, theirs = (everything(one.features("mean+class", 2)) for one in (found, whole))
    assert 0 < np.abs(ours - theirs).max() < 0.1
    assert ours.dtype == np.float32


# --- any size --------------------------------------------------------------------------------


def test_larger_images_interpolate_the_position_table():
    encoder = random_encoder(VIT, 3, 0)
    before = encoder.pos_embed.detach().clone()
    model = {"image_size": 16, "architecture": "vit", "kwargs": {}}
    set_image_size(encoder, model, 32)
    assert encoder.pos_embed.shape == (1, 1 + 16, 16)
    torch.testing.assert_close(encoder.pos_embed[:, :1], before[:, :1])
    # The first half of the channels encodes the column and stays constant down a column.
    grid = encoder.pos_embed[0, 1:].reshape(4, 4, 16)
    torch.testing.assert_close(grid[0, :, :8], grid[3, :, :8], atol=1e-5, rtol=1e-4)
    assert torch.isfinite(encoder(torch.zeros(1, 3, 32, 32))).all()


@pytest.mark.parametrize("card", [{"kwargs": {"window_size": 4}}, {"kwargs": {}, "encoder": SWIN}])
def test_swin_keeps_its_window_at_another_size(card):
    encoder = random_encoder(SWIN, 3, 0)
    model = {"image_size": 32, "architecture": "swinv2", **card}
    set_image_size(encoder, model, 64)
    assert encoder.layers[0].blocks[0].window_size == (4, 4)
    found = Pooled(encoder, poolings=["mean"], layers=1)(torch.zeros(1, 3, 64, 64))
    assert found.shape == (1, 24)
    with pytest.raises(UserError, match="multiple of 8"):
        set_image_size(encoder, model, 36)


@pytest.mark.parametrize("size", [8, 24, 40])
def test_features_at_another_size_are_timms_with_the_table_resized(place, tmp_path, size):
    recipe = {**RECIPE, "image_size": size, "seeds": [], "layers": 1}
    extract_here(recipe, *inputs(place), tmp_path / "result.json", "--threads", "1")
    card = json.loads((place / "model" / "model.json").read_text())
    resized = timm.create_model(card["architecture"], **{**card["kwargs"], "img_size": size})
    state = load_model(place / "model")[1].state_dict()
    table = timm.layers.resample_abs_pos_embed(state["pos_embed"], [size // 8] * 2)
    resized.load_state_dict({**state, "pos_embed": table})
    corpus = Corpus(inputs(place)[1])
    images = Seen(corpus, normalisation=NORMALISATION, size=size, views=None).batch(np.arange(4))
    with torch.no_grad():
        expected = resized.eval().forward_features(images)[:, 1:].mean(1)
    found = stored(tmp_path / "result.json", "trained").features("mean", 1).take(np.arange(4))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


# --- views -----------------------------------------------------------------------------------


def test_views_are_trainings_own(place, tmp_path):
    index = inputs(place)[1]
    corpus = Corpus(index)
    rows = np.array([3, 7, 250])
    recipe = tiny_recipe(augment=AUGMENT, seed=VIEW_SEED)
    recipe["encoder"] = {**recipe["encoder"], "image_size": 16}
    for number in (0, 2):
        batch = tensors(tiny_batches(corpus, recipe).of(rows, epoch=number))
        own = {**corpus.index, "mean": MEAN, "std": STD}
        expected = Normalise(own, torch.device("cpu"))(batch)["images"]
        views = Views(augment=AUGMENT, number=number)
        found = Seen(corpus, normalisation=NORMALISATION, size=16, views=views).batch(rows)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_views_of_chips_are_trainings_own(tmp_path):
    counts = six_band_chips(count=9)
    index = six_band_corpus(tmp_path, np.where(holes(counts.shape), 65535, counts))
    corpus, rows = Corpus(index), np.arange(9)
    recipe = tiny_recipe(augment=AUGMENT, seed=VIEW_SEED)
    recipe["encoder"] = {**recipe["encoder"], "image_size": 16}
    batch = tensors(tiny_batches(corpus, recipe).of(rows, epoch=1))
    expected = Normalise(corpus.index, torch.device("cpu"))(batch)["images"]
    how = {name: corpus.index[name] for name in ("mean", "std")}
    views = Views(augment=AUGMENT, number=1)
    found = Seen(corpus, normalisation=how, size=16, views=views).batch(rows)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_views_are_sets_of_their_own_and_leave_the_others_as_they_are(place, tmp_path):
    views = {"count": 2, "augment": AUGMENT, "seeds": [0]}
    recipe = {**RECIPE, "seeds": [0, 1], "views": views}
    output = tmp_path / "result.json"
    extract_here(recipe, *inputs(place), output, "--threads", "2")
    found, plain = arrays(output), arrays(place / "out" / "result.json")
    names = ["trained", "random-0", "random-1", "mean-colour"]
    names += [f"{who}/view-00{n}" for who in ("trained", "random-0") for n in range(2)]
    assert set(found) == set(names)
    assert len(set(found.values())) == len(names)
    assert {name: found[name] for name in plain} == plain


# --- which samples ---------------------------------------------------------------------------


def test_samples_are_those_that_some_split_uses_and_views_those_that_one_trains_on(place, tmp_path):
    sides = {
        "one": [{0: "train", 1: "test", 2: ""}[number % 3] for number in range(300)],
        "two": ["val" if number % 3 == 2 else "test" for number in range(300)],
    }
    sides["two"][5] = "train"
    table, output = split_table(tmp_path, sides), tmp_path / "result.json"
    recipe = {**RECIPE, "seeds": [], "views": {"count": 1, "augment": AUGMENT, "seeds": []}}
    extract_here(recipe, *inputs(place), output, "--splits", str(table), "--threads", "1")
    result = json.loads(output.read_text())
    used = [number for number in range(300) if number % 3 != 2 or number == 5]
    trained = [number for number in range(300) if number % 3 == 0 or number == 5]
    assert result["count"] == len(used)
    assert result["digests"]["inputs"]["splits"] == file_sha256(table)

    card, encoder = load_model(place / "model")
    pooled = Pooled(encoder, poolings=["mean"], layers=1)
    for name, rows in (("trained", used), ("trained/view-000", trained)):
        views = Views(augment=AUGMENT, number=0) if "view" in name else None
        how = {"normalisation": card["normalisation"], "size": 16, "views": views}
        expected = pooled(Seen(Corpus(inputs(place)[1]), **how).batch(np.array(rows)))
        found = everything(stored(output, name).features("mean", 1))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
