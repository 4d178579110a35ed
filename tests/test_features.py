"""F: the reference's numbers, the formulas themselves, and what must hold of every run with F."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parity import (
    CPU,
    Array,
    Golden,
    Replay,
    Tolerance,
    arrays,
    convnet,
    drupi,
    engine,
    groups,
    image_shape,
    member,
    module_of,
    real_data,
    stack_of,
    tensor,
)
from torch import Tensor
from torch.nn import functional as fn
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ddbench import data as real
from ddbench import networks, runner, store
from ddbench.arms import Arm, StoredFeatures, arms_of
from ddbench.augment.dsa import DSA
from ddbench.data import RealData
from ddbench.datasets import DatasetSpec
from ddbench.distilled import DistilledSet, Space
from ddbench.errors import BadInput
from ddbench.evaluation import Target, score
from ddbench.features import EvaluationFeatures, FeatureSpec
from ddbench.features.budget import label_bits, neutral_ipc, set_size
from ddbench.features.contrast import contrast_term, supervised_contrast
from ddbench.features.metrics import METRICS
from ddbench.features.source import initial_features
from ddbench.features.spec import ContrastSpec
from ddbench.features.transform import combine, pool, tile, transform
from ddbench.matching.gradients import GradientMatching
from ddbench.methods import TrainedOn
from ddbench.networks import Network
from ddbench.objective import Batch, FeatureTerm, SyntheticLoss, examples_of
from ddbench.protocols import Plan
from ddbench.randomness import Streams
from ddbench.recipe import Recipe
from ddbench.stack import Stack, create
from ddbench.store import EvaluationRecord
from ddbench.synthetic import SyntheticVariables, View
from ddbench.trained import feature_maps, trained
from ddbench.training import Draws, OptimizerSpec, predict, train

DTYPES = [torch.float64, torch.float32]
both_dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=str)
POOLS: dict[str, dict[str, str]] = {
    "avg": {"item": "channel", "pool": "avg"},
    "max": {"item": "channel", "pool": "max"},
    "sum": {"item": "channel", "pool": "sum"},
    "spatial": {"item": "spatial"},
}


def by_image(F: Array, dtype: torch.dtype) -> Tensor:
    """F of the reference [M, N, c, h, w] as ours, [N, M, c, h, w]."""
    return tensor(F, dtype).transpose(0, 1).contiguous()


# --- maps, items, heads ------------------------------------------------------------------------


def closed_form(shape: tuple[int, ...], index: int) -> Array:
    fan_in = math.prod(shape[1:])
    j = np.arange(math.prod(shape)).reshape(shape)
    return np.asarray(0.1 * np.sin(0.37 * index + 0.11 * j) / math.sqrt(fan_in))


@pytest.mark.golden
@both_dtypes
def test_golden_maps_items_and_heads(golden: Callable[[str], Golden], dtype: torch.dtype) -> None:
    data = golden("drupi/features.npz")
    close = drupi(dtype, 1e-7)
    for net in groups(data, "depth"):
        params = arrays(data, f"{net}/param")
        for index, stored in enumerate(params):
            np.testing.assert_allclose(closed_form(stored.shape, index), stored, atol=1e-12)
        network, x = convnet(params), tensor(data[f"{net}/x"], dtype)
        shape, depth = image_shape(x), int(data[f"{net}/depth"])
        assert len(network.feature_shapes(shape)) == depth
        stack = stack_of([params], network, shape, dtype)
        with torch.no_grad():
            close.check(stack(x[:, None]).logits[:, 0], data[f"{net}/logits"], f"{net} logits")
            check_maps(data, net, stack, network, x, close)
            check_heads(data, net, stack, dtype, close)
        for layer in (0, depth + 1):  # the reference takes both for another map
            with pytest.raises(BadInput, match="no layer"):
                network.layer_index(layer, shape)


def check_maps(
    data: Golden, net: str, stack: Stack, network: Network, x: Tensor, close: Tolerance
) -> None:
    start = f"{net}/features/"
    stored = [key.removeprefix(start) for key in data.files if key.startswith(start)]
    for layer in (name for name in stored if not name.endswith("_reference")):
        asked: Any = "last" if layer == "none" else int(layer[1:])
        index = network.layer_index(asked, image_shape(x))
        feature = stack(x[:, None], layer=index).feature
        assert feature is not None
        close.check(feature[:, 0], data[f"{start}{layer}"], f"{net} {layer}")
        (maps,) = feature_maps(stack, x, index, len(x))
        assert torch.equal(maps, feature)
        for how, options in POOLS.items():
            wanted = data[f"{net}/pooled/{layer}/{how}"]
            item = pool(feature[:, 0], **_pool_arguments(options))
            close.check(item, wanted, f"{net} {layer} {how}")


def _pool_arguments(options: dict[str, str]) -> dict[str, str]:
    return {"item": options["item"], "how": options.get("pool", "avg")}


def check_heads(data: Golden, net: str, stack: Stack, dtype: torch.dtype, close: Tolerance) -> None:
    depth = len(stack.feature_shapes)
    F = tensor(data[f"{net}/F"], dtype)[:, None]
    close.check(stack.head(F, depth)[:, 0], data[f"{net}/head/network_advised"], f"{net} head")
    start = f"{net}/head/network_"
    for key in (key for key in data.files if key.startswith(start)):
        name = key.removeprefix(start)
        if name.startswith("from_l"):
            layer = int(name.removeprefix("from_l"))
            logits = stack.head(tensor(data[f"{net}/F_l{layer}"], dtype)[:, None], layer)
            close.check(logits[:, 0], data[key], f"{net} head {name}")
        elif name.startswith("tiled_"):
            options = POOLS[name.removeprefix("tiled_").removesuffix("_advised")]
            items = pool(F, **_pool_arguments(options))
            logits = stack.head(tile(items, stack.feature_shapes[-1]), depth)
            close.check(logits[:, 0], data[key], f"{net} head {name}")


# --- the loss ----------------------------------------------------------------------------------


def spec_of_words(words: list[str], **fields: Any) -> FeatureSpec:
    """The ``features`` block that a variant's name describes."""
    options: dict[str, Any] = {"item": "full"}
    for word in words:
        if word.removeprefix("stored") in POOLS:
            options.update(POOLS[word.removeprefix("stored")])
        elif word.startswith("layer"):
            options["layer"] = int(word.removeprefix("layer"))
    options["normalize"] = "norm" in words
    return FeatureSpec.parse({**options, **fields})


