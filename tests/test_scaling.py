"""What an encoder sees is the same in training, in the probe, in a teacher, and written down."""

import argparse
import json

import numpy as np
import pytest
import torch
from objective_cases import write_teacher
from six_bands import BANDS, MIDDLE, holes, six_band_chips, six_band_corpus
from test_export import export_here
from tiny_runs import curve, simmim_recipe, tensors, tiny_batches, tiny_recipe, train_here

from tests.feature_cases import extract_here
from tests.test_config import changed
from workflow_scripts.config_check import check_config
from workflow_scripts.errors import UserError
from workflow_scripts.features.samples import Seen, check_fits
from workflow_scripts.loader.normalise import Normalise
from workflow_scripts.loader.views import centre_view
from workflow_scripts.models.scaling import MEAN_2SIGMA, STANDARDIZE, fill_missing, normalisation
from workflow_scripts.objectives.gfm import Teacher
from workflow_scripts.probe.__main__ import probe
from workflow_scripts.shards.corpus import Corpus

pytestmark = pytest.mark.usefixtures("training_here")
CPU = torch.device("cpu")
CHIPS = {"kind": "chips", "bands": ["6", "31"], "mean": [2.0, 5.0], "std": [0.5, 0.0],
         "mean_2sigma": [3.0, 5.0]}  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two corpora: chips with missing pixels, and the same with the mean in their place."""
    folder = tmp_path_factory.mktemp("six")
    counts = six_band_chips()
    missing = holes(counts.shape)
    middle = np.broadcast_to(MIDDLE.astype(np.uint16)[:, None, None], counts.shape)
    reasons = np.random.default_rng(2).choice([65535, 65533, 65501], counts.shape)
    with_holes = np.where(missing, reasons, counts).astype(np.uint16)
    return (
        six_band_corpus(folder / "holes", with_holes),
        six_band_corpus(folder / "filled", np.where(missing, middle, counts)),
    )


def recipe_of(base, scaling, **changes):
    encoder = {**base["encoder"], "image_size": changes.pop("image_size", 16)}
    return {**base, "encoder": encoder, "scaling": scaling, "split": "train", **changes}


RECIPES = {"mae": tiny_recipe(), "simmim": simmim_recipe()}


def test_the_normalisation_of_a_corpus_is_plain_data():
    assert normalisation(CHIPS, STANDARDIZE) == {
        "scale": "physical", "missing": [2.0, 5.0], "mean": [2.0, 5.0], "std": [0.5, 1e-6],
        "clip": None,
    }  # fmt: skip
    assert normalisation(CHIPS, MEAN_2SIGMA) == {
        "scale": "physical", "missing": [2.0, 5.0], "mean": [0.0, 0.0], "std": [3.0, 5.0],
        "clip": [0.0, 1.0],
    }  # fmt: skip
    images = {"kind": "images", "mean": [0.5], "std": [0.2]}
    assert normalisation(images, STANDARDIZE)["missing"] is None
    with pytest.raises(UserError, match="for chips"):
        normalisation(images, MEAN_2SIGMA)
    with pytest.raises(UserError, match="'ricc'"):
        normalisation(CHIPS, "ricc")
    with pytest.raises(UserError, match="of band 31 is not above 0"):
        normalisation({**CHIPS, "mean_2sigma": [3.0, -1.0]}, MEAN_2SIGMA)


def test_filling_touches_missing_pixels_alone():
    chip = np.random.default_rng(0).random((2, 4, 4)).astype(np.float32)
    assert fill_missing(chip, [1.0, 2.0]) is chip
    spoilt = chip.copy()
    spoilt[0, 1, 1] = spoilt[1, 2] = np.nan
    found = fill_missing(spoilt, [1.0, 2.0])
    assert found.dtype == np.float32
    assert found[0, 1, 1] == 1.0
    assert (found[1, 2] == 2.0).all()
    kept = ~np.isnan(spoilt)
    np.testing.assert_array_equal(found[kept], chip[kept])


@pytest.mark.parametrize("scaling", [STANDARDIZE, MEAN_2SIGMA])
def test_batches_are_scaled_as_the_formula_says(pair, scaling):
    corpus = Corpus(pair[0])
    recipe = recipe_of(tiny_recipe(), scaling, image_size=20)
    every = np.arange(len(corpus))
    batch = tensors(tiny_batches(corpus, recipe, augment=None).of(every, epoch=0))
    normalise = Normalise(corpus.index, CPU, scaling)
    found = normalise(batch)["images"]
    values = np.stack([corpus.physical(n).astype(np.float64) for n in range(len(corpus))])
    mean, std = (np.array(corpus.index[name])[:, None, None] for name in ("mean", "std"))
    values = np.where(np.isnan(values), mean, values)
    if scaling == STANDARDIZE:
        expected = (values - mean) / std
        assert np.abs(expected).max() > 1
    else:
        expected = np.clip(values / (mean + 2 * std), 0, 1)
        assert (expected == 1).any()
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)
    inside = (expected > 0) & (expected < 1) | (scaling == STANDARDIZE)
    np.testing.assert_allclose(normalise.undone(found).numpy()[inside], values[inside], rtol=1e-5)
    np.testing.assert_allclose(normalise.undone(normalise.middle), mean, rtol=1e-6)


@pytest.mark.parametrize("name", RECIPES)
def test_missing_pixels_are_seen_as_the_mean(pair, name):
    recipe = recipe_of(RECIPES[name], STANDARDIZE)
    seen = []
    for index in pair:
        corpus = Corpus(index, "train")
        batches = tiny_batches(corpus, recipe)
        seen += [batches.of(np.arange(len(corpus)), epoch=epoch)["images"] for epoch in (0, 1)]
    assert np.isnan(Corpus(pair[0]).physical(0)).any()
    assert not torch.equal(seen[0], seen[1])
    assert torch.equal(seen[0], seen[2])
    assert torch.equal(seen[1], seen[3])


@pytest.mark.parametrize("scaling", [STANDARDIZE, MEAN_2SIGMA])
@pytest.mark.parametrize("name", RECIPES)
def test_six_bands_train_export_and_probe_and_missing_pixels_count_as_the_mean(
    pair, tmp_path, name, scaling
):
    recipe = recipe_of(RECIPES[name], scaling)
    results, curves = [], []
    for number, index in enumerate(pair):
        run = tmp_path / str(number) / "run"
        train_here(recipe, index, run, "--log-every", "1")
        export_here(recipe, index, run)
        curves.append(curve(run))
        results.append(probed(run, index, tmp_path / f"{number}.json"))
    assert np.isfinite([loss for _, loss in curves[0]]).all()
    assert curves[0] == curves[1]
    card = json.loads((run / "model.json").read_text())
    assert (card["channels"], card["bands"]) == (6, BANDS)
    assert card["normalisation"] == normalisation(json.loads(index.read_text()), scaling)
    with np.load(run / "reconstructions.npz") as pictures:
        assert pictures["input"].shape[1:] == (16, 16, 6)
        hidden = pictures["masked"][pictures["mask"]]
        np.testing.assert_allclose(hidden, np.tile(card["normalisation"]["missing"],
                                                   (len(hidden), 1)), rtol=1e-5)  # fmt: skip
    assert results[0]["protocols"] == results[1]["protocols"]
    (split,) = results[0]["splits"]
    assert split["n_test"] == split["overlap"]["test"] == 6  # of its own corpus, by key


def probed(run, index, output):
    shared = {"encoder": "six", "benchmark": "six", "image_size": None, "layers": 1, "seeds": [0]}
    ridge = {"protocol": "ridge", "strengths": [1.0], "poolings": ["mean"], "holdout": 0.25}
    features = output.with_name(f"features-{output.name}")
    views = {"count": 0, "augment": {}, "seeds": []}
    extract_here({**shared, "poolings": ["mean"], "views": views}, run, index, features)
    probe(
        argparse.Namespace(
            features=features, store=output.parent / "store", index=index, splits=None,
            output=output, corpora=[index], threads=2,
        ),
        {**shared, "run": "six", "step": None, "synthetic": True, "protocols": [ridge]},
    )  # fmt: skip
    return json.loads(output.read_text())


def shown(corpus, how):
    """All samples as an encoder with that normalisation sees them at 20 pixels."""
    return Seen(corpus, normalisation=how, size=20, views=None).batch(np.arange(len(corpus)))


@pytest.mark.parametrize("scaling", [STANDARDIZE, MEAN_2SIGMA])
def test_the_probe_shows_what_training_showed(pair, scaling):
    corpus, size = Corpus(pair[0]), 20  # no resize: the two resizers are not the same code
    recipe = recipe_of(tiny_recipe(), scaling, image_size=size)
    every = np.arange(len(corpus))
    batch = tensors(tiny_batches(corpus, recipe, augment=None).of(every, epoch=0))
    trained = Normalise(corpus.index, CPU, scaling)(batch)["images"]
    seen = shown(corpus, normalisation(corpus.index, scaling))
    torch.testing.assert_close(seen, trained, rtol=0, atol=4e-6)
    assert centre_view(width=size, height=size).box == (0, 0, size, size)


def test_cards_from_before_there_was_a_choice_are_still_understood(pair):
    corpus = Corpus(pair[0])
    whole = normalisation(corpus.index, STANDARDIZE)
    old = {name: whole[name] for name in ("scale", "mean", "std")}
    assert torch.equal(shown(corpus, old), shown(corpus, whole))


def test_a_teacher_sees_as_its_card_says(tmp_path):
    write_teacher(tmp_path)
    card = json.loads((tmp_path / "model.json").read_text())
    images = torch.rand(2, 6, 48, 48) * 4
    scaled = {"mean": [0.0] * 6, "std": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], "clip": [0.0, 1.0]}
    by_hand = (images / torch.arange(1.0, 7.0).view(6, 1, 1)).clamp(0, 1)
    found = {}
    for name, how, shown in (
        ("card", scaled, images),
        ("hand", {"mean": [0.0] * 6, "std": [1.0] * 6}, by_hand),
        ("unclipped", {**scaled, "clip": None}, images),
    ):
        (tmp_path / "model.json").write_text(json.dumps({**card, "normalisation": how}))
        found[name] = Teacher(tmp_path, 6)(shown)
    torch.testing.assert_close(found["card"], found["hand"])
    assert not torch.allclose(found["card"], found["unclipped"])


def test_chips_of_another_quantity_are_refused(pair):
    index = json.loads(pair[0].read_text())
    model = {"channels": 6, "bands": BANDS, "normalisation": {"scale": "physical"}}
    names = {"run": "r", "benchmark": "b"}
    check_fits({**model, "quantity": "radiance"}, {**index, "quantity": "radiance"}, **names)
    check_fits({**model, "quantity": None}, {**index, "quantity": "radiance"}, **names)
    with pytest.raises(UserError, match="trained on radiance, benchmark 'b' has reflectance"):
        check_fits({**model, "quantity": "radiance"}, {**index, "quantity": "reflectance"}, **names)


def test_the_choice_is_in_the_recipe_and_refused_for_images():
    check_config(changed("runs.modis-simmim.scaling", "mean_2sigma"))
    with pytest.raises(UserError, match=r"runs\.scenes-mae\.scaling: mean_2sigma is for chips"):
        check_config(changed("runs.scenes-mae.scaling", "mean_2sigma"))
