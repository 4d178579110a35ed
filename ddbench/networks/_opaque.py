"""A network of another library as an encoder, alone and as a stack under ``torch.func.vmap``."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ddbench.errors import BadInput
from ddbench.networks import Shape
from ddbench.networks._backbone import Backbone

Numbers = dict[str, Tensor]

_SLOW_BUT_RIGHT = "There is a performance drop because we have not yet implemented"
"""torch.func loops over the members for some small operation."""


class Opaque(nn.Module):
    """A module [B, C, H, W] -> [B, d] whose inside is not known, with the embedding as a map.

    Args:
        net: the module. Its random numbers must come from its buffers (``_noise``).
        one_by_one: run the members of a stack one after the other.
    """

    def __init__(self, net: nn.Module, *, one_by_one: bool = False) -> None:
        super().__init__()
        self.net, self.one_by_one = net, one_by_one

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] to [B, d, 1, 1]."""
        # The fused kernels of attention have no second derivative, which matching needs.
        with sdpa_kernel(SDPBackend.MATH):
            out: Tensor = self.net(x)
        return out[..., None, None]

    def run(self, params: Numbers, buffers: Numbers, h: Tensor, *, train: bool) -> Tensor:
        """h [B, K or 1, C, H, W] to [B, K, d, 1, 1] of K members.

        Args:
            params, buffers: this module's, by name, [K, ...]; training updates buffers in place.
        """
        self.train()  # ends what libraries cache in eval mode and derive from the parameters
        if not train:
            self.eval()
        size, shared = len(next(iter(params.values()))), h.shape[1] == 1
        if self.one_by_one or size == 1:
            members = zip(_members(params, size), _members(buffers, size), strict=True)
            inputs = h.expand(-1, size, *h.shape[2:]).unbind(1)
            called = [self._call(*member, x) for member, x in zip(members, inputs, strict=True)]
            return torch.stack(called, dim=1)
        dims = (0, 0, None if shared else 1)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=_SLOW_BUT_RIGHT)
            out: Tensor = vmap(self._call, in_dims=dims, out_dims=1)(
                params, buffers, h[:, 0] if shared else h
            )
        return out

    def _call(self, params: Numbers, buffers: Numbers, x: Tensor) -> Tensor:
        out: Tensor = functional_call(self, (params, buffers), (x,))
        return out


def _members(numbers: Numbers, size: int) -> list[Numbers]:
    each = {name: value.unbind(0) for name, value in numbers.items()}
    return [{name: values[k] for name, values in each.items()} for k in range(size)]


class LibraryBackbone(Backbone):
    """A library's network, cut before its linear layer ``classifier``: one block and that layer.

    Attributes:
        shape: of the images it was made for, [C, H, W].
        width: d of the embedding.
        classes: number of logits.
    """

    def __init__(
        self, net: nn.Module, classifier: str, shape: Shape, resize: tuple[int, int] | None
    ) -> None:
        head = net.get_submodule(classifier)
        if not isinstance(head, nn.Linear):
            raise BadInput(f"its classifier is a {type(head).__name__}, not one linear layer")
        net.set_submodule(classifier, nn.Identity())
        encoder: nn.Module = Opaque(net)
        if resize is not None:
            upsample = nn.Upsample(size=resize, mode="bilinear", align_corners=False)
            encoder = nn.Sequential(upsample, encoder)
        super().__init__([encoder], head)
        self.shape = shape
        self.width, self.classes = head.in_features, head.out_features

    @property
    def has_bias(self) -> bool:
        """Whether the classifier has one."""
        return self.classifier.bias is not None

    @property
    def encoder(self) -> Opaque:
        """The library's part."""
        return next(module for module in self.modules() if isinstance(module, Opaque))


@dataclass(frozen=True)
class Structure:
    """What is known of an architecture without numbers, for images of one shape.

    Attributes:
        module: on the meta device, never run.
        activation_floats: numbers kept for the backward pass, per image.
        multiply_adds: of a forward pass of one image, without the classifier's.
    """

    module: LibraryBackbone
    activation_floats: int
    multiply_adds: int

    def with_classes(self, classes: int) -> LibraryBackbone:
        """A copy for another number of classes, on the meta device."""
        module = copy.deepcopy(self.module)
        module.classifier = nn.Linear(module.width, classes, module.has_bias, device="meta")
        module.classes = classes
        return module


def structure(assemble: Callable[[], LibraryBackbone]) -> Structure:
    """Build on the meta device and run once for the sizes and once as a stack.

    Raises:
        BadInput: the architecture does not have this project's form.
        Exception: of any kind, whatever a library raises on images that it cannot take.
    """
    module = _on_meta(assemble)
    trial = copy.deepcopy(module)
    x = torch.empty(2, *module.shape, device="meta")
    kept: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        kept[storage._cdata] = storage.nbytes() // 4
        return value

    counter = FlopCounterMode(display=False)
    with counter, torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        logits = trial.train()(x)
    if logits.shape != (len(x), module.classes):
        raise BadInput("it does not give one vector per image to its classifier")
    own = {p.untyped_storage()._cdata for p in trial.parameters()}
    floats = sum(count for key, count in kept.items() if key not in own)
    inside = trial.blocks[0][:-1](x) if isinstance(trial.blocks[0], nn.Sequential) else x
    module.encoder.one_by_one = _forbids_vmap(trial.encoder, inside)
    products = counter.get_total_flops() // (2 * len(x))
    return Structure(module, floats // len(x), products - module.width * module.classes)


def _forbids_vmap(encoder: Opaque, x: Tensor) -> bool:
    """Whether a layer of ``encoder`` has no rule for a stack."""
    params, buffers = (
        {name: torch.empty_like(value).expand(2, *value.shape).clone() for name, value in named}
        for named in (encoder.named_parameters(), encoder.named_buffers())
    )
    try:
        encoder.run(params, buffers, x[:, None], train=True)
    except RuntimeError as error:
        if "random operation" in str(error):
            raise BadInput("it draws random numbers outside its noise layers") from None
        return True
    return False


def _on_meta(assemble: Callable[[], LibraryBackbone]) -> LibraryBackbone:
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.device("meta"):
                return assemble()
        except NotImplementedError:  # its constructor looks at numbers
            return assemble().to("meta")


def initial_state(
    assemble: Callable[[], LibraryBackbone], generator: torch.Generator
) -> dict[str, Tensor]:
    """Numbers of a network that the library itself initialised, on the generator's device.

    They depend on the generator's seed alone: drawn on the CPU, the same for every device.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator.initial_seed())
        module = assemble()
    named = (*module.named_parameters(), *module.named_buffers())
    return {name: value.detach().to(generator.device) for name, value in named}
