"""Views and pixels against torchvision and torch; batches by type, and the same whoever reads."""

import hashlib
import io
import itertools
import json
import multiprocessing
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_runs import run_ranks, tensors, tiny_batches, tiny_chips, tiny_images, tiny_recipe
from torchvision.transforms.v2 import functional

from workflow_scripts.errors import UserError
from workflow_scripts.loader.feed import Feed
from workflow_scripts.loader.normalise import Normalise
from workflow_scripts.loader.pixels import seen_chip, seen_image
from workflow_scripts.loader.views import View, centre_view, random_view, view_draws
from workflow_scripts.models.scaling import fill_missing_counts
from workflow_scripts.shards.corpus import Corpus

CELLS = 16
MAKERS = {"images": tiny_images, "chips": tiny_chips}


def digests_of(feed):
    """What a rank saw at each step: a digest of each tensor, sample by sample."""
    return [
        {
            name: [hashlib.sha256(row.numpy().tobytes()).hexdigest()[:16] for row in value]
            for name, value in batch.items()
        }
        for batch in feed
    ]


# Workers and first steps that each rank tries: whole, and as after a stop.
READERS = ((0, 0), (1, 3), (3, 0), (3, 5))


def see_all(ranks, folder, corpora):
    """In a process of its own: what this rank sees of each corpus."""
    multiprocessing.set_start_method("fork", force=True)  # as in a rank that a launcher started
    seen = {}
    for name, (index, recipe) in corpora.items():
        batches = tiny_batches(
            Corpus(index, "train"), recipe, cells=CELLS, rank=ranks.rank, ranks=ranks.world
        )
        for workers, start in READERS:
            feed = Feed(batches, start=start, workers=workers, pin=False)
            seen[f"{name} {workers} {start}"] = digests_of(feed)
    (folder / f"{ranks.world}-{ranks.rank}.json").write_text(json.dumps(seen))


@pytest.mark.distributed
def test_ranks_workers_and_resume_see_the_same_global_batches(tmp_path):
    images = tiny_images(tmp_path / "images", shards=5)
    corpora = {
        "images": (images, tiny_recipe()),
        "windows": (images, tiny_recipe(shuffle_window=2)),
        "chips": (tiny_chips(tmp_path / "chips", count=40), tiny_recipe()),
    }
    seen = {}
    for world in (1, 2, 4):
        run_ranks(world, see_all, tmp_path, corpora)
        seen[world] = [
            json.loads((tmp_path / f"{world}-{rank}.json").read_text()) for rank in range(world)
        ]
    for name in corpora:
        expected = seen[1][0][f"{name} 0 0"]
        assert len(expected) == 10
        assert len({row for step in expected for row in step["images"]}) > 60
        for world, (workers, start) in itertools.product(seen, READERS):
            steps = zip(*(rank[f"{name} {workers} {start}"] for rank in seen[world]), strict=True)
            whole = [
                {tensor: [row for part in step for row in part[tensor]] for tensor in step[0]}
                for step in steps
            ]
            assert whole == expected[start:], (name, world, workers, start)


@pytest.mark.parametrize("kind", MAKERS)
def test_a_batch_has_the_promised_types_and_each_epoch_its_own_views(tmp_path, kind):
    batches = tiny_batches(Corpus(MAKERS[kind](tmp_path)), tiny_recipe(), cells=CELLS)
    batch = batches[0]
    images = batch["images"]
    if kind == "images":
        assert (images.dtype, images.shape) == (torch.uint8, (8, 16, 16, 3))
    else:
        assert (images.dtype, images.shape) == (torch.uint16, (8, 2, 16, 16))
        assert batch["scale"].tolist() == [pytest.approx([0.001, 0.02])] * 8
        assert batch["offset"].tolist() == [[0.0, 300.0]] * 8
        assert batch["labels"].tolist() == [-1] * 8
    assert (batch["noise"].dtype, batch["noise"].shape) == (torch.float32, (8, CELLS))
    assert (batch["labels"].dtype, batch["labels"].shape) == (torch.int64, (8,))
    assert (batch["skipped"], batch["retried"]) == (0, 0)
    one, other = (batches.of(np.array([5]), epoch=epoch) for epoch in (0, 1))
    assert not torch.equal(one["images"], other["images"])
    assert not torch.equal(one["noise"], other["noise"])
    with pytest.raises(IndexError):
        batches[len(batches)]


def test_batches_can_be_handed_to_a_process_that_is_not_a_fork(tmp_path):
    batches = tiny_batches(Corpus(tiny_images(tmp_path)), tiny_recipe(shuffle_window=1), cells=4)
    expected = tensors(batches[3])
    copy = tensors(pickle.loads(pickle.dumps(batches))[3])
    assert all(torch.equal(copy[name], value) for name, value in expected.items())


def test_labels_are_the_samples_own(tmp_path):
    corpus = Corpus(tiny_images(tmp_path, shards=3))
    batches = tiny_batches(corpus, tiny_recipe())
    samples = batches.order.batch_at(2)
    assert batches[2]["labels"].tolist() == corpus.labels[samples].tolist()
    assert [corpus.key(int(n)) for n in samples] == [corpus.keys[n] for n in samples]


