"""DC's evaluation augmentation: the reference's numbers, scipy's rotation, torch's resize."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import NoHostTraffic
from scipy import ndimage, stats
from torch import Tensor
from torch.nn.functional import interpolate, pad

from ddbench.augment import Record, draw
from ddbench.augment.dc import DC
from ddbench.errors import BadInput

ALL = "crop_scale_rotate_noise"
LARGEST_U = 1 - 2.0**-24
few = settings(max_examples=25, deadline=None)


def images(batch: int, members: int, shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, members, *shape, generator=generator, dtype=torch.float64)


def drawn(augmentation: DC, batch: int, members: int, shape: tuple[int, int, int]) -> Record:
    generators = [torch.Generator().manual_seed(k) for k in range(members)]
    return augmentation.record(draw(augmentation, generators, 1, batch, shape)[0], shape)


# --- against the reference ---------------------------------------------------------------------

TOLERANCE = {torch.float64: (1e-7, 1e-9), torch.float32: (1e-4, 1e-5)}
PARAMETERS = ("choice", "crop_offset", "scale_hw", "angle_deg", "noise")


@pytest.mark.golden
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_golden(golden: Callable[[str], Any], dtype: torch.dtype) -> None:
    data = golden("basics/dc_aug.npz")
    rtol, atol = TOLERANCE[dtype]
    cases = [key.removesuffix("/out") for key in data.files if key.endswith("/out")]
    assert cases
    fields = {name: data[name].item() for name in ("crop", "scale", "rotate", "noise")}
    for case in cases:
        block, strategy = case.split("/")
        augmentation = DC(strategy=strategy, **fields)
        record = {
            name: torch.from_numpy(data[f"{case}/{name}"])[:, None]
            for name in PARAMETERS
            if f"{case}/{name}" in data.files
        }
        x = torch.from_numpy(data[f"{block}/x"]).to(dtype)[:, None]
        out = augmentation.apply(x, record)[:, 0]
        wanted = data[f"{case}/out"]
        assert out.dtype == dtype and out.shape == wanted.shape, case
        apart = np.abs(out.double().numpy() - wanted)
        assert (apart <= atol * np.abs(wanted).max() + rtol * np.abs(wanted)).all(), (
            f"{case} ({dtype}): {apart.max():.3g} apart"
        )


# --- against scipy and torch -------------------------------------------------------------------


def rotated(image: Tensor, degrees: int, fill: float) -> Tensor:
    """One image [C, H, W] by scipy, centre-cropped."""
    height, width = image.shape[-2:]
    full = ndimage.rotate(image.numpy(), degrees, axes=(-2, -1), cval=fill)
    top, left = int((full.shape[-2] - height) / 2), int((full.shape[-1] - width) / 2)
    return torch.from_numpy(full[:, top : top + height, left : left + width])


@few
@given(
    degrees=st.integers(-45, 44),
    side=st.integers(2, 24),
    channels=st.integers(1, 3),
    seed=st.integers(0, 999),
)
def test_rotation_is_scipys(degrees: int, side: int, channels: int, seed: int) -> None:
    x = images(2, 2, (channels, side, side), seed)
    record = {"choice": torch.zeros(2, 2).long(), "angle_deg": torch.full((2, 2), degrees)}
    out = DC(strategy="rotate").apply(x, record)
    for k in range(2):
        for b in range(2):
            wanted = rotated(x[b, k], degrees, float(x[:, k].mean()))
            torch.testing.assert_close(out[b, k], wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("degrees", [-44, -31, -7, 0, 13, 30])
def test_rotation_of_an_oblong_image_is_scipys(degrees: int) -> None:
    x = images(1, 1, (2, 12, 15))
    record = {"choice": torch.zeros(1, 1).long(), "angle_deg": torch.full((1, 1), degrees)}
    out = DC(strategy="rotate").apply(x, record)[0, 0]
    torch.testing.assert_close(out, rotated(x[0, 0], degrees, float(x.mean())))


def resized(image: Tensor, factors: tuple[float, float]) -> Tensor:
    """One image [C, S, S] by torch's resize, centred on a zero square and cut back."""
    side = image.shape[-1]
    h, w = int(factors[0] * side), int(factors[1] * side)
    m = max(h, w, side)
    top, left, cut = int((m - h) / 2), int((m - w) / 2), int((m - side) / 2)
    small = interpolate(image[None], size=[h, w])[0]
    canvas = pad(small, (left, m - w - left, top, m - h - top))
    return canvas[:, cut : cut + side, cut : cut + side]


@few
@given(
    factors=st.tuples(st.floats(0.8, 1.2), st.floats(0.8, 1.2)),
    side=st.integers(4, 64),
    seed=st.integers(0, 999),
)
def test_scale_is_torchs_nearest_resize(factors: tuple[float, float], side: int, seed: int) -> None:
    x = images(1, 1, (2, side, side), seed).float()
    record = {
        "choice": torch.zeros(1, 1).long(),
        "scale_hw": torch.tensor(factors, dtype=torch.float64).view(1, 1, 2),
    }
    out = DC(strategy="scale").apply(x, record)[0, 0]
    assert torch.equal(out, resized(x[0, 0], factors))


def test_crop_pads_with_the_channel_means_of_each_member() -> None:
    x = images(3, 2, (2, 5, 5))
    record = {"choice": torch.zeros(3, 2).long(), "crop_offset": torch.zeros(3, 2, 2).long()}
    out = DC(strategy="crop").apply(x, record)
    assert torch.equal(out[..., 4:, 4:], x[..., :1, :1])
    border = x.mean((0, 3, 4), keepdim=True).expand(3, 2, 2, 4, 5)
    torch.testing.assert_close(out[..., :4, :], border)


