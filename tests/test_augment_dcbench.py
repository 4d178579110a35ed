"""DC-BENCH's augmentations of 8-bit images, image by image against torchvision."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from parity import NoHostTraffic
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import AutoAugment as TorchvisionAutoAugment
from torchvision.transforms.v2 import AutoAugmentPolicy, functional
from torchvision.transforms.v2 import RandAugment as TorchvisionRandAugment

from ddbench.augment import Augmentation, Record, draw, load
from ddbench.augment import _jitter as jitter
from ddbench.augment._operations import Operation
from ddbench.augment.autoaug import BINS, policy
from ddbench.augment.imagenet_aug import JITTERS
from ddbench.augment.randaug import OPERATIONS
from ddbench.data import normalise, unnormalise
from ddbench.distilled import Space
from ddbench.errors import BadInput

NAMES = ("autoaug", "cifar_aug", "imagenet_aug", "randaug")
SHAPE = (3, 32, 32)
SPACE = Space("meanstd", mean=(0.4914, 0.4822, 0.4465), std=(0.2023, 0.1994, 0.2010))


def bound(name: str, **fields: Any) -> Augmentation:
    convert = partial(unnormalise, space=SPACE), partial(normalise, space=SPACE)
    return load(name).parse(fields).bind(*convert)


def levels(batch: int, members: int = 1, shape: tuple[int, int, int] = SHAPE) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    size = (batch, members, *shape)
    return torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)


def in_space(x: Tensor) -> Tensor:
    """Levels as normalised images whose way back does not lose a level to rounding."""
    return normalise((x.flatten(0, 1).double() + 0.25) / 255, SPACE).reshape(x.shape)


def back(x: Tensor) -> Tensor:
    """The levels of normalised images."""
    pixels = unnormalise(x.flatten(0, 1), SPACE, clamp=False) * 255
    assert float((pixels - pixels.round()).abs().max()) < 1e-4
    return pixels.round().to(torch.uint8).reshape(x.shape)


def record_of(augmentation: Augmentation, batch: int, members: int = 1, seed: int = 0) -> Record:
    generators = [torch.Generator().manual_seed(seed + k) for k in range(members)]
    return augmentation.record(draw(augmentation, generators, 1, batch, SHAPE)[0], SHAPE)


def moved(image: Tensor, record: Record, b: int) -> Tensor:
    """Crop and flip of one uint8 image [C, H, W] by torchvision."""
    top, left = record["crop_offset"][b, 0].tolist()
    out = functional.crop(functional.pad(image, [4]), top, left, 32, 32)
    return functional.hflip(out) if record["flip"][b, 0] else out


# --- the round trip ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_pixels_outside_of_the_unit_interval_are_clipped_and_the_rest_truncated(name: str) -> None:
    pixels = torch.tensor([-0.5, 0.0, 0.5, 127.9 / 255, 1.0, 1.7]).double()
    x = normalise(pixels.view(6, 1, 1, 1).expand(6, *SHAPE), SPACE)[:, None]
    found = bound(name).levels(x)[:, 0, 0, 0, 0]  # type: ignore[attr-defined]
    assert found.tolist() == [0, 0, 127, 127, 255, 255]
    with pytest.raises(ValueError, match="bind it to the value space"):
        load(name)().levels(x)  # type: ignore[attr-defined]


# --- cifar_aug -----------------------------------------------------------------------------------


def test_cifar_aug_crops_flips_and_cuts_a_box_of_the_mean() -> None:
    augmentation = bound("cifar_aug")
    x, record = levels(20), record_of(augmentation, 20)
    out = augmentation.apply(in_space(x), record)[:, 0]
    for b in range(20):
        wanted = normalise(moved(x[b, 0], record, b)[None].double() / 255, SPACE)[0]
        row, column = record["cutout_centre"][b, 0].tolist()
        rows, columns = (slice(max(0, o - 8), o + 8) for o in (row, column))
        wanted[:, rows, columns] = 0
        torch.testing.assert_close(out[b], wanted)
    assert record["cutout_centre"].min() >= 0 and record["cutout_centre"].max() <= 31


# --- imagenet_aug --------------------------------------------------------------------------------

ADJUST = {
    "brightness": functional.adjust_brightness,
    "contrast": functional.adjust_contrast,
    "saturation": functional.adjust_saturation,
    "hue": functional.adjust_hue,
}


def agree(found: Tensor, wanted: Tensor, share: float = 2e-3) -> None:
    """Equal levels but for the few that rounding takes to the next one."""
    apart = (found.int() - wanted.int()).abs()
    assert int(apart.max()) <= 1
    assert float((apart > 0).double().mean()) <= share


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", JITTERS)
def test_each_jitter_is_torchvisions(name: str, channels: int) -> None:
    x = levels(16, 1, (channels, 32, 32))
    low, high = (-0.5, 0.5) if name == "hue" else (0.0, 2.0)
    factors = torch.linspace(low, high, 16)[:, None]
    found = getattr(jitter, name)(x.float(), factors)[:, 0]
    wanted = [ADJUST[name](x[b, 0], float(factors[b])) for b in range(16)]
    agree(found, torch.stack(wanted))


def test_grey_pixels_have_no_hue() -> None:
    x = torch.arange(256.0).view(1, 1, 1, 16, 16).expand(1, 1, 3, 16, 16)
    assert torch.equal(jitter.hue(x, torch.tensor([[0.3]])), x)


def test_imagenet_aug_is_crop_flip_and_jitters_in_their_order() -> None:
    augmentation = bound("imagenet_aug")
    x, record = levels(24), record_of(augmentation, 24)
    found = back(augmentation.apply(in_space(x), record))[:, 0]
    for b in range(24):
        wanted = moved(x[b, 0], record, b)
        for index in record["order"][b, 0].tolist():
            wanted = ADJUST[JITTERS[index]](wanted, float(record["factors"][b, 0, index]))
        apart = (found[b].int() - wanted.int()).abs()
        # a level lost early grows in a later contrast or saturation of up to 1.4
        assert int(apart.max()) <= 3 and float((apart > 0).double().mean()) < 0.01
    assert len(record["order"].flatten(0, 1).unique(dim=0)) > 10
    factors = record["factors"].flatten(0, 1)
    assert bool(((factors[:, :3] >= 0.6) & (factors[:, :3] <= 1.4)).all())
    assert bool((factors[:, 3].abs() <= 0.2).all())


# --- policies ------------------------------------------------------------------------------------

TORCHVISION = {
    **{"shear_x": "ShearX", "shear_y": "ShearY", "translate_x": "TranslateX"},
    **{"translate_y": "TranslateY", "rotate": "Rotate", "brightness": "Brightness"},
    **{"color": "Color", "contrast": "Contrast", "sharpness": "Sharpness"},
    **{"posterize": "Posterize", "solarize": "Solarize", "auto_contrast": "AutoContrast"},
    **{"equalize": "Equalize", "invert": "Invert", "identity": "Identity"},
}


def torchvisions(image: Tensor, operation: Operation) -> Tensor:
    """The same operation by torchvision's own table of strengths."""
    theirs = TorchvisionRandAugment() if operation.name == "identity" else TorchvisionAutoAugment()
    name = TORCHVISION[operation.name]
    strengths, signed = theirs._AUGMENTATION_SPACE[name]
    values = strengths(operation.bins, *image.shape[-2:])
    strength = 0.0 if values is None else float(values[operation.level])
    strength = -strength if signed and operation.negative else strength
    return theirs._apply_image_or_video_transform(
        image, name, strength, interpolation=InterpolationMode.NEAREST, fill=theirs._fill
    )