def test_without_augmentation_the_square_in_the_middle_is_seen_and_chips_stay_as_they_are(tmp_path):
    corpus, recipe = Corpus(tiny_chips(tmp_path)), tiny_recipe()
    recipe["encoder"]["image_size"] = 20
    batch = tiny_batches(corpus, recipe, augment=None)[0]
    samples = tiny_batches(corpus, recipe).order.batch_at(0)
    expected = np.stack([corpus.counts(int(sample)) for sample in samples])
    np.testing.assert_array_equal(batch["images"].numpy(), expected)


def views(augment, count=2000, width=60, height=40):
    draws = view_draws(np.arange(count), seed=0, epoch=0)
    return [random_view(augment, draws[n], width=width, height=height) for n in range(count)]


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


def encoded(pixels, kind, **how):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **how)
    return buffer.getvalue()


def smooth(height, width, seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize(("flip", "turns"), [(False, 0), (True, 1), (True, 3)])
def test_a_view_is_torchvisions_crop_resize_flip_and_rotation(kind, flip, turns):
    data = encoded(smooth(40, 64), kind)
    image = Image.open(io.BytesIO(data)).convert("RGB")
    view = View(box=(5, 3, 51, 40), flip=flip, quarter_turns=turns)
    expected = functional.resized_crop(
        image, 3, 5, 37, 46, [16, 16], functional.InterpolationMode.BICUBIC
    )
    expected = functional.hflip(expected) if flip else expected
    expected = np.asarray(functional.rotate(expected, 90 * turns)).astype(int)
    found = seen_image(data, view, size=16)
    assert (found.dtype, found.shape) == (np.uint8, (16, 16, 3))
    assert np.abs(found - expected).max() <= 1  # Pillow rounds once more


def test_a_large_jpeg_is_decoded_small_and_looks_the_same():
    picture = smooth(640, 960)
    data = encoded(picture, "JPEG", quality=95, subsampling=0)
    for box in ((0, 0, 960, 640), (104, 40, 800, 640), (5, 3, 40, 44)):  # at 1/8, 1/8 and 1
        view = View(box=box, flip=False, quarter_turns=0)
        found = seen_image(data, view, size=32).astype(int)
        exact = seen_image(encoded(picture, "PNG"), view, size=32).astype(int)
        assert np.sqrt(((found - exact) ** 2).mean()) < 2.5, box  # levels of 256


def test_a_chip_is_resized_like_torchs_antialiased_bicubic_and_its_holes_filled_before():
    rng = np.random.default_rng(0)
    counts = rng.integers(2000, 30000, (2, 40, 40)).astype(np.uint16)
    scale, offset, missing = np.array([0.01, 2.0]), np.array([5.0, -3.0]), [150.0, 40000.0]
    counts[1, 7:9, 8] = 65535
    view = View(box=(4, 2, 34, 38), flip=True, quarter_turns=1)
    filled = fill_missing_counts(counts, scale=scale, offset=offset, missing=missing)
    found = seen_chip(filled, view, size=16)
    assert (found.dtype, found.shape) == (np.uint16, (2, 16, 16))
    values = (counts - offset[:, None, None]) * scale[:, None, None]
    values[1, 7:9, 8] = missing[1]
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(values[:, 2:38, 4:34])[None], (16, 16), mode="bicubic", antialias=True
    )[0].numpy()
    expected = np.rot90(np.flip(expected, axis=2), axes=(1, 2))
    physical = (found - offset[:, None, None]) * scale[:, None, None]
    error = np.abs(physical - expected) / scale[:, None, None]
    assert error.max() <= 0.5 + 0.02  # half a count, and half of one in what was filled


def test_a_chips_resize_never_leaves_the_counts_that_have_a_value():
    counts = np.zeros((1, 40, 40), np.uint16)
    counts[:, ::4] = 32767  # bicubic weights overshoot at edges
    view = View(box=(0, 0, 20, 20), flip=False, quarter_turns=0)
    found = seen_chip(counts, view, size=64)
    assert (found.min(), found.max()) == (0, 32767)


@pytest.mark.parametrize("kind", MAKERS)
def test_normalisation_is_that_of_the_index_and_can_be_undone(tmp_path, kind):
    corpus = Corpus(MAKERS[kind](tmp_path))
    whole = tiny_batches(corpus, tiny_recipe()).of(np.arange(4), epoch=0)
    batch = tensors(whole)
    raw = batch["images"].numpy().astype(np.float64)
    if kind == "images":
        raw = raw.transpose(0, 3, 1, 2) / 255
    else:
        raw = (raw - [[[[0.0]], [[300.0]]]]) * [[[[0.001]], [[0.02]]]]
    mean, std = (np.array(corpus.index[name])[:, None, None] for name in ("mean", "std"))
    normalise = Normalise(corpus.index, torch.device("cpu"))
    found = normalise(batch)["images"]
    assert torch.equal(found, normalise(whole)["images"])
    np.testing.assert_allclose(found.numpy(), (raw - mean) / std, atol=1e-5)
    np.testing.assert_allclose(normalise.undone(found).numpy(), raw, rtol=1e-5, atol=1e-4)


def test_an_image_that_cannot_be_decoded_is_named(tmp_path):
    corpus = Corpus(tiny_images(tmp_path))
    for data in (b"no image", b"\xff\xd8no JPEG"):
        corpus.image = lambda index, data=data: data
        with pytest.raises(UserError, match=r"shard-00000\.h5 sample 5 \(image5\).*not a readable"):
            tiny_batches(corpus, tiny_recipe()).of(np.array([5]), epoch=0)


def test_a_view_in_the_middle_is_the_largest_square():
    assert centre_view(width=60, height=41).box == (9, 0, 50, 41)
