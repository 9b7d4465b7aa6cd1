"""The solver of protocol linear against scikit-learn, and whatever the number of threads.

Coefficients are compared by the norm of their difference over the norm of scikit-learn's, both
fitted to a far smaller gradient than a probe asks for, on the same float32 features.
"""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler

from workflow_scripts import threads
from workflow_scripts.errors import UserError
from workflow_scripts.probe import descent, logistic, samples
from workflow_scripts.probe.logistic import between, fit, levels
from workflow_scripts.probe.logistic_loss import evaluate, targets_of
from workflow_scripts.probe.normalise import BLOCK, fit_normalisation
from workflow_scripts.probe.samples import Samples, one_thread
from workflow_scripts.probe.trial import InMemory

TIGHT = 1e-9
SCALERS = {"standardize": StandardScaler, "l2": Normalizer, "none": FunctionTransformer}


def overlapping(count, width, classes, *, spread=0.0, seed=0):
    """Features whose classes overlap, off the origin, dimensions up to 10^±spread apart."""
    random = np.random.default_rng(seed)
    labels = np.arange(count) % classes
    values = random.normal(size=(count, width)) + 0.7 * random.normal(size=(classes, width))[labels]
    return ((values + 1) * np.logspace(-spread, spread, width)).astype(np.float32), labels


def made(values, normalisation="standardize"):
    features, rows = InMemory(values), np.arange(len(values))
    how = fit_normalisation(normalisation, features, rows, what="test")
    return Samples(features, rows, how, what="test"), how


def fitted(values, labels, strengths, *, normalisation="standardize", tolerance=TIGHT):
    columns = labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1
    with one_thread():
        given, how = made(values, normalisation)
        return fit(given, targets_of(labels, columns), strengths, tolerance=tolerance), how


def peer(values, labels, strength, **options):
    options = {"tol": 1e-11, "max_iter": 5000, "solver": "newton-cholesky"} | options
    return LogisticRegression(C=strength, **options).fit(values.astype(np.float64), labels)


def distance(found, expected):
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize("normalisation", SCALERS)
@pytest.mark.parametrize(
    ("count", "width", "classes", "spread"),
    [(40, 60, 3, 0), (400, 20, 5, 0), (300, 30, 3, 2), (200, 12, 2, 0), (300, 8, 30, 0)],
)
def test_coefficients_and_predictions_are_scikit_learns(
    count, width, classes, spread, normalisation
):
    values, labels = overlapping(count, width, classes, spread=spread)
    strengths = [10.0, 0.001, 0.1]  # in no order
    found, how = fitted(values, labels, strengths, normalisation=normalisation)
    features = how(values.copy())
    scaled = SCALERS[normalisation]().fit_transform(values.astype(np.float64))
    np.testing.assert_allclose(features, scaled, rtol=1e-4, atol=1e-5)
    for strength, weights, intercepts in zip(
        strengths, found.weights.numpy(), found.intercepts.numpy(), strict=True
    ):
        expected = peer(features, labels, strength)
        assert distance(weights, expected.coef_) < 1e-3
        np.testing.assert_allclose(intercepts, expected.intercept_, rtol=1e-3, atol=1e-3)
        scores = features @ weights.T + intercepts
        predicted = scores[:, 0] > 0 if classes == 2 else scores.argmax(axis=1)
        np.testing.assert_array_equal(predicted, expected.predict(features))


def test_the_solver_that_is_promised_has_the_same_solution():
    values, labels = overlapping(400, 20, 5)
    found, how = fitted(values, labels, [0.1])
    expected = peer(how(values.copy()), labels, 0.1, solver="lbfgs", tol=1e-8)
    assert distance(found.weights[0].numpy(), expected.coef_) < 1e-3


def test_at_the_tolerance_of_a_probe_coefficients_agree_too():
    values, labels = overlapping(600, 15, 4)
    found, how = fitted(values, labels, [0.01, 0.1, 1.0], tolerance=logistic.TOLERANCE)
    for at, strength in enumerate([0.01, 0.1, 1.0]):
        expected = peer(how(values.copy()), labels, strength)
        assert distance(found.weights[at].numpy(), expected.coef_) < 1e-3


def test_several_labels_are_one_regression_each():
    values, classes = overlapping(300, 20, 6)
    labels = np.stack([classes < 3, classes % 2 == 0, classes == 5], axis=1)
    found, how = fitted(values, labels, [0.1, 1.0])
    for at, strength in enumerate([0.1, 1.0]):
        for column in range(3):
            expected = peer(how(values.copy()), labels[:, column], strength)
            assert distance(found.weights[at, column].numpy(), expected.coef_[0]) < 1e-3
            assert float(found.intercepts[at, column]) == pytest.approx(
                float(expected.intercept_[0]), abs=1e-4
            )