@pytest.mark.parametrize("negative", [False, True])
@pytest.mark.parametrize("name", TORCHVISION)
def test_every_operation_is_torchvisions_at_every_level(name: str, negative: bool) -> None:
    x = levels(3)[:, 0]
    for bins in (BINS, 31):
        for level in range(bins):
            operation = Operation(name, level, bins, negative)
            wanted = torch.stack([torchvisions(image, operation) for image in x])
            agree(operation(x), wanted, share=0.01)


@pytest.mark.parametrize("name", ["cifar10", "imagenet"])
def test_policies_are_the_published_ones(name: str) -> None:
    theirs = TorchvisionAutoAugment(AutoAugmentPolicy(name))._policies
    ours = [
        tuple((TORCHVISION[operation], chance, level) for operation, chance, level in steps)
        for steps in policy(name)
    ]
    assert ours == theirs and len(ours) == 25


def test_autoaug_applies_each_images_sub_policy_in_order() -> None:
    augmentation = bound("autoaug")
    x, record = levels(60), record_of(augmentation, 60)
    found = back(augmentation.apply(in_space(x), record))[:, 0]
    changed = 0
    for b in range(60):
        wanted = x[b : b + 1, 0]
        for position, step in enumerate(policy("cifar10")[int(record["sub_policy"][b, 0])]):
            name, chance, level = step
            if float(record["chance"][b, 0, position]) <= chance:
                negative = bool(record["negative"][b, 0, position])
                wanted = Operation(name, level, BINS, negative)(wanted)
        assert torch.equal(found[b], wanted[0])
        changed += not torch.equal(found[b], x[b, 0])
    assert 20 < changed < 60


