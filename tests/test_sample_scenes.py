"""The sample scenes: the same each time, and told apart by structure and not by colour."""

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from workflow_scripts.fetch.samples.listed import fetch_sample_scenes
from workflow_scripts.fetch.samples.sample_scenes import draw_scene
from workflow_scripts.fetch.samples.scene_classes import SCENES

RECIPE = {
    "dataset": "sample-scenes",
    "kind": "sample-scenes",
    "image_size": 48,
    "train_per_class": 24,
    "test_per_class": 12,
    "seed": 0,
}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    raw = tmp_path_factory.mktemp("raw") / "sample-scenes"
    items, set_aside = fetch_sample_scenes(RECIPE, raw)
    assert set_aside == []
    pixels = {}
    for split in ("train", "test"):
        chosen = [item for item in items if item.split == split]
        images = np.stack([np.asarray(Image.open(item.path), np.float64) for item in chosen])
        pixels[split] = images, [item.label for item in chosen]
    return raw, items, pixels


def accuracy(model, features, pixels):
    train, test = pixels["train"], pixels["test"]
    return model.fit(features(train[0]), train[1]).score(features(test[0]), test[1])


def colours(images):
    return np.concatenate([images.mean((1, 2)), images.std((1, 2))], axis=1)


def spectrum(images):
    """Amplitudes averaged over rings: blind to colour, place and direction."""
    grey = images.mean(3)
    grey = (grey - grey.mean((1, 2), keepdims=True)) / grey.std((1, 2), keepdims=True)
    size = grey.shape[1]
    y, x = np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size), indexing="ij")
    ring = np.minimum(np.hypot(x, y) * size, size // 2).astype(int)
    amplitude = np.abs(np.fft.fft2(grey)).reshape(len(grey), -1)
    return np.stack([np.log(amplitude[:, ring.ravel() == r].mean(1) + 1) for r in range(25)], 1)


def test_there_are_eight_classes_in_two_splits(scenes):
    _, items, _ = scenes
    counts = {(i.split, i.label): 0 for i in items}
    assert len(SCENES) >= 8
    assert set(counts) == {(split, name) for split in ("train", "test") for name in SCENES}
    assert items[0].key == "test/crossing/crossing000.jpg"
    assert len({item.sha256 for item in items}) == len(items) == len(SCENES) * 36


def test_mean_colour_and_contrast_say_nothing_about_the_class(scenes):
    chance = 1 / len(SCENES)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    assert accuracy(model, colours, scenes[2]) < chance + 0.1


def test_structure_tells_the_classes_apart(scenes):
    model = make_pipeline(StandardScaler(), KNeighborsClassifier(5))
    assert accuracy(model, spectrum, scenes[2]) > 0.5


def test_statistics_are_those_that_were_drawn_whatever_the_class():
    pictures = [
        np.asarray(draw_scene(name, size=48, seed=1, split="train", number=5)) for name in SCENES
    ]
    means = np.array([picture.mean((0, 1)) for picture in pictures])
    deviations = np.array([picture.std((0, 1)) for picture in pictures])
    assert np.ptp(means, axis=0).max() < 2
    assert np.ptp(deviations, axis=0).max() < 2


def test_images_are_rgb_jpeg_of_the_size_asked(scenes):
    raw, items, _ = scenes
    with Image.open(raw / items[0].key) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (48, 48))


def test_another_run_gives_the_same_bytes_and_more_images_change_none(scenes, tmp_path):
    more = {**RECIPE, "train_per_class": 3, "test_per_class": 1}
    again, _ = fetch_sample_scenes(more, tmp_path / "raw")
    first = {item.key: item.sha256 for item in scenes[1]}
    assert len(again) == len(SCENES) * 4
    assert all(first[item.key] == item.sha256 for item in again)


def test_another_seed_gives_other_images():
    one, two = (
        draw_scene("river", size=32, seed=s, split="train", number=0).tobytes() for s in (0, 1)
    )
    assert one != two


def test_files_of_an_older_recipe_are_removed(tmp_path):
    raw = tmp_path / "raw"
    small = {**RECIPE, "image_size": 32, "train_per_class": 2, "test_per_class": 1}
    fetch_sample_scenes(small, raw)
    (raw / "train" / "volcano").mkdir()
    (raw / "train" / "volcano" / "volcano000.jpg").write_bytes(b"of an older version")
    (raw / "train" / "river" / ".river000.jpg.tmp").write_bytes(b"half, of a killed process")
    items, _ = fetch_sample_scenes({**small, "train_per_class": 1}, raw)
    left = {path.relative_to(raw).as_posix() for path in raw.rglob("*") if path.is_file()}
    assert left == {item.key for item in items} | {".generated"}
    assert not (raw / "train" / "volcano").exists()
