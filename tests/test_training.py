"""Training and prediction: the reference's runs, stacks against single networks, device traffic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parity import (
    BASICS,
    CPU,
    Array,
    Golden,
    NoHostTraffic,
    Tolerance,
    arrays,
    convnet,
    drupi,
    groups,
    image_shape,
    in_double,
    member,
    stack_of,
    tensor,
)
from torch import Tensor
from torch.nn import functional as fn

from ddbench import networks
from ddbench.augment import Augmentation
from ddbench.augment.dsa import DSA
from ddbench.distilled import DistilledSet, Space
from ddbench.features import FeatureSpec
from ddbench.label_losses import SoftLoss
from ddbench.networks import Network
from ddbench.objective import Examples, FeatureTerm, SyntheticLoss, examples_of
from ddbench.protocols import Mix, Plan, Rates
from ddbench.randomness import Streams
from ddbench.stack import Stack, create
from ddbench.trained import Teachers
from ddbench.training import Draws, OptimizerSpec, correct, predict, train, views_of

# --- the reference's trainings -----------------------------------------------------------------


@dataclass(frozen=True)
class Counting(SyntheticLoss):
    """A loss that also keeps how many of each batch were right before their update."""

    right: list[tuple[int, int]] = field(default_factory=list)

    def label_loss(
        self, logits: Tensor, y: Tensor, weight: Tensor | None = None, soft: Tensor | None = None
    ) -> Tensor:
        if self.kind == "index":
            self.right.append((int((logits[:, 0].argmax(-1) == y[:, 0]).sum()), len(y)))
        return super().label_loss(logits, y, weight, soft)

    def accuracies(self, epochs: int) -> Tensor:
        """Fraction right of every epoch, in the order of training."""
        counts = torch.tensor(self.right, dtype=torch.float64).view(epochs, -1, 2).sum(1)
        return counts[:, 0] / counts[:, 1]


@dataclass(frozen=True)
class Trained:
    """What a replayed training left behind."""

    stack: Stack
    losses: Tensor
    rates: list[float]
    loss: Counting


def replay(
    plan: Plan,
    examples: Examples,
    loss: Counting,
    params: list[Array],
    orders: Array,
    dtype: torch.dtype,
) -> Trained:
    """Train from stored parameters with recorded orders, as a plan says."""
    network = convnet(params)
    stack = stack_of([params], network, image_shape(examples.x), dtype)
    losses: list[Tensor] = []
    train(
        stack, examples, loss, OptimizerSpec(plan.lr, plan.momentum, plan.weight_decay),
        (tensor(order)[:, None] for order in orders),
        batch_size=plan.batch_size, rates=plan.rates(),
        after_epoch=lambda _, mean: losses.append(mean),
    )  # fmt: skip
    return Trained(stack, torch.cat(losses), list(plan.rates().values), loss)


def plan_of(data: Golden, schedule: str, epochs: int) -> Plan:
    return Plan.parse({
        "protocol": "test", "repeats": 1, "epochs": epochs, "lr": float(data["lr"]),
        "momentum": float(data["momentum"]), "weight_decay": float(data["weight_decay"]),
        "batch_size": int(data["batch_size"]), "schedule": schedule,
    })  # fmt: skip


def test_scores(stack: Stack, data: Golden, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Mean CE and accuracy on the stored test images."""
    y = tensor(data["y_test"])
    logits = predict(stack, tensor(data["x_test"], dtype))
    return fn.cross_entropy(logits[:, 0], y), correct(logits, y).double().mean()


test_scores.__test__ = False  # type: ignore[attr-defined]


