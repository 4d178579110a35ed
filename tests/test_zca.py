"""ZCA whitening: the reference's numbers, the covariance's law, the way back; and KIP's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ddbench import data, zca
from ddbench.datasets import DatasetSpec
from ddbench.distilled import Space

# rtol, atol relative to the largest value
TOLERANCE = {torch.float64: (1e-7, 1e-9), torch.float32: (1e-3, 1e-4)}


def smooth_images(count: int, seed: int = 0) -> Tensor:
    """Correlated images [count, 3, 4, 4] in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 3, 2, 2, generator=generator, dtype=torch.float64)
    fine = torch.rand(count, 3, 4, 4, generator=generator, dtype=torch.float64)
    return 0.8 * coarse.repeat_interleave(2, -1).repeat_interleave(2, -2) + 0.2 * fine


@pytest.mark.golden
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_golden(golden: Callable[[str], Any], dtype: torch.dtype) -> None:
    data = golden("basics/zca.npz")
    train, test = (torch.from_numpy(data[name]).to(dtype) for name in ("train_x", "test_x"))
    whitening = zca.fit(train, float(data["eps"]))
    white = zca.whiten(test, whitening)
    found = {
        "mean": whitening.mean,
        "matrix": whitening.matrix,
        "matrix_inverse": whitening.inverse,
        "train_white": zca.whiten(train, whitening),
        "test_white": white,
        "test_back": zca.unwhiten(white, whitening),
    }
    rtol, atol = TOLERANCE[dtype]
    for name, value in found.items():
        wanted = data[name]
        assert value.dtype == dtype and value.shape == wanted.shape, name
        apart = np.abs(value.double().numpy() - wanted)
        assert (apart <= atol * np.abs(wanted).max() + rtol * np.abs(wanted)).all(), (
            f"{name} ({dtype}): {apart.max():.3g} apart"
        )


@settings(max_examples=15, deadline=None)
@given(count=st.integers(2, 120), eps=st.floats(1e-3, 10), seed=st.integers(0, 999))
def test_law_of_the_whitened_covariance(count: int, eps: float, seed: int) -> None:
    x = smooth_images(count, seed)
    white = zca.whiten(x, zca.fit(x, eps))
    assert white.shape == x.shape
    s, u = torch.linalg.eigh(torch.cov(x.flatten(1).T))
    s = s.clamp(min=0)
    wanted = u @ torch.diag(s / (s + eps)) @ u.T
    torch.testing.assert_close(torch.cov(white.flatten(1).T), wanted, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(white.mean(0), torch.zeros_like(white[0]), rtol=0, atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999), dtype=st.sampled_from(list(TOLERANCE)))
def test_there_and_back(seed: int, dtype: torch.dtype) -> None:
    train, test = smooth_images(80, seed).to(dtype), smooth_images(7, seed + 1000).to(dtype)
    whitening = zca.fit(train)
    back = zca.unwhiten(zca.whiten(test, whitening), whitening)
    torch.testing.assert_close(back, test)
    assert back.dtype == dtype


def test_the_matrix_is_symmetric_and_inverted() -> None:
    whitening = zca.fit(smooth_images(80))
    torch.testing.assert_close(whitening.matrix, whitening.matrix.T)
    torch.testing.assert_close(
        whitening.matrix @ whitening.inverse, torch.eye(48, dtype=torch.float64)
    )


def test_an_integer_eps_is_accepted() -> None:
    assert torch.equal(zca.fit(smooth_images(9), 1).matrix, zca.fit(smooth_images(9), 1.0).matrix)


# --- KIP -----------------------------------------------------------------------------------------


def kip_by_hand(train: Tensor, test: Tensor) -> np.ndarray[Any, Any]:
    """KIP's preprocessing of ``test`` by numpy in float64, by another decomposition."""
    rows = []
    for x in (train, test):
        flat = x.double().flatten(1).numpy()
        flat = flat - flat.mean(axis=1)[:, None]
        rows.append(flat / np.sqrt((flat**2).sum(axis=1))[:, None])
    second = sum(np.outer(row, row) for row in rows[0]) / len(train)
    second = second + 0.1 * np.mean(np.diag(second)) * np.eye(len(second))
    left, values, right = np.linalg.svd(second)
    assert np.allclose(left, right.T, atol=1e-6)
    return rows[1] @ (left / np.sqrt(values)) @ right


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_kip_is_the_reference_formula(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zca, "_KIP_ROWS", 33)  # several chunks
    train, test = smooth_images(80).to(dtype), smooth_images(7, 1000).to(dtype)
    whitening = zca.fit_kip(train)
    found = data.normalise(test, Space("kip_zca", whitening=whitening)).flatten(1)
    wanted = kip_by_hand(train, test)
    atol = {torch.float64: 1e-9, torch.float32: 1e-4}[dtype] * float(np.abs(wanted).max())
    np.testing.assert_allclose(found.double().numpy(), wanted, rtol=0, atol=atol)
    assert found.dtype == dtype and whitening.matrix.dtype == dtype
    assert not whitening.mean.any()
    identity = whitening.matrix.double() @ whitening.inverse.double()
    torch.testing.assert_close(identity, torch.eye(48).double(), rtol=0, atol=1e-4)


def test_kip_forgets_brightness_and_contrast_of_an_image() -> None:
    x = smooth_images(5)
    torch.testing.assert_close(zca.standardise(0.5 * x + 0.2), zca.standardise(x))
    norms = zca.standardise(x).flatten(1).norm(dim=1)
    torch.testing.assert_close(norms, torch.ones(5, dtype=torch.float64))
    flat = torch.full((1, 3, 32, 32), 0.1)
    assert not zca.standardise(flat).any()  # where the reference divides rounding errors


def test_a_dataset_in_kips_space() -> None:
    real = data.load(DatasetSpec.parse({"name": "digits", "zca": "kip"}), "cpu")
    assert real.space.name == "kip_zca" and real.space.whitening is not None
    plain = data.load(DatasetSpec.parse({"name": "digits", "zca": False}), "cpu")
    pixels = data.unnormalise(plain.x_train, plain.space)
    torch.testing.assert_close(
        real.x_train, data.normalise(pixels, real.space), rtol=1e-4, atol=1e-4
    )
    with pytest.raises(ValueError, match="cannot be undone"):
        data.unnormalise(real.x_train, real.space)
    assert real.preparation != plain.preparation
