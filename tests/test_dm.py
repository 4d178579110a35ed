"""Distribution matching: the reference's steps, the written-out objective, chunks, continuing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matching_runs import (
    COUNTS,
    IPC,
    SHAPE,
    Recorded,
    StepRecorder,
    continued,
    random_task,
    recorded_augmentation,
    replayed_task,
)
from parity import (
    BASICS,
    Golden,
    NoHostTraffic,
    Tolerance,
    arrays,
    groups,
    image_shape,
    member,
    module_of,
    real_data,
    stack_of,
    task_of,
)
from torch import Tensor

from ddbench import augment
from ddbench.augment.dsa import DSA
from ddbench.distilled import DistilledSet, Space
from ddbench.matching.distribution import DistributionMatching
from ddbench.methods.dm import DM
from ddbench.objective import SyntheticLoss
from ddbench.stack import Stack
from ddbench.synthetic import SyntheticVariables, View
from ddbench.task import Task

FULL = DSA()

# --- the reference -----------------------------------------------------------------------------

LOSS = {torch.float64: BASICS, torch.float32: Tolerance(1e-3, 1e-5, scaled=True)}
GRADIENT = {torch.float64: BASICS, torch.float32: Tolerance(1e-3, 1e-4, scaled=True)}


class RecordedMatching(Recorded, DistributionMatching):
    """Distribution matching under recorded augmentation."""


@pytest.mark.golden
@pytest.mark.parametrize("dtype", LOSS, ids=str)
@pytest.mark.parametrize("microbatch", [2, 3, 10**6], ids=["in parts", "by class", "at once"])
def test_golden_steps(golden: Callable[[str], Golden], dtype: torch.dtype, microbatch: int) -> None:
    data = golden("basics/dm_step.npz")
    runs = groups(data, "x_init")
    assert sorted(runs) == ["batchnorm_dsa", "dsa", "plain"]
    for run in runs:
        task = replayed_task(data, run, dtype, microbatch)
        augmentation = recorded_augmentation(data, run, dtype)
        assert (augmentation is None) == (run == "plain")
        matching = RecordedMatching(task, batch_real=1, augmentation=augmentation)
        shape = image_shape(data[f"{run}/x_init"])
        network = stack_of([arrays(data, f"{run}/param")], task.network, shape, dtype)
        with StepRecorder(matching) as seen:
            loss = matching.step(network, 0)
        at = f"{run}/step/0"
        LOSS[dtype].check(loss, data[f"{at}/loss"], f"{run} loss")
        GRADIENT[dtype].check(seen.gradients[0], data[f"{at}/grad_x"], f"{run} gradient")
        GRADIENT[dtype].check(task.variables.x, data[f"{at}/x_after"], f"{run} x")


# --- the written-out objective -----------------------------------------------------------------


def written_out(task: Task, stack: Stack, augmentation: DSA | None, x: Tensor) -> Tensor:
    """sum_c |mean phi(A_c(R_c)) - mean phi(A_c(S_c))|^2, class by class, in the plain module."""
    module = module_of([p.numpy() for p in member(stack, 0)], task.network, SHAPE)
    index, valid = task.real_batches(6, "images", 0, 0)
    total = torch.zeros((), dtype=x.dtype)
    for label in range(len(COUNTS)):
        sides = [task.data.x_train[index[valid[:, label], label]]]
        sides.append(x[label * IPC : (label + 1) * IPC])
        if augmentation is not None:
            generator = task.streams.generator("siamese images", label, 0, 0)
            numbers = augment.draw(augmentation, [generator], 1, 1, SHAPE)[0]
            record = augmentation.record(numbers, SHAPE)
            sides = [augmentation.apply(side[:, None], record)[:, 0] for side in sides]
        means = [module.blocks(side).flatten(1).mean(0) for side in sides]
        total = total + (means[0].detach() - means[1]).square().sum()
    return total


@pytest.mark.parametrize("microbatch", [1, 2, 5, 1000])
@pytest.mark.parametrize("augmentation", [None, FULL], ids=["plain", "dsa"])
@pytest.mark.parametrize("norm", ["instance", "layer", "none"])
def test_loss_and_gradient_are_those_of_the_written_out_objective(
    norm: str, augmentation: DSA | None, microbatch: int
) -> None:
    task, stack = random_task(microbatch, norm)
    x = task.variables.x.detach().clone().requires_grad_()
    wanted = written_out(task, stack, augmentation, x)
    (gradient,) = torch.autograd.grad(wanted, x)
    matching = DistributionMatching(task, batch_real=6, augmentation=augmentation)
    with StepRecorder(matching) as seen:
        loss = matching.step(stack, 0)
    torch.testing.assert_close(loss, wanted.detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(seen.gradients[0], gradient, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(task.variables.x.detach(), (x - 0.1 * gradient).detach())


def test_batch_norm_sees_all_classes_together_and_real_images_apart() -> None:
    """As one module in train mode does; a class with fewer images repeats its own for it."""
    results = []
    for microbatch in (1, 1000):
        task, stack = random_task(microbatch, "batch")
        x = task.variables.x.detach().clone().requires_grad_()
        module = module_of([p.numpy() for p in member(stack, 0)], task.network, SHAPE).train()
        index, valid = task.real_batches(6, "images", 0, 0)
        rows = [index[valid[:, label], label] for label in range(len(COUNTS))]
        filled = [own[torch.arange(6) % len(own)] for own in rows]
        real = module.blocks(task.data.x_train[torch.cat(filled)]).flatten(1).detach()
        synthetic = module.blocks(x).flatten(1).unflatten(0, (-1, IPC)).mean(1)
        means = [part[: len(own)].mean(0) for part, own in zip(real.split(6), rows, strict=True)]
        wanted = (torch.stack(means) - synthetic).square().sum()
        (gradient,) = torch.autograd.grad(wanted, x)
        matching = DistributionMatching(task, batch_real=6)
        with StepRecorder(matching) as seen:
            loss = matching.step(stack, 0)
        torch.testing.assert_close(loss, wanted.detach(), rtol=1e-10, atol=1e-12)
        torch.testing.assert_close(seen.gradients[0], gradient, rtol=1e-8, atol=1e-12)
        results.append(task.variables.x.detach())
    assert torch.equal(*results)


# --- laws --------------------------------------------------------------------------------------


def own_images_task(norm: str, microbatch: int = 1000) -> tuple[Task, Stack]:
    """A world whose synthetic images are its real ones, in another order."""
    _, stack = random_task(1000, norm)
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(len(COUNTS) * 5, *SHAPE, generator=generator, dtype=torch.float64)
    y = torch.arange(len(COUNTS)).repeat_interleave(5)
    network, _ = random_task(1000, norm)
    task = task_of(real_data(x, y, len(COUNTS)), network.network, 5, microbatch)
    turned = x.unflatten(0, (-1, 5)).flip(1).flatten(0, 1)
    task.variables = SyntheticVariables(DistilledSet(turned, y, Space("unit")), 5, lr=1.0)
    return task, stack


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("augmentation", [None, FULL], ids=["plain", "dsa"])
@pytest.mark.parametrize("microbatch", [2, 1000])
def test_the_real_images_are_their_own_match(
    norm: str, augmentation: DSA | None, microbatch: int
) -> None:
    task, stack = own_images_task(norm, microbatch)
    before = task.variables.x.detach().clone()
    matching = DistributionMatching(task, batch_real=9, augmentation=augmentation)
    for iteration in range(3):
        assert float(matching.step(stack, iteration)) < 1e-20
    torch.testing.assert_close(task.variables.x.detach(), before, rtol=0, atol=1e-10)


@given(seed=st.integers(0, 2**31), norm=st.sampled_from(["instance", "batch"]))
@settings(max_examples=15, deadline=None)
def test_the_order_of_a_classes_images_does_not_matter(seed: int, norm: str) -> None:
    task, stack = random_task(1000, norm)
    x = task.variables.x.detach().unflatten(0, (-1, IPC))
    order = torch.rand(x.shape[:2], generator=torch.Generator().manual_seed(seed)).argsort(1)
    other = x[torch.arange(len(COUNTS))[:, None], order].flatten(0, 1)
    losses = [
        sum(
            DistributionMatching(task, 6, FULL).losses(
                stack, View("images", images, IPC, SyntheticLoss()), 0
            ),
            torch.zeros(()),
        )
        for images in (x.flatten(0, 1), other)
    ]
    torch.testing.assert_close(*losses, rtol=1e-10, atol=0)


def test_every_class_is_matched_on_its_own() -> None:
    """Moving one class's images moves its term alone."""
    task, stack = random_task(IPC)  # class by class
    x = task.variables.x.detach().clone()
    parts = []
    for change in (0.0, 1.0):
        x[:IPC] += change
        view = View("images", x, IPC, SyntheticLoss())
        parts.append(torch.stack(list(DistributionMatching(task, 6, FULL).losses(stack, view, 0))))
    assert len(parts[0]) == len(COUNTS)
    assert parts[0][0] != parts[1][0] and torch.equal(parts[0][1:], parts[1][1:])