@pytest.mark.parametrize("together", [True, False])
def test_the_gradient_is_that_of_the_loss(together):
    values, classes = overlapping(50, 4, 3)
    labels = classes if together else np.stack([classes == 0, classes == 1], axis=1)
    given, _ = made(values)
    targets = targets_of(labels, 3 if together else 2)
    shape = (2, targets.columns_each, 5)
    points = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    penalties, which = torch.tensor([0.1, 2.0], dtype=torch.float64), torch.tensor([0, 1])
    _, gradients, _, _ = evaluate(given, targets, points, which, penalties)
    for place in np.ndindex(shape):
        step = torch.zeros(shape, dtype=torch.float64)
        step[place] = 1e-6
        above, below = (
            evaluate(given, targets, points + sign * step, which, penalties)[0][place[0]]
            for sign in (1, -1)
        )
        slope = float(above - below) / 2e-6
        assert slope == pytest.approx(float(gradients[place]), abs=1e-8)


@pytest.mark.parametrize("normalisation", SCALERS)
def test_converged_means_what_scikit_learn_means(normalisation):
    values, labels = overlapping(200, 10, 3)
    found, how = fitted(values, labels, [0.5], normalisation=normalisation, tolerance=1e-4)
    x = how(values.copy()).astype(np.float64)
    weights = found.weights[0].numpy()
    scores = x @ weights.T + found.intercepts[0].numpy()
    residual = np.exp(scores - scores.max(axis=1, keepdims=True))
    residual /= residual.sum(axis=1, keepdims=True)
    residual[np.arange(200), labels] -= 1
    gradient = residual.T @ x / 200 + weights / (0.5 * 200)
    largest = max(np.abs(gradient).max(), np.abs(residual.mean(axis=0)).max())
    assert found.largest[0] == pytest.approx(largest, rel=1e-3)
    assert largest <= 1e-4


def test_too_few_steps_are_told(monkeypatch, caplog):
    monkeypatch.setattr(logistic, "MOST_STEPS", 3)
    values, labels = overlapping(200, 10, 3)
    fitted(values, labels, [100.0, 1e-9], tolerance=1e-3)
    assert "strength 100: not converged" in caplog.text
    assert "strength 1e-09" not in caplog.text


def test_more_dimensions_than_the_preconditioner_takes_change_no_solution(monkeypatch):
    values, labels = overlapping(150, 40, 3)
    exact, _ = fitted(values, labels, [0.1])
    monkeypatch.setattr(descent, "MOST_VECTORS", 16)
    found, _ = fitted(values, labels, [0.1])
    assert distance(found.weights.numpy(), exact.weights.numpy()) < 1e-4


def test_a_constant_dimension_and_a_row_of_zeros_are_no_trouble():
    values, labels = overlapping(100, 5, 3)
    values[:, 2], values[7] = 1 / 3, 0
    for normalisation, scaler in SCALERS.items():
        found, _ = fitted(values, labels, [1.0], normalisation=normalisation)
        scaled = scaler().fit_transform(values.astype(np.float64))
        expected = peer(scaled, labels, 1.0)
        assert distance(found.weights[0].numpy(), expected.coef_) < 1e-3


def test_threads_and_memory_change_no_bit(monkeypatch):
    values, labels = overlapping(3 * BLOCK + 5, 12, 4)
    found = []
    for cores, held in ((1, 2**30), (3, 2**30), (2, 0)):
        monkeypatch.setattr(threads, "usable_cores", lambda cores=cores: cores)
        monkeypatch.setattr(samples, "MOST_HELD", held)
        found.append(fitted(values, labels, [0.01, 1.0], tolerance=1e-6)[0].points)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_how_many_problems_go_side_by_side_changes_no_solution(monkeypatch):
    values, labels = overlapping(200, 10, 3)
    together, _ = fitted(values, labels, [0.01, 0.1, 1.0])
    monkeypatch.setattr(logistic, "_AT_ONCE", 1)
    apart, _ = fitted(values, labels, [0.01, 0.1, 1.0])
    assert distance(apart.weights.numpy(), together.weights.numpy()) < 1e-5


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 20, 41])
def test_every_strength_is_fitted_once_and_between_two_known_ones(count):
    found = levels(count)
    assert sorted(place for level in found for place in level) == list(range(count))
    known = set(found[0])
    assert {0, count - 1} == {min(known), max(known)}
    assert len(found[0]) <= 6


def test_a_cubic_is_continued_exactly():
    known = [-3.0, -1.0, 0.5, 2.0]
    points = [torch.tensor([one**3 - one, 2.0], dtype=torch.float64) for one in known]
    assert between(0.1, known, points).tolist() == pytest.approx([0.1**3 - 0.1, 2.0])


def test_an_unknown_normalisation_is_refused():
    with pytest.raises(UserError, match="'whiten'; use one of standardize, l2, none"):
        made(np.ones((3, 2), np.float32), "whiten")