def loss_of_variant(
    data: Golden, variant: str, dtype: torch.dtype
) -> tuple[SyntheticLoss, Batch, Stack]:
    """One batch of the stored set under the loss that the variant's name describes."""
    words = variant.removesuffix("_advised").split("_")
    params, x = arrays(data, "param"), tensor(data["x"], dtype)
    network, shape = convnet(params), image_shape(data["x"])
    soft = "y_logits" in data.files
    y = tensor(data["y_logits" if soft else "y"], dtype)
    metric = next((name for name in METRICS if name in variant), "mse")
    layered = [word for word in words if word.startswith("layer")]
    stored = by_image(data[f"F_l{layered[0][5:]}" if layered else "F"], dtype)
    F = stored if "k3" in words else stored[:, :1]
    use = next((word for word in words if word in ("best", "random")), "mean")
    pooled = spec_of_words(words)
    if any(word.startswith("stored") for word in words):
        F = pool(F, pooled.item, pooled.pool)
    spec = pooled.model_copy(update={"metric": metric, "use": use, "n_feat": F.shape[1]})
    weight = 0.0 if "lambda0" in words else float(data["lambda_reg"])
    term = FeatureTerm(spec, network.layer_index(spec.layer, shape), weight)
    data_set = DistilledSet(
        x, y, Space("unit"), "logit" if soft else "index", F=F, features={"item": spec.item}
    )
    best = int(data["best_index"]) if use == "best" else None
    choice = torch.tensor([int(data["random_index"])]) if use == "random" else None
    smoothing = float(data["label_smoothing"]) if "smooth" in words else 0.0
    batch = examples_of(data_set, term, best).batch(torch.arange(len(x))[:, None], choice)
    stack = stack_of([params], network, shape, dtype)
    return SyntheticLoss(data_set.kind, smoothing, term), batch, stack


def check_loss(data: Golden, variant: str, dtype: torch.dtype, close: Tolerance) -> None:
    loss, batch, stack = loss_of_variant(data, variant, dtype)
    value = loss(stack, batch)
    close.check(value[0], data[f"{variant}/loss"], f"{variant} loss")
    gradients = torch.autograd.grad(value.sum(), list(stack.params.values()))
    close.check_all(
        [g[0] for g in gradients], arrays(data, f"{variant}/grad"), f"{variant} gradient"
    )
    if f"{variant}/ce" in data.files:
        plain = replace(loss, term=None)(stack, batch)
        close.check(plain[0], data[f"{variant}/ce"], f"{variant} CE")
    if f"{variant}/reg" in data.files:
        assert loss.term is not None and batch.targets is not None
        feature = stack(batch.x, layer=loss.term.layer).feature
        assert feature is not None
        unweighted = replace(loss.term, weight=1.0)(feature, batch.targets, None)
        close.check(unweighted[0], data[f"{variant}/reg"], f"{variant} feature term")


@pytest.mark.golden
@both_dtypes
def test_golden_losses_and_gradients(golden: Callable[[str], Golden], dtype: torch.dtype) -> None:
    data = golden("drupi/eval_loss.npz")
    variants = groups(data, "loss")
    assert variants
    for variant in variants:
        check_loss(data, variant, dtype, drupi(dtype, 5e-6 if "sum" in variant else 2e-6))


@pytest.mark.golden
@both_dtypes
def test_golden_losses_on_soft_labels(golden: Callable[[str], Golden], dtype: torch.dtype) -> None:
    data = golden("drupi/eval_loss_soft.npz")
    variants = [variant for variant in groups(data, "loss") if variant.endswith("_advised")]
    assert variants  # the reference's own pulls all images to the mean F of the batch
    for variant in variants:
        check_loss(data, variant, dtype, drupi(dtype, 2e-7))


@pytest.mark.golden
@both_dtypes
def test_golden_metrics(golden: Callable[[str], Golden], dtype: torch.dtype) -> None:
    data = golden("drupi/metrics.npz")
    close = drupi(dtype, 5e-6)
    checked = set()
    for case in groups(data, "value"):
        name = case.removesuffix("_scaled")
        if name not in METRICS:
            continue  # the multi-scale MMD, which no setting of the reference reaches
        factor = float(data["scale"]) if case.endswith("_scaled") else 1.0
        a, b = ((tensor(data[k], dtype) * factor)[:, None].requires_grad_() for k in ("a", "b"))
        value = METRICS[name](a, b, None)
        gradients = torch.autograd.grad(value.sum(), (a, b))
        close.check(value[0], data[f"{case}/value"], f"{case}")
        for gradient, which in zip(gradients, ("a", "b"), strict=True):
            close.check(gradient[:, 0], data[f"{case}/grad_{which}"], f"{case} {which}")
        checked.add(name)
    assert checked == set(METRICS)


# InfoNCE (``infonce/...`` of the same file) is left out: in the reference it is a Python number
# without a gradient for ten hard-wired classes, so it teaches F nothing, and no setting here asks
# for it.
@pytest.mark.golden
@both_dtypes
def test_golden_contrast(golden: Callable[[str], Golden], dtype: torch.dtype) -> None:
    data = golden("drupi/contrast.npz")
    close = drupi(dtype, 1e-5)
    temperature = float(data["temperature"])
    share = temperature / float(data["base_temperature"])
    cases = [case for case in groups(data, "loss") if "/" not in case]
    assert cases
    for case in cases:
        labels = tensor(data["y_single" if "single" in case else "y"])
        views = case.startswith("supcon_")
        spec = ContrastSpec(
            temperature=temperature, variant="channels_as_views" if views else "per_image",
            mode="one" if case.endswith("_one") else "all",
        )  # fmt: skip
        F = tensor(data["F"], dtype).requires_grad_()
        value = contrast_term(F, labels, spec) * share
        (gradient,) = torch.autograd.grad(value, F)
        close.check(value, data[f"{case}/loss"], case)
        close.check(gradient, data[f"{case}/grad_F"], f"{case} gradient")
        if views:
            unit = tensor(data["normalized"], dtype).requires_grad_()
            close.check(fn.normalize(F, dim=1), data["normalized"], "normalised map")
            vectors = unit.flatten(2).transpose(0, 1).flatten(0, 1)
            anchors = len(F) if spec.mode == "one" else None
            value = share * supervised_contrast(
                vectors, labels.repeat(F.shape[1]), temperature, anchors
            )
            (gradient,) = torch.autograd.grad(value, unit)
            close.check(gradient, data[f"{case}/grad_normalized"], f"{case} in the unit map")
        else:
            vectors = fn.normalize(F.mean((-2, -1)), dim=1)
            close.check(vectors, data[f"{case}/vectors"], f"{case} vectors")


