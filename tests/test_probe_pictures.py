"""What pictures of a probe are made of: shares, choice of samples, the plane, and the file."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.neighbors import KNeighborsClassifier
from threadpoolctl import threadpool_limits

from workflow_scripts.probe.pictures import (
    MOST_EMBEDDED,
    PERPLEXITY,
    embed,
    evenly_by_class,
    pictures,
    shares,
    write,
)
from workflow_scripts.probe.trial import InMemory

RANDOM = np.random.default_rng(0)


def blobs(count, classes, dimensions=12, apart=4.0):
    """Features of `count` samples around a centre for each class, and their classes."""
    random = np.random.default_rng(1)
    labels = np.arange(count) % classes
    centres = apart * random.normal(size=(classes, dimensions))
    values = centres[labels] + random.normal(size=(count, dimensions))
    return values.astype(np.float32), labels


def test_scores_become_shares_of_one():
    logits = RANDOM.normal(size=(9, 5)).astype(np.float32)
    np.testing.assert_allclose(shares(logits), softmax(logits.astype(float), axis=1))
    votes = np.array([[3, 1, 0], [0, 0, 0]], np.float32)
    np.testing.assert_allclose(shares(votes), [[0.75, 0.25, 0], [1 / 3, 1 / 3, 1 / 3]])


def test_confidence_is_the_share_of_the_predicted_class():
    labels = np.arange(30) % 3
    scores = RANDOM.normal(size=(30, 3)).astype(np.float32)
    rows = np.arange(100, 130)
    found = pictures(scores, labels, rows, InMemory(np.zeros((130, 12), np.float32)), 3, 0)
    np.testing.assert_array_equal(found["predicted"], scores.argmax(axis=1))
    np.testing.assert_allclose(found["confidence"], softmax(scores, axis=1).max(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(found["test_rows"], rows)
    np.testing.assert_array_equal(found["labels"], labels)
    assert not found["embedding"].any()  # all features equal: nothing to spread out


def test_the_plane_keeps_classes_together_and_names_its_samples():
    values, labels = blobs(150, 3)
    order = RANDOM.permutation(150)
    places = order[:90]  # the test samples, among others
    scores = np.eye(3, dtype=np.float32)[labels[places]]
    found = pictures(
        scores, labels[places], 1000 + places, InMemory(values), 3, 0, places=places
    )  # fmt: skip
    assert found["embedding"].shape == (90, 2)
    assert found["embedding"].dtype == np.float32
    np.testing.assert_array_equal(found["embedding_rows"], 1000 + places)
    np.testing.assert_array_equal(found["embedding_labels"], labels[places])
    assert found["perplexity"] == pytest.approx(89 / 3, abs=1e-4)
    near = KNeighborsClassifier(1).fit(found["embedding"][:45], found["embedding_labels"][:45])
    assert near.score(found["embedding"][45:], found["embedding_labels"][45:]) == 1.0


def test_of_many_samples_as_many_of_each_class_are_taken():
    labels = np.repeat([0, 1, 2], [5, 100, 900])
    found = evenly_by_class(labels, 105, seed=3)
    assert np.bincount(labels[found]).tolist() == [5, 50, 50]
    assert (np.diff(found) > 0).all()
    np.testing.assert_array_equal(found, evenly_by_class(labels, 105, seed=3))
    assert (found != evenly_by_class(labels, 105, seed=4)).any()
    assert len(evenly_by_class(np.zeros(MOST_EMBEDDED + 1), MOST_EMBEDDED, 0)) == MOST_EMBEDDED
    assert evenly_by_class(labels, 5000, 0).tolist() == list(range(1005))


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9, 31])
def test_few_samples_have_a_plane_too(count):
    values, _ = blobs(count, 2)
    places, perplexity = embed(values, 0)
    assert places.shape == (count, 2)
    assert np.isfinite(places).all()
    assert 0 <= perplexity < min(count, PERPLEXITY)


def test_few_dimensions_and_constant_ones_have_a_plane_too():
    for values in (blobs(20, 2, dimensions=1)[0], np.ones((20, 4), np.float32)):
        assert np.isfinite(embed(values, 0)[0]).all()


def test_the_plane_is_the_same_whatever_the_threads():
    values, _ = blobs(60, 3)
    with threadpool_limits(2):
        first = embed(values, 0)[0]
    with threadpool_limits(1):
        second = embed(values, 0)[0]
    np.testing.assert_array_equal(first, second)


def test_of_several_labels_there_is_no_plane():
    labels = RANDOM.random((8, 4)) < 0.5
    scores = RANDOM.normal(size=(8, 4)).astype(np.float32)
    found = pictures(scores, labels, np.arange(8), InMemory(np.ones((8, 3), np.float32)), 4, 0)
    assert found["embedding"].shape == (0, 2)
    assert found["labels"].dtype == bool
    assert len(found["embedding_rows"]) == len(found["embedding_labels"]) == 0


def test_the_file_is_whole_the_same_again_and_holds_no_objects(tmp_path):
    values, labels = blobs(12, 3)
    scores = np.eye(3, dtype=np.float32)[labels]
    arrays = pictures(scores, labels, np.arange(12), InMemory(values), 3, 0)
    for name in ("a", "b"):
        write(tmp_path / f"{name}.npz", arrays)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    with np.load(tmp_path / "a.npz", allow_pickle=False) as found:
        assert set(found) == set(arrays)
        for name in arrays:
            np.testing.assert_array_equal(found[name], arrays[name])
    with pytest.raises(ValueError, match="labels hold Python objects"):
        write(tmp_path / "c.npz", {"labels": np.array([None])})
    assert not list(tmp_path.glob("*c.npz*"))
