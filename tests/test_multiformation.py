"""IDC's factor: what a network sees of stored images, in matching, in training and in the set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from matching_runs import COUNTS, IPC, SHAPE, StepRecorder, random_task
from parity import BASICS, Golden, groups, member, module_of, tensor
from torch import Tensor
from torch.nn import functional as fn

from ddbench.data import normalise, unnormalise
from ddbench.distilled import DistilledSet, Space
from ddbench.matching.gradients import GradientMatching
from ddbench.methods.dsa import DSA
from ddbench.objective import Batch
from ddbench.synthetic import SyntheticVariables, View, formed, tiled
from ddbench.task import Task

UNIT = Space("unit")
MEANSTD = Space("meanstd", (0.1, 0.2, 0.3), (0.5, 0.4, 0.6))


def variables(x: Tensor, y: Tensor, factor: int, space: Space = UNIT) -> SyntheticVariables:
    ipc = len(x) // len(y.unique())
    return SyntheticVariables(DistilledSet(x, y, space), ipc, lr=0.1, momentum=0.5, factor=factor)


@pytest.mark.golden
@pytest.mark.parametrize("side", ["8", "9"])
@pytest.mark.parametrize("factor", [1, 2, 3])
def test_golden_decoding_of_all_classes(
    golden: Callable[[str], Golden], side: str, factor: int
) -> None:
    """The set as it is stored, what a view gives to matching, and the gradient of x."""
    data = golden("basics/idc_decode.npz")
    case, x, y = f"{side}/factor{factor}_single", tensor(data[f"{side}/x"]), data[f"{side}/y"]
    labels = sorted(p for p in groups(data, "y") if p.startswith(f"{case}/class"))
    assert len(labels) == int(data["num_classes"])
    made = variables(x, tensor(y), factor)
    current = made.current()
    per_class = made.images_per_class
    assert per_class == factor**2 * int(data["ipc"])
    batches: list[Batch] = []

    def match(view: View) -> list[Tensor]:
        batches.append(view.class_batch(slice(0, len(labels)), torch.arange(len(labels))))
        return [0 * view.x.sum()]

    made.step(match)
    (batch,) = batches
    for label, prefix in enumerate(labels):
        mine = slice(label * per_class, (label + 1) * per_class)
        BASICS.check(current.x[mine], data[f"{prefix}/x"], prefix)
        assert current.y[mine].tolist() == data[f"{prefix}/y"].tolist()
        BASICS.check(batch.x[:, label], data[f"{prefix}/x"], f"{prefix} of the view")
        assert batch.y[:, label].tolist() == data[f"{prefix}/y"].tolist()
    value = (batch.x[:, 0] * tensor(data[f"{case}/cotangent"])).sum()
    (gradient,) = torch.autograd.grad(value, made.x)
    BASICS.check(gradient, data[f"{case}/grad_x"], f"{case} gradient")


@pytest.mark.golden
def test_golden_tiles(golden: Callable[[str], Golden]) -> None:
    data = golden("basics/idc_decode.npz")
    cases = groups(data, "real")
    assert len(cases) == 4
    for case in cases:
        factor = int(case.split("factor")[1][0])
        found = torch.cat([tiled(tensor(own), factor) for own in data[f"{case}/real"]])
        BASICS.check(found, data[f"{case}/x"], case)


def test_images_start_as_tiles_of_real_ones_of_their_class() -> None:
    """Each crop is a real image of the class, resized; no image is taken twice."""
    task, _ = random_task(1000, dtype=torch.float32)
    data = replace(task.data, space=MEANSTD)
    task = Task(1, data, task.network, task.streams, task.engine, factor=1)
    plain = task.random_real_images()
    task = replace(task, factor=2)
    seen = task.random_real_images()
    assert plain.shape == seen.shape == (len(COUNTS), *SHAPE)
    half = SHAPE[1] // 2
    found = []
    for label, image in enumerate(seen):
        own = data.x_train[data.y_train == label]
        small = fn.interpolate(own, size=(half, half))
        counts = 0
        for i in range(2):
            for j in range(2):
                crop = image[:, i * half : (i + 1) * half, j * half : (j + 1) * half]
                near = (small - crop).abs().flatten(1).amax(1) < 1e-5
                counts += int(near.sum())
                found.append((label, tuple(near.nonzero().flatten().tolist())))
        assert counts == min(4, COUNTS[label]) or COUNTS[label] < 4
    enough = [one for one in found if COUNTS[one[0]] >= 4]
    assert len(set(enough)) == len(enough) and all(len(rows) == 1 for _, rows in enough)


def test_forming_is_done_on_pixels() -> None:
    """Also the grey border, where the factor does not divide the side."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(3, 2, 3, 9, 9, generator=generator, dtype=torch.float64)
    y = torch.arange(2).expand(3, -1)
    wanted, labels = formed(pixels, y, 2, UNIT)
    x = normalise(pixels.flatten(0, 1), MEANSTD).view_as(pixels)
    found, same = formed(x, y, 2, MEANSTD)
    back = unnormalise(found.flatten(0, 1), MEANSTD, clamp=False).view_as(found)
    torch.testing.assert_close(back, wanted)
    assert torch.equal(labels, same) and torch.equal(labels, torch.arange(2).expand(12, -1))