# --- learning F by gradient matching -----------------------------------------------------------

_WORDS = {"nohead", "head", "frozen", "update", "channel", "channelmax", "spatial", "norm",
          "metric", "mse", "cos", "adam", "advised"}  # fmt: skip


class Variant:
    """One recorded variant of the x and F steps, its settings read from its name."""

    def __init__(self, data: Golden, name: str, dtype: torch.dtype, feature_set: int | None = None):
        self.data, self.name, self.dtype = data, name, dtype
        words = name.split("_")
        layer = next((int(w[5:]) for w in words if w.startswith("layer")), None)
        unknown = [w for w in words if w not in _WORDS and not w.startswith("layer")]
        assert feature_set is not None or not unknown, f"unknown variant {name}"
        self.tolerance = drupi(dtype, 5e-6 if "adam" in words else 1e-6)
        self.updates_images = f"{name}/x_after/0" in data.files
        self.spec = FeatureSpec.parse({
            **self._item(words), "layer": layer or "last", "normalize": "norm" in words,
            "lambda_reg": float(data["lambda_reg"]),
            "lambda_task": float(data["lambda_task"]) if "head" in words else 0.0,
            "update_images": self.updates_images,
            "optimizer": "adam" if "adam" in words else "sgd",
            "lr": float(data["lr_feat"]), "momentum": float(data["momentum"]),
        })  # fmt: skip
        stored = data[self._stored(words, layer)]
        first = feature_set or 0
        self.F = by_image(stored[first : first + 1], dtype)
        self.distance = words[words.index("metric") + 1] if "metric" in words else "ours"
        self.params = arrays(data, "param")
        self.network = convnet(self.params)
        self._build()

    @staticmethod
    def _item(words: list[str]) -> dict[str, str]:
        if "channel" in words or "channelmax" in words:
            return POOLS["max" if "channelmax" in words else "avg"]
        return POOLS["spatial"] if "spatial" in words else {"item": "full"}

    @staticmethod
    def _stored(words: list[str], layer: int | None) -> str:
        if layer is not None:
            return f"F_l{layer}"
        pooled = [w.removesuffix("max") for w in words if w.removesuffix("max") == "channel"]
        return "F_channel" if pooled else "F_spatial" if "spatial" in words else "F"

    def _build(self) -> None:
        """A task whose real batches are the recorded ones, and the variables of the start."""
        data, x = self.data, tensor(self.data["x"], self.dtype)
        shape, classes, ipc = image_shape(x), int(data["classes"]), int(data["ipc"])
        batches = [tensor(data[f"real_{which}_step"], self.dtype) for which in ("x", "F")]
        recorded, parts, start = {}, [], 0
        for purpose, batch in zip(("images", "features"), batches, strict=True):
            rows = torch.arange(batch[..., 0, 0, 0].numel()).view(batch.shape[:3])
            for step, index in enumerate(rows):
                recorded[purpose, step] = start + index.T
            start += rows.numel()
            parts.append(batch.flatten(0, 2))
        labels = torch.arange(classes).repeat_interleave(batches[0].shape[2])
        y = labels.repeat(sum(len(batch) for batch in batches))
        self.steps = len(batches[0])
        self.task = Replay(
            ipc, real_data(torch.cat(parts), y, classes), self.network, Streams(0, CPU),
            engine(ipc), recorded=recorded,
        )  # fmt: skip
        start_set = DistilledSet(
            x, tensor(data["y"]), Space("unit"), F=self.F, features={"item": self.spec.item}
        )
        self.term = FeatureTerm(
            self.spec, self.network.layer_index(self.spec.layer, shape), self.spec.lambda_reg
        )
        self.variables = SyntheticVariables(
            start_set, ipc, lr=float(data["lr_img"]), momentum=float(data["momentum"]),
            features=self.spec, term=self.term,
        )  # fmt: skip
        self.task.variables = self.variables
        self.stack = stack_of([self.params], self.network, shape, self.dtype)
        self.matching = GradientMatching(self.task, self.distance, batch_real=1)

    def step(self, number: int) -> dict[str, Any]:
        """One step of everything that is learned: parts, task terms and gradients by purpose."""
        seen: dict[str, Any] = {"images": [], "features": [], "fits": [], "gradients": []}

        def match(view: View) -> Iterator[Tensor]:
            def note(fit: Tensor) -> None:
                seen["fits"].append(fit.detach())
                view.record_fit(fit)

            watched = replace(view, record_fit=note)
            for part in self.matching.losses(self.stack, watched, 0, number):
                seen[view.purpose].append(part.detach())
                yield part

        def before_step(optimizer: torch.optim.Optimizer, *_: object) -> None:
            leaves = optimizer.param_groups[0]["params"]
            seen["gradients"] += [p.grad.clone() for p in leaves if p.grad is not None]

        handle = register_optimizer_step_pre_hook(before_step)
        try:
            self.variables.step(match)
        finally:
            handle.remove()
        return seen

    def image_parts(self, number: int) -> list[Tensor]:
        """Matching values of the images as they are, without a step."""
        view = View("images", self.variables.x, self.task.ipc, SyntheticLoss())
        return [p.detach() for p in self.matching.losses(self.stack, view, 0, number)]