@pytest.mark.golden
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_golden_evaluations(golden: Callable[[str], Golden], dtype: torch.dtype) -> None:
    torch.set_num_threads(1)
    data = golden("basics/evaluation.npz")
    double = dtype == torch.float64
    loss_close = BASICS if double else Tolerance(0, 1e-5)
    parameter_close = BASICS if double else Tolerance(1e-3, 1e-4, scaled=True)
    plan = plan_of(data, "halfway", int(data["epochs"]))
    runs = groups(data, "order")
    assert runs
    for run in runs:
        hard = f"{run}/train_accuracy" in data.files
        loss = Counting("index" if hard else "logit")
        y = tensor(data["y" if hard else "y_logits"], dtype)
        examples = Examples(tensor(data["x"], dtype), y, loss.kind)
        orders = data[f"{run}/order"]
        assert len(orders) == plan.epochs_run
        found = replay(plan, examples, loss, arrays(data, "param"), orders, dtype)
        assert found.rates == pytest.approx(data[f"{run}/lr"].tolist(), rel=1e-12)
        loss_close.check(found.losses, data[f"{run}/loss"], f"{run} losses")
        parameter_close.check_all(
            member(found.stack, 0), arrays(data, f"{run}/param_final"), f"{run} parameter"
        )
        if hard:
            wanted = data[f"{run}/train_accuracy"]
            Tolerance(0, 1e-12).check(loss.accuracies(len(orders)), wanted, f"{run} training")
        test_loss, accuracy = test_scores(found.stack, data, dtype)
        loss_close.check(test_loss, data[f"{run}/test_loss"], f"{run} test loss")
        Tolerance(0, 1e-12).check(accuracy, data[f"{run}/test_accuracy"], f"{run} test accuracy")


def feature_examples(
    data: Golden, run: str, dtype: torch.dtype
) -> tuple[Examples, FeatureTerm | None]:
    """The stored set as the run's name says: ``k3`` all sets, else the first; ``avg`` pooled."""
    words = run.split("_")
    x, y = tensor(data["x"], dtype), tensor(data["y"])
    if "F" not in words:
        return Examples(x, y), None
    F = tensor(data["F"], dtype).transpose(0, 1)
    F = F if "k3" in words else F[:, :1]
    spec = FeatureSpec(item="channel" if "avg" in words else "full", n_feat=F.shape[1])
    network = convnet(arrays(data, "param"))
    term = FeatureTerm(spec, network.layer_index("last", image_shape(x)), float(data["lambda_reg"]))
    stored = DistilledSet(x, y, Space("unit"), F=F, features={"item": spec.item})
    return examples_of(stored, term), term


@pytest.mark.golden
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_golden_evaluations_with_features(
    golden: Callable[[str], Golden], dtype: torch.dtype
) -> None:
    torch.set_num_threads(1)
    data = golden("drupi/eval_train.npz")
    close = Tolerance(1e-8, 1e-11) if dtype == torch.float64 else Tolerance(1e-3, 2e-6)
    runs = [run for run in groups(data, "epoch_loss") if not run.endswith("_reference")]
    assert {run.split("_")[0] for run in runs} == {"step", "cosine"}
    for run in runs:
        schedule = {"step": "halfway", "cosine": "cosine"}[run.split("_")[0]]
        plan = plan_of(data, schedule, int(data["Epoch"]))
        assert plan.epochs_run == int(data["epochs_run"])
        examples, term = feature_examples(data, run, dtype)
        loss = Counting(term=term)
        found = replay(plan, examples, loss, arrays(data, "param"), data["orders"], dtype)
        rates = data[f"{run}/epoch_lr"].tolist()
        assert found.rates == pytest.approx(rates, rel=1e-9, abs=1e-15), run
        close.check(found.losses, data[f"{run}/epoch_loss"], f"{run} losses")
        close.check_all(member(found.stack, 0), arrays(data, f"{run}/final"), f"{run} parameter")
        accuracies = loss.accuracies(plan.epochs_run)
        Tolerance(0, 1e-12).check(accuracies, data[f"{run}/epoch_acc"], f"{run} training")
        if f"{run}/ema/0" in {key.rpartition("/")[0] for key in data.files}:
            continue  # its test numbers are those of averaged weights, which are not built
        test_loss, accuracy = test_scores(found.stack, data, dtype)
        close.check(test_loss, data[f"{run}/test_loss"], f"{run} test loss")
        Tolerance(0, 1e-12).check(accuracy, data[f"{run}/test_acc"], f"{run} test accuracy")


# --- plans -------------------------------------------------------------------------------------


def make_plan(**fields: Any) -> Plan:
    return Plan.parse({"protocol": "test", "repeats": 1, "epochs": 300, "lr": 0.01, **fields})


