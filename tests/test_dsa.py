"""DSA: siamese augmentation in gradient matching, plain augmentation where the network trains.

The reference's recorded step (run ``dsa_ours``) is in ``test_gradient_matching.py``.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from matching_runs import COUNTS, IPC, SHAPE, StepRecorder, continued, random_task
from parity import member, module_of
from torch import Tensor
from torch.nn import functional as fn

from ddbench import augment, methods
from ddbench.augment import Record
from ddbench.augment import dsa as dsa_augmentation
from ddbench.errors import BadInput
from ddbench.matching.gradients import GradientMatching
from ddbench.methods.dc import DC
from ddbench.methods.dsa import DSA

AUGMENTATION = dsa_augmentation.DSA()
SMALL: dict[str, Any] = {
    "iterations": 3, "outer_loop": 2, "inner_loop": 2, "batch_real": 4, "batch_train": 3,
}  # fmt: skip


# --- the written-out objective -----------------------------------------------------------------


@pytest.mark.parametrize("microbatch", [2, 1000])
@pytest.mark.parametrize("norm", ["instance", "layer"])
def test_loss_and_gradient_are_those_of_the_written_out_objective(
    norm: str, microbatch: int
) -> None:
    """sum_c D(grad CE(A_c(S_c), c), grad CE(A_c(R_c), c)), class by class, in the plain module."""
    task, stack = random_task(microbatch, norm)
    module = module_of([p.numpy() for p in member(stack, 0)], task.network, SHAPE)
    index, valid = task.real_batches(6, "images", 0, 0)
    x = task.variables.x.detach().clone().requires_grad_()
    total = torch.zeros((), dtype=torch.float64)
    for label in range(len(COUNTS)):
        generator = task.streams.generator("siamese images", label, 0, 0)
        numbers = augment.draw(AUGMENTATION, [generator], 1, 1, SHAPE)[0]
        record = AUGMENTATION.record(numbers, SHAPE)
        sides = [
            task.data.x_train[index[valid[:, label], label]],
            x[label * IPC : (label + 1) * IPC],
        ]
        gradients = []
        for side in sides:
            images = AUGMENTATION.apply(side[:, None], record)[:, 0]
            value = fn.cross_entropy(module(images), torch.full((len(side),), label))
            gradients.append(
                torch.autograd.grad(value, list(module.parameters()), create_graph=True)
            )
        for theirs, mine in zip(*gradients, strict=True):
            if mine.dim() > 1:
                rows = mine.shape[0]
                a, b = theirs.detach().reshape(rows, -1), mine.reshape(rows, -1)
                cosine = (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)
                total = total + (1 - cosine).sum()
    (gradient,) = torch.autograd.grad(total, x)
    matching = GradientMatching(task, "ours", batch_real=6, augmentation=AUGMENTATION)
    with StepRecorder(matching) as seen:
        loss = matching.step(stack, 0, 0)
    torch.testing.assert_close(loss, total.detach(), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(seen.gradients[0], gradient, rtol=1e-8, atol=1e-12)


# --- the method --------------------------------------------------------------------------------


def records_of(method: DC, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Tensor, Record]]:
    """What was augmented in one iteration, and how."""
    seen: list[tuple[Tensor, Record]] = []
    plain = dsa_augmentation.DSA.apply

    def spy(self: dsa_augmentation.DSA, x: Tensor, record: Record) -> Tensor:
        seen.append((x.detach(), record))
        return plain(self, x, record)

    monkeypatch.setattr(dsa_augmentation.DSA, "apply", spy)
    task, _ = random_task(1000, dtype=torch.float32)
    next(iter(method.distill(task)))
    return seen


def test_matching_is_siamese_and_training_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """One record per class in matching; in training one operation per batch, numbers per image."""
    seen = records_of(DSA(**SMALL), monkeypatch)
    siamese = [(x, r) for x, r in seen if r["flip_u"].shape == (1, len(COUNTS))]
    trained = [(x, r) for x, r in seen if r["flip_u"].shape[1] == 1]
    assert len(siamese) == 2 * 2  # outer steps times sides: real, synthetic
    count = len(COUNTS) * IPC
    batches = [len(x) for x, _ in trained]
    assert batches == [3, 3, count - 6] * 2  # inner epochs between the two outer steps
    assert len(siamese) + len(trained) == len(seen)
    for (x_real, real), (x_syn, synthetic) in zip(siamese[::2], siamese[1::2], strict=True):
        assert len(x_real) != len(x_syn)
        assert all(torch.equal(real[name], synthetic[name]) for name in real)
    assert not torch.equal(siamese[0][1]["rotate_rad"], siamese[2][1]["rotate_rad"])
    for x, record in trained:
        assert record["op"].shape == (1, 1)
        assert record["rotate_rad"].shape == (len(x), 1) and len(record["rotate_rad"].unique()) > 1


def test_without_operations_dsa_is_dc_from_real_images(monkeypatch: pytest.MonkeyPatch) -> None:
    images = []
    for method in (DSA(**SMALL, strategy="none"), DC(**SMALL), DSA(**SMALL)):
        task, _ = random_task(1000, dtype=torch.float32)
        list(method.distill(task))
        images.append(task.variables.x.detach())
    assert torch.equal(images[0], images[1]) and not torch.equal(images[0], images[2])
    assert records_of(DC(**SMALL), monkeypatch) == []


def test_a_strategy_is_applied_as_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = records_of(DSA(**SMALL, strategy="crop_cutout"), monkeypatch)
    assert seen
    for _, record in seen:
        assert set(record) == {"crop_dx", "crop_dy", "cutout_ox", "cutout_oy", "op"}


@pytest.mark.parametrize("name", ["dsa", "dm"])
@pytest.mark.parametrize(
    ("strategy", "says"),
    [
        ("crop_mirror", "unknown operation 'mirror'"),
        ("crop_crop", "'crop' stands twice"),
        ("", "unknown operation ''"),
        ("none_crop", "unknown operation 'none'"),
    ],
)
def test_unknown_operations_are_refused_by_name(name: str, strategy: str, says: str) -> None:
    with pytest.raises(BadInput, match="strategy") as error:
        methods.resolve({"name": name, "strategy": strategy})
    assert says in str(error.value) and "\n" not in str(error.value)


def test_defaults_are_dcs_but_for_where_it_starts_and_what_it_sees() -> None:
    mine, theirs = DSA().model_dump(), DC().model_dump()
    assert mine == {**theirs, "name": "dsa", "strategy": "color_crop_cutout_flip_scale_rotate"}
    assert (DSA.inits[0], DC.inits[0]) == ("real", "noise")
    assert DSA().augmentation == AUGMENTATION and DC().augmentation is None
    assert DSA().resolved(10).identity() == {
        "name": "dsa", "loops": {}, "outer_loop": 10, "inner_loop": 50,
    }  # fmt: skip


def test_a_continued_run_has_the_same_bits() -> None:
    whole, resumed = continued(DSA(**SMALL), 2, 4)
    assert torch.equal(whole, resumed)