def test_randaug_applies_its_operations_in_order() -> None:
    augmentation = bound("randaug", num_ops=2)
    x, record = levels(40, 2), record_of(augmentation, 40, 2)
    found = back(augmentation.apply(in_space(x), record))
    for b in range(40):
        for k in range(2):
            wanted = x[b : b + 1, k]
            for step in (0, 1):
                name = OPERATIONS[int(record["operation"][b, k, step])]
                negative = bool(record["negative"][b, k, step])
                wanted = Operation(name, 9, 31, negative)(wanted)
            assert torch.equal(found[b, k], wanted[0])
    assert len(record["operation"].unique()) == len(OPERATIONS)


def test_a_magnitude_above_the_levels_is_refused() -> None:
    with pytest.raises(BadInput, match="below bins"):
        load("randaug").parse({"magnitude": 31})


# --- all of them ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_batchwise_gives_every_image_of_a_member_the_same_parameters(name: str) -> None:
    augmentation = bound(name, batchwise=True)
    record = record_of(augmentation, 8, 3)
    assert {value.shape[0] for value in record.values()} == {1}
    x = in_space(levels(1, 3)).expand(8, -1, -1, -1, -1)
    out = augmentation.apply(x, record)
    assert torch.equal(out, out[:1].expand_as(out))
    single = bound(name)
    assert not torch.equal(
        single.apply(x, record_of(single, 8, 3)), single.apply(x, record_of(single, 8, 3, seed=9))
    )


@pytest.mark.parametrize("name", NAMES)
def test_a_member_does_not_depend_on_the_stack_and_types_stay(name: str) -> None:
    augmentation = bound(name)
    x = in_space(levels(5)).float()
    out = augmentation.apply(x, record_of(augmentation, 5, 3))
    assert out.shape == (5, 3, *SHAPE) and out.dtype == torch.float32
    alone = augmentation.apply(x, record_of(augmentation, 5, 1, seed=2))
    assert torch.equal(alone[:, 0], out[:, 2])


@pytest.mark.parametrize("name", ["cifar_aug", "imagenet_aug"])
def test_nothing_waits_for_the_device_and_shapes_are_fixed(name: str) -> None:
    augmentation = load(name)().bind(lambda x: x, lambda x: x)
    x, u = torch.rand(2, 1, *SHAPE), torch.rand(2, 2, augmentation.uniforms(SHAPE))
    with NoHostTraffic() as watched:
        out = augmentation.apply(x, augmentation.record(u, SHAPE))
    assert watched.count > 0
    meta = augmentation.apply(x.to("meta"), augmentation.record(u.to("meta"), SHAPE))
    assert meta.shape == out.shape


@pytest.mark.parametrize("name", ["autoaug", "imagenet_aug", "randaug"])
def test_images_without_colours_are_refused(name: str) -> None:
    with pytest.raises(BadInput, match="2 channels"):
        load(name)().uniforms((2, 8, 8))
