"""DSA: the reference's numbers, the documented ranges, and no traffic with the host."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import NoHostTraffic
from torch import Tensor

from ddbench.augment import Record, draw, load, names
from ddbench.augment.dsa import DSA, PARAMETERS
from ddbench.errors import BadInput

FULL = "color_crop_cutout_flip_scale_rotate"
DIGIT = "color_crop_cutout_scale_rotate"
SETTINGS = (
    *("prob_flip", "ratio_scale", "ratio_rotate", "ratio_crop_pad", "ratio_cutout"),
    *("brightness", "saturation", "contrast"),
)
SHAPE = (3, 8, 8)
LARGEST_U = 1 - 2.0**-24
few = settings(max_examples=25, deadline=None)


def numbers(augmentation: DSA, batch: int, members: int, seed: int = 0) -> Tensor:
    generators = [torch.Generator().manual_seed(seed + k) for k in range(members)]
    return draw(augmentation, generators, 1, batch, SHAPE)[0]


def images(batch: int, members: int, seed: int = 0) -> Tensor:
    return torch.randn(batch, members, *SHAPE, generator=torch.Generator().manual_seed(seed))


def bits(x: Tensor) -> Tensor:
    return x.contiguous().view(torch.int32)


# --- against the reference ---------------------------------------------------------------------

TOLERANCE = {torch.float64: (1e-7, 1e-9), torch.float32: (1e-4, 5e-5)}


def agree(found: Tensor, wanted: np.ndarray[Any, Any], what: str) -> None:
    rtol, atol = TOLERANCE[found.dtype]
    value = found.detach().double().numpy()
    assert value.shape == wanted.shape, what
    allowed = atol * np.abs(wanted).max() + rtol * np.abs(wanted)
    excess = (np.abs(value - wanted) - allowed).max()
    assert excess <= 0, f"{what} ({found.dtype}): {np.abs(value - wanted).max():.3g} apart"


def golden_augmentation(data: Any, case: str) -> DSA:
    """The augmentation of a record such as ``3ch/full_S/siamese/crop`` or ``1ch/flip/siamese``."""
    kind = case.split("/")[1] if not case.startswith("pair/") else "full_S"
    single = "op_index" in {key.removeprefix(f"{case}/") for key in data.files}
    strategy = {"full": FULL, "digit": DIGIT}.get(kind.split("_")[0], kind)
    fields = {name: float(data[name]) for name in SETTINGS}
    return DSA(strategy=strategy, mode="single" if single else "multiple", **fields)


def golden_record(data: Any, case: str, augmentation: DSA, dtype: torch.dtype) -> Record:
    """The stored parameters; those of operations that were not drawn are arbitrary."""
    shape = (1, 8, 8)
    record = augmentation.record(torch.zeros(1, 1, augmentation.uniforms(shape)), shape)
    start = f"{case}/param/"
    for key in data.files:
        if key.startswith(start):
            value = torch.from_numpy(data[key])[:, None]
            record[key.removeprefix(start)] = (
                value.to(dtype) if value.is_floating_point() else value
            )
    if augmentation.mode == "single":
        record["op"] = torch.full((1, 1), int(data[f"{case}/op_index"]))
    return record


def golden_cases(data: Any) -> Iterator[str]:
    for key in data.files:
        case, _, leaf = key.rpartition("/")
        if leaf == "out_advised" or (case.startswith("pair/") and leaf == "out_real_advised"):
            yield case


@pytest.mark.golden
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_golden_outputs_and_gradients(golden: Callable[[str], Any], dtype: torch.dtype) -> None:
    data = golden("basics/dsa.npz")
    cases = [case for case in golden_cases(data) if not case.startswith("pair/")]
    assert cases
    for case in cases:
        augmentation = golden_augmentation(data, case)
        record = golden_record(data, case, augmentation, dtype)
        block = case.split("/")[0]
        x = torch.from_numpy(data[f"{block}/x"]).to(dtype)[:, None].requires_grad_()
        cotangent = torch.from_numpy(data[f"{block}/cotangent"]).to(dtype)[:, None]
        out = augmentation.apply(x, record)
        (out * cotangent).sum().backward()
        assert x.grad is not None
        agree(out[:, 0], data[f"{case}/out_advised"], f"{case} out")
        agree(x.grad[:, 0], data[f"{case}/grad_x_advised"], f"{case} grad")
        if data[f"{case}/siamese"]:
            shared = {name: value[:1] for name, value in record.items()}
            agree(
                augmentation.apply(x, shared)[:, 0], data[f"{case}/out_advised"], f"{case} [1, K]"
            )


@pytest.mark.golden
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_golden_siamese_pairs(golden: Callable[[str], Any], dtype: torch.dtype) -> None:
    data = golden("basics/dsa.npz")
    cases = [case for case in golden_cases(data) if case.startswith("pair/")]
    assert cases
    for case in cases:
        augmentation = golden_augmentation(data, case)
        record = golden_record(data, case, augmentation, dtype)
        for part in ("real", "syn"):
            x = torch.from_numpy(data[f"pair/x_{part}"]).to(dtype)[:, None]
            out = augmentation.apply(x, record)[:, 0]
            agree(out, data[f"{case}/out_{part}_advised"], f"{case} {part}")


# --- by hand -----------------------------------------------------------------------------------


def one(strategy: str, x: Tensor, **parameters: float) -> Tensor:
    """A single image [H, W] under one operation with the given parameters."""
    augmentation = DSA(strategy=strategy, mode="multiple")
    record = {
        name: torch.full((1, 1), value, dtype=torch.float64 if isinstance(value, float) else None)
        for name, value in parameters.items()
    }
    return augmentation.apply(x[None, None, None], record)[0, 0, 0]


def test_crop_shifts_rows_by_dx_and_columns_by_dy() -> None:
    x = torch.arange(1.0, 10.0).view(3, 3)
    out = one("crop", x, crop_dx=1, crop_dy=-2)
    assert out.tolist() == [[0, 0, 4], [0, 0, 7], [0, 0, 0]]


def test_cutout_box_of_even_and_odd_side_is_cut_at_the_border() -> None:
    even = one("cutout", torch.ones(4, 4), cutout_ox=4, cutout_oy=1)  # side 2: rows 3, 4
    assert even.tolist() == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [0, 0, 1, 1]]
    odd = one("cutout", torch.ones(5, 5), cutout_ox=0, cutout_oy=2)  # side 3: rows -1, 0, 1
    assert odd.tolist() == [[1, 0, 0, 0, 1]] * 2 + [[1] * 5] * 3


def test_color_moments() -> None:
    x = images(4, 1).double()
    augmentation = DSA(strategy="color", mode="multiple")
    u = torch.tensor([0.75, 0.5, 0.25]).double().view(3, 1, 1)
    record = dict(zip(PARAMETERS["color"], u, strict=True))
    out = augmentation.apply(x, record)
    shifted = x + 0.25
    torch.testing.assert_close(out.mean((2, 3, 4)), shifted.mean((2, 3, 4)))
    centred = x - x.mean((2, 3, 4), keepdim=True)
    torch.testing.assert_close(out - shifted.mean((2, 3, 4), keepdim=True), 0.75 * centred)


def test_quarter_turn_and_mirrored_scale() -> None:
    x = torch.arange(9.0).view(3, 3).double()
    turned = one("rotate", x, rotate_rad=math.pi / 2)
    torch.testing.assert_close(turned, torch.rot90(x))
    mirrored = one("scale", x, scale_sx=-1.0, scale_sy=1.0)
    torch.testing.assert_close(mirrored, x.flip(-1))


def test_gradient_is_exact() -> None:
    augmentation = DSA(mode="multiple")
    record = augmentation.record(numbers(augmentation, 2, 1).double(), SHAPE)
    x = images(2, 1)[..., :2, :5, :5].double().requires_grad_()
    assert torch.autograd.gradcheck(lambda value: augmentation.apply(value, record), x)


# --- the record --------------------------------------------------------------------------------


@few
@given(side=st.integers(1, 130), edge=st.sampled_from([0.0, LARGEST_U]), seed=st.integers(0, 99))
def test_parameters_stay_in_their_documented_ranges(side: int, edge: float, seed: int) -> None:
    shape = (1, side, side + 1)
    augmentation = DSA()
    u = torch.rand(
        50, 2, augmentation.uniforms(shape), generator=torch.Generator().manual_seed(seed)
    )
    u[0] = edge
    record = augmentation.record(u, shape)

    def within(name: str, low: float, high: float) -> bool:
        return bool((record[name] >= low).all() and (record[name] <= high).all())

    reach, box = int(0.125 * side + 0.5), int(0.5 * side + 0.5)
    assert within("op", 0, 5) and record["op"].shape == (1, 2)
    assert within("crop_dx", -reach, reach)
    assert within("cutout_ox", 0, side if box % 2 == 0 else side - 1)
    assert within("scale_sx", 1 / 1.2 - 1e-6, 1.2 + 1e-6)
    assert within("rotate_rad", -math.radians(15) - 1e-6, math.radians(15) + 1e-6)
    assert within("flip_u", 0, LARGEST_U)
    again = augmentation.record(u, shape)
    assert all(torch.equal(record[name], again[name]) for name in record)


def test_every_integer_parameter_reaches_both_ends() -> None:
    augmentation = DSA(strategy="crop_cutout")
    low = augmentation.record(torch.zeros(1, 1, 5), (1, 32, 32))
    high = augmentation.record(torch.full((1, 1, 5), LARGEST_U), (1, 32, 32))
    assert (low["crop_dx"].item(), high["crop_dx"].item()) == (-4, 4)
    assert (low["cutout_oy"].item(), high["cutout_oy"].item()) == (0, 32)
    assert (low["op"].item(), high["op"].item()) == (0, 1)


@few
@given(members=st.integers(1, 4), steps=st.integers(1, 3), seed=st.integers(0, 99))
def test_a_members_stream_does_not_depend_on_the_stack(members: int, steps: int, seed: int) -> None:
    augmentation = DSA()
    stack = [torch.Generator().manual_seed(seed + k) for k in range(members)]
    u = draw(augmentation, stack, steps, 5, SHAPE)
    assert u.shape == (steps, 5, members, augmentation.uniforms(SHAPE))
    for k in range(members):
        alone = draw(augmentation, [torch.Generator().manual_seed(seed + k)], steps, 5, SHAPE)
        assert torch.equal(u[:, :, k], alone[:, :, 0])


# --- apply -------------------------------------------------------------------------------------


@few
@given(seed=st.integers(0, 999), strategy=st.permutations(FULL.split("_")))
def test_an_idle_operation_leaves_every_bit(seed: int, strategy: list[str]) -> None:
    augmentation = DSA(strategy="_".join(strategy))
    x = images(3, 6, seed)
    x[0, 0, 0, 0] = -0.0
    record = augmentation.record(numbers(augmentation, 3, 6, seed), SHAPE)
    record["op"] = torch.arange(6)[None]
    record["flip_u"] = torch.full_like(record["flip_u"], 0.9)
    out = augmentation.apply(x, record)
    flip = strategy.index("flip")
    assert torch.equal(bits(out[:, flip]), bits(x[:, flip]))
    for k, operation in enumerate(strategy):
        alone = DSA(strategy=operation, mode="multiple")
        mine = {name: record[name][:, k : k + 1] for name in PARAMETERS[operation]}
        assert torch.equal(bits(out[:, k]), bits(alone.apply(x[:, k : k + 1], mine)[:, 0]))


@few
@given(seed=st.integers(0, 999), mode=st.sampled_from(["single", "multiple"]))
def test_the_same_record_gives_the_same_images(seed: int, mode: str) -> None:
    augmentation = DSA.parse({"mode": mode})
    x, u = images(4, 3, seed), numbers(augmentation, 4, 3, seed)
    out = augmentation.apply(x, augmentation.record(u, SHAPE))
    assert out.shape == x.shape and out.dtype == x.dtype
    assert torch.equal(out, augmentation.apply(x, augmentation.record(u, SHAPE)))
    for k in range(3):
        mine = augmentation.record(u[:, k : k + 1], SHAPE)
        torch.testing.assert_close(augmentation.apply(x[:, k : k + 1], mine)[:, 0], out[:, k])


@pytest.mark.parametrize("mode", ["single", "multiple"])
def test_shared_images_and_shared_parameters_broadcast(mode: str) -> None:
    augmentation = DSA.parse({"mode": mode})
    x, u = images(4, 1), numbers(augmentation, 1, 3)
    record = augmentation.record(u, SHAPE)
    out = augmentation.apply(x, record)
    assert out.shape == (4, 3, *SHAPE)
    spelled = {
        name: value if name == "op" else value.expand(4, -1) for name, value in record.items()
    }
    torch.testing.assert_close(out, augmentation.apply(x.expand(-1, 3, -1, -1, -1), spelled))


@pytest.mark.parametrize("mode", ["single", "multiple"])
def test_nothing_waits_for_the_device(mode: str) -> None:
    augmentation = DSA.parse({"mode": mode})
    x, u = images(2, 2).requires_grad_(), numbers(augmentation, 2, 2)
    with NoHostTraffic() as watched:
        augmentation.apply(x, augmentation.record(u, SHAPE)).sum().backward()
    assert watched.count > 0


@pytest.mark.parametrize("mode", ["single", "multiple"])
def test_shapes_do_not_depend_on_values(mode: str) -> None:
    augmentation = DSA.parse({"mode": mode})
    x, u = images(2, 2).to("meta"), numbers(augmentation, 1, 2).to("meta")
    out = augmentation.apply(x, augmentation.record(u, SHAPE))
    assert out.shape == x.shape and out.device.type == "meta"


# --- what users write --------------------------------------------------------------------------


@pytest.mark.parametrize("strategy", ["colour_crop", "crop_crop", "", "crop_"])
def test_a_bad_strategy_is_refused_with_the_choices(strategy: str) -> None:
    with pytest.raises(BadInput, match="color, crop, cutout, flip, rotate, scale"):
        DSA.parse({"strategy": strategy})


def test_augmentations_are_found_by_name() -> None:
    assert {"dc", "dsa"} <= set(names())
    assert load("dsa") is DSA
    with pytest.raises(BadInput, match="did you mean 'dsa'"):
        load("das")


# --- one operation per image -------------------------------------------------------------------


@few
@given(seed=st.integers(0, 999))
def test_per_image_draws_the_operation_for_every_image(seed: int) -> None:
    augmentation, batchwise = DSA(per_image=True), DSA()
    x, u = images(12, 2, seed), numbers(augmentation, 12, 2, seed)
    record = augmentation.record(u, SHAPE)
    assert record["op"].shape == (12, 2) and len(record["op"].unique()) > 1
    out = augmentation.apply(x, record)
    for b in range(12):
        alone = batchwise.record(u[b : b + 1], SHAPE)
        wanted = batchwise.apply(x[b : b + 1], alone)
        torch.testing.assert_close(out[b : b + 1], wanted, rtol=1e-5, atol=1e-6)


def test_per_image_is_in_the_key_only_where_it_is_on() -> None:
    assert DSA().model_dump(exclude_defaults=True) == {}
    assert DSA(per_image=True).model_dump(exclude_defaults=True) == {"per_image": True}
    with pytest.raises(BadInput, match="mode multiple applies them all"):
        DSA.parse({"per_image": True, "mode": "multiple"})
