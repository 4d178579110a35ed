"""``timm:NAME``: the architectures of timm (pytorch-image-models), without weights.

Refused are those without one linear classifier with bias on an embedding, such as the distilled
ones with two.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from ddbench.errors import BadInput
from ddbench.networks import Shape
from ddbench.networks._library import LibraryNetwork, imported

if TYPE_CHECKING:
    from torch import nn

_TOYS = {
    "vit_": "test_vit", "deit": "test_vit", "convnext": "test_convnext",
    "efficientnet": "test_efficientnet", "mobilenet": "test_efficientnet",
}  # fmt: skip
"""Beginnings of names and timm's own test model of that kind; ``test_resnet`` for all others."""
_DROPOUT_IS_A_FUNCTION = ("ghostnet", "repghostnet", "legacy_se")
"""Beginnings of names whose dropout before the classifier is no layer."""


class Timm(LibraryNetwork):
    """An architecture of ``timm.list_models()``.

    Channels, classes, image and patch size are arguments of timm's constructors; only ``stem:
    small`` of convolutional networks is made afterwards. ``--toy`` takes timm's test models.
    """

    library: ClassVar[str] = "timm"
    one_by_one: ClassVar[Mapping[str, str]] = {
        "sequencer2d": "torch.func.vmap has no rule for an LSTM"
    }
    examples: ClassVar[tuple[str, ...]] = tuple(
        f"timm:{name}"
        for name in ("deit_tiny_patch16_224", "vit_tiny_patch16_224", "convnext_atto",
                     "swin_tiny_patch4_window7_224", "efficientnet_b0", "mobilenetv3_small_050",
                     "resnet18", "sequencer2d_s")
    )  # fmt: skip

    window_size: int | None = Field(
        None, ge=1, description="side of the windows of attention; null = timm's"
    )

    @property
    def label(self) -> str:
        window = "" if self.window_size is None else f"-window{self.window_size}"
        return f"{super().label}{window}"

    def narrow(self) -> Timm:
        if self.architecture.startswith("test_"):
            return self
        kinds = (toy for start, toy in _TOYS.items() if self.architecture.startswith(start))
        toy = next(kinds, "test_resnet")
        fields: dict[str, Any] = {"name": f"timm:{toy}", "image_size": self.image_size}
        patch = re.search(r"_patch(\d+)_", self.architecture)
        if self.patch_size is not None and toy in ("test_vit", "test_convnext"):
            return Timm(patch_size=self.patch_size, **fields)
        if patch and toy == "test_vit" and self.stem == "original":
            return Timm(patch_size=int(patch[1]), **fields)
        return Timm(stem=self.stem, **fields)

    def known(self) -> Sequence[str]:
        return _names()

    def own_size(self) -> int:
        return int(_facts(self.architecture).input_size[-1])

    def make(self, shape: Shape, classes: int) -> tuple[nn.Module, str]:
        from ddbench.networks import _stem

        facts = _facts(self.architecture)
        if not isinstance(facts.classifier, str):
            raise BadInput(f"it has no classifier or several ({facts.classifier})")
        options = {
            "in_chans": shape[0], "num_classes": classes,
            "img_size": shape[1:] if facts.fixed_input_size else None,
            "patch_size": self.patch_size, "window_size": self.window_size,
        }  # fmt: skip
        small = self.stem == "small"
        patch = _small_patch(self.architecture) if small else None
        if patch is not None:
            if self.patch_size is not None:
                raise BadInput("stem small sets the patches", field="patch_size", allowed="null")
            options["patch_size"] = patch
        net = _create(self.architecture, options)
        if small and patch is None:
            _stem.small_convolution(net)
        return _with_dropout_layer(net, self.architecture, facts.classifier)


def _timm() -> Any:
    return imported("timm", "timm")


@cache
def _names() -> tuple[str, ...]:
    return tuple(_timm().list_models())


def _facts(architecture: str) -> Any:
    """timm's own description: ``input_size``, ``fixed_input_size``, ``classifier``."""
    return _timm().get_pretrained_cfg(architecture)


def _create(architecture: str, options: Mapping[str, Any]) -> nn.Module:
    """timm's module; an option that the architecture has no argument for is a ``BadInput``."""
    given = {name: value for name, value in options.items() if value is not None}
    try:
        net: nn.Module = _timm().create_model(architecture, pretrained=False, **given)
    except TypeError as error:
        for field in ("patch_size", "window_size"):
            if field in str(error) and field in given:
                raise BadInput("it has a fixed one or none", field=field, allowed="null") from None
        raise
    return net


@cache
def _small_patch(architecture: str) -> int | None:
    """Side of the patches of ``stem: small``; None where the stem is an ordinary convolution."""
    import torch

    from ddbench.networks import _stem

    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        _, conv = _stem.first_convolution(_create(architecture, {}))
    return _stem.small_patch(conv) if _stem.cuts_patches(conv) else None


def _with_dropout_layer(
    net: nn.Module, architecture: str, classifier: str
) -> tuple[nn.Module, str]:
    """The module and its classifier's name, with a dropout that is a layer like all others."""
    from torch import nn

    if not architecture.startswith(_DROPOUT_IS_A_FUNCTION):
        return net, classifier
    found: Any = net
    dropout, found.drop_rate = nn.Dropout(found.drop_rate), 0.0
    net.set_submodule(classifier, nn.Sequential(dropout, net.get_submodule(classifier)))
    return net, f"{classifier}.1"


NETWORK = Timm