def test_three_hundred_epochs_are_301_with_the_drop_after_index_151() -> None:
    plan = make_plan()
    rates = plan.rates()
    assert plan.epochs_run == len(rates) == 301
    assert set(rates.values[:152]) == {0.01}
    assert rates.values[152:] == pytest.approx([0.001] * 149)
    assert rates.fresh == {152}


def test_cosine_ends_at_zero_and_keeps_its_momentum() -> None:
    plan = make_plan(schedule="cosine", epochs=10)
    rates = plan.rates().values
    assert len(rates) == plan.epochs_run == 11
    assert rates[0] == 0.01 and rates[5] == pytest.approx(0.005) and rates[10] == 0
    assert not plan.rates().fresh


def test_step_and_constant_run_as_many_epochs_as_they_say() -> None:
    step = make_plan(schedule="step", step_size=100, epochs=201)
    assert step.epochs_run == 201
    assert [step.rates().values[e] for e in (0, 99, 100, 199, 200)] == pytest.approx(
        [0.01, 0.01, 0.001, 0.001, 0.0001]
    )
    constant = make_plan(schedule="constant", epochs=3)
    assert constant.rates().values == (0.01,) * 3
    assert not constant.rates().fresh


# --- stacks ------------------------------------------------------------------------------------

SHAPE, CLASSES, COUNT = (3, 8, 8), 4, 10
MEMBERS = (0, 1, 2)


def small(**options: object) -> Network:
    return networks.resolve({"name": "ConvNetD2", "width": 6, **options})


def random_set(features: FeatureSpec | None, dtype: torch.dtype = torch.float64) -> DistilledSet:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(COUNT, *SHAPE, generator=generator, dtype=dtype)
    y = torch.arange(COUNT) % CLASSES
    if features is None:
        return DistilledSet(x, y, Space("unit"))
    item = features.item_shape(small(), SHAPE)
    F = torch.rand(COUNT, features.n_feat, *item, generator=generator, dtype=dtype)
    return DistilledSet(x, y, Space("unit"), F=F, features={"item": features.item})


def random_training(
    members: tuple[int, ...],
    network: Network,
    features: FeatureSpec | None,
    augmentation: Augmentation | None,
) -> tuple[Stack, list[Tensor]]:
    """Three epochs of SGD with momentum, in float64; every member draws from its own streams."""
    streams = Streams(5, CPU)
    stack = in_double(create(network, SHAPE, CLASSES, streams.generators("init", members)))
    draws = Draws(streams.generators("order", members), streams.generators("extra", members))
    data = random_set(features)
    term = features and FeatureTerm(features, network.layer_index("last", SHAPE), 0.5)
    losses: list[Tensor] = []
    train(
        stack, examples_of(data, term or None), SyntheticLoss(term=term or None),
        OptimizerSpec(0.05, 0.9, 5e-4), draws.orders(3, COUNT), batch_size=4,
        rates=Rates((0.05, 0.05, 0.005), frozenset({2})),
        augmentation=augmentation, draws=draws, after_epoch=lambda _, mean: losses.append(mean),
    )  # fmt: skip
    return stack, losses


