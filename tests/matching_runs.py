"""Shared by the tests of matchings: the reference's recorded steps, and a small uneven world."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from parity import (
    CPU,
    Golden,
    Replay,
    arrays,
    convnet,
    engine,
    groups,
    in_double,
    real_data,
    task_of,
    tensor,
)
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ddbench import networks
from ddbench.augment import Record
from ddbench.augment.dsa import DSA
from ddbench.distilled import DistilledSet, Space
from ddbench.features import FeatureSpec
from ddbench.matching.classwise import Classwise
from ddbench.methods import Method
from ddbench.objective import FeatureTerm
from ddbench.randomness import Streams
from ddbench.stack import Stack, create
from ddbench.synthetic import SyntheticVariables
from ddbench.task import Task

# --- recorded steps ----------------------------------------------------------------------------

NORMS = {"batchnorm": "batch", "layernorm": "layer", "groupnorm": "group"}


class RecordedDSA(DSA):
    """DSA whose "uniform numbers" are class numbers: class c gets its recorded parameters."""

    recorded: tuple[tuple[int, dict[str, float]], ...] = ()
    bits: int = 64

    def record(self, u: Tensor, shape: tuple[int, int, int]) -> Record:
        dtype = torch.float64 if self.bits == 64 else torch.float32
        classes = [int(label) for label in u[0, :, 0]]
        count = super().uniforms(shape)
        record = super().record(torch.zeros(1, len(classes), count, dtype=dtype), shape)
        for column, label in enumerate(classes):
            operation, parameters = self.recorded[label]
            record["op"][0, column] = operation
            for name, value in parameters.items():
                record[name][0, column] = value
        return record


class Recorded(Classwise):
    """Mixed into a matching: hands class numbers to ``RecordedDSA`` where others draw numbers."""

    def _siamese_numbers(self, purpose: str, iteration: int, step: int) -> Tensor | None:
        if self._augmentation is None:
            return None
        return torch.arange(len(self._task.classes)).view(1, -1, 1)


def recorded_augmentation(data: Golden, run: str, dtype: torch.dtype) -> RecordedDSA | None:
    labels = sorted(int(p.split("/")[2]) for p in groups(data, "op_index") if p.startswith(run))
    if not labels:
        return None
    recorded = []
    for label in labels:
        start = f"{run}/dsa/{label}/param/"
        parameters = {
            key.removeprefix(start): data[key].item() for key in data.files if key.startswith(start)
        }
        recorded.append((int(data[f"{run}/dsa/{label}/op_index"]), parameters))
    bits = 64 if dtype == torch.float64 else 32
    return RecordedDSA(recorded=tuple(recorded), bits=bits)


def _steps(data: Golden, run: str) -> int:
    return sum(prefix.startswith(f"{run}/step/") for prefix in groups(data, "real_index"))


def replayed_task(data: Golden, run: str, dtype: torch.dtype, microbatch: int) -> Replay:
    """Task and variables of a run in its first state."""
    x, y = tensor(data[f"{run}/real/x"], dtype), tensor(data[f"{run}/real/y"])
    classes, ipc = int(data[f"{run}/num_classes"]), int(data[f"{run}/ipc"])
    norm = NORMS.get(run.split("_", maxsplit=1)[0], "instance")
    network = convnet(arrays(data, f"{run}/param"), norm)
    recorded = {}
    for step in range(_steps(data, run)):
        recorded["images", step] = tensor(data[f"{run}/step/{step}/real_index"]).T
        if f"{run}/step/{step}/bn_index" in data.files:
            recorded["batch norm", step] = tensor(data[f"{run}/step/{step}/bn_index"]).T
    task = Replay(
        ipc, real_data(x, y, classes), network, Streams(0, CPU), engine(microbatch),
        recorded=recorded,
    )  # fmt: skip
    start = DistilledSet(
        tensor(data[f"{run}/x_init"], dtype), tensor(data[f"{run}/y_syn"]), Space("unit")
    )
    task.variables = SyntheticVariables(
        start, ipc, lr=float(data[f"{run}/lr_img"]), momentum=float(data[f"{run}/momentum_img"])
    )
    return task


class StepRecorder:
    """The parts of the loss of a matching, and the gradients that optimisers were given."""

    def __init__(self, matching: Any) -> None:
        self.parts: list[Tensor] = []
        self.gradients: list[Tensor] = []
        self._matching = matching

    def __enter__(self) -> StepRecorder:
        plain = self._matching.losses

        def losses(*given: Any) -> Iterator[Tensor]:
            for part in plain(*given):
                self.parts.append(part.detach())
                yield part

        def before_step(optimizer: torch.optim.Optimizer, *_: object) -> None:
            for parameter in optimizer.param_groups[0]["params"]:
                self.gradients.append(parameter.grad.clone())

        self._matching.losses = losses
        self._handle = register_optimizer_step_pre_hook(before_step)
        return self

    def __exit__(self, *_: object) -> None:
        del self._matching.losses
        self._handle.remove()


# --- a small world -----------------------------------------------------------------------------

SHAPE = (3, 8, 8)
COUNTS = (7, 3, 5, 9)  # real images per class
IPC = 2


def real(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    y = torch.arange(len(COUNTS)).repeat_interleave(torch.tensor(COUNTS))
    generator = torch.Generator().manual_seed(0)
    return torch.randn(len(y), *SHAPE, generator=generator, dtype=dtype), y


def random_task(
    microbatch: int,
    norm: str = "instance",
    features: FeatureSpec | None = None,
    dtype: torch.dtype = torch.float64,
) -> tuple[Task, Stack]:
    """Four classes of different sizes, with F where ``features`` asks for it."""
    x, y = real(dtype)
    network = networks.resolve({"name": "ConvNetD2", "width": 6, "norm": norm})
    task = task_of(real_data(x, y, len(COUNTS)), network, IPC, microbatch)
    generator = torch.Generator().manual_seed(1)
    count = len(COUNTS) * IPC
    data = DistilledSet(
        torch.randn(count, *SHAPE, generator=generator, dtype=dtype),
        torch.arange(len(COUNTS)).repeat_interleave(IPC), Space("unit"),
    )  # fmt: skip
    term = None
    if features is not None:
        item = features.item_shape(network, SHAPE)
        F = torch.rand(count, features.n_feat, *item, generator=generator, dtype=dtype)
        data = replace(data, F=F, features={"item": features.item})
        term = FeatureTerm(features, network.layer_index("last", SHAPE), features.lambda_reg)
    task.variables = SyntheticVariables(
        data, IPC, lr=0.1, momentum=0.5, features=features, term=term
    )
    stack = create(network, SHAPE, len(COUNTS), [torch.Generator().manual_seed(2)])
    return task, in_double(stack) if dtype == torch.float64 else stack


def continued(method: Method, first: int, total: int) -> tuple[Tensor, Tensor]:
    """Images after ``total`` iterations in one go, and after a stop behind ``first`` of them."""
    whole, _ = random_task(1000, dtype=torch.float32)
    for _ in itertools.islice(method.distill(whole), total):
        pass
    before, _ = random_task(1000, dtype=torch.float32)
    for _ in itertools.islice(method.distill(before), first):
        pass
    after, _ = random_task(1000, dtype=torch.float32)
    after.variables.load_state_dict(copy.deepcopy(before.variables.state_dict()))
    after.start = first
    for _ in itertools.islice(method.distill(after), total - first):
        pass
    return whole.variables.x.detach(), after.variables.x.detach()