def check_variant(variant: Variant) -> None:
    data, name, close = variant.data, variant.name, variant.tolerance

    def check(found: Tensor, what: str, step: int) -> None:
        close.check(found, data[f"{name}/{what}/{step}"], f"{name} {what} {step}")

    assert len(variant.stack.encoder) == int(data["encoder_params"])
    for step in range(variant.steps):
        frozen_parts = variant.image_parts(step)
        seen = variant.step(step)
        if f"{name}/x_match/{step}" in data.files:
            check(torch.stack(frozen_parts), "x_match", step)
        if variant.updates_images:
            check(torch.stack(seen["images"]), "x_match", step)
            check(seen["gradients"][0], "x_grad", step)
            check(variant.variables.x, "x_after", step)
        else:
            assert not seen["images"]
            assert torch.equal(variant.variables.x, tensor(data["x"], variant.dtype))
        parts = torch.stack(seen["features"])
        check(parts.sum()[None], "F_loss", step)
        fits = torch.cat(seen["fits"]) * variant.spec.lambda_task if seen["fits"] else 0
        check((parts - fits)[None], "F_match", step)
        check(seen["gradients"][-1][None, None], "F_grad", step)
        check(torch.stack(variant.variables.F), "F_after", step)


def is_several(name: str) -> bool:
    """Whether a variant learns several feature sets (``k3_...``)."""
    return re.match(r"k\d", name) is not None


@pytest.mark.golden
@both_dtypes
def test_golden_steps_of_images_and_features(
    golden: Callable[[str], Golden], dtype: torch.dtype
) -> None:
    torch.set_num_threads(1)
    data = golden("drupi/dc_f_step.npz")
    names = [
        n for n in groups(data, "F_match/0") if not n.endswith("_reference") and not is_several(n)
    ]
    assert names
    for name in names:
        check_variant(Variant(data, name, dtype))


@pytest.mark.golden
@both_dtypes
def test_golden_feature_sets_have_their_own_momentum(
    golden: Callable[[str], Golden], dtype: torch.dtype
) -> None:
    data = golden("drupi/dc_f_step.npz")
    name = next(n for n in groups(data, "F_after/0") if n.endswith("_separate"))
    start = f"{name}/F_after/"
    wanted = {int(k.removeprefix(start)): data[k] for k in data.files if k.startswith(start)}
    assert sorted(wanted) == list(range(len(data["F"])))
    close = drupi(dtype, 1e-6)
    together = Variant(data, name, dtype, feature_set=0)
    together.spec = together.spec.model_copy(update={"n_feat": len(wanted)})
    together.F = by_image(data["F"], dtype)
    together._build()
    for step in range(together.steps):
        together.step(step)
    for number, target in wanted.items():
        alone = Variant(data, name, dtype, feature_set=number)
        for step in range(alone.steps):
            alone.step(step)
        close.check(torch.stack(alone.variables.F), target, f"set {number} alone")
        close.check(together.variables.F[number][None], target, f"set {number} of all")