@pytest.mark.parametrize("norm", ["instance", "batch", "layer"])
@pytest.mark.parametrize(
    ("features", "augmentation"),
    [
        (None, None),
        (None, DSA()),
        (FeatureSpec(n_feat=3, use="random", item="full"), None),
        (FeatureSpec(n_feat=3, use="random"), DSA(mode="multiple")),
        (FeatureSpec(n_feat=2, use="mean", metric="mmd_gauss"), DSA()),
    ],
    ids=["plain", "dsa", "random F", "random F and dsa", "mean F and dsa"],
)
def test_a_stack_trains_as_its_members_alone(
    norm: str, features: FeatureSpec | None, augmentation: Augmentation | None
) -> None:
    network = small(norm=norm)
    together, losses = random_training(MEMBERS, network, features, augmentation)
    for k in MEMBERS:
        alone, own = random_training((k,), network, features, augmentation)
        for found, wanted in zip(member(together, k), member(alone, 0), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-11)
        for name, value in alone.buffers.items():
            torch.testing.assert_close(together.buffers[name][k], value[0], rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(torch.stack(losses)[:, k], torch.cat(own), rtol=1e-9, atol=1e-11)


def test_members_of_a_stack_see_different_orders_of_the_same_images() -> None:
    streams = Streams(0, CPU)
    draws = Draws(streams.generators("order", MEMBERS), streams.generators("extra", MEMBERS))
    orders = torch.stack(list(draws.orders(50, COUNT)))
    assert torch.equal(orders.sort(1).values[0, :, 0], torch.arange(COUNT))
    assert (orders.sort(1).values == torch.arange(COUNT)[None, :, None]).all()
    assert not torch.equal(orders[:, :, 0], orders[:, :, 1])
    assert len({tuple(order) for order in orders[:, :, 0].tolist()}) == 50


@given(seed=st.integers(0, 2**31), use=st.sampled_from(["mean", "random"]))
def test_the_feature_target_of_an_image_goes_with_it_under_every_order(seed: int, use: str) -> None:
    spec = FeatureSpec.parse({"item": "full", "n_feat": 3, "use": use})
    term = FeatureTerm(spec, 2, 0.5)
    data = random_set(spec)
    examples = examples_of(data, term)
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(seed))
    choice = torch.tensor([seed % 3])
    batch = examples.batch(order[:, None], choice)
    assert data.F is not None and batch.targets is not None
    wanted = data.F.mean(1) if use == "mean" else data.F[:, seed % 3]
    assert torch.equal(batch.targets[:, 0], wanted[order])
    assert torch.equal(batch.x[:, 0], data.x[order]) and torch.equal(batch.y[:, 0], data.y[order])


def test_the_loss_does_not_depend_on_the_order_within_a_batch() -> None:
    spec = FeatureSpec(item="full", n_feat=3)
    term = FeatureTerm(spec, 2, 0.5)
    examples = examples_of(random_set(spec), term)
    stack = in_double(create(small(), SHAPE, CLASSES, [torch.Generator().manual_seed(0)]))
    loss = SyntheticLoss(term=term)
    forward = torch.arange(COUNT)[:, None]
    one, other = (loss(stack, examples.batch(order)) for order in (forward, forward.flip(0)))
    torch.testing.assert_close(one, other, rtol=1e-12, atol=0)
    assert examples.targets is not None
    shifted = Examples(examples.x, examples.y, "index", examples.targets.roll(1, 0))
    assert not torch.allclose(one, loss(stack, shifted.batch(forward)), rtol=1e-6)


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("augmentation", [None, DSA()], ids=["plain", "dsa"])
def test_a_training_step_never_waits_for_the_device(
    norm: str, augmentation: Augmentation | None
) -> None:
    with NoHostTraffic() as mode:
        random_training(MEMBERS, small(norm=norm), FeatureSpec(n_feat=2, use="random"),
                        augmentation)  # fmt: skip
    assert mode.count > 500


@pytest.mark.parametrize(
    "waiting",
    [lambda x: x.sum().item(), lambda x: bool((x > 0).all()), lambda x: x[x > 0],
     lambda x: x.nonzero(), lambda x: x[0].tolist(), lambda x: torch.equal(x, x)],
)  # fmt: skip
def test_the_check_for_waiting_notices_it(waiting: Callable[[Tensor], object]) -> None:
    with pytest.raises(AssertionError, match="waits"), NoHostTraffic():
        waiting(torch.ones(3))


def test_the_returned_loss_is_the_mean_over_images_before_each_update() -> None:
    stack = in_double(create(small(), SHAPE, CLASSES, [torch.Generator().manual_seed(0)]))
    data = random_set(None)
    untouched = SyntheticLoss()(stack, Examples(data.x, data.y).batch(torch.arange(COUNT)[:, None]))
    orders: Iterator[Tensor] = iter([torch.randperm(COUNT)[:, None]])
    mean = train(
        stack, Examples(data.x, data.y), SyntheticLoss(), OptimizerSpec(0.0), orders, batch_size=4
    )  # rate 0: nothing moves, and the partial last batch counts by its size
    torch.testing.assert_close(mean, untouched.detach(), rtol=1e-12, atol=0)