def test_every_iteration_draws_its_own_operations() -> None:
    """All images of a class and one network: nothing else can make a difference."""
    task, stack = random_task(1000)
    view = View("images", task.variables.x.detach(), IPC, SyntheticLoss())
    for augmentation in (None, FULL):
        matching = DistributionMatching(task, max(COUNTS), augmentation)
        losses = [next(matching.losses(stack.detached(), view, i)) for i in (0, 1)]
        first, second = (float(loss) for loss in losses)
        assert (first == pytest.approx(second, rel=1e-9)) == (augmentation is None)


@pytest.mark.parametrize("microbatch", [1, 3, 5, 1000])
def test_no_more_images_than_the_microbatch_are_embedded_at_once(
    microbatch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, stack = random_task(microbatch)
    counts: list[int] = []
    forward = Stack.__call__

    def spy(self: Stack, x: Tensor, **how: Any) -> object:
        counts.append(len(x))
        return forward(self, x, **how)

    monkeypatch.setattr(Stack, "__call__", spy)
    DistributionMatching(task, batch_real=6, augmentation=FULL).step(stack, 0)
    assert max(counts) <= microbatch
    assert sum(counts) >= len(COUNTS) * (6 + IPC)


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("microbatch", [1, 1000])
def test_a_step_never_waits_for_the_device(norm: str, microbatch: int) -> None:
    task, stack = random_task(microbatch, norm)
    matching = DistributionMatching(task, batch_real=6, augmentation=FULL)
    with NoHostTraffic() as mode:
        matching.step(stack, 0)
    assert mode.count > 100


def test_the_network_is_not_trained() -> None:
    task, stack = random_task(1000)
    before = [value.clone() for value in member(stack, 0)]
    DistributionMatching(task, batch_real=6, augmentation=FULL).step(stack, 0)
    assert all(torch.equal(a, b) for a, b in zip(before, member(stack, 0), strict=True))
    assert all(value.grad is None for value in stack.params.values())


# --- the method --------------------------------------------------------------------------------


def test_every_iteration_has_its_own_network_and_images(monkeypatch: pytest.MonkeyPatch) -> None:
    task, _ = random_task(1000, dtype=torch.float32)
    seen: list[Tensor] = []
    plain = Task.new_network

    def spy(self: Task, iteration: int) -> Stack:
        network = plain(self, iteration)
        seen.append(next(iter(network.params.values())))
        return network

    monkeypatch.setattr(Task, "new_network", spy)
    steps = list(DM(iterations=3, batch_real=4).distill(task))
    assert [step.iteration for step in steps] == [0, 1, 2, 3]
    assert len(seen) == 4 and not torch.equal(seen[0], seen[1])
    assert all(float(step.scalars["loss"]) > 0 for step in steps)


def test_a_continued_run_has_the_same_bits() -> None:
    whole, resumed = continued(DM(iterations=4, batch_real=4), 2, 5)
    assert torch.equal(whole, resumed)
