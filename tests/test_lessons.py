"""Scoring by every kind of plan: learned and searched rates, teachers, copies, strict bits."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from parity import CPU, engine
from torch import Tensor

from ddbench import api, datasets, lessons, networks, rate_search, store
from ddbench import data as real_data
from ddbench import trained as experts
from ddbench.arms import Arm, recipe_arms
from ddbench.data import RealData
from ddbench.datasets import DatasetSpec
from ddbench.distilled import DistilledSet, Space, Whitening
from ddbench.errors import BadInput
from ddbench.evaluation import Target, apply_numerics, log_cost, score
from ddbench.expansion import expanded
from ddbench.features import FeatureSpec
from ddbench.lessons import lesson_of
from ddbench.protocols import EvaluationSpec, Plan
from ddbench.randomness import Streams
from ddbench.rate_search import held_out, known, rate_of
from ddbench.recipe import Recipe
from ddbench.recipe_files import from_yaml
from ddbench.runner import run
from ddbench.stack import create
from ddbench.store import EvaluationRecord
from ddbench.trained import bound, cache_file, circumstances, teachers_of, trained
from ddbench.training import Draws, predict

NETWORK = networks.resolve({"name": "ConvNetD2", "width": 4})
STREAMS = Streams(3, CPU)
TEACHER = {"epochs": 3, "lr": 0.05, "batch_size": 64}


@cache
def digits(validation: float | None = None) -> RealData:
    return real_data.load(DatasetSpec(name="digits", validation=validation), CPU)


def plan(**fields: Any) -> Plan:
    spec = EvaluationSpec.parse({"epochs": 3, "repeats": 2, "lr": 0.02, **fields})
    return spec.plan(datasets.facts("digits"), NETWORK)


def a_set(seed: int = 0, ipc: int = 2, **fields: Any) -> DistilledSet:
    """Random real images, class by class."""
    data = digits()
    generator = torch.Generator().manual_seed(seed)
    u = torch.rand(data.class_index.shape, generator=generator)
    index, _ = data.class_batches(u, ipc)
    rows = index.T.flatten()
    made = DistilledSet(data.x_train[rows], data.y_train[rows], data.space)
    return replace(made, **fields)


def soft_set(seed: int = 0) -> DistilledSet:
    plain = a_set(seed)
    return replace(plain, y=8 * torch.nn.functional.one_hot(plain.y, 10).float(), kind="logit")


def scored(
    data_set: DistilledSet | None,
    how: Plan,
    *,
    data: RealData | None = None,
    members: tuple[int, ...] = (0, 1),
    stack: int = 2,
    **named: Any,
) -> list[EvaluationRecord]:
    data = data or digits()
    target, fitting = Target(data.x_test, data.y_test), replace(engine(64), stack=stack)
    arm = Arm(NETWORK, how)
    return list(score(data_set, arm, data, target, members, STREAMS, fitting, iteration=0, **named))


def accuracies(records: list[EvaluationRecord]) -> list[float]:
    return [record.accuracy for record in records]


# --- rates -------------------------------------------------------------------------------------


def test_a_given_rate_is_recorded() -> None:
    (record, _) = scored(a_set(), plan(), role="random")
    assert (record.lr, record.role, record.epochs) == (0.02, "random", 4)


def test_a_learned_rate_trains_as_the_same_rate_given() -> None:
    learned = scored(a_set(lr=0.02), plan(lr="learned"))
    assert accuracies(learned) == accuracies(scored(a_set(), plan()))
    assert {record.lr for record in learned} == {0.02}
    assert learned[0].evaluation_key != scored(a_set(), plan())[0].evaluation_key


def test_several_learned_rates_are_staged() -> None:
    staged = plan(lr="learned", schedule="staged", epochs=4, syn_steps=1)
    (record, _) = scored(a_set(lr=(0.02, 0.01)), staged)
    assert record.lr == 0.02 and record.epochs == 2 * 1 + 2 + 1
    one = accuracies(scored(a_set(lr=(0.02,)), plan(lr="learned")))
    assert one == accuracies(scored(a_set(), plan()))


@pytest.mark.parametrize(
    ("lr", "field", "words"),
    [
        (None, "evaluation.lr", "no learned step size; give --lr or evaluation.lr"),
        (-0.1, "evaluation.lr", "learned step size is -0.1"),
        ((0.1, 0.2), "evaluation.schedule", "2 learned step sizes"),
    ],
)
def test_a_learned_rate_that_is_not_there(lr: Any, field: str, words: str) -> None:
    with pytest.raises(BadInput, match=words) as error:
        scored(a_set(lr=lr), plan(lr="learned"))
    assert error.value.field == field


@pytest.mark.parametrize("stack", [1, 2, 4])
def test_a_search_takes_the_best_rate_of_its_grid(
    stack: int, caplog: pytest.LogCaptureFixture
) -> None:
    grid = [0.0001, 0.03, 0.05, 50.0]
    searched = plan(lr="search", lr_grid=grid, lr_chosen_on="test", epochs=6)
    with caplog.at_level(logging.INFO, "ddbench.rate_search"):
        records = scored(a_set(ipc=5), searched, stack=stack)
    alone = {
        lr: scored(a_set(ipc=5), plan(lr=lr, epochs=6), members=(0,))[0].accuracy for lr in grid
    }
    best = max(grid, key=lambda lr: alone[lr])
    assert {record.lr for record in records} == {best}
    assert {record.selection for record in records} == {"best_on_test"}
    assert f"rate {best:g} by test accuracy" in caplog.text


def test_a_search_on_validation_never_sees_the_test_images() -> None:
    searched = plan(lr="search", lr_grid=[0.001, 0.03], epochs=6)
    blind = replace(digits(), x_test=torch.zeros_like(digits().x_test))
    for data in (digits(), blind):
        found = scored(a_set(ipc=5), searched, data=data, members=(0,))
        assert (found[0].lr, found[0].selection) == (0.03, "last")


def test_a_search_is_judged_by_the_validation_part_where_there_is_one() -> None:
    data = digits(0.2)
    arm = Arm(NETWORK, plan(lr="search", lr_grid=[0.001, 0.03], epochs=6))
    lesson = lesson_of(a_set(ipc=5), arm, data, STREAMS)
    assert rate_of(a_set(ipc=5), lesson, STREAMS, engine(64)) == 0.03
    assert data.x_val is not None
    slow = lesson.fit([0], STREAMS, arm.plan.rates(0.001))
    said = predict(slow, data.x_val)[:, 0].argmax(1)  # whoever says this is right
    lesson = replace(lesson, data=replace(data, y_val=said))
    assert rate_of(a_set(ipc=5), lesson, STREAMS, engine(64)) == 0.001


def test_a_tenth_of_every_class_is_held_out() -> None:
    held, left = held_out(digits())
    assert sorted(torch.cat([held, left]).tolist()) == list(range(len(digits().y_train)))
    counts = torch.bincount(digits().y_train[held])
    assert counts.tolist() == (digits().class_count // 10).tolist()
    assert torch.equal(held, held_out(digits())[0])


def test_the_full_data_search_without_what_judges_them(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    original = lessons.train

    def counted(stack: Any, examples: Any, *args: Any, **named: Any) -> Tensor:
        seen.append(len(examples))
        return original(stack, examples, *args, **named)

    monkeypatch.setattr(lessons, "train", counted)
    scored(None, plan(lr="search", lr_grid=[0.01], epochs=1), members=(0,))
    held, left = held_out(digits())
    assert seen == [len(left), len(held) + len(left)]


def test_a_set_is_not_judged_by_its_own_images(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[Tensor] = []

    def watched(stack: Any, x: Tensor, **named: Any) -> Tensor:
        judged.append(x)
        return predict(stack, x, **named)

    monkeypatch.setattr(rate_search, "predict", watched)
    data, (held, _) = digits(), held_out(digits())
    own = data.x_train[held]
    arm = Arm(NETWORK, plan(lr="search", lr_grid=[0.01], epochs=1))
    for seen, left in ((held[3:], 3), (held[:0], len(held)), (held, len(held))):
        rows = torch.cat([seen, held_out(data)[1][:10]])  # a set has other images, too
        data_set = DistilledSet(data.x_train[rows], data.y_train[rows], data.space)
        rate_of(data_set, lesson_of(data_set, arm, data, STREAMS), STREAMS, engine(64))
        assert torch.equal(judged.pop(), own[:left])


def test_images_are_known_by_their_bits() -> None:
    x = digits().x_train[:1500]
    unlike = x[7:8] + 1e-6
    assert known(x, torch.cat([x[5:6], unlike])).nonzero().flatten().tolist() == [5]
    assert not known(x[:3], x[:0]).any()


# --- labels ------------------------------------------------------------------------------------


def test_hard_labels_are_the_classes_of_soft_ones() -> None:
    hard = scored(soft_set(), plan(labels="hard"))
    assert accuracies(hard) == accuracies(scored(a_set(), plan()))


def test_sce_on_stored_logits_is_cross_entropy_with_their_softmax() -> None:
    data_set = soft_set()
    for loss in ("ce", "sce"):
        lesson = lesson_of(data_set, Arm(NETWORK, plan(loss=loss)), digits(), STREAMS)
        batch = lesson.examples.batch(torch.arange(20)[:, None])
        stack = create(NETWORK, digits().shape, 10, [torch.Generator().manual_seed(0)])
        value = lesson.loss(stack, batch)
        if loss == "ce":
            plain = value
    torch.testing.assert_close(value, plain)


@pytest.mark.parametrize(
    ("kind", "loss", "field"),
    [("index", "kl", "evaluation.loss"), ("probability", "mse_gt", "evaluation.loss"),
     ("centred", "ce", "evaluation.labels")],
)  # fmt: skip
def test_labels_that_do_not_suit_the_loss(kind: Any, loss: str, field: str) -> None:
    y = a_set().y if kind == "index" else torch.full((20, 10), 0.1)
    with pytest.raises(BadInput, match="the labels are") as error:
        scored(a_set(y=y, kind=kind), plan(loss=loss))
    assert error.value.field == field


def test_views_that_are_not_stored_are_named() -> None:
    spec = EvaluationSpec(protocol="sre2l-fkd")
    needy = spec.plan(datasets.facts("digits"), NETWORK)
    with pytest.raises(BadInput, match="replays stored views"):
        scored(soft_set(), needy)


# --- teachers ----------------------------------------------------------------------------------


def test_a_taught_student_learns_and_the_teacher_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    taught = plan(
        loss="kl", temperature=2.0, teacher=TEACHER, epochs=25, batch_size=10, lr=0.1,
    )  # fmt: skip
    with caplog.at_level(logging.INFO, "ddbench.trained"):
        records = scored(a_set(ipc=5), taught)
    assert min(accuracies(records)) > 0.25
    teachers = teachers_of(taught.teacher, digits(), STREAMS)  # type: ignore[arg-type]
    (known,) = teachers.facts
    assert known["network"] == NETWORK.label and len(known["sha256"]) == 64
    assert 0.5 < known["accuracy"] <= 1
    assert f"teacher {NETWORK.label} (sha256 {known['sha256'][:12]})" in caplog.text


def test_teachers_do_not_depend_on_the_run_s_seed() -> None:
    (spec,) = plan(loss="kl", teacher=TEACHER).networks_needed()
    one, other = Streams(1, CPU), Streams(2, CPU)
    assert cache_file(spec, digits(), one) == cache_file(spec, digits(), other)
    first, second = trained(spec, digits(), one), trained(spec, digits(), other)
    for name, value in first.params.items():
        assert torch.equal(value.detach(), second.params[name])
    seedless = spec.model_copy(update={"seed": None})
    assert cache_file(seedless, digits(), one) != cache_file(seedless, digits(), other)
    assert cache_file(seedless, digits(), Streams(0, CPU)) == cache_file(spec, digits(), one)


def test_a_teacher_s_schedule_and_augmentation_train_it() -> None:
    streams, states = Streams(0, CPU), []
    for changed in ({}, {"schedule": "linear"}, {"augmentation": "crop_flip"}):
        spec = plan(loss="kl", teacher=TEACHER | {"epochs": 2} | changed).networks_needed()[0]
        states.append(trained(spec, digits(), streams).params["classifier.weight"].detach())
    assert not torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


def test_what_makes_cached_networks_names_their_file(monkeypatch: pytest.MonkeyPatch) -> None:
    (spec,) = plan(loss="kl", teacher=TEACHER).networks_needed()
    data = digits()
    shifted = replace(data.space, mean=(data.space.mean[0] + 1e-9,))
    names = {cache_file(spec, each, STREAMS) for each in (data, replace(data, space=shifted))}
    monkeypatch.setattr(experts, "REVISION", experts.REVISION + 1)
    names.add(cache_file(spec, data, STREAMS))
    monkeypatch.setattr(experts, "version", lambda library: f"another {library}")
    names.add(cache_file(spec, data, STREAMS))
    assert len(names) == 4
    timm = networks.resolve("timm:resnet18")
    assert set(circumstances(data, STREAMS, [NETWORK, timm])["libraries"]) == {
        "torchvision",
        "timm",
    }
    assert set(circumstances(data, STREAMS, [NETWORK])["libraries"]) == {"torchvision"}


def test_whitening_is_part_of_the_value_space() -> None:
    def of(matrix: Tensor) -> object:
        space = Space("zca", whitening=Whitening(torch.zeros(1, 4), matrix, matrix))
        return circumstances(replace(digits(), space=space), STREAMS, [NETWORK])["data"]

    assert of(torch.eye(4)) == of(torch.eye(4)) != of(2 * torch.eye(4))


def test_networks_on_real_data_are_trained_by_deterministic_kernels(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DDBENCH_CACHE", str(tmp_path))
    asked: list[tuple[str, bool]] = []

    def numerics(*, allow_tf32: bool, deterministic: bool = False) -> None:
        assert not allow_tf32
        asked.append(("set", deterministic))

    def training(*args: Any, **named: Any) -> None:
        asked.append(("train", asked[-1][1]))

    monkeypatch.setattr(experts, "set_numerics", numerics)
    monkeypatch.setattr(experts, "train", training)
    (spec,) = plan(loss="kl", teacher=TEACHER).networks_needed()
    trained(spec, digits(), STREAMS)
    assert ("train", True) in asked and asked[-1] == ("set", False)
    asked.clear()
    trained(spec, digits(), STREAMS)  # found, and the numerics are the same afterwards
    assert asked == [("set", False)]


def test_images_labelled_once_are_labelled_as_they_are() -> None:
    once = plan(loss="sce", teacher=TEACHER | {"labels": "per_image"}, augmentation="dsa")
    lesson = lesson_of(a_set(), Arm(NETWORK, once), digits(), STREAMS)
    assert lesson.teachers is not None and not lesson.online
    assert torch.equal(lesson.examples.soft, lesson.teachers.label(a_set().x))  # type: ignore[arg-type]
    assert len(scored(a_set(), once)) == 2


@pytest.mark.parametrize("mix", ["mixup", "cutmix"])
def test_a_mixed_training_scores_the_same_in_any_stack(mix: str) -> None:
    how = plan(loss="kl", teacher=TEACHER, mix=mix, augmentation="rrc", optimizer="adamw", lr=0.01)
    together = scored(a_set(), how, members=(0, 1, 2), stack=3)
    alone = scored(a_set(), how, members=(0, 1, 2), stack=1)
    assert accuracies(together) == pytest.approx(accuracies(alone), abs=0.01)
    assert accuracies(scored(a_set(), how)) == accuracies(scored(a_set(), how))


# --- copies ------------------------------------------------------------------------------------


def test_copies_come_in_the_reference_s_order() -> None:
    x = torch.arange(2 * 9.0).view(2, 1, 3, 3)
    found = expanded(x, ["hflip", "transpose"])
    assert torch.equal(found, torch.cat([x, x.flip(-1), x.mT]))
    turned = expanded(x, ["transpose", "rotate"])
    assert len(turned) == 8 * len(x)
    base = torch.cat([x, x.mT])
    assert torch.equal(turned[4:8], base.rot90(1, (-2, -1)))
    assert len({tuple(image.flatten().tolist()) for image in turned}) == 16
    assert len(expanded(x, ["hflip", "vflip", "transpose", "rotate"])) == 16 * len(x)
    with pytest.raises(BadInput, match="cannot be turned"):
        expanded(torch.zeros(1, 1, 3, 4), ["rotate"])


def test_labels_repeat_with_their_copies() -> None:
    for data_set in (a_set(), soft_set()):
        arm = Arm(NETWORK, plan(expand=["hflip", "rotate"]))
        examples = lesson_of(data_set, arm, digits(), STREAMS).examples
        assert len(examples) == len(examples.y) == 8 * len(data_set)
        for copy in range(8):
            assert torch.equal(examples.y[copy * 20 : (copy + 1) * 20], data_set.y)


def test_features_do_not_follow_copies() -> None:
    spec = FeatureSpec(item="channel")
    F = torch.zeros(20, 1, *spec.item_shape(NETWORK, digits().shape))
    arm = Arm(NETWORK, plan(expand=["hflip"]), spec, 0.1)
    with pytest.raises(BadInput, match="F does not follow"):
        lesson_of(a_set(F=F, features={"item": "channel"}), arm, digits(), STREAMS)


# --- common random numbers ---------------------------------------------------------------------


@cache
def drawn(seed: int, members: tuple[int, ...], fields: str = "") -> dict[int, tuple[Tensor, ...]]:
    """Initialisation, orders and augmentation numbers of every member of a training."""
    found: dict[int, tuple[Tensor, ...]] = {}
    extra = {"repeats": 7} if fields == "repeats" else {}
    arm = Arm(NETWORK, plan(augmentation="dsa", **extra))
    lesson = lesson_of(a_set(seed), arm, digits(), STREAMS)
    watched = pytest.MonkeyPatch()

    def keep(stack: Any, examples: Any, loss: Any, spec: Any, orders: Iterator[Tensor],
             **named: Any) -> None:  # fmt: skip
        order, draws = torch.stack(list(orders)), named["draws"]
        numbers = draws.augmentation(named["augmentation"], len(examples), digits().shape)
        for k, member in enumerate(members):
            start = torch.cat([value.detach()[k].flatten() for value in stack.params.values()])
            found[member] = start, order[..., k], numbers[:, k]

    watched.setattr(lessons, "train", keep)
    lesson.fit(members, STREAMS, arm.plan.rates())
    watched.undo()
    return found


@pytest.mark.parametrize(
    ("seed", "members", "fields"),
    [(1, (0, 1, 2), ""), (0, (2,), ""), (0, (5, 2, 9), ""), (0, (0, 1, 2), "repeats")],
    ids=["another set", "alone", "other members", "more repeats"],
)
def test_network_two_draws_the_same_numbers(
    seed: int, members: tuple[int, ...], fields: str
) -> None:
    wanted = drawn(0, (0, 1, 2))
    found = drawn(seed, members, fields)
    for mine, theirs in zip(found[2], wanted[2], strict=True):
        assert torch.equal(mine, theirs)
    for mine, theirs in zip(wanted[0], wanted[1], strict=True):
        assert not torch.equal(mine, theirs)


def test_networks_with_features_and_without_are_augmented_alike() -> None:
    """Whichever of several feature sets is drawn for a batch."""
    spec = FeatureSpec(item="channel", n_feat=2, use="random")
    F = torch.rand(20, 2, *spec.item_shape(NETWORK, digits().shape))
    data_set = a_set(F=F, features={"item": "channel"})
    how, seen = plan(augmentation="dsa", batch_size=5), []
    watched = pytest.MonkeyPatch()

    def kept(self: Draws, *args: Any) -> Tensor:
        seen.append(drawn_numbers(self, *args))
        return seen[-1]

    drawn_numbers = Draws.augmentation
    watched.setattr(Draws, "augmentation", kept)
    for arm in (Arm(NETWORK, how, spec, 0.1), Arm(NETWORK, how)):
        lesson = lesson_of(data_set, arm, digits(), STREAMS)
        assert (lesson.examples.targets is None) == (arm.features is None)
        lesson.fit((0, 1), STREAMS, how.rates())
    watched.undo()
    half = len(seen) // 2
    assert half == 4 * 4  # epochs and batches
    assert all(torch.equal(a, b) for a, b in zip(seen[:half], seen[half:], strict=True))


# --- bits --------------------------------------------------------------------------------------


@pytest.mark.parametrize("tta", ["none", "hflip"])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_logits_do_not_depend_on_the_batch_or_the_place_in_it(tta: str, device: str) -> None:
    apply_numerics(plan(deterministic="batch_invariant"))
    generators = [torch.Generator(device).manual_seed(seed) for seed in range(3)]
    stack = create(NETWORK, digits().shape, 10, generators).detached()
    x = digits().x_test[:256].to(device)
    whole = predict(stack, x, tta=tta)
    for size in (1, 7, 256):
        pieces = torch.cat([predict(stack, part, tta=tta) for part in x.split(size)])
        assert torch.equal(pieces, whole), size
    order = torch.randperm(256, generator=torch.Generator().manual_seed(0)).to(device)
    assert torch.equal(predict(stack, x[order], tta=tta), whole[order])


def test_strict_scoring_is_repeatable_and_says_what_it_costs(
    caplog: pytest.LogCaptureFixture,
) -> None:
    strict = plan(deterministic="batch_invariant")
    with caplog.at_level(logging.INFO, "ddbench.evaluation"):
        first = scored(a_set(), strict)
    assert caplog.text.count("batch-invariant prediction takes") == 1
    again = scored(a_set(), strict)
    for one, other in zip(first, again, strict=True):
        assert one.accuracy == other.accuracy
        assert one.correct is not None and other.correct is not None
        assert (one.correct == other.correct).all()
    assert accuracies(first) == accuracies(scored(a_set(), plan()))  # one chunk serves both


def test_the_cost_is_a_ratio_of_times() -> None:
    stack = create(NETWORK, digits().shape, 10, [torch.Generator().manual_seed(0)]).detached()
    assert log_cost(stack, digits().x_test, plan(deterministic="batch_invariant")) > 0


def test_augmentations_of_pixels_are_bound_to_the_space() -> None:
    bare = plan(augmentation="crop_flip").augmentation
    how = bound(bare, digits().space)
    assert bare is not None and how is not None
    u = torch.rand(2, 1, how.uniforms(digits().shape), generator=torch.Generator().manual_seed(0))
    x = digits().x_train[:2, None]
    record = how.record(u, digits().shape)
    assert how.apply(x, record).shape == x.shape
    with pytest.raises(ValueError, match="bind"):
        bare.apply(x, record)


def test_a_recipe_with_a_teacher_runs_and_is_read_back(tmp_path: Path) -> None:
    evaluation = {
        "epochs": 2, "repeats": 2, "loss": "kl", "temperature": 4.0, "expand": ["hflip"],
        "teacher": TEACHER | {"networks": ["ConvNetD1W4"], "augmentation": "crop_flip"},
        "mix": {"name": "mixup", "alpha": 0.8}, "optimizer": "adamw", "betas": [0.9, 0.99],
        "lr": "search", "lr_grid": [0.001, 0.01], "deterministic": "batch_invariant",
    }  # fmt: skip
    network = {"name": "ConvNetD2", "width": 4}
    recipe = Recipe.parse(
        {"name": "taught", "dataset": "digits", "network": network, "ipc": 1, "method": "random",
         "evaluation": evaluation}
    )  # fmt: skip
    again = from_yaml(recipe.to_yaml())
    assert [arm.key for arm in recipe_arms(again)] == [arm.key for arm in recipe_arms(recipe)]
    path = run(recipe, 0, tmp_path, device="cpu").path
    records = store.read(path).evaluations
    assert {record.lr for record in records} <= {0.001, 0.01}
    assert accuracies(api.evaluate(path, device="cpu")) == accuracies(list(records))