# --- matching and training ---------------------------------------------------------------------


def with_factor(task: Task, factor: int) -> Task:
    start = task.variables.current()
    task = replace(task, factor=factor)
    task.variables = SyntheticVariables(
        replace(start, space=MEANSTD), IPC, lr=0.1, momentum=0.5, factor=factor
    )
    return task


@pytest.mark.parametrize("microbatch", [1, 8, 1000])
def test_matching_compares_gradients_of_the_formed_images(microbatch: int) -> None:
    task, stack = random_task(microbatch)
    task = with_factor(task, 2)
    module = module_of([p.numpy() for p in member(stack, 0)], task.network, SHAPE)
    index, valid = task.real_batches(6, "images", 0, 0)
    x = task.variables.x.detach().clone().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for label in range(len(COUNTS)):
        own = x[label * IPC : (label + 1) * IPC]
        crops = [own[..., i : i + 4, j : j + 4] for i in (0, 4) for j in (0, 4)]
        grown = [
            fn.interpolate(crop, size=(8, 8), mode="bilinear", align_corners=False)
            for crop in crops
        ]
        gradients = [
            torch.autograd.grad(
                fn.cross_entropy(module(side), torch.full((len(side),), label)),
                list(module.parameters()), create_graph=True,
            )
            for side in (task.data.x_train[index[valid[:, label], label]], torch.cat(grown))
        ]  # fmt: skip
        for theirs, mine in zip(*gradients, strict=True):
            total = total + (theirs.detach() - mine).square().sum()
    (gradient,) = torch.autograd.grad(total, x)
    with StepRecorder(matching := GradientMatching(task, "mse", batch_real=6)) as seen:
        loss = matching.step(stack, 0, 0)
    torch.testing.assert_close(loss, total.detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(seen.gradients[0], gradient, rtol=1e-8, atol=1e-12)


def test_networks_train_on_the_set_that_is_stored() -> None:
    task, _ = random_task(1000)
    task = with_factor(task, 2)
    examples, stored = task.variables.examples(), task.variables.current()
    assert len(stored) == 4 * IPC * len(COUNTS) and stored.x.shape[1:] == SHAPE
    assert torch.equal(examples.x, stored.x) and torch.equal(examples.y, stored.y)
    assert stored.y.tolist() == sorted(stored.y.tolist())
    assert task.variables.x.shape == (IPC * len(COUNTS), *SHAPE)


def test_a_continued_run_has_the_same_bits() -> None:
    method = DSA(iterations=3, outer_loop=2, inner_loop=1, batch_real=4, factor=2)
    ends = []
    for stop in (None, 2):
        task = with_factor(random_task(1000, dtype=torch.float32)[0], 2)
        steps = method.distill(task)
        for _ in range(stop or 4):
            next(steps)
        if stop is not None:
            state = task.variables.state_dict()
            task = with_factor(random_task(1000, dtype=torch.float32)[0], 2)
            task.variables.load_state_dict(state)
            task.start = stop
            list(method.distill(task))
        ends.append(task.variables.current().x)
    assert torch.equal(*ends)


def test_the_factor_of_a_method_and_of_its_task_agree() -> None:
    task, _ = random_task(1000)
    with pytest.raises(AssertionError):
        next(iter(DSA(factor=2).distill(task)))


def test_features_do_not_label_several_images() -> None:
    x, y = torch.zeros(2, *SHAPE), torch.arange(2)
    data = DistilledSet(x, y, UNIT, F=torch.zeros(2, 1, 4, 1, 1), features={"item": "channel"})
    with pytest.raises(ValueError, match="several"):
        SyntheticVariables(data, 1, factor=2)