# --- the record --------------------------------------------------------------------------------


@few
@given(seed=st.integers(0, 999), edge=st.sampled_from([0.0, LARGEST_U]))
def test_parameters_stay_in_their_documented_ranges(seed: int, edge: float) -> None:
    shape = (1, 3, 5)
    augmentation = DC(strategy=ALL)
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(40, 2, augmentation.uniforms(shape), generator=generator)
    u[0] = edge
    record = augmentation.record(u, shape)
    assert record["choice"].shape == (40, 2)
    assert set(record["choice"].unique().tolist()) <= set(range(4))
    assert set(record["crop_offset"].unique().tolist()) <= set(range(8))
    assert set(record["angle_deg"].unique().tolist()) <= set(range(-45, 45))
    assert record["scale_hw"].min() >= 0.8 - 1e-6 and record["scale_hw"].max() < 1.2 + 1e-6
    assert record["noise"].shape == (40, 2, *shape) and record["noise"].isfinite().all()
    again = augmentation.record(u, shape)
    assert all(torch.equal(record[name], again[name]) for name in record)


def test_only_noise_needs_numbers_per_pixel() -> None:
    assert DC().uniforms((3, 32, 32)) == DC().uniforms((1, 8, 8)) == 6
    assert DC(strategy="crop_noise").uniforms((1, 3, 5)) == 1 + 2 + 16


def test_noise_is_standard_normal() -> None:
    record = drawn(DC(strategy="noise"), 40, 1, (3, 16, 16))
    assert stats.kstest(record["noise"].flatten().numpy(), "norm").pvalue > 1e-3


# --- apply -------------------------------------------------------------------------------------


def test_neutral_parameters_change_nothing() -> None:
    x = images(4, 2, (3, 8, 8)).float()
    augmentation = DC(strategy=ALL)
    record = {
        "choice": torch.arange(4)[:, None].expand(4, 2),
        "crop_offset": torch.full((4, 2, 2), 4),
        "scale_hw": torch.ones(4, 2, 2),
        "angle_deg": torch.zeros(4, 2).long(),
        "noise": torch.zeros(4, 2, 3, 8, 8),
    }
    out = augmentation.apply(x, record)
    assert torch.equal(out[[0, 1, 3]], x[[0, 1, 3]])
    torch.testing.assert_close(out, x)


@few
@given(seed=st.integers(0, 999), shuffled=st.permutations(ALL.split("_")))
def test_an_image_shows_its_own_operation_alone(seed: int, shuffled: list[str]) -> None:
    shape = (2, 8, 8)
    augmentation = DC(strategy="_".join(shuffled))
    x = images(8, 2, shape, seed).float()
    record = drawn(augmentation, 8, 2, shape)
    out = augmentation.apply(x, record)
    assert torch.equal(out, augmentation.apply(x, record))
    for position, operation in enumerate(shuffled):
        idle = record | {"choice": torch.zeros(8, 2).long()}
        alone = DC(strategy=operation).apply(x, idle)
        chosen = record["choice"] == position
        assert torch.equal(out[chosen], alone[chosen])


def test_members_do_not_see_each_other() -> None:
    shape = (3, 8, 8)
    augmentation = DC(strategy=ALL)
    x = images(6, 3, shape)
    record = drawn(augmentation, 6, 3, shape)
    out = augmentation.apply(x, record)
    for k in range(3):
        mine = {name: value[:, k : k + 1] for name, value in record.items()}
        torch.testing.assert_close(augmentation.apply(x[:, k : k + 1], mine)[:, 0], out[:, k])
    shared = augmentation.apply(x[:, :1], record)
    torch.testing.assert_close(
        shared, augmentation.apply(x[:, :1].expand(-1, 3, -1, -1, -1), record)
    )


def test_nothing_waits_for_the_device() -> None:
    shape = (3, 8, 8)
    augmentation = DC(strategy=ALL)
    x = images(2, 2, shape).float()
    u = torch.rand(2, 2, augmentation.uniforms(shape), generator=torch.Generator().manual_seed(0))
    augmentation.apply(x, augmentation.record(u, shape))
    with NoHostTraffic() as watched:
        augmentation.apply(x, augmentation.record(u, shape))
    assert watched.count > 0


def test_shapes_do_not_depend_on_values() -> None:
    shape = (3, 8, 8)
    augmentation = DC(strategy=ALL)
    u = torch.empty(2, 2, augmentation.uniforms(shape), device="meta")
    out = augmentation.apply(
        torch.empty(2, 2, *shape, device="meta"), augmentation.record(u, shape)
    )
    assert out.shape == (2, 2, *shape) and out.dtype == torch.float32


def test_gradients_flow_after_a_first_call_in_inference_mode() -> None:
    shape = (1, 27, 27)  # a side that no other test has put into the cache
    augmentation = DC(strategy="rotate")
    record = drawn(augmentation, 2, 1, shape)
    x = images(2, 1, shape).float()
    with torch.inference_mode():
        augmentation.apply(x, record)
    x.requires_grad_()
    augmentation.apply(x, record).square().sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


@pytest.mark.parametrize("strategy", ["flip", "crop_crop", "none"])
def test_a_bad_strategy_is_refused_with_the_choices(strategy: str) -> None:
    with pytest.raises(BadInput, match="crop, noise, rotate, scale"):
        DC.parse({"strategy": strategy})
