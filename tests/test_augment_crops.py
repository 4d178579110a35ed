"""Crops: shifts with black padding, resized boxes, strips; against torchvision, PIL and RDED."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import NoHostTraffic
from torch import Tensor
from torchvision.transforms.v2 import functional

from ddbench.augment import Augmentation, Record, draw, load
from ddbench.augment.crop_flip import PlainCropFlip
from ddbench.augment.rrc import RandomResizedCrop, strips
from ddbench.data import normalise, unnormalise
from ddbench.distilled import Space, Whitening
from ddbench.errors import BadInput

SHAPE = (3, 12, 12)
SPACE = Space("meanstd", mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
few = settings(max_examples=25, deadline=None)


def bound(augmentation: Augmentation, space: Space = SPACE) -> Augmentation:
    return augmentation.bind(partial(unnormalise, space=space), partial(normalise, space=space))


def images(batch: int, members: int, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(batch, members, *shape, generator=generator, dtype=torch.float64)


def record_of(augmentation: Augmentation, batch: int, members: int, seed: int = 0) -> Record:
    generators = [torch.Generator().manual_seed(seed + k) for k in range(members)]
    return augmentation.record(draw(augmentation, generators, 1, batch, SHAPE)[0], SHAPE)


# --- crop_flip -----------------------------------------------------------------------------------


def test_each_image_is_padded_with_black_cut_out_and_mirrored() -> None:
    augmentation = bound(PlainCropFlip(pad=2))
    x = images(6, 2)
    record = record_of(augmentation, 6, 2)
    out = augmentation.apply(x, record)
    black = [-mean / std for mean, std in zip(SPACE.mean, SPACE.std, strict=True)]
    for b in range(6):
        for k in range(2):
            planes = [functional.pad(c[None], [2], black[i]) for i, c in enumerate(x[b, k])]
            top, left = record["crop_offset"][b, k].tolist()
            wanted = functional.crop(torch.cat(planes), top, left, 12, 12)
            wanted = functional.hflip(wanted) if record["flip"][b, k] else wanted
            torch.testing.assert_close(out[b, k], wanted)
    assert record["flip"].any() and not record["flip"].all()
    assert record["crop_offset"].min() == 0 and record["crop_offset"].max() == 4


def test_black_of_a_whitened_space_is_a_whitened_black_image() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(12, 12, generator=generator)
    whitening = Whitening(torch.rand(1, 12), matrix, torch.linalg.inv(matrix))
    space = Space("zca", whitening=whitening)
    augmentation = bound(PlainCropFlip(pad=1, prob_flip=0.0), space)
    pixels = torch.rand(1, 3, 2, 2)
    record = {"crop_offset": torch.tensor([[[2, 1]]]), "flip": torch.tensor([[False]])}
    out = augmentation.apply(normalise(pixels, space)[:, None], record)[:, 0]
    black = normalise(torch.zeros(1, 3, 2, 2), space)
    torch.testing.assert_close(out[..., 1, :], black[..., 1, :])
    torch.testing.assert_close(out[..., 0, :], normalise(pixels, space)[..., 1, :])


def test_what_is_bound_changes_neither_fields_nor_keys() -> None:
    plain = PlainCropFlip()
    assert bound(plain).model_dump() == plain.model_dump()
    with pytest.raises(ValueError, match="bind it to the value space"):
        plain.apply(images(2, 1), record_of(plain, 2, 1))
    dsa = load("dsa")()
    assert bound(dsa) is dsa


def test_gradients_flow_through_crops() -> None:
    for augmentation in (bound(PlainCropFlip()), RandomResizedCrop(shuffle=2)):
        x = images(2, 1)[..., :1, :, :].requires_grad_()
        augmentation.apply(x, record_of(augmentation, 2, 1)).sum().backward()
        assert x.grad is not None and x.grad.abs().sum() > 0


# --- rrc -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_resized_crops_are_torchvisions(dtype: torch.dtype) -> None:
    augmentation = RandomResizedCrop()
    x = images(40, 2).to(dtype)
    record = record_of(augmentation, 40, 2)
    out = augmentation.apply(x, record)
    for b in range(40):
        for k in range(2):
            top, left, height, width = record["box"][b, k].tolist()
            wanted = functional.resized_crop(x[b, k], top, left, height, width, [12, 12])
            wanted = functional.hflip(wanted) if record["flip"][b, k] else wanted
            tolerance = 1e-12 if dtype == torch.float64 else 2e-6
            torch.testing.assert_close(out[b, k], wanted, rtol=0, atol=tolerance)
    assert len(record["box"].flatten(0, 1).unique(dim=0)) > 40


@pytest.mark.golden
def test_resized_crops_are_pils_within_a_level(golden: Callable[[str], Any]) -> None:
    data = golden("decoupled/relabel.npz")
    mean, std = (torch.from_numpy(data[f"cfg/{name}"]) for name in ("mean", "std"))
    checked = 0
    for name in sorted({key.split("/")[1] for key in data.files if key.startswith("crop/")}):
        picture, size = data[f"crop/{name}/image"], int(data[f"crop/{name}/size"])
        if picture.shape[:2] != (size, size):
            continue  # the output has the input's size here
        pixels = torch.from_numpy(picture).permute(2, 0, 1).double() / 255
        x = ((pixels - mean[:, None, None]) / std[:, None, None])[None, None]
        box = torch.from_numpy(data[f"crop/{name}/box_ijhw"])[:, None]
        flip = torch.from_numpy(data[f"crop/{name}/flip"])[:, None]
        x = x.expand(len(box), -1, -1, -1, -1)
        out = RandomResizedCrop().apply(x, {"box": box, "flip": flip})[:, 0]
        levels = (out - torch.from_numpy(data[f"crop/{name}/output_save"])).abs() * std.view(
            3, 1, 1
        )
        assert float(levels.max()) * 255 <= 1.01, name  # PIL rounds after each of two passes
        checked += 1
    assert checked


@few
@given(seed=st.integers(0, 999), low=st.sampled_from([0.08, 0.5, 1.0]))
def test_boxes_lie_in_the_image_and_have_the_asked_area(seed: int, low: float) -> None:
    shape = (1, 32, 24)
    augmentation = RandomResizedCrop(scale=(low, 1.0))
    u = torch.rand(
        64, 1, augmentation.uniforms(shape), generator=torch.Generator().manual_seed(seed)
    )
    box = augmentation.record(u, shape)["box"]
    top, left, height, width = box.unbind(-1)
    assert bool((top >= 0).all() and (left >= 0).all())
    assert bool((top + height <= 32).all() and (left + width <= 24).all())
    # half a pixel of rounding on each side
    assert bool((height * width >= (low * 32 * 24) - (32 + 24) / 2 - 1).all())


def test_where_no_box_fits_the_largest_central_one_is_taken() -> None:
    never = torch.full((1, 1, 23), 0.999)  # the widest aspect of the whole area
    box = RandomResizedCrop(scale=(1.0, 1.0)).record(never, (1, 32, 32))["box"]
    assert box.tolist() == [[[0, 0, 32, 32]]]
    box = RandomResizedCrop(scale=(1.0, 1.0)).record(never, (1, 32, 64))["box"]
    assert box.tolist() == [[[0, 10, 32, 43]]]
    box = RandomResizedCrop(scale=(1.0, 1.0)).record(never, (1, 64, 32))["box"]
    assert box.tolist() == [[[10, 0, 43, 32]]]


def test_areas_and_aspects_have_torchvisions_distribution() -> None:
    augmentation = RandomResizedCrop()
    u = torch.rand(20_000, 1, 23, generator=torch.Generator().manual_seed(0))
    box = augmentation.record(u, (3, 224, 224))["box"][:, 0].double()
    area = box[:, 2] * box[:, 3] / 224**2
    ratio = (box[:, 3] / box[:, 2]).log()
    # Accepting only boxes that fit takes some of the large, oblong ones away: by quadrature of the
    # same rule, mean area 0.5155 and a symmetric aspect.
    assert float(area.mean()) == pytest.approx(_mean_area(), abs=0.01)
    assert abs(float(ratio.mean())) < 0.01
    assert float(area.min()) >= 0.079 and float(ratio.abs().max()) <= math.log(4 / 3) + 0.03


def _mean_area() -> float:
    area, aspect = np.meshgrid(
        np.linspace(0.08, 1, 1001), np.exp(np.linspace(math.log(0.75), math.log(4 / 3), 1001))
    )
    fits = (area * aspect <= 1) & (area / aspect <= 1)
    return float(area[fits].mean())


@pytest.mark.golden
def test_strips_are_exchanged_as_advised(golden: Callable[[str], Any]) -> None:
    data = golden("decoupled/rded.npz")
    cases = [key[:-6] for key in data.files if key.startswith("shuffle/") and key.endswith("input")]
    assert cases
    for case in cases:
        x = torch.from_numpy(data[f"{case}/input"])
        rows, columns = (
            strips(torch.from_numpy(data[f"{case}/{axis}_order"])[None, None], side)[0, 0]
            for axis, side in (("row", x.shape[-2]), ("column", x.shape[-1]))
        )
        assert torch.equal(
            x[:, rows][:, :, columns], torch.from_numpy(data[f"{case}/output_advised"])
        )


@few
@given(side=st.integers(4, 40), count=st.integers(1, 4), seed=st.integers(0, 99))
def test_strips_are_a_permutation_of_the_pixels(side: int, count: int, seed: int) -> None:
    order = torch.rand(5, 2, count, generator=torch.Generator().manual_seed(seed)).argsort(-1)
    source = strips(order, side)
    assert torch.equal(source.sort(-1).values, torch.arange(side).expand(5, 2, side))


def test_whole_boxes_and_strips_in_order_leave_every_bit() -> None:
    augmentation = RandomResizedCrop(shuffle=3)
    record = {
        "box": torch.tensor([[[0, 0, 12, 12]]]),
        "flip": torch.zeros(1, 1, dtype=torch.bool),
        "row_order": torch.arange(3)[None, None],
        "column_order": torch.arange(3)[None, None],
    }
    x = images(3, 2).float()
    assert torch.equal(augmentation.apply(x, record), x)


# --- both ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["crop_flip", "rrc"])
def test_nothing_waits_for_the_device_and_shapes_are_fixed(name: str) -> None:
    augmentation = load(name).parse({"shuffle": 2} if name == "rrc" else {})
    augmentation = augmentation.bind(lambda x: x, lambda x: x)
    x = images(2, 1).float()
    u = torch.rand(2, 3, augmentation.uniforms(SHAPE))
    with NoHostTraffic() as watched:
        out = augmentation.apply(x, augmentation.record(u, SHAPE))
    assert watched.count > 0 and out.shape == (2, 3, *SHAPE) and out.dtype == torch.float32
    meta = augmentation.apply(x.to("meta"), augmentation.record(u.to("meta"), SHAPE))
    assert meta.shape == out.shape


@pytest.mark.parametrize(
    "fields", [{"scale": [0.0, 1.0]}, {"scale": [0.9, 0.5]}, {"ratio": [2.0, 1.0]}]
)
def test_ranges_in_the_wrong_order_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match="smallest <= largest"):
        RandomResizedCrop.parse(fields)
