"""Presets and plans: numbers of the papers, versions, keys, roles, what cannot be together."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ddbench import datasets, networks, protocols, recipe_files, store
from ddbench.arms import recipe_arms
from ddbench.augment.autoaug import AutoAugment, policy
from ddbench.errors import BadInput
from ddbench.protocols import EvaluationSpec, Plan, TrainedOn
from ddbench.spec import fingerprint

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = Path(__file__).with_name("protocol_versions.json")
DATASETS = ("mnist", "cifar10", "cifar100", "tinyimagenet", "imagenette", "imagenet1k")
NETWORKS = ("ConvNetD3", "ConvNetBN", "ResNet18BN")
IPCS = (1, 10, 50)


def plan(protocol: str, dataset: str = "cifar10", network: str = "ConvNetD3", **how: Any) -> Plan:
    role, ipc = how.pop("role", "set"), how.pop("ipc", None)
    spec = EvaluationSpec.parse({"protocol": protocol, **how})
    return spec.plan(datasets.facts(dataset), networks.resolve(network), role, ipc=ipc)


# --- presets -----------------------------------------------------------------------------------


def test_names_have_dashes_and_both_spellings_are_read() -> None:
    assert set(protocols.names()) == {
        "dc", "dsa", "full", "mtt", "datm", "edf", "stm", "sre2l-fkd", "dcbench-2022", "fair-v1",
        "ddranking-hard", "ddranking-soft-sre2l", "ddranking-soft-datm", "ddranking-soft-d4m",
        "ddranking-soft-rded", "ddranking-soft-dwa", "ddranking-ars",
    }  # fmt: skip
    for spelt in ("fair-v1", "fair_v1"):
        assert EvaluationSpec.parse({"protocol": spelt}).protocol == "fair-v1"
        assert plan(spelt).protocol == "fair-v1"
    with pytest.raises(BadInput, match="did you mean 'fair-v1'") as error:
        EvaluationSpec.parse({"protocol": "fair-v2"}, field="evaluation")
    assert error.value.field == "evaluation.protocol"


@pytest.mark.parametrize("name", protocols.names())
def test_a_preset_says_what_it_is(name: str) -> None:
    module = protocols.load(name)
    assert isinstance(module.VERSION, int) and module.VERSION >= 1
    assert module.SUMMARY and module.SOURCE
    roles = EvaluationSpec(protocol=name).roles
    assert roles[0] == "set" and len(set(roles)) == len(roles)


def test_every_preset_is_documented() -> None:
    text = (ROOT / "docs" / "protocols.md").read_text()
    rows = re.findall(r"^\| `([\w-]+)` \| (\d+) \| (\S+).*? \|", text, re.MULTILINE)
    words = {"learned": "learned", "learned,": "learned", "searched": "search"}
    found = {name: (int(count), words.get(rate, rate)) for name, count, rate in rows}
    wanted = {name: (plan(name).repeats, str(plan(name).lr)) for name in protocols.names()}
    assert found | {"full": (5, "0.01")} == wanted


def test_later_versions_show_in_the_name(monkeypatch: pytest.MonkeyPatch) -> None:
    before = plan("mtt")
    monkeypatch.setattr(protocols.load("mtt"), "VERSION", 2)
    assert plan("mtt").protocol == "mtt@2"
    assert plan("mtt").key(None) == before.key(None)  # numbers make a key, names do not


def resolved(name: str) -> dict[str, str]:
    """A hash of all numbers of a preset per dataset: its networks, roles and IPCs together."""
    found = {}
    for dataset in DATASETS:
        plans = [
            plan(name, dataset, network, role=role, ipc=ipc)
            for network in NETWORKS
            for role in EvaluationSpec(protocol=name).roles
            for ipc in IPCS
        ]
        found[dataset] = fingerprint(
            [
                [
                    p.key(None), p.repeats, p.optimizer, p.momentum, p.weight_decay, p.batch_size,
                    list(p.betas), p.lr, p.lr_grid, [f"{r:.9g}" for r in p.rates(1.0).values],
                ]
                for p in plans
            ]
        )  # fmt: skip
    return found


@pytest.mark.parametrize("name", protocols.names())
def test_a_changed_number_is_a_new_version(name: str) -> None:
    pinned = json.loads(VERSIONS.read_text())
    found = {"version": protocols.load(name).VERSION, "numbers": resolved(name)}
    assert pinned.get(name) == found, (
        f"the numbers of '{name}' are not those of its version: raise VERSION in its file and put "
        f"this into {VERSIONS.name}:\n{json.dumps({name: found}, indent=1)}"
    )


def test_evaluation_keys_of_the_committed_results_still_hold() -> None:
    files = sorted((ROOT / "results").glob("digits/*/*.h5"))
    assert files
    for file in files:
        header = store.read_header(file)
        recipe = recipe_files.from_yaml(str(header.attrs["recipe"]), file=file)
        keys = {arm.key for arm in recipe_arms(recipe)}
        own = [each for each in header.evaluations if each.network == recipe.net.label]
        assert {record.evaluation_key for record in own} == keys, file.name


PUBLISHED: list[tuple[str, str, str, dict[str, Any]]] = [
    # protocol, dataset, network, numbers (protocols.md, matching.md 3, att-stm.md, edf-compdd.md)
    ("mtt", "cifar10", "ConvNetD3",
     {"lr": "learned", "epochs": 1000, "epochs_run": 1001, "batch_size": 256, "repeats": 5}),
    ("datm", "cifar100", "ConvNetD3", {"lr": "learned", "batch_size": 128, "loss": "ce"}),
    ("edf", "imagenette", "ConvNetD5", {"lr": "learned", "batch_size": 128, "epochs": 1000}),
    ("stm", "gzoo2", "ConvNetD3", {"schedule": "staged", "epochs": 1000, "batch_size": 256}),
    ("dcbench-2022", "cifar10", "ConvNetD3", {"lr": 0.01, "epochs": 300, "repeats": 5}),
    ("ddranking-hard", "cifar10", "ConvNetD3",
     {"schedule": "step", "step_size": 500, "epochs": 1000, "weight_decay": 5e-4, "lr": "search"}),
    ("ddranking-soft-datm", "tinyimagenet", "ConvNetD4",
     {"loss": "sce", "temperature": 1.0, "epochs": 1000, "teacher": None}),
    ("ddranking-soft-sre2l", "cifar10", "ResNet18BN",
     {"loss": "kl", "temperature": 30.0, "epochs": 400, "batch_size": 256, "optimizer": "adamw"}),
    ("ddranking-soft-sre2l", "tinyimagenet", "ResNet18BN",
     {"temperature": 20.0, "epochs": 400, "batch_size": 1024, "schedule": "half_cosine"}),
    ("ddranking-soft-sre2l", "imagenet1k", "ResNet18BN", {"epochs": 300, "batch_size": 1024}),
    ("ddranking-soft-d4m", "cifar10", "ConvNetD3", {"epochs": 500, "batch_size": 100}),
    ("ddranking-soft-d4m", "tinyimagenet", "ResNet18BN", {"epochs": 300, "batch_size": 1024}),
    ("ddranking-soft-dwa", "imagenet1k", "ResNet18BN", {"epochs": 300, "batch_size": 128}),
    ("ddranking-soft-rded", "cifar10", "ConvNetBN", {"lr": 0.001, "epochs": 300}),
    ("ddranking-ars", "imagenet1k", "ResNet18BN", {"batch_size": 512, "temperature": 20.0}),
    ("sre2l-fkd", "imagenet1k", "ResNet18BN",
     {"lr": 0.001, "weight_decay": 0.01, "weight_decay_on": "matrices", "temperature": 20.0}),
    ("fair-v1", "cifar10", "ConvNetD3",
     {"lr": "search", "lr_chosen_on": "validation", "epochs": 1000, "selection": "last"}),
]  # fmt: skip


@pytest.mark.parametrize(("protocol", "dataset", "network", "numbers"), PUBLISHED)
def test_published_numbers(
    protocol: str, dataset: str, network: str, numbers: dict[str, Any]
) -> None:
    found = plan(protocol, dataset, network)
    assert {name: getattr(found, name) for name in numbers} == numbers


@pytest.mark.parametrize(
    ("dataset", "sizes"),
    [("cifar10", (10, 50, 100)), ("cifar100", (20, 50, 200)), ("tinyimagenet", (100, 100, 200)),
     ("imagenet1k", (20, 100, 200))],
)  # fmt: skip
def test_batches_of_rded(dataset: str, sizes: tuple[int, ...]) -> None:
    found = [plan("ddranking-soft-rded", dataset, ipc=ipc).batch_size for ipc in IPCS]
    assert tuple(found) == sizes
    assert plan("ddranking-soft-rded", dataset, batch_size=7, ipc=1).batch_size == 7


def test_augmentations_of_presets() -> None:
    edf, datm, fair = (plan(name).augmentation for name in ("edf", "datm", "fair-v1"))
    assert edf is not None and datm is not None and fair is not None
    assert edf.model_dump() == datm.model_dump() | {"ratio_crop_pad": 0.25}
    assert fair.model_dump() == datm.model_dump() | {"per_image": True}
    assert "flip" not in plan("mtt", "mnist").augmentation.model_dump()["strategy"]  # type: ignore[union-attr]
    sre2l = plan("ddranking-soft-sre2l")
    assert sre2l.mix is not None and sre2l.augmentation is not None
    assert (sre2l.mix.name, sre2l.mix.alpha, sre2l.augmentation.name) == ("mixup", 0.8, "crop_flip")
    d4m = plan("ddranking-soft-d4m")
    assert d4m.mix is not None and d4m.augmentation is not None
    assert (d4m.mix.name, d4m.mix.alpha, d4m.augmentation.name) == ("cutmix", 1.0, "rrc")


def test_one_cell_of_d4m_has_another_temperature() -> None:
    def of(dataset: str, ipc: int | None, **own: Any) -> float:
        return plan("ddranking-soft-d4m", dataset, ipc=ipc, **own).temperature

    assert of("cifar100", 1) == 30.0
    assert {of("cifar100", 10), of("cifar100", None), of("cifar10", 1)} == {20.0}
    assert of("cifar100", 1, temperature=4.0) == 4.0
    assert plan("ddranking-soft-d4m", "cifar100", ipc=1, role="set_hard").temperature == 1.0


def test_autoaug_takes_the_policy_of_the_images_size_unless_written() -> None:
    def of(**own: Any) -> list[object]:
        how = plan("dcbench-2022", augmentation={"name": "autoaug", **own}).augmentation
        assert isinstance(how, AutoAugment)
        return [how.steps(datasets.facts(name).shape) for name in ("cifar10", "tinyimagenet")]

    assert of() == [policy("cifar10"), policy("imagenet")]
    for name in ("cifar10", "imagenet"):
        assert of(policy=name) == [policy(name)] * 2


def test_dcbench_trains_longer_under_any_augmentation() -> None:
    assert plan("dcbench-2022").epochs == 300
    assert plan("dcbench-2022", augmentation="none").epochs == 300
    assert plan("dcbench-2022", augmentation="autoaug").epochs == 1000
    assert plan("dcbench-2022", augmentation="dsa", epochs=7).epochs == 7


@pytest.mark.parametrize(
    ("dataset", "network", "numbers"),
    [
        ("cifar10", "ConvNetD3", ("sgd", 0.01, 5e-4, "step", 100, 200, 512)),
        ("tinyimagenet", "ConvNetD4", ("sgd", 0.01, 5e-4, "step", 50, 100, 512)),
        ("tinyimagenet", "ResNet18BN", ("adamw", 0.01, 0.01, "half_cosine", None, 100, 512)),
        ("imagenet1k", "ResNet18BN", ("sgd", 0.1, 1e-4, "step", 30, 90, 512)),
    ],
)
def test_full_data_recipes(dataset: str, network: str, numbers: tuple[Any, ...]) -> None:
    fields = (
        "optimizer", "lr", "weight_decay", "schedule", "step_size", "epochs", "batch_size",
    )  # fmt: skip
    real = plan("ddranking-hard", dataset, network, role="real")
    full = plan("full", dataset, network)
    for found in (real, full):
        assert tuple(getattr(found, field) for field in fields) == numbers
    assert real.key(None) == full.key(None) and real.augmentation is None


# --- roles -------------------------------------------------------------------------------------


def test_the_full_data_do_not_depend_on_what_a_recipe_says_of_the_set() -> None:
    own = {"epochs": 3, "lr": 0.5, "batch_size": 7, "augmentation": "none"}
    assert plan("ddranking-hard", role="real", **own) == plan("ddranking-hard", role="real")
    assert plan("ddranking-hard", role="real", tta="hflip").tta == "hflip"


def test_random_images_are_searched_whatever_rate_the_set_is_given() -> None:
    assert plan("ddranking-hard", lr=0.5).lr == 0.5
    assert plan("ddranking-hard", lr=0.5, role="random").lr == "search"
    assert plan("ddranking-hard", epochs=3, role="random").epochs == 3
    chosen = plan("ddranking-hard", selection="best_on_test", snapshots=[0], role="random")
    assert chosen.selection == "last" and chosen.candidates == []


@pytest.mark.parametrize(
    ("protocol", "roles"),
    [("ddranking-hard", ["random"]), ("ddranking-soft-rded", ["random", "set_hard"]),
     ("ddranking-ars", ["random", "random_plain"])],
)  # fmt: skip
def test_a_recipe_says_what_all_searches_are_judged_by(protocol: str, roles: list[str]) -> None:
    for role in roles:
        assert plan(protocol, role=role).lr_chosen_on == "test"
        found = plan(protocol, role=role, lr=0.5, lr_chosen_on="validation")
        assert (found.lr, found.lr_chosen_on, found.test_selected) == (
            "search",
            "validation",
            False,
        )


def test_a_plain_set_trains_at_the_rate_of_the_set() -> None:
    found = {
        role: plan("ddranking-ars", role=role, lr=0.5).lr
        for role in EvaluationSpec(protocol="ddranking-ars").roles
    }
    assert found == {"set": 0.5, "set_plain": 0.5, "random": "search", "random_plain": "search"}
    assert plan("ddranking-ars", role="set_plain").lr == "search"


def test_a_selection_is_overwritten_only_where_the_test_set_chose() -> None:
    fields = {"selection": "best_on_validation", "snapshots": [0], "lr": "search"}
    assert not plan("dc", **fields).test_selected
    assert plan("dc", **fields, lr_chosen_on="test").test_selected


def test_hard_labels_leave_teachers_and_mixes_out() -> None:
    for name in ("sre2l", "d4m", "rded", "dwa", "datm"):
        hard = plan(f"ddranking-soft-{name}", role="set_hard")
        assert hard.labels == "hard" and hard.loss == "ce"
        assert hard.teacher is None and hard.mix is None
        assert (hard.augmentation is not None) == (name == "datm")


def test_random_images_of_datm_are_labelled_once() -> None:
    assert plan("ddranking-soft-datm").teacher is None
    teacher = plan("ddranking-soft-datm", role="random").teacher
    assert teacher is not None and teacher.labels == "per_image"
    assert [network.label for network in teacher.networks or []] == ["ConvNetD3"]


def test_the_recipe_s_teacher_labels_the_random_images_of_datm_too() -> None:
    own = {"networks": ["ConvNetD2"], "epochs": 3, "lr": 0.5}
    teacher = plan("ddranking-soft-datm", role="random", teacher=own).teacher
    assert teacher is not None and (teacher.epochs, teacher.lr) == (3, 0.5)
    assert teacher.labels == "per_image"
    assert [network.label for network in teacher.networks or []] == ["ConvNetD2"]
    for role in ("set_hard", "real"):
        assert plan("ddranking-soft-datm", role=role, teacher=own).teacher is None


def test_cross_entropy_with_random_images_of_datm_is_refused_by_its_own_name() -> None:
    with pytest.raises(BadInput, match="role 'random' of ddranking-soft-datm") as error:
        plan("ddranking-soft-datm", role="random", loss="ce")
    assert error.value.field == "evaluation.loss" and "sce" in str(error.value)
    hard = plan("ddranking-soft-datm", role="random", loss="ce", labels="hard")
    assert hard.teacher is None


def test_no_role_and_no_teacher_trains_longer_than_is_allowed() -> None:
    for name in protocols.names():
        for role in EvaluationSpec(protocol=name).roles:
            short = plan(name, "tinyimagenet", role=role, max_epochs=3)
            assert short.epochs == 3 and short.epochs_run <= 7  # staged: 3 + 3 // 2 + 1
            assert all(teacher.epochs == 3 for teacher in short.networks_needed())
    assert plan("dc", max_epochs=1000).key(None) == plan("dc").key(None)
    warm = plan("dc", warmup=9, max_epochs=4)
    assert (warm.warmup, warm.epochs_run) == (3, 5)


def test_plain_roles_are_not_augmented() -> None:
    for role in ("set_plain", "random_plain"):
        plain = plan("ddranking-ars", role=role)
        assert plain.augmentation is None and plain.mix is None and plain.teacher is not None
    assert plan("ddranking-ars").augmentation is not None


# --- teachers ----------------------------------------------------------------------------------


def test_a_teacher_is_of_the_student_s_architecture_and_of_one_seed() -> None:
    (spec,) = plan("ddranking-soft-d4m").networks_needed()
    assert spec.network.label == "ConvNetD3" and spec.seed == 0
    assert (spec.epochs, spec.lr, spec.batch_size, spec.schedule) == (200, 0.01, 512, "step")
    (spec,) = plan("ddranking-soft-sre2l", network="ResNet18BN").networks_needed()
    assert (spec.epochs, spec.lr, spec.schedule) == (200, 0.1, "cosine_annealing")
    assert plan("dc").networks_needed() == []


def test_teachers_of_a_recipe() -> None:
    teacher = {"networks": ["ConvNetD2", "ResNet18BN"], "epochs": 3, "lr": 0.1, "warmup": 1}
    found = plan("ddranking-soft-d4m", teacher=teacher)
    assert [s.network.label for s in found.networks_needed()] == ["ConvNetD2", "ResNet18BN"]
    assert found.key(None) != plan("ddranking-soft-d4m").key(None)
    once = plan("ddranking-soft-d4m", teacher=teacher | {"labels": "per_image"}, mix="none")
    assert once.key(None) != plan("ddranking-soft-d4m", teacher=teacher, mix="none").key(None)
    assert plan("ddranking-soft-d4m", teacher="none", mix="none").networks_needed() == []


def test_what_was_added_later_makes_a_network_only_where_it_is_used() -> None:
    network = networks.resolve("ConvNetD2")
    spec = TrainedOn(network=network, epochs=20, lr=0.01, momentum=0.9, batch_size=128)
    assert spec.identity() == {
        "epochs": 20, "lr": 0.01, "momentum": 0.9, "weight_decay": 0.0, "batch_size": 128,
        "augment": None, "members": 1, "network": network.identity(),
    }  # fmt: skip
    assert spec.rates().values == (0.01,) * 20
    assert spec.model_copy(update={"schedule": "linear"}).identity()["schedule"] == "linear"


# --- keys --------------------------------------------------------------------------------------


def test_fields_that_change_nothing_are_not_in_the_key() -> None:
    assert plan("dc", lr_grid=[0.1, 0.2]).key(None) == plan("dc").key(None)
    assert plan("fair-v1", lr_grid=[0.1, 0.2]).key(None) != plan("fair-v1").key(None)
    assert plan("dc", expand=[]).key(None) == plan("dc").key(None)
    for field in (
        {"step_size": 5}, {"syn_steps": 9}, {"betas": (0.5, 0.9)}, {"temperature": 4.0},
        {"scale_loss": True}, {"mse_weight": 2.0}, {"ce_weight": 0.1},
    ):  # fmt: skip
        assert plan("dc", **field).key(None) == plan("dc").key(None), field
    for used, field in (
        ({"schedule": "step"}, {"step_size": 5}), ({"schedule": "staged"}, {"syn_steps": 9}),
        ({"optimizer": "adam"}, {"betas": (0.5, 0.9)}), ({"loss": "sce"}, {"temperature": 4.0}),
        ({"loss": "kl"}, {"scale_loss": True}), ({"loss": "mse_gt"}, {"mse_weight": 2.0}),
        ({"loss": "mse_gt"}, {"ce_weight": 0.1}),
    ):  # fmt: skip
        assert plan("dc", **used, **field).key(None) != plan("dc", **used).key(None), field
    one, other = (plan("stm", expand=order) for order in (["rotate", "hflip"], ["hflip", "rotate"]))
    assert one.key(None) == other.key(None) != plan("stm").key(None)


@pytest.mark.parametrize(
    "field",
    [
        {"lr": "search"}, {"lr": "learned"}, {"optimizer": "adam"}, {"weight_decay_on": "matrices"},
        {"schedule": "linear"}, {"gamma": 0.2}, {"warmup": 3}, {"labels": "hard"},
        {"loss": "sce"}, {"expand": ["hflip"]}, {"deterministic": "batch_invariant"},
        {"deterministic": True},
    ],
    ids=str,
)  # fmt: skip
def test_fields_that_change_a_score_are_in_the_key(field: dict[str, Any]) -> None:
    assert plan("dc", **field).key(None) != plan("dc").key(None)


# --- errors ------------------------------------------------------------------------------------

TEACHER = {"epochs": 2, "lr": 0.1}


@pytest.mark.parametrize(
    ("fields", "where", "words"),
    [
        ({"lr": 0}, "lr", "learned, search"),
        ({"lr": -0.1}, "lr", "a number above 0"),
        ({"lr": "learnt"}, "lr", "learned"),
        ({"lr_grid": [0.1, 0.01]}, "lr_grid", "increasing"),
        ({"lr_grid": []}, "lr_grid", "increasing"),
        ({"mix": "mixup"}, "mix", "a teacher that labels per_batch"),
        ({"mix": "mixing"}, "mix.name", "mixup"),
        ({"mix": {"name": "mixup"}, "loss": "kl", "teacher": TEACHER | {"labels": "per_image"}},
         "mix", "per_batch"),
        ({"teacher": TEACHER}, "teacher", "loss sce, kl or mse_gt"),
        ({"teacher": {"epochs": 2}, "loss": "kl"}, "teacher.lr", "required"),
        ({"teacher": TEACHER | {"networks": ["ConvNetX"]}, "loss": "kl"},
         "teacher.networks.0.name", "unknown network"),
        ({"teacher": TEACHER | {"augmentation": "dsaa"}, "loss": "kl"},
         "teacher.augmentation", "unknown augmentation"),
        ({"teacher": TEACHER | {"warmup": 2}, "loss": "kl"}, "teacher.warmup", "0 to 1"),
        ({"loss": "kl", "labels": "hard"}, "loss", "ce with labels hard"),
        ({"loss": "kl", "label_smoothing": 0.1}, "loss", "label_smoothing"),
        ({"warmup": 300}, "warmup", "0 to 299"),
        ({"warmup": 1, "schedule": "staged"}, "warmup", "0 with schedule staged"),
        ({"expand": ["turn"]}, "expand.0", "hflip"),
        ({"deterministic": "always"}, "deterministic", "batch_invariant"),
        ({"schedule": "cosin"}, "schedule", "did you mean 'cosine'"),
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_is_refused(fields: dict[str, Any], where: str, words: str) -> None:
    with pytest.raises(BadInput) as error:
        spec = EvaluationSpec.parse(fields, field="evaluation")
        spec.plan(datasets.facts("cifar10"), networks.resolve("ConvNetD3"))
    assert error.value.field == f"evaluation.{where}"
    assert words in str(error.value)


def test_a_plan_without_its_views_is_refused_by_name() -> None:
    with pytest.raises(BadInput, match="sre2l-fkd replays stored views") as error:
        plan("sre2l-fkd").check_runnable()
    assert error.value.field == "evaluation.protocol"


def test_features_do_not_follow_copies_and_mixes() -> None:
    plan("dc").check_runnable(with_features=True)
    for field, found in (
        ("expand", plan("dc", expand=["hflip"])), ("mix", plan("ddranking-soft-d4m")),
    ):  # fmt: skip
        found.check_runnable()
        with pytest.raises(BadInput, match="F does not follow") as error:
            found.check_runnable(with_features=True)
        assert error.value.field == f"evaluation.{field}"
