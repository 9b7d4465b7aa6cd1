import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import tiny_chips, tiny_images, tiny_recipe
from torchvision.transforms.v2 import functional

from workflow_scripts.errors import UserError
from workflow_scripts.pretrain.augment import View, centre_view, random_view, seen_chip, seen_image
from workflow_scripts.pretrain.construct import order_of
from workflow_scripts.pretrain.loader import Normalise, Samples, batches, collate
from workflow_scripts.pretrain.order import RankSteps
from workflow_scripts.shards.corpus import Corpus

CELLS = 16


def rank_batches(index, recipe, *, rank, ranks, workers, start, cache=0):
    corpus = Corpus(index, "train")
    samples = Samples(corpus, recipe, cells=CELLS, cache_bytes=cache)
    order = order_of(recipe, len(corpus))
    steps = RankSteps(order, start=start, rank=rank, ranks=ranks)
    return list(batches(samples, steps, workers=workers, pin=False))


def global_batches(index, recipe, *, ranks, workers, start=0):
    parts = [
        rank_batches(index, recipe, rank=rank, ranks=ranks, workers=workers, start=start)
        for rank in range(ranks)
    ]
    return [
        {name: torch.cat([part[name] for part in step]) for name in step[0]}
        for step in zip(*parts, strict=True)
    ]


def assert_equal(found, expected):
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys() == {"images", "noise", "labels"}
        for name in one:
            assert torch.equal(one[name], other[name]), name


@pytest.mark.parametrize("make", [tiny_images, tiny_chips])
def test_ranks_workers_and_resume_see_the_same_global_batches(tmp_path, make):
    index, recipe = make(tmp_path), tiny_recipe()
    expected = global_batches(index, recipe, ranks=1, workers=0)
    assert len(expected) >= 4
    for ranks in (1, 2, 4):
        for workers in (0, 1, 3):
            found = global_batches(index, recipe, ranks=ranks, workers=workers, start=3)
            assert_equal(found, expected[3:])


def test_the_cache_changes_nothing(tmp_path):
    index, recipe = tiny_images(tmp_path), tiny_recipe()
    without = rank_batches(index, recipe, rank=0, ranks=1, workers=0, start=0)
    for size in (5_000, 10**9):  # room for two images, and for all
        cached = rank_batches(index, recipe, rank=0, ranks=1, workers=0, start=0, cache=size)
        assert_equal(cached, without)


def test_batches_have_the_promised_types_and_an_epoch_of_their_own(tmp_path):
    recipe = tiny_recipe()
    images = rank_batches(tiny_images(tmp_path / "i"), recipe, rank=0, ranks=1, workers=0, start=0)
    assert images[0]["images"].dtype == torch.uint8
    assert images[0]["images"].shape == (8, 16, 16, 3)
    assert images[0]["noise"].dtype == torch.float32
    assert images[0]["noise"].shape == (8, CELLS)
    assert images[0]["labels"].dtype == torch.int64
    chips = rank_batches(tiny_chips(tmp_path / "c"), recipe, rank=0, ranks=1, workers=0, start=0)
    assert chips[0]["images"].dtype == torch.float32
    assert chips[0]["images"].shape == (8, 2, 16, 16)
    assert chips[0]["labels"].tolist() == [-1] * 8
    samples = Samples(Corpus(tmp_path / "i" / "index.json"), recipe, cells=CELLS)
    assert not np.array_equal(samples[0, 5]["images"], samples[1, 5]["images"])
    assert not np.array_equal(samples[0, 5]["noise"], samples[1, 5]["noise"])


def views(augment, count=2000, width=60, height=40):
    return [
        random_view(augment, width=width, height=height, seed=0, epoch=0, sample=sample)
        for sample in range(count)
    ]


def test_crops_have_the_asked_areas_and_ratios_and_lie_inside():
    augment = {"scale": [0.2, 0.5], "ratio": [0.75, 4 / 3], "flip": True, "rotate": True}
    found = views(augment)
    boxes = np.array([view.box for view in found])
    across, down = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    assert (boxes >= 0).all()
    assert (boxes[:, 2] <= 60).all()
    assert (boxes[:, 3] <= 40).all()
    area = across * down / (60 * 40)
    assert area.min() > 0.19
    assert area.max() < 0.52
    assert abs(area.mean() - 0.35) < 0.01
    assert (across / down).min() > 0.7
    assert (across / down).max() < 1.4
    assert abs(np.mean([view.flip for view in found]) - 0.5) < 0.03
    turns = np.bincount([view.quarter_turns for view in found]) / len(found)
    np.testing.assert_allclose(turns, 0.25, atol=0.03)


def test_flip_and_rotation_can_be_switched_off():
    augment = {"scale": [1.0, 1.0], "ratio": [1.0, 1.0], "flip": False, "rotate": False}
    found = views(augment, count=50)
    # A square of the whole area does not fit into 60 × 40: the largest in the middle is taken.
    assert set(found) == {View(box=(10, 0, 50, 40), flip=False, quarter_turns=0)}


def test_a_whole_view_is_torchvisions_resize_flip_and_rotation():
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
    view = View(box=(0, 0, 60, 40), flip=True, quarter_turns=1)
    resized = functional.resize(image, [16, 16], functional.InterpolationMode.BICUBIC)
    expected = functional.rotate(functional.hflip(resized), 90)
    np.testing.assert_array_equal(seen_image(image, view, size=16), np.asarray(expected))


def test_a_chip_is_resized_like_torchs_antialiased_bicubic():
    chip = np.random.default_rng(0).random((2, 40, 40)).astype(np.float32)
    found = seen_chip(chip, centre_view(width=40, height=40), size=16)
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(chip)[None].double(), (16, 16), mode="bicubic", antialias=True
    )[0]
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-5)


@pytest.mark.parametrize("make", [tiny_images, tiny_chips])
def test_normalisation_is_that_of_the_index_and_can_be_undone(tmp_path, make):
    corpus = Corpus(make(tmp_path))
    batch = collate([Samples(corpus, tiny_recipe(), cells=0)[0, n] for n in range(4)])
    raw = batch["images"].numpy().astype(np.float64)
    if corpus.kind == "images":
        raw = raw.transpose(0, 3, 1, 2) / 255
    mean, std = (np.array(corpus.index[name])[:, None, None] for name in ("mean", "std"))
    normalise = Normalise(corpus.index, torch.device("cpu"))
    found = normalise(batch)["images"]
    np.testing.assert_allclose(found.numpy(), (raw - mean) / std, atol=1e-5)
    np.testing.assert_allclose(normalise.undone(found).numpy(), raw, rtol=1e-5, atol=1e-5)


def test_an_image_that_cannot_be_decoded_is_named(tmp_path):
    corpus = Corpus(tiny_images(tmp_path))
    corpus.image = lambda index: b"no image"
    with pytest.raises(UserError, match=r"shard-00000\.h5 sample 5 \(image5\).*not a readable"):
        Samples(corpus, tiny_recipe(), cells=0)[0, 5]
