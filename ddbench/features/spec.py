"""The ``features`` block of a recipe, and its counterpart in ``evaluation``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ddbench.errors import BadInput
from ddbench.networks import Layer, Network, Shape
from ddbench.spec import Spec


class FeatureInit(Spec):
    """Where F starts: from features of a network trained on the real data, noise, or a file."""

    source: Literal["network", "noise", "file"] = Field(
        "network", description="network: its features; noise: N(0, 1); file: an imported set's own"
    )
    network: str | None = Field(None, description="the network trained; null = the recipe's own")
    epochs: int = Field(1, ge=0, le=10_000, description="epochs on the real training part")
    lr: float = Field(0.01, gt=0, le=100, description="SGD learning rate")
    momentum: float = Field(0.0, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0, le=1)
    batch_size: int = Field(256, ge=1)
    augment: str | None = Field(None, description="DSA strategy while it trains; null = none")
    path: str | None = Field(None, description="result file to take F from; null = the set's own")


class ContrastSpec(Spec):
    """Supervised contrast on F (Khosla et al., 2020), added to the F update once."""

    weight: float = Field(0.0, ge=0)
    temperature: float = Field(0.07, gt=0)
    variant: Literal["per_image", "channels_as_views"] = "per_image"
    mode: Literal["all", "one"] = "all"


class BudgetSpec(Spec):
    """Equal storage: the set must not take more bytes than plain images at ``ipc_ref``."""

    ipc_ref: int | None = Field(None, ge=1)
    enforce: Literal["off", "warn", "error"] = "warn"


class FeatureSpec(Spec):
    """F and how it is learned and used. Every default is the reference's or the paper's."""

    layer: Layer = Field("last", description="block whose map F labels: 1..depth, or last")
    item: Literal["full", "channel", "spatial"] = Field(
        "channel", description="the whole map, one value per channel, or one per position"
    )
    pool: Literal["avg", "max", "sum"] = Field("avg", description="how channel items are pooled")
    granularity: Literal["per_image", "per_class"] = "per_image"
    n_feat: int = Field(1, ge=1, le=16, description="M, features per image or class")
    use: Literal["mean", "random", "best"] = Field(
        "mean", description="of M features: their mean, one at random per batch, the best fitting"
    )
    metric: Literal["mse", "cosine", "mmd_rbf", "mmd_gauss"] = "mse"
    normalize: bool = Field(False, description="L2-normalise both sides over channels")
    lambda_reg: float = Field(0.01, ge=0, description="weight of the feature term")
    lambda_task: float = Field(
        0.0, ge=0, description="weight of CE(C(F), y) when F is learned; C is detached"
    )
    source: Literal["init", "matching", "second_stage"] | None = Field(
        None, description="null = matching where the method trains on the set, else init"
    )
    update: Literal["alternate", "joint"] | None = Field(
        None, description="null = alternate for gradient matching, joint for trajectories"
    )
    update_images: bool = Field(True, description="false = x stays as initialised")
    init: FeatureInit = FeatureInit()
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: float = Field(0.1, gt=0, description="learning rate of F")
    momentum: float = Field(0.5, ge=0, lt=1, description="one buffer per feature set")
    weight_decay: float = Field(0.0, ge=0)
    match_params: Literal["encoder", "all"] = Field(
        "encoder", description="parameters whose gradients are compared while F is learned"
    )
    contrast: ContrastSpec = ContrastSpec()
    align: Literal["none", "flip", "geometric"] = Field(
        "none", description="transform F with x under augmentation"
    )
    dtype: Literal["float32", "float16", "uint8_affine"] = "float32"
    budget: BudgetSpec = BudgetSpec()

    @model_validator(mode="after")
    def _check(self) -> FeatureSpec:
        if self.init.path is not None and self.init.source != "file":
            raise BadInput(
                f"found {self.init.path!r} with source '{self.init.source}'", field="init.path",
                allowed="a path only when source is file",
            )  # fmt: skip
        if self.item != "channel" and self.pool != "avg":
            raise BadInput(f"found '{self.pool}' with item '{self.item}'", field="pool",
                           allowed="avg (max and sum pool channel items)")  # fmt: skip
        if self.item == "channel" and self.align != "none":
            raise BadInput(f"found '{self.align}' with item 'channel'", field="align",
                           allowed="none (a channel item has no positions)")  # fmt: skip
        if self.align != "none":
            raise BadInput(f"'{self.align}' is not built in this version", field="align",
                           allowed="none")  # fmt: skip
        if self.use == "best" and (self.lambda_task == 0 or self.n_feat == 1):
            raise BadInput("found 'best'", field="use",
                           allowed="best only with lambda_task > 0 and n_feat > 1")  # fmt: skip
        return self

    @property
    def learns(self) -> bool:
        """Whether a gradient step can move F at all."""
        return self.lambda_reg > 0 or self.lambda_task > 0 or self.contrast.weight > 0

    def item_shape(self, network: Network, shape: Shape) -> tuple[int, int, int]:
        """Shape of one stored F item; raises ``BadInput`` for a layer the network lacks."""
        try:
            layer = network.layer_index(self.layer, shape)
        except BadInput as error:
            raise error.at(prefix="layer") from None
        c, h, w = network.feature_shapes(shape)[layer - 1]
        return {"full": (c, h, w), "channel": (c, 1, 1), "spatial": (1, h, w)}[self.item]


class EvaluationFeatures(Spec):
    """How a protocol uses F: with it, without it, or both as separate arms."""

    use: Literal["with", "without", "both"] = "both"
    lambda_: float | None = Field(
        None, alias="lambda", ge=0, description="null = the lambda_reg that F was made with"
    )
    on_mismatch: Literal["skip", "error"] = Field(
        "skip", description="another architecture's map differs from F: train without, or fail"
    )
