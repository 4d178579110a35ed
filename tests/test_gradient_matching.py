"""Gradient matching: the reference's distances and whole outer iterations, and its chunks."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from matching_runs import (
    COUNTS,
    IPC,
    SHAPE,
    Recorded,
    StepRecorder,
    random_task,
    recorded_augmentation,
    replayed_task,
)
from parity import (
    BASICS,
    Array,
    Golden,
    NoHostTraffic,
    Tolerance,
    arrays,
    groups,
    image_shape,
    member,
    module_of,
    stack_of,
    tensor,
)
from torch import Tensor
from torch.nn import functional as fn

from ddbench.augment import Record
from ddbench.augment.dsa import DSA
from ddbench.features import FeatureSpec
from ddbench.matching.gradients import (
    DISTANCES,
    GradientMatching,
    cosine_distance,
    per_output_distance,
    squared_distance,
)
from ddbench.objective import SyntheticLoss
from ddbench.stack import Stack
from ddbench.synthetic import View
from ddbench.task import Task
from ddbench.training import OptimizerSpec, train

# --- distances ---------------------------------------------------------------------------------

LOSS = {torch.float64: BASICS, torch.float32: Tolerance(1e-5, 1e-5)}


def gradient_tolerance(dtype: torch.dtype, wanted: Array) -> Tolerance:
    if dtype == torch.float64:
        return BASICS
    return Tolerance(1e-4, max(1e-6 * float(abs(wanted).max(initial=0)), 2e-6))


@pytest.mark.golden
@pytest.mark.parametrize("dtype", LOSS, ids=str)
def test_golden_distances_and_gradients(
    golden: Callable[[str], Golden], dtype: torch.dtype
) -> None:
    data = golden("basics/match_loss.npz")
    found = {tuple(prefix.split("/")) for prefix in groups(data, "loss")}
    assert {metric for _, metric in found} == set(DISTANCES)
    for case, metric in found:
        real = [tensor(a, dtype)[None] for a in arrays(data, f"{case}/real")]
        synthetic = [tensor(a, dtype)[None].requires_grad_() for a in arrays(data, f"{case}/syn")]
        loss = DISTANCES[metric](real, synthetic)
        gradients = torch.autograd.grad(loss.sum(), synthetic, allow_unused=True)
        LOSS[dtype].check(loss[0], data[f"{case}/{metric}/loss"], f"{case} {metric}")
        wanted = arrays(data, f"{case}/{metric}/grad_syn")
        for index, (gradient, target) in enumerate(zip(gradients, wanted, strict=True)):
            value = torch.zeros_like(synthetic[index]) if gradient is None else gradient
            gradient_tolerance(dtype, target).check(
                value[0], target, f"{case} {metric} gradient {index}"
            )
        if f"{case}/{metric}/loss_per_tensor" in data.files:
            parts = [DISTANCES[metric]([a], [b]) for a, b in zip(real, synthetic, strict=True)]
            per_tensor = data[f"{case}/{metric}/loss_per_tensor"]
            LOSS[dtype].check(torch.cat(parts), per_tensor, f"{case} {metric} per tensor")


def looped_distance(a: Tensor, b: Tensor) -> float:
    """``ours`` for one tensor, filter by filter, from the formula."""
    total = 0.0
    for x, y in zip(a.flatten(1).tolist(), b.flatten(1).tolist(), strict=True):
        dot = sum(p * q for p, q in zip(x, y, strict=True))
        norms = [sum(p * p for p in values) ** 0.5 for values in (x, y)]
        total += 1 - dot / (norms[0] * norms[1] + 1e-6)
    return total


@given(seed=st.integers(0, 2**31), rows=st.integers(1, 4), rest=st.sampled_from([(3,), (2, 2)]))
def test_the_distance_is_the_loop_over_filters(seed: int, rows: int, rest: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(seed)
    shape = (2, rows, *rest)  # two classes
    a, b = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    bias = torch.randn(2, rows, generator=generator, dtype=torch.float64)
    found = per_output_distance([a, bias], [b, -bias])
    wanted = [looped_distance(a[c], b[c]) for c in range(2)]
    assert found.tolist() == pytest.approx(wanted, rel=1e-12, abs=1e-12)
    whole = torch.cat([(a - b).flatten(1), 2 * bias], 1)
    assert squared_distance([a, bias], [b, -bias]).tolist() == pytest.approx(
        whole.square().sum(1).tolist(), rel=1e-12
    )
    assert cosine_distance([a], [a]).tolist() == pytest.approx([0, 0], abs=1e-5)


def test_equal_gradients_are_at_distance_zero_and_one_dimensional_ones_do_not_count() -> None:
    a = torch.randn(2, 5, 4, dtype=torch.float64)
    assert per_output_distance([a], [a]).abs().max() < 1e-4
    bias = torch.randn(2, 5, dtype=torch.float64)
    assert torch.equal(per_output_distance([bias], [-bias]), torch.zeros(2, dtype=torch.float64))


# --- whole outer iterations --------------------------------------------------------------------

STEP_LOSS = {torch.float64: BASICS, torch.float32: Tolerance(1e-3, 1e-5, scaled=True)}
STEP_GRADIENT = {torch.float64: BASICS, torch.float32: Tolerance(1e-3, 1e-4, scaled=True)}


class RecordedMatching(Recorded, GradientMatching):
    """Gradient matching under recorded augmentation."""


def matching_of(run: str, task: Task, augmentation: DSA | None) -> GradientMatching:
    distance = run.rsplit("_", maxsplit=1)[-1]
    return RecordedMatching(task, distance, batch_real=1, augmentation=augmentation)


def check_run(data: Golden, run: str, dtype: torch.dtype, microbatch: int) -> None:
    """One outer iteration from the recorded state, compared at every step."""
    task = replayed_task(data, run, dtype, microbatch)
    variables = task.variables
    matching = matching_of(run, task, recorded_augmentation(data, run, dtype))
    shape = image_shape(data[f"{run}/x_init"])
    network = stack_of([arrays(data, f"{run}/param")], task.network, shape, dtype)
    outer, inner = int(data[f"{run}/outer_loop"]), int(data[f"{run}/inner_loop"])
    epoch_losses: list[Tensor] = []
    for step in range(outer):
        at = f"{run}/step/{step}"
        close, gradient_close = STEP_LOSS[dtype], STEP_GRADIENT[dtype]
        close.check(variables.x, data[f"{at}/x_before"], f"{at} x before")
        with StepRecorder(matching) as seen:
            loss = matching.step(network, 0, step)
        close.check(loss, data[f"{at}/loss"], f"{at} loss")
        if len(seen.parts) == len(data[f"{at}/loss_per_class"]):
            close.check(torch.stack(seen.parts), data[f"{at}/loss_per_class"], f"{at} per class")
        gradient_close.check(seen.gradients[0], data[f"{at}/grad_x"], f"{at} gradient")
        close.check(variables.x, data[f"{at}/x_after"], f"{at} x after")
        if step < outer - 1:
            orders = data[f"{run}/inner/order"][step * inner : (step + 1) * inner]
            train(
                network, variables.examples(), variables.loss,
                OptimizerSpec(float(data[f"{run}/lr_net"])),
                (tensor(order)[:, None] for order in orders),
                batch_size=int(data[f"{run}/batch_train"]),
                after_epoch=lambda _, mean: epoch_losses.append(mean),
            )  # fmt: skip
    if epoch_losses:
        wanted = data[f"{run}/inner/loss_per_epoch"]
        STEP_LOSS[dtype].check(torch.cat(epoch_losses), wanted, f"{run} inner losses")
        STEP_GRADIENT[dtype].check_all(
            member(network, 0), arrays(data, f"{run}/param_final"), f"{run} final parameter"
        )
        if network.buffers:
            statistics = [v[0] for n, v in network.buffers.items() if "running" in n]
            STEP_GRADIENT[dtype].check_all(
                statistics, arrays(data, f"{run}/buffer_final"), f"{run} final buffer"
            )


@pytest.mark.golden
@pytest.mark.parametrize("dtype", STEP_LOSS, ids=str)
@pytest.mark.parametrize("chunked", [True, False], ids=["class by class", "all classes at once"])
def test_golden_outer_iterations(
    golden: Callable[[str], Golden], dtype: torch.dtype, chunked: bool
) -> None:
    torch.set_num_threads(1)
    data = golden("basics/dc_step.npz")
    runs = sorted(run for run in groups(data, "x_init"))
    assert {run.split("_")[-1] for run in runs} <= set(DISTANCES)
    for run in runs:
        ipc = int(data[f"{run}/ipc"])
        check_run(data, run, dtype, microbatch=ipc if chunked else 10**6)


# --- chunks and padding ------------------------------------------------------------------------


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_chunks_of_classes_and_of_real_images_change_nothing(distance: str, norm: str) -> None:
    results = []
    spec = FeatureSpec(n_feat=2, lambda_task=0.1)
    for microbatch in (1, 2, 3, 7, 1000):
        task, stack = random_task(microbatch, norm, spec)
        matching = GradientMatching(task, distance, batch_real=6)
        losses = [matching.step(stack, 0, step) for step in range(2)]
        results.append((*losses, task.variables.x.detach(), *task.variables.F))
    for result in results[:-1]:
        for found, wanted in zip(result, results[-1], strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("microbatch", [2, 1000])
def test_classes_with_few_real_images_equal_a_loop_over_classes(microbatch: int) -> None:
    task, stack = random_task(microbatch)
    matching = GradientMatching(task, "ours", batch_real=6)
    index, valid = task.real_batches(6, "images", 0, 0)
    assert not bool(valid.all())
    module = module_of([p.numpy() for p in member(stack, 0)], task.network, SHAPE)
    x = task.variables.x.detach().clone().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for label, count in enumerate(COUNTS):
        rows = index[valid[:, label], label]
        assert len(rows) == min(6, count) and bool((task.data.y_train[rows] == label).all())
        own = x[label * IPC : (label + 1) * IPC]
        gradients = [
            torch.autograd.grad(
                fn.cross_entropy(module(images), torch.full((len(images),), label)),
                list(module.parameters()), create_graph=True,
            )
            for images in (task.data.x_train[rows], own)
        ]  # fmt: skip
        for theirs, mine in zip(*gradients, strict=True):
            if mine.dim() > 1:
                a, b = theirs.detach().flatten(1), mine.flatten(1)
                cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)
                total = total + (1 - cosine).sum()
    (gradient,) = torch.autograd.grad(total, x)
    with StepRecorder(matching) as seen:
        loss = matching.step(stack, 0, 0)
    torch.testing.assert_close(loss, total.detach(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(seen.gradients[0], gradient, rtol=1e-9, atol=1e-12)


def test_batch_statistics_are_taken_from_images_of_the_classes_they_stand_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, stack = random_task(1000, "batch")
    seen: list[Tensor] = []
    forward = Stack.__call__

    def spy(self: Stack, x: Tensor, **how: bool) -> object:
        if how.get("train"):
            seen.append(x[:, 0])
        return forward(self, x, **how)

    monkeypatch.setattr(Stack, "__call__", spy)
    GradientMatching(task, "ours", batch_real=4).step(stack, 0, 0)
    (images,) = seen
    rows = [int((task.data.x_train == image).flatten(1).all(1).nonzero()) for image in images]
    labels = task.data.y_train[rows]
    assert torch.equal(labels.bincount(), torch.full((len(COUNTS),), max(COUNTS)))
    assert sorted(set(rows)) == list(range(len(task.data.y_train)))


def test_the_real_batches_of_a_step_are_its_own() -> None:
    task, _ = random_task(1000)
    one, _ = task.real_batches(3, "images", 0, 0)
    for other in ((3, "features", 0, 0), (3, "images", 1, 0), (3, "images", 0, 1)):
        assert not torch.equal(one, task.real_batches(*other)[0])
    assert torch.equal(one, task.real_batches(3, "images", 0, 0)[0])


def test_matching_leaves_the_network_alone() -> None:
    task, stack = random_task(1000)
    before = [value.clone() for value in member(stack, 0)]
    GradientMatching(task, "ours", batch_real=4).step(stack, 0, 0)
    assert all(torch.equal(a, b) for a, b in zip(before, member(stack, 0), strict=True))
    assert all(value.grad is None for value in stack.params.values())


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("strategy", [None, "color_crop_cutout_flip_scale_rotate"])
def test_a_matching_step_never_waits_for_the_device(norm: str, strategy: str | None) -> None:
    task, stack = random_task(3, norm, FeatureSpec(n_feat=2, lambda_task=0.1))
    augmentation = DSA(strategy=strategy) if strategy else None
    matching = GradientMatching(task, "ours", batch_real=6, augmentation=augmentation)
    with NoHostTraffic() as mode:
        matching.step(stack, 0, 0)
    assert mode.count > 100


@pytest.mark.parametrize("microbatch", [2, 1000])
def test_one_record_of_augmentation_serves_the_real_and_synthetic_images_of_a_class(
    microbatch: int,
) -> None:
    task, stack = random_task(microbatch)
    chunks: list[list[Record]] = [[]]

    class Spying(DSA):
        def apply(self, x: Tensor, record: Record) -> Tensor:
            chunks[-1].append(record)
            if x.requires_grad:  # the synthetic images come last
                chunks.append([])
            return super().apply(x, record)

    matching = GradientMatching(task, "ours", batch_real=3, augmentation=Spying())
    for _ in matching.losses(stack, View("images", task.variables.x, IPC, SyntheticLoss()), 0, 0):
        pass
    assert len(chunks) - 1 == len(list(task.class_chunks())) and not chunks.pop()
    operations = []
    for first, *others in chunks:
        assert others and all(value.shape[0] == 1 for value in first.values())
        for other in others:
            assert all(torch.equal(first[name], other[name]) for name in first)
        operations.append(first["rotate_rad"])
    drawn = torch.cat(operations, dim=1)
    assert len(drawn.unique()) == len(COUNTS)  # every class has its own, however it is chunked