@pytest.mark.golden
@both_dtypes
def test_golden_initial_features(golden: Callable[[str], Golden], dtype: torch.dtype) -> None:
    torch.set_num_threads(1)
    data = golden("drupi/f_init.npz")
    close = drupi(dtype, 1e-6)
    starts = [arrays(data, f"init{k}/param") for k in range(int(data["n_feat"]))]
    x, images = tensor(data["x"], dtype), tensor(data["real_images"], dtype)
    network = convnet(starts[0])
    stack = stack_of(starts, network, image_shape(x), dtype)
    batches = -(-len(images) // int(data["batch_size"]))
    assert batches == int(data["steps"])
    examples = examples_of(DistilledSet(images, tensor(data["real_labels"]), Space("unit")), None)
    loss = train(
        stack, examples, SyntheticLoss(), OptimizerSpec(float(data["lr"])),
        iter([tensor(data["orders"]).T]), batch_size=int(data["batch_size"]),
    )  # fmt: skip
    close.check(loss, data["epoch_loss"], "loss of the epoch")
    for k in range(len(starts)):
        close.check_all(member(stack, k), arrays(data, f"trained{k}/param"), f"network {k}")
    for name, layer, item, how in (
        ("F_full", "last", "full", "avg"), ("F_avg", "last", "channel", "avg"),
        ("F_max_advised", "last", "channel", "max"), ("F_layer1", 1, "full", "avg"),
    ):  # fmt: skip
        index = network.layer_index(layer, image_shape(x))  # type: ignore[arg-type]
        maps = torch.cat(list(feature_maps(stack, x, index, chunk=4)))
        close.check(pool(maps, item, how).transpose(0, 1), data[name], name)


# --- storage -----------------------------------------------------------------------------------


@pytest.mark.golden
def test_golden_budgets(golden: Callable[[str], Golden]) -> None:
    data = golden("drupi/budget.npz")
    for table in ("table", "extra"):
        for c, h, w, item, n_feat, reference, per_class, wanted in data[table].tolist():
            found = neutral_ipc(reference, (c, h, w), n_feat * item, per_class=bool(per_class))
            assert found == wanted, (table, c, h, w, item, n_feat, reference, per_class)
    rows = zip(data["bytes_in"].tolist(), data["bytes_out"].tolist(), strict=True)
    for (classes, ipc, x, F, x_bytes, F_bytes, y_bytes, reference), wanted in rows:
        used = set_size(
            classes, ipc, (x,), feature_values=F, image_bytes=x_bytes, feature_bytes=F_bytes,
            soft_label_bytes=y_bytes,
        )  # fmt: skip
        limit = set_size(classes, reference, (x,), image_bytes=x_bytes)
        equivalents = used.total / (x * x_bytes) / classes
        bytes_out = [used.total, limit.total, float(used.total <= limit.total), equivalents]
        assert bytes_out == pytest.approx(wanted, rel=1e-12), (classes, ipc, x, F)


def test_acceptance_6_budget_neutral_images_per_class() -> None:
    cifar = (3, 32, 32)
    assert neutral_ipc(10, cifar, 128) == 9
    assert neutral_ipc(50, cifar, 128) == 48
    assert neutral_ipc(50, cifar, 16) == 49
    assert neutral_ipc(10, cifar, 2048) == 6
    assert neutral_ipc(50, cifar, 2048) == 30
    assert neutral_ipc(1, cifar, 1) == 0  # at IPC 1 F never fits


@pytest.mark.parametrize(
    ("classes", "bits"), [(2, 1), (3, 2), (4, 2), (10, 4), (16, 4), (17, 5), (100, 7), (1000, 10)]
)
def test_a_hard_label_takes_the_bits_that_tell_the_classes_apart(classes: int, bits: int) -> None:
    assert label_bits(classes) == bits
    assert set_size(classes, 8, (1,)).labels == classes * bits


@pytest.mark.parametrize("how", POOLS)
def test_initial_features_are_items_of_trained_networks_or_their_class_means(
    digits: RealData, how: str
) -> None:
    network, streams = tiny_network(), Streams(0, CPU)
    source = TrainedOn(network=network, epochs=1, lr=0.01, members=2)
    per_image = FeatureSpec.parse({**POOLS[how], "n_feat": 2, "layer": 1})
    per_class = per_image.model_copy(update={"granularity": "per_class"})
    x = digits.x_test[:7]

    def initial(spec: FeatureSpec, images: Tensor) -> Tensor:
        return initial_features(spec, network, source, images, digits, streams, chunk=4)

    found, prototypes = initial(per_image, x), initial(per_class, x)
    networks_ = trained(source, digits, streams)
    for k in range(2):
        module = module_of([p.numpy() for p in member(networks_, k)], network, SHAPE, torch.float32)
        with torch.no_grad():
            for images, features in ((x, found), (digits.x_train, None)):
                maps = module.eval().features(images, 1).double().numpy()
                options = POOLS[how]
                items = looped_item(maps, options["item"], options.get("pool", "avg"), False)
                if features is not None:
                    np.testing.assert_allclose(features[:, k], items, rtol=1e-5, atol=1e-6)
        labels = digits.y_train.numpy()
        means = np.stack([items[labels == label].mean(0) for label in range(10)])
        np.testing.assert_allclose(prototypes[:, k], means, rtol=1e-4, atol=1e-5)


# --- acceptance --------------------------------------------------------------------------------

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def digits() -> RealData:
    """The digits as runs use them."""
    return real.load(DatasetSpec(name="digits"), CPU)


def tiny_network(depth: int = 2, width: int = 4) -> Network:
    return networks.resolve({"name": "ConvNet", "depth": depth, "width": width})


def digits_set(digits: RealData, spec: FeatureSpec, network: Network) -> DistilledSet:
    """Two real images per class with random F of the network's shape."""
    rows = digits.class_index[:, :2].flatten()
    generator = torch.Generator().manual_seed(0)
    item = spec.item_shape(network, digits.shape)
    F = torch.rand(len(rows), spec.n_feat, *item, generator=generator)
    return DistilledSet(
        digits.x_train[rows], digits.y_train[rows], digits.space, F=F,
        features={"item": spec.item},
    )  # fmt: skip


def short_plan(**fields: Any) -> Plan:
    return Plan.parse(
        {"protocol": "test", "repeats": 3, "epochs": 8, "lr": 0.05, "batch_size": 8, **fields}
    )


def scores(data_set: DistilledSet, arm: Arm, digits: RealData) -> list[EvaluationRecord]:
    """What an arm's networks score; only what a seed decides is kept."""
    target = Target(digits.x_test, digits.y_test)
    found = score(data_set, arm, digits, target, range(3), Streams(0, CPU), engine(64), iteration=0)
    return [replace(record, seconds=0.0, evaluation_key="") for record in found]


def same_scores(ours: list[EvaluationRecord], theirs: list[EvaluationRecord]) -> bool:
    pairs = zip(ours, theirs, strict=True)
    return all(
        a.accuracy == b.accuracy
        and a.train_accuracy == b.train_accuracy
        and np.array_equal(a.per_class, b.per_class)
        and a.correct is not None
        and b.correct is not None
        and np.array_equal(a.correct, b.correct)
        for a, b in pairs
    )


def trained_logits(data_set: DistilledSet, term: FeatureTerm | None) -> Tensor:
    """Logits after a short training on a set, the same random numbers every time."""
    streams, members = Streams(0, CPU), (0, 1)
    stack = create(tiny_network(), SHAPE, 10, streams.generators("init", members))
    draws = Draws(streams.generators("order", members), streams.generators("extra", members))
    train(
        stack, examples_of(data_set, term), SyntheticLoss(term=term), OptimizerSpec(0.05, 0.9),
        draws.orders(5, len(data_set)), batch_size=8, draws=draws, augmentation=DSA(),
    )  # fmt: skip
    return predict(stack, data_set.x)


@pytest.mark.parametrize("use", ["mean", "random"])
def test_acceptance_1_evaluation_at_lambda_zero_is_the_one_without_features(
    digits: RealData, use: str
) -> None:
    spec = FeatureSpec.parse({"n_feat": 2, "use": use})
    data_set = digits_set(digits, spec, tiny_network())
    plain = trained_logits(data_set.without_features(), None)
    assert torch.equal(trained_logits(data_set, FeatureTerm(spec, 2, 0.0)), plain)
    assert not torch.equal(trained_logits(data_set, FeatureTerm(spec, 2, 1.0)), plain)
    plan = short_plan(augmentation=DSA())
    arms = [Arm(tiny_network(), plan, spec, 0.0), Arm(tiny_network(), plan)]
    assert same_scores(*(scores(data_set, arm, digits) for arm in arms))


def short_recipe(features: dict[str, Any] | None, init: str) -> Recipe:
    return Recipe.parse({
        "name": "short", "dataset": "digits", "ipc": 2, "features": features,
        "init": {"from": init},
        "network": {"name": "ConvNetD2", "width": 8},
        "method": {"name": "dc", "iterations": 2, "outer_loop": 2, "inner_loop": 2,
                   "batch_real": 8, "batch_train": 8},
    })  # fmt: skip


def distilled(features: dict[str, Any] | None, folder: Path, init: str = "noise") -> DistilledSet:
    outcome = runner.run(
        short_recipe(features, init), 0, folder, device="cpu", stages=("experts", "distill"),
        engine=engine(64),
    )  # fmt: skip
    synthetic = store.read(outcome.path).synthetic
    assert synthetic is not None
    return synthetic


def test_acceptance_1_images_distilled_at_lambda_zero_are_those_without_features(
    tmp_path: Path,
) -> None:
    plain = distilled(None, tmp_path / "plain")
    zero = distilled({"lambda_reg": 0.0, "n_feat": 2}, tmp_path / "zero")
    assert plain.F is None and zero.F is not None and zero.F.shape == (20, 2, 8, 1, 1)
    assert torch.equal(zero.x, plain.x)
    task_only = distilled({"lambda_reg": 0.0, "lambda_task": 0.5}, tmp_path / "task")
    assert torch.equal(task_only.x, plain.x)
    one = distilled({"lambda_reg": 1.0}, tmp_path / "one")
    assert not torch.equal(one.x, plain.x)


def test_learning_moves_features_and_repeats_exactly(tmp_path: Path) -> None:
    spec = {"lambda_reg": 0.1, "lambda_task": 0.1, "n_feat": 2, "use": "best"}
    learned, again = (distilled(spec, tmp_path / name) for name in ("one", "two"))
    start = distilled({**spec, "source": "init", "use": "mean"}, tmp_path / "start")
    assert learned.F is not None and again.F is not None and start.F is not None
    assert torch.equal(learned.F, again.F) and torch.equal(learned.x, again.x)
    assert not torch.equal(start.F, learned.F)


def test_features_on_fixed_images_leave_the_images_as_they_were(
    digits: RealData, tmp_path: Path
) -> None:
    spec = {"lambda_reg": 0.1, "update_images": False}
    fixed = distilled(spec, tmp_path / "fixed", init="real")
    assert fixed.F is not None
    known = {image.numpy().tobytes() for image in digits.x_train}
    assert all(image.numpy().tobytes() in known for image in fixed.x)
    start = distilled({**spec, "lr": 1e-30}, tmp_path / "start", init="real")
    assert start.F is not None
    assert not torch.equal(start.F, fixed.F)


@given(
    batch=st.integers(1, 5), c=st.integers(1, 4), h=st.integers(1, 3), w=st.integers(1, 3),
    weight=st.floats(0.0, 100.0), item=st.sampled_from(["full", "channel", "spatial"]),
    seed=st.integers(0, 2**31),
)  # fmt: skip
def test_acceptance_2_a_distance_of_one_everywhere_costs_exactly_lambda(
    batch: int, c: int, h: int, w: int, weight: float, item: str, seed: int
) -> None:
    term = FeatureTerm(FeatureSpec.parse({"item": item}), 1, weight)
    shape = {"full": (c, h, w), "channel": (c, 1, 1), "spatial": (1, h, w)}[item]
    generator = torch.Generator().manual_seed(seed)
    F = torch.randint(-9, 9, (batch, 1, *shape), generator=generator).double()  # sums are exact
    E = tile(F, (c, h, w)) + 1
    assert term(E, F, None).item() == weight
    uneven = torch.arange(1, batch + 1, dtype=torch.float64)[:, None]
    weighted = term(E, F, uneven / uneven.sum())
    assert weighted.item() == pytest.approx(weight, rel=1e-14)


def test_acceptance_4_the_target_of_an_image_is_its_own() -> None:
    generator = torch.Generator().manual_seed(0)
    F = torch.rand(6, 3, 4, 2, 2, generator=generator)
    data_set = DistilledSet(
        torch.rand(6, *SHAPE, generator=generator), torch.arange(6), Space("unit"), F=F,
        features={"item": "full"},
    )  # fmt: skip
    order = torch.randperm(6, generator=generator)[:, None]
    for use in ("mean", "random"):
        spec = FeatureSpec(item="full", n_feat=3, use=use)
        examples = examples_of(data_set, FeatureTerm(spec, 2, 1.0))
        choice = torch.tensor([1])
        straight = examples.batch(torch.arange(6)[:, None], choice).targets
        permuted = examples.batch(order, choice).targets
        assert straight is not None and permuted is not None
        assert torch.equal(permuted, straight[order[:, 0]])
        assert len({tuple(t.flatten().tolist()) for t in straight}) == 6


def test_one_feature_per_class_serves_all_images_of_the_class() -> None:
    spec = FeatureSpec(granularity="per_class", item="full")
    F = torch.rand(3, 1, 4, 2, 2)
    y = torch.tensor([2, 0, 1, 2])
    settings_ = {"granularity": "per_class"}
    hard = DistilledSet(torch.rand(4, *SHAPE), y, Space("unit"), F=F, features=settings_)
    soft = DistilledSet(
        hard.x, fn.one_hot(y, 3) * 5.0, Space("unit"), "logit", F=F, features=settings_
    )
    for data_set in (hard, soft):
        examples = examples_of(data_set, FeatureTerm(spec, 2, 1.0))
        assert examples.targets is not None and torch.equal(examples.targets, F[y, 0])


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("metric", METRICS)
def test_acceptance_5_the_mean_of_three_sets_equals_one_set_that_is_the_mean(
    digits: RealData, normalize: bool, metric: str
) -> None:
    spec = FeatureSpec.parse(
        {"item": "full", "n_feat": 3, "normalize": normalize, "metric": metric}
    )
    three = digits_set(digits, spec, tiny_network())
    assert three.F is not None
    one = replace(three, F=three.F.mean(1, keepdim=True))
    single = spec.model_copy(update={"n_feat": 1})
    found = trained_logits(three, FeatureTerm(spec, 2, 0.7))
    assert torch.equal(found, trained_logits(one, FeatureTerm(single, 2, 0.7)))


@pytest.mark.parametrize(
    ("name", "shape", "layer", "wanted"),
    [
        ("ConvNetD3", (1, 28, 28), 1, (128, 16, 16)),
        ("ConvNetD3", (3, 32, 32), 2, (128, 8, 8)),
        ("ConvNetD3", (3, 32, 32), "last", (128, 4, 4)),
        ("ConvNetD4", (3, 64, 64), 3, (128, 8, 8)),
        ("ConvNetD3", (3, 64, 64), "last", (128, 8, 8)),
        ("ConvNetD5", (3, 128, 128), 4, (128, 8, 8)),
    ],
)
def test_acceptance_7_item_shapes(
    name: str, shape: networks.Shape, layer: Any, wanted: networks.Shape
) -> None:
    network = networks.resolve(name)
    c, h, w = wanted
    for item, expected in (("full", wanted), ("channel", (c, 1, 1)), ("spatial", (1, h, w))):
        spec = FeatureSpec.parse({"item": item, "layer": layer})
        assert spec.item_shape(network, shape) == expected
    with pytest.raises(BadInput, match="no layer 0"):
        FeatureSpec(layer=0).item_shape(network, shape)
    assert networks.resolve("ConvNetD3").parameter_count((3, 32, 32), 10) == 320_010


def test_acceptance_8_mirrored_views(digits: RealData) -> None:
    x = digits.x_test[:6]
    symmetric = (x + x.flip(-1)) / 2
    stack = stack_for(digits)
    assert torch.equal(predict(stack, symmetric, tta="hflip"), predict(stack, symmetric))
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    for tta in ("hflip", "fivecrop", "hflip5"):
        assert torch.equal(predict(stack, x[order], tta=tta), predict(stack, x, tta=tta)[order])


def stack_for(digits: RealData) -> Stack:
    streams = Streams(0, CPU)
    return create(tiny_network(), digits.shape, 10, streams.generators("init", (0, 1)))


def test_acceptance_9_logits_have_the_same_bits_for_every_request_size(digits: RealData) -> None:
    stack, x = stack_for(digits), digits.x_test[:128]
    wanted = predict(stack, x)
    for size in (1, 7, 33, 128):
        found = torch.cat([predict(stack, part) for part in x.split(size)])
        assert torch.equal(found, wanted), size


@pytest.mark.parametrize("other", [{"depth": 1}, {"depth": 2, "width": 8}, {"depth": 3}])
def test_acceptance_10_a_network_of_another_shape_scores_as_on_the_set_without_features(
    digits: RealData, other: dict[str, int]
) -> None:
    spec = FeatureSpec(item="full", layer=2)
    made_with, network = tiny_network(), tiny_network(**other)
    data_set = digits_set(digits, spec, made_with)
    stored = StoredFeatures(spec, spec.item_shape(made_with, digits.shape))
    same_shape = other == {"depth": 3}  # its layer 2 has the same map
    how = EvaluationFeatures(use="with", on_mismatch="skip")
    (arm,) = arms_of(stored, network, short_plan(), how, digits.shape)
    assert (arm.features is not None) == same_shape
    plain = scores(data_set.without_features(), Arm(network, short_plan()), digits)
    found = scores(data_set, arm, digits)
    assert all(record.used_features == same_shape for record in found)
    if not same_shape:
        assert same_scores(found, plain)
        strict = EvaluationFeatures(use="with", on_mismatch="error")
        with pytest.raises(BadInput, match="F has items"):
            arms_of(stored, network, short_plan(), strict, digits.shape)


# --- the formulas, written a second time -------------------------------------------------------

few = settings(max_examples=40, deadline=None)


def normal(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


@few
@given(
    seed=st.integers(0, 2**31), count=st.integers(2, 7), width=st.integers(1, 4),
    classes=st.integers(1, 4), temperature=st.sampled_from([0.07, 0.5, 2.0]), data=st.data(),
)  # fmt: skip
def test_supervised_contrast_is_its_formula(
    seed: int, count: int, width: int, classes: int, temperature: float, data: st.DataObject
) -> None:
    z, y = normal(seed, count, width), np.random.default_rng(seed).integers(0, classes, count)
    anchors = data.draw(st.integers(1, count))
    total = 0.0
    for a in range(anchors):
        s = [float(z[a] @ z[b]) / temperature for b in range(count)]
        largest = max(s)
        denominator = math.log(sum(math.exp(s[b] - largest) for b in range(count) if b != a))
        positives = [b for b in range(count) if b != a and y[b] == y[a]]
        log_shares = [s[b] - largest - denominator for b in positives]
        total -= sum(log_shares) / max(len(positives), 1)
    found = supervised_contrast(torch.from_numpy(z), torch.from_numpy(y), temperature, anchors)
    assert found.item() == pytest.approx(total / anchors, rel=1e-9, abs=1e-9)


@few
@given(seed=st.integers(0, 2**31), mode=st.sampled_from(["all", "one"]))
def test_channels_as_views_are_anchors_channel_by_channel(seed: int, mode: str) -> None:
    F, y = normal(seed, 4, 3, 2, 2), np.array([0, 1, 0, 1])
    unit = F / np.sqrt((F**2).sum(1, keepdims=True))
    rows = [(n, v) for n in range(4) for v in range(3)]
    anchors = [(n, v) for n, v in rows if mode == "all" or v == 0]
    total = 0.0
    for a in anchors:
        others = [b for b in rows if b != a]
        s = {b: float((unit[a] * unit[b]).sum()) / 0.07 for b in others}
        denominator = np.logaddexp.reduce(list(s.values()))
        positives = [b for b in others if y[b[0]] == y[a[0]]]
        total -= sum(s[b] - denominator for b in positives) / len(positives)
    spec = ContrastSpec.parse({"variant": "channels_as_views", "mode": mode})
    found = contrast_term(torch.from_numpy(F), torch.from_numpy(y), spec)
    assert found.item() == pytest.approx(total / len(anchors), rel=1e-9)


def looped_mmd(a: Array, b: Array, widths: tuple[float, ...]) -> float:
    def kernel(u: Array, v: Array) -> float:
        values = [
            sum(math.exp(-0.5 * float(((p - q) ** 2).sum()) / width) for width in widths)
            for p in u
            for q in v
        ]
        return sum(values) / len(values)

    return kernel(a, a) + kernel(b, b) - 2 * kernel(a, b)


def looped_metric(name: str, a: Array, b: Array) -> float:
    """d of maps [B, c, h, w] from the formula."""
    if name == "mse":
        return float(((a - b) ** 2).sum()) / a.size
    flat = a.reshape(len(a), -1), b.reshape(len(b), -1)
    if name == "cosine":
        cosines = [float(p @ q) / math.sqrt(p @ p * (q @ q)) for p, q in zip(*flat, strict=True)]
        return 1 - sum(cosines) / len(cosines)
    return looped_mmd(*flat, (10.0, 15.0, 20.0, 50.0) if name == "mmd_rbf" else (1.0,))


@few
@given(
    seed=st.integers(0, 2**31), batch=st.integers(1, 4), members=st.integers(1, 3),
    metric=st.sampled_from(sorted(METRICS)),
)  # fmt: skip
def test_metrics_are_their_formulas_for_every_member(
    seed: int, batch: int, members: int, metric: str
) -> None:
    a, b = normal(seed, 2, batch, members, 2, 2, 1)
    found = METRICS[metric](torch.from_numpy(a), torch.from_numpy(b), None)
    wanted = [looped_metric(metric, a[:, k], b[:, k]) for k in range(members)]
    assert found.tolist() == pytest.approx(wanted, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("metric", ["mse", "cosine"])
def test_padding_of_weight_zero_changes_no_metric(metric: str) -> None:
    a, b = (torch.from_numpy(normal(k, 5, 2, 3, 2, 2)) for k in (0, 1))
    weight = torch.tensor([1.0, 1, 1, 0, 0], dtype=torch.float64)[:, None].expand(-1, 2) / 3
    found = METRICS[metric](a, b, weight)
    torch.testing.assert_close(found, METRICS[metric](a[:3], b[:3], None), rtol=1e-12, atol=0)


def looped_item(maps: Array, item: str, how: str, normalise: bool) -> Array:
    """T of maps [B, c, h, w] from the definitions."""
    if item == "channel":
        maps = getattr(maps, {"avg": "mean"}.get(how, how))(axis=(2, 3), keepdims=True)
    elif item == "spatial":
        maps = maps.mean(1, keepdims=True)
    return maps / np.sqrt((maps**2).sum(1, keepdims=True)) if normalise else maps


@few
@given(
    seed=st.integers(0, 2**31), metric=st.sampled_from(sorted(METRICS)),
    item=st.sampled_from(["full", "channel", "spatial"]),
    how=st.sampled_from(["avg", "max", "sum"]),
    normalise=st.booleans(), kind=st.sampled_from(["index", "probability", "logit"]),
    smoothing=st.sampled_from([0.0, 0.1]), n_feat=st.integers(1, 3),
)  # fmt: skip
def test_the_loss_is_cross_entropy_plus_lambda_times_the_distance(
    seed: int, metric: str, item: str, how: str, normalise: bool, kind: Any, smoothing: float,
    n_feat: int,
) -> None:  # fmt: skip
    classes, count = 3, 4
    how = how if item == "channel" else "avg"
    network = tiny_network()
    rng = np.random.default_rng(seed)
    shapes = [p.shape for p in network.build(SHAPE, classes).parameters()]
    stack = stack_of([[rng.standard_normal(tuple(s)) for s in shapes]], network, SHAPE)
    x = rng.standard_normal((count, *SHAPE))
    logits_y = rng.standard_normal((count, classes))
    soft = np.exp(logits_y) / np.exp(logits_y).sum(1, keepdims=True)
    index = rng.integers(0, classes, count)
    y = {"index": index, "probability": soft, "logit": logits_y}[kind]
    F = rng.random((count, n_feat, 4, 2, 2))
    spec = FeatureSpec.parse({
        "item": item, "pool": how, "metric": metric, "normalize": normalise, "n_feat": n_feat
    })  # fmt: skip
    term = FeatureTerm(spec, 2, 0.37)
    data_set = DistilledSet(
        tensor(x), tensor(y), Space("unit"), kind, F=tensor(F), features={"item": item}
    )
    batch = examples_of(data_set, term).batch(torch.arange(count)[:, None])
    found = SyntheticLoss(kind, smoothing, term)(stack, batch)

    with torch.no_grad():
        out = stack(tensor(x)[:, None], layer=2)
    assert out.feature is not None
    z, E = out.logits[:, 0].numpy(), out.feature[:, 0].numpy()
    log_q = z - np.logaddexp.reduce(z, axis=1, keepdims=True)
    p = np.eye(classes)[index] if kind == "index" else soft
    p = (1 - smoothing) * p + smoothing / classes
    ours, theirs = (looped_item(m, item, how, normalise) for m in (E, F.mean(1)))
    wanted = -(p * log_q).sum() / count + 0.37 * looped_metric(metric, ours, theirs)
    assert found.item() == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_pooling_twice_is_pooling_once_and_tiling_writes_an_item_out() -> None:
    maps = torch.rand(2, 3, 5, 4, 4, dtype=torch.float64)
    for options in POOLS.values():
        once = pool(maps, **_pool_arguments(options))
        torch.testing.assert_close(pool(once, **_pool_arguments(options)), once, rtol=0, atol=1e-16)
        assert torch.equal(tile(once, (5, 4, 4)), once.expand_as(maps))
    unit = transform(maps, FeatureSpec(item="full", normalize=True))
    torch.testing.assert_close(unit.norm(dim=-3), torch.ones(2, 3, 4, 4, dtype=torch.float64))


def test_combining_feature_sets() -> None:
    F = torch.rand(4, 2, 3, 5, 1, 1)  # images, networks, sets
    assert torch.equal(combine(F, "mean"), F.mean(2))
    assert torch.equal(combine(F, "best", 1), F[:, :, 1])
    picked = combine(F, "random", torch.tensor([2, 0]))
    assert torch.equal(picked[:, 0], F[:, 0, 2]) and torch.equal(picked[:, 1], F[:, 1, 0])
    assert torch.equal(combine(F[:, :, :1], "random"), F[:, :, 0])