# --- prediction --------------------------------------------------------------------------------


@pytest.mark.golden
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_golden_test_time_views(golden: Callable[[str], Golden], dtype: torch.dtype) -> None:
    data = golden("drupi/tta.npz")
    close = drupi(dtype, 1e-5)
    for prefix in groups(data, "x"):
        params, x = arrays(data, f"{prefix}/param"), tensor(data[f"{prefix}/x"], dtype)
        stack = stack_of([params], convnet(params), image_shape(x), dtype)
        close.check(predict(stack, x)[:, 0], data[f"{prefix}/logits"], f"{prefix} plain")
        for tta in ("hflip", "fivecrop", "hflip5"):
            wanted = data[f"{prefix}/{tta}_advised"]
            close.check(predict(stack, x, tta=tta)[:, 0], wanted, f"{prefix} {tta}")


def stack_of_three(norm: str = "instance") -> Stack:
    generators = [torch.Generator().manual_seed(k) for k in MEMBERS]
    return create(small(norm=norm), SHAPE, CLASSES, generators)


def test_mirrored_views_of_a_symmetric_image_equal_the_plain_logits() -> None:
    half = torch.randn(5, 3, 8, 4, generator=torch.Generator().manual_seed(0))
    x = torch.cat([half, half.flip(-1)], dim=-1)
    stack = stack_of_three()
    assert torch.equal(predict(stack, x, tta="hflip"), predict(stack, x))


