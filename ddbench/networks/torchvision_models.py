"""``torchvision:NAME``: the classification models of torchvision, without weights.

Refused are those without a linear classifier with bias on an embedding (``squeezenet``,
``maxvit_t``). ``googlenet`` and ``inception_v3`` are built without their auxiliary classifiers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from ddbench.errors import BadInput
from ddbench.networks import Shape
from ddbench.networks._library import LibraryNetwork, imported

if TYPE_CHECKING:
    from torch import nn

_WITHOUT_AUXILIARIES = {"aux_logits": False, "init_weights": True}
_OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": _WITHOUT_AUXILIARIES, "inception_v3": _WITHOUT_AUXILIARIES,
}  # fmt: skip


class Torchvision(LibraryNetwork):
    """An architecture of ``torchvision.models``.

    Whatever the library has no argument for is made after its constructor: a first convolution for
    other than 3 channels, for ``stem: small`` or for the patches of Swin and ConvNeXt starts by
    PyTorch's default. ``--toy`` takes ``shufflenet_v2_x0_5``, the smallest.
    """

    library: ClassVar[str] = "torchvision"
    examples: ClassVar[tuple[str, ...]] = tuple(
        f"torchvision:{name}"
        for name in ("resnet18", "resnet50", "mobilenet_v2", "shufflenet_v2_x0_5",
                     "efficientnet_b0", "convnext_tiny", "swin_t", "vit_b_16")
    )  # fmt: skip

    def narrow(self) -> Torchvision:
        return Torchvision(
            name="torchvision:shufflenet_v2_x0_5", stem=self.stem, image_size=self.image_size
        )

    def known(self) -> Sequence[str]:
        return tuple(_models().list_models(module=_models()))

    def own_size(self) -> int:
        return 299 if self.architecture == "inception_v3" else 224

    def make(self, shape: Shape, classes: int) -> tuple[nn.Module, str]:
        from torch import nn

        from ddbench.networks import _stem

        if self.architecture.startswith("vit_"):
            net = self._vision_transformer(shape, classes)
        else:
            net = self._create(classes)
            self._adapt_stem(net)
        _, conv = _stem.first_convolution(net)
        if shape[0] != conv.in_channels:
            _stem.replace(net, channels=shape[0])
        linear = [name for name, layer in net.named_modules() if isinstance(layer, nn.Linear)]
        if not linear:
            raise BadInput("it has no linear classifier")
        return net, linear[-1]

    def _create(self, classes: int) -> nn.Module:
        options = _OPTIONS.get(self.architecture, {})
        net: nn.Module = _models().get_model(
            self.architecture, weights=None, num_classes=classes, **options
        )
        return net

    def _adapt_stem(self, net: nn.Module) -> None:
        from ddbench.networks import _stem

        _, conv = _stem.first_convolution(net)
        patches = _stem.cuts_patches(conv)
        if self.patch_size is not None and not patches:
            raise BadInput("it does not cut patches", field="patch_size", allowed="null")
        side = self._patch(conv)
        if patches and side != conv.kernel_size[0]:
            _stem.replace(net, kernel=side, stride=side)
        elif self.stem == "small":
            _stem.small_convolution(net)

    def _patch(self, conv: nn.Conv2d) -> int:
        """Side of the patches, for the library's convolution that cuts them."""
        from ddbench.networks import _stem

        if self.stem == "original":
            return self.patch_size or conv.kernel_size[0]
        if self.patch_size is not None:
            raise BadInput("stem small sets the patches", field="patch_size", allowed="null")
        return _stem.small_patch(conv)

    def _vision_transformer(self, shape: Shape, classes: int) -> nn.Module:
        """A ViT for this size of images and patches, which enter its parameters."""
        import torch

        with torch.device("meta"):
            made: Any = self._create(classes)
        layers = made.encoder.layers
        net: nn.Module = _models().VisionTransformer(
            image_size=shape[1], patch_size=self._patch(made.conv_proj), num_layers=len(layers),
            num_heads=layers[0].num_heads, hidden_dim=made.hidden_dim, mlp_dim=made.mlp_dim,
            num_classes=classes,
        )  # fmt: skip
        return net


def _models() -> Any:
    return imported("torchvision", "torchvision.models")


NETWORK = Torchvision
