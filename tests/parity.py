"""Shared by the parity tests: closeness, networks from stored arrays, replayed real batches.

Golden files name parameters ``<prefix>/<index>/<reference name>`` in ``parameters()`` order; they
are mapped by order and shape. Sizes are read from the arrays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ddbench.data import RealData
from ddbench.distilled import Space
from ddbench.engine import Engine
from ddbench.networks import Network, Shape
from ddbench.networks._backbone import Backbone
from ddbench.networks.convnet import ConvNet
from ddbench.randomness import Streams
from ddbench.stack import Stack, from_state
from ddbench.task import Task

CPU = torch.device("cpu")
Array = NDArray[Any]
Golden = Any
"""An opened ``.npz`` file."""


# --- closeness ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Tolerance:
    """|found - wanted| <= atol + rtol |wanted|; ``scaled``: atol is in units of max |wanted|."""

    rtol: float
    atol: float
    scaled: bool = False

    def check(self, found: Tensor, wanted: Array | Tensor, what: str) -> None:
        value = found.detach().double().numpy()
        target = np.asarray(wanted, dtype=np.float64)
        assert value.shape == target.shape, f"{what}: {value.shape} instead of {target.shape}"
        assert np.isfinite(value).all(), f"{what} is not finite"
        scale = np.abs(target).max(initial=0.0) if self.scaled else 1.0
        difference = np.abs(value - target)
        excess = difference - (self.atol * scale + self.rtol * np.abs(target))
        assert excess.max(initial=-1.0) <= 0, (
            f"{what} ({str(found.dtype).removeprefix('torch.')}): {difference.max():.3g} apart, "
            f"largest value {np.abs(target).max():.3g}"
        )

    def check_all(self, found: Sequence[Tensor], wanted: Sequence[Array], what: str) -> None:
        """One tensor after the other, in order."""
        assert len(found) == len(wanted), what
        for index, (mine, theirs) in enumerate(zip(found, wanted, strict=True)):
            self.check(mine, theirs, f"{what} {index}")


BASICS = Tolerance(1e-7, 1e-9, scaled=True)
"""The files under ``basics`` in float64."""
DRUPI = Tolerance(1e-9, 1e-12)
"""The files under ``drupi`` in float64."""


def drupi(dtype: torch.dtype, atol: float) -> Tolerance:
    """Tolerance of a file under ``drupi``; ``atol`` is its float32 one."""
    return DRUPI if dtype == torch.float64 else Tolerance(1e-3, atol)


# --- stored arrays -----------------------------------------------------------------------------


def tensor(array: Array, dtype: torch.dtype = torch.float64) -> Tensor:
    """An array as a tensor, floating numbers in ``dtype``."""
    found = torch.from_numpy(np.array(array))
    return found.to(dtype) if found.is_floating_point() else found


def arrays(data: Golden, prefix: str) -> list[Array]:
    """The arrays ``<prefix>/<index>/<name>``, by index."""
    start = f"{prefix}/"
    keys = [key for key in data.files if key.startswith(start)]
    indexed = {int(key.removeprefix(start).split("/")[0]): key for key in keys}
    assert sorted(indexed) == list(range(len(indexed))) and indexed, f"no {prefix}"
    return [data[indexed[index]] for index in range(len(indexed))]


def groups(data: Golden, leaf: str) -> list[str]:
    """The prefixes of all arrays whose path ends in ``leaf``."""
    return [key.removesuffix(f"/{leaf}") for key in data.files if key.endswith(f"/{leaf}")]


def convnet(params: Sequence[Array], norm: str = "instance") -> ConvNet:
    """The ConvNet that has these parameters: 4 per block, 2 for the classifier."""
    return ConvNet.parse(
        {"name": "ConvNet", "depth": (len(params) - 2) // 4, "width": len(params[0]), "norm": norm}
    )


def image_shape(x: Array | Tensor) -> Shape:
    """(C, H, W) of images [..., C, H, W]."""
    c, h, w = x.shape[-3:]
    return c, h, w


# --- networks ----------------------------------------------------------------------------------


def stack_of(
    members: Sequence[Sequence[Array]],
    network: Network,
    shape: Shape,
    dtype: torch.dtype = torch.float64,
) -> Stack:
    """A stack with the given parameters per member, fresh running statistics, as leaves."""
    classes = len(members[0][-1])
    module = network.build(shape, classes)
    named = list(module.named_parameters())
    state: dict[str, Tensor] = {}
    for index, (name, parameter) in enumerate(named):
        values = [tensor(member[index], dtype) for member in members]
        assert all(value.shape == parameter.shape for value in values), name
        state[name] = torch.stack(values)
    assert all(len(member) == len(named) for member in members)
    for name, buffer in module.named_buffers():
        kind = dtype if buffer.is_floating_point() else buffer.dtype
        start = 1 if name.endswith("running_var") else 0
        state[name] = torch.full((len(members), *buffer.shape), start, dtype=kind)
    return from_state(network, shape, classes, state).require_grad()


def module_of(
    params: Sequence[Array], network: Network, shape: Shape, dtype: torch.dtype = torch.float64
) -> Backbone:
    """The plain module with these parameters: the oracle."""
    module = network.build(shape, len(params[-1])).to_empty(device="cpu").to(dtype)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.reset_running_stats()
    with torch.no_grad():
        for parameter, value in zip(module.parameters(), params, strict=True):
            parameter.copy_(tensor(value, dtype))
    return module


def in_double(stack: Stack) -> Stack:
    """The same networks in float64, as fresh leaves."""
    params = {name: value.detach().double() for name, value in stack.params.items()}
    buffers = {
        name: value.double() if value.is_floating_point() else value.clone()
        for name, value in stack.buffers.items()
    }
    return Stack(stack.module, stack.feature_shapes, params, buffers).require_grad()


def member(stack: Stack, index: int) -> list[Tensor]:
    """Parameters of one member, in order."""
    return [value.detach()[index] for value in stack.params.values()]


# --- tasks -------------------------------------------------------------------------------------


def real_data(x: Tensor, y: Tensor, classes: int) -> RealData:
    """Real data of the given images; its test part is the training part."""
    rows = [(y == label).nonzero().flatten() for label in range(classes)]
    index = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
    return RealData(
        x_train=x, y_train=y, x_test=x, y_test=y, x_val=None, y_val=None, space=Space("unit"),
        num_classes=classes, shape=image_shape(x), sha256="0" * 64, class_index=index,
        class_count=torch.tensor([len(found) for found in rows]),
    )  # fmt: skip


@dataclass
class Replay(Task):
    """A task whose real batches are given: ``recorded[purpose, step]`` int64 [B, classes]."""

    recorded: dict[tuple[str, int], Tensor] = field(default_factory=dict)

    def real_batches(
        self, size: int, purpose: str, iteration: int, step: int
    ) -> tuple[Tensor, Tensor]:
        index = self.recorded[purpose, step]
        return index, torch.ones_like(index, dtype=torch.bool)


def engine(microbatch: int) -> Engine:
    """One CPU thread, ``microbatch`` images at once in matching."""
    return Engine("cpu", threads=1, stack=2, microbatch=microbatch)


def task_of(data: RealData, network: Network, ipc: int, microbatch: int) -> Task:
    """A task on real data with ordinary random batches."""
    return Task(ipc, data, network, Streams(0, CPU), engine(microbatch))


# --- host traffic ------------------------------------------------------------------------------


class NoHostTraffic(TorchDispatchMode):
    """Fails on every operation for which the host would wait for a device."""

    methods = ("tolist", "numpy", "cpu")  # on the CPU these run no operation that could be seen
    waiting = ("_local_scalar_dense", "item", "nonzero", "is_nonzero", "equal", "masked_select",
               "unique", "_unique2")  # fmt: skip

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count = 0

    def __enter__(self) -> NoHostTraffic:
        for name in self.methods:
            setattr(Tensor, name, _refused(name))
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *caught: Any) -> None:
        super().__exit__(*caught)  # type: ignore[no-untyped-call]
        for name in self.methods:
            delattr(Tensor, name)  # the inherited one shows again

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        assert name not in self.waiting, f"aten::{name} waits for the device"
        if name in ("index", "index_put", "index_put_", "_index_put_impl_"):
            masks = [i for i in args[1] if isinstance(i, Tensor) and i.dtype == torch.bool]
            assert not masks, f"aten::{name} with a mask waits for the device"
        self.count += 1
        return func(*args, **(kwargs or {}))


def _refused(name: str) -> Callable[..., None]:
    def method(*_: object) -> None:
        raise AssertionError(f"Tensor.{name} waits for the device")

    return method