@pytest.mark.parametrize("tta", ["none", "hflip", "fivecrop", "hflip5"])
def test_views_of_a_sample_do_not_mix_with_those_of_others(tta: str) -> None:
    x = torch.randn(9, *SHAPE, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(9, generator=torch.Generator().manual_seed(1))
    stack = stack_of_three()
    assert torch.equal(predict(stack, x[order], tta=tta), predict(stack, x, tta=tta)[order])


def test_the_number_of_views() -> None:
    x = torch.randn(2, 1, *SHAPE)
    counts = {tta: len(views_of(tta)(x)) for tta in ("none", "hflip", "fivecrop", "hflip5")}
    assert counts == {"none": 1, "hflip": 2, "fivecrop": 5, "hflip5": 10}
    assert all(view.shape == x.shape for view in views_of("hflip5")(x))


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("tta", ["none", "hflip5"])
def test_logits_do_not_depend_on_how_many_samples_are_asked_for(norm: str, tta: str) -> None:
    x = torch.randn(128, *SHAPE, generator=torch.Generator().manual_seed(0))
    stack = stack_of_three(norm)
    all_at_once = predict(stack, x, tta=tta)
    for size in (1, 7, 33, 128):
        pieces = torch.cat([predict(stack, part, tta=tta) for part in x.split(size)])
        assert torch.equal(pieces, all_at_once), size


def test_ties_go_to_the_first_class() -> None:
    logits = torch.tensor([[[1.0, 1.0, 0.0]], [[0.0, 2.0, 2.0]]])
    assert correct(logits, torch.tensor([0, 2])).tolist() == [[True], [False]]


# --- schedules ---------------------------------------------------------------------------------


@pytest.mark.golden
def test_golden_schedules_of_ddranking(golden: Callable[[str], Golden]) -> None:
    data = golden("basics/ddranking.npz")
    epochs, lr, size = (data[f"schedule/{name}"].item() for name in ("epochs", "lr", "step_size"))
    names = {"step": "step", "cosine": "half_cosine", "cosineannealing": "cosine_annealing"}
    for theirs, ours in names.items():
        plan = make_plan(schedule=ours, epochs=epochs, lr=lr, step_size=size)
        assert plan.epochs_run == epochs
        assert plan.rates().values == pytest.approx(data[f"schedule/{theirs}"].tolist(), rel=1e-12)


@pytest.mark.golden
def test_golden_schedules_of_decoupled_students(golden: Callable[[str], Golden]) -> None:
    data = golden("decoupled/train.npz")
    epochs, lr = int(data["schedule/epochs"]), float(data["schedule/lr"])
    cases = [key for key in data.files if key.startswith("schedule/") and data[key].ndim]
    assert len(cases) == 7
    for case in cases:
        repository, _, name = case.removeprefix("schedule/").rpartition("_")
        cosine = "half_cosine" if repository == "rded" else "cosine_annealing"
        plan = make_plan(schedule="linear" if name == "linear" else cosine, epochs=epochs, lr=lr)
        wanted = data[case].tolist()
        assert plan.rates().values == pytest.approx(wanted, rel=1e-9, abs=1e-15), case


def test_a_warm_up_comes_before_the_schedule() -> None:
    plan = make_plan(schedule="cosine_annealing", epochs=50, warmup=5, lr=0.2)
    values = plan.rates().values
    assert len(values) == 50
    assert values[:6] == pytest.approx([0.002, 0.0416, 0.0812, 0.1208, 0.1604, 0.2])
    assert values[5:] == make_plan(schedule="cosine_annealing", epochs=45, lr=0.2).rates().values
    halfway = make_plan(epochs=20, warmup=10).rates()
    assert halfway.fresh == {17} and halfway.values[16] == 10 * halfway.values[17]


def test_one_learned_rate_is_staged_as_halfway() -> None:
    staged = make_plan(schedule="staged", epochs=1000, syn_steps=50).rates((0.02,))
    assert staged == make_plan(epochs=1000).rates(0.02)


def test_learned_rates_are_played_in_turn() -> None:
    """q = max(N, 500 // L) epochs each; the reference switches after epoch indices q i."""
    learned = [0.05, 0.04, 0.03, 0.02]
    rates = make_plan(schedule="staged", epochs=1000, syn_steps=20).rates(learned)
    assert len(rates) == 4 * 125 + 500 + 1
    assert rates.fresh == {126, 251, 376, 502}
    values = list(rates.values)
    assert values[:126] == [0.05] * 126 and values[126:251] == [0.04] * 125
    assert values[376:502] == [0.02] * 126 and values[502:] == [pytest.approx(0.002)] * 499
    longer = make_plan(schedule="staged", epochs=1000, syn_steps=200).rates(learned)
    assert len(longer) == 4 * 200 + 500 + 1 and 802 in longer.fresh


# --- optimisers --------------------------------------------------------------------------------

OPTIMIZERS = [
    OptimizerSpec(0.05, 0.9, 5e-4),
    OptimizerSpec(0.01, weight_decay=0.01, name="adam"),
    OptimizerSpec(0.01, weight_decay=0.01, name="adamw", decay_on="matrices", betas=(0.8, 0.99)),
]


def trained_with(
    optimizer: OptimizerSpec,
    members: tuple[int, ...],
    *,
    rates: Rates | None = None,
    factors: list[float] | None = None,
    mix: Mix | None = None,
    teacher: Teachers | None = None,
) -> Stack:
    """Three epochs on the random set in float64, under DSA."""
    streams = Streams(5, CPU)
    stack = in_double(create(small(), SHAPE, CLASSES, streams.generators("init", members)))
    draws = Draws(streams.generators("order", members), streams.generators("extra", members))
    data = random_set(None)
    soft = None if teacher is None else SoftLoss("kl", 2.0)
    train(
        stack, Examples(data.x, data.y), SyntheticLoss(soft=soft), optimizer,
        draws.orders(3, COUNT), batch_size=4, rates=rates, factors=factors, augmentation=DSA(),
        mix=mix, teacher=teacher, draws=draws,
    )  # fmt: skip
    return stack


def teacher_of(seed: int) -> Teachers:
    generators = [torch.Generator().manual_seed(seed)]
    return Teachers((in_double(create(small(norm="batch"), SHAPE, CLASSES, generators)),), ())


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["sgd", "adam", "adamw"])
@pytest.mark.parametrize("mixed", [False, True], ids=["plain", "taught and mixed"])
def test_members_do_not_meet_in_an_optimiser(optimizer: OptimizerSpec, mixed: bool) -> None:
    how: dict[str, Any] = {"rates": Rates((0.05, 0.02, 0.01), frozenset({2}))}
    if mixed:
        how |= {"mix": Mix(name="cutmix"), "teacher": teacher_of(9)}
    together = trained_with(optimizer, MEMBERS, **how)
    for k in MEMBERS:
        alone = trained_with(optimizer, (k,), **how)
        for found, wanted in zip(member(together, k), member(alone, 0), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=["sgd", "adam", "adamw"])
def test_factors_give_every_member_its_own_rate(optimizer: OptimizerSpec) -> None:
    factors = [0.5, 1.0, 3.0]
    schedule = Rates((0.02, 0.01, 0.01), frozenset({1}))
    together = trained_with(optimizer, (0, 0, 0), rates=schedule, factors=factors)
    for k, factor in enumerate(factors):
        own = Rates(tuple(factor * rate for rate in schedule.values), schedule.fresh)
        alone = trained_with(optimizer, (0,), rates=own)
        for found, wanted in zip(member(together, k), member(alone, 0), strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("decay_on", ["all", "matrices"])
def test_only_matrices_decay_if_asked(decay_on: Any) -> None:
    """The leading axis of a stack does not make a vector a matrix."""
    stack = create(small(norm="batch"), SHAPE, CLASSES, [torch.Generator().manual_seed(0)])
    spec = OptimizerSpec(0.1, weight_decay=1.0, decay_on=decay_on)
    before = {name: value.detach().clone() for name, value in stack.params.items()}
    optimizer = spec.build(stack.params)
    for value in stack.params.values():
        value.grad = torch.zeros_like(value)
    optimizer.step()
    moved = {n for n, v in stack.params.items() if not torch.equal(v, before[n])}
    matrices = {n for n, v in before.items() if v.dim() > 2}
    vectors = {n for n, v in before.items() if v.dim() == 2 and v.any()}
    assert moved == (matrices if decay_on == "matrices" else matrices | vectors)


def test_adam_steps_as_torch_s_on_one_network() -> None:
    stack = trained_with(OPTIMIZERS[1], (0,))
    data, streams = random_set(None), Streams(5, CPU)
    alone = in_double(create(small(), SHAPE, CLASSES, streams.generators("init", (0,))))
    draws = Draws(streams.generators("order", (0,)), streams.generators("extra", (0,)))
    optimizer = torch.optim.Adam(list(alone.params.values()), lr=0.01, weight_decay=0.01)
    for order in draws.orders(3, COUNT):
        for index in order.split(4):
            record = DSA().record(draws.augmentation(DSA(), len(index), SHAPE), SHAPE)
            logits = alone(DSA().apply(data.x[index], record)).logits
            optimizer.zero_grad()
            fn.cross_entropy(logits[:, 0], data.y[index[:, 0]]).backward()
            optimizer.step()
    for found, wanted in zip(member(stack, 0), member(alone, 0), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-7, atol=1e-9)


def test_teaching_and_mixing_never_wait_for_the_device() -> None:
    mix, teacher = Mix(name="mixup", alpha=0.8), teacher_of(1)
    trained_with(OPTIMIZERS[0], MEMBERS, mix=mix, teacher=teacher)  # fills the quantile table
    with NoHostTraffic() as mode:
        trained_with(OPTIMIZERS[0], MEMBERS, mix=mix, teacher=teacher)
    assert mode.count > 500


def test_a_teacher_sees_what_the_student_sees() -> None:
    seen: list[Tensor] = []

    class Watching(Teachers):
        def __call__(self, x: Tensor) -> Tensor:
            seen.append(x)
            return super().__call__(x)

    watching = Watching(teacher_of(1).stacks, ())
    trained_with(OPTIMIZERS[0], MEMBERS, mix=Mix(name="mixup"), teacher=watching)
    assert [x.shape for x in seen] == [(n, 3, *SHAPE) for n in (4, 4, 2)] * 3
    originals = random_set(None).x
    assert not any(torch.equal(image, x) for x in originals for image in seen[0][:, 0])


def test_several_teachers_agree_on_their_mean() -> None:
    one, other = teacher_of(1), teacher_of(2)
    both = Teachers(one.stacks + other.stacks, ())
    x = torch.randn(5, 2, *SHAPE, dtype=torch.float64)
    torch.testing.assert_close(both(x), (one(x) + other(x)) / 2)
    torch.testing.assert_close(both.label(x[:, 0]), both(x)[:, 0])
    assert not both(x).requires_grad
