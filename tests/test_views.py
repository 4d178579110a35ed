"""The views of a table: DD-Ranking's scores, DC-BENCH's tables, average ranks; by hand."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ddbench import store
from ddbench.arms import Arm, recipe_arms
from ddbench.cli import main
from ddbench.distilled import DistilledSet, Space
from ddbench.leaderboard import collect, dcbench, ddranking, ranks_view
from ddbench.leaderboard.section import Section
from ddbench.leaderboard.settings import augmentation_text, made_by
from ddbench.leaderboard.signs import NOTHING, TIMES
from ddbench.networks import resolve
from ddbench.protocols import EvaluationSpec
from ddbench.ranking import ars, lrs
from ddbench.recipe import Recipe
from ddbench.store import EvaluationRecord, Result

NETWORK = "ConvNetD2-W32"


def recipe_of(name: str, method: Any = "dc", ipc: int = 1, **fields: Any) -> Recipe:
    return Recipe.parse({"name": name, "dataset": "digits", "method": method, "ipc": ipc, **fields})


def record(accuracy: float, network_seed: int = 0, **fields: Any) -> EvaluationRecord:
    plain: dict[str, Any] = {
        "evaluation_key": "e" * 12, "protocol": "dc", "iteration": 1000, "network": NETWORK,
        "network_seed": network_seed, "used_features": False, "tta": "none", "accuracy": accuracy,
        "best_accuracy": math.nan, "train_accuracy": 1.0, "epochs": 301, "seconds": 1.0,
        "per_class": np.zeros(10, np.float32), "selection": "last", "comparable_key": "e" * 12,
    }  # fmt: skip
    return EvaluationRecord(**(plain | fields))


def write(
    folder: Path, made: Recipe, seed: int, records: Sequence[EvaluationRecord], **attrs: Any
) -> None:
    path = store.result_path(folder, "digits", made.name, made.key, seed)
    values = {"recipe": made.to_yaml(), "key": made.key, "seed": seed, "status": "done", **attrs}
    synthetic = DistilledSet(torch.zeros(1, 1, 8, 8), torch.zeros(1).long(), Space("unit"))
    store.write(path, Result(values, synthetic, evaluations=records))


def cells(section: Section) -> list[dict[str, str]]:
    """The rows by column."""
    return [dict(zip(section.columns, row, strict=True)) for row in section.rows]


def notes(section: Section) -> str:
    return "\n".join(section.notes)


# --- DD-Ranking ----------------------------------------------------------------------------------

ROLES = {
    "set": [0.5, 0.6], "set_hard": [0.4, 0.3], "random": [0.3, 0.35], "real": [0.8, 0.9],
    "set_plain": [0.45, 0.5], "random_plain": [0.2, 0.3],
}  # fmt: skip
DATM = "ddranking-soft-datm"
DC = recipe_of("digits_dc_ipc1")


def roles(*names: str, shift: float = 0.0, **fields: Any) -> list[EvaluationRecord]:
    """Two networks of every role; ``shift`` is added to those of the set."""
    named = {"protocol": DATM, **fields}
    return [
        record(value + shift * (role == "set"), member, role=role,
               **{"evaluation_key": role, "comparable_key": role, **named})
        for role in names or ROLES
        for member, value in enumerate(ROLES[role])
    ]  # fmt: skip


def ranked(folder: Path) -> list[Section]:
    return ddranking.view(collect([folder], baselines=True))


def test_scores_of_one_set_by_hand(tmp_path: Path) -> None:
    write(tmp_path, DC, 0, roles())
    (section,) = ranked(tmp_path)
    (row,) = cells(section)
    (data,) = section.data
    assert row["HLR"] == "0.500 ± 0.100 [-0.771, 1.771]"  # 0.4, 0.6: 0.1 times 12.706, t with 1
    assert data["ior"] == pytest.approx(0.225) and data["ior_std"] == pytest.approx(0.025)
    assert data["lrs"] == pytest.approx(lrs([0.2, 0.25], [0.4, 0.6]).mean())
    assert data["ars"] == pytest.approx(ars([0.2, 0.25], [0.25, 0.2]).mean())
    assert data["lrs_interval"] == "t over networks of one set"
    assert (row["method"], row["sets"], row["rounds"]) == ("DC", "1", "2")
    assert "Fewer than 3 sets" in notes(section) and "LRS = S(0.5 IOR - 0.5 HLR)" in notes(section)


def test_intervals_are_over_sets(tmp_path: Path) -> None:
    for seed in range(3):
        write(tmp_path, DC, seed, roles(shift=seed / 10))
    (section,) = ranked(tmp_path)
    (data,) = section.data
    # means 0.225, 0.325, 0.425: s = 0.1, t with 2 degrees of freedom 4.302653
    half = 4.302652730 * 0.1 / 3**0.5
    assert data["ior"] == pytest.approx(0.325) and data["ior_interval"] == "t over sets"
    assert (data["ior_low"], data["ior_high"]) == pytest.approx((0.325 - half, 0.325 + half))
    assert (data["ior_sets"], data["ior_rounds"]) == (3, 6)
    assert "Fewer than" not in notes(section)


def test_missing_roles_are_said(tmp_path: Path) -> None:
    write(tmp_path, DC, 0, roles("set", "set_hard", "random"))
    (section,) = ranked(tmp_path)
    (row,) = cells(section)
    assert row["IOR"].startswith("0.225 ± 0.025")
    assert (row["HLR"], row["LRS"]) == ("no real", "no real")
    assert row["ARS"] == "no set_plain; no random_plain"
    assert section.data[0]["lrs"] is None and section.data[0]["lrs_lacks"] == "real"


def test_roles_without_a_common_round_are_said(tmp_path: Path) -> None:
    write(tmp_path, DC, 0, [*roles("set"), *roles("random")])
    write(tmp_path, DC, 1, roles("real"))
    other = recipe_of("digits_random_ipc1", "random")
    write(tmp_path, other, 0, roles("set"))
    write(tmp_path, other, 1, roles("random"))
    (section,) = ranked(tmp_path)
    rows = {row["method"]: row for row in cells(section)}
    assert rows["Random"]["IOR"] == "no common round"
    assert rows["DC"]["LRS"] == "no set_hard"


def test_sorted_by_size_then_lrs_then_ior(tmp_path: Path) -> None:
    write(tmp_path, recipe_of("digits_dc_ipc2", ipc=2), 0, roles(shift=0.4))
    for name, shift in (("random", 0.1), ("herding", 0.3), ("kmeans", 0.2)):
        write(tmp_path, recipe_of(f"digits_{name}_ipc1", name), 0, roles(shift=shift))
    write(tmp_path, DC, 0, roles("set", "random"))
    (section,) = ranked(tmp_path)
    assert [row["method"] for row in cells(section)] == ["Herding", "K-means", "Random", "DC", "DC"]
    assert [row["IPC"] for row in cells(section)] == ["1", "1", "1", "1", "2"]


def test_the_best_epoch_is_apart_and_marked(tmp_path: Path) -> None:
    write(tmp_path, DC, 0, roles("set", "random", best_accuracy=0.75))
    write(tmp_path, recipe_of("digits_random_ipc1", "random"), 0, roles("set", "random"))
    final, best = ranked(tmp_path)
    assert len(final.rows) == 2 and [row["method"] for row in cells(best)] == ["DC †"]
    assert best.data[0]["ior"] == 0 and "†" in best.title and "†" not in notes(final)
    assert "best over training by the test set" in notes(best)


def test_what_was_chosen_on_the_test_set_is_marked(tmp_path: Path) -> None:
    chosen = roles("random", selection="best_on_test")
    write(tmp_path, DC, 0, [*roles("set"), *chosen])
    published = recipe_of("digits_random_ipc1", "random")
    write(tmp_path, published, 0, roles("set", "random"), selected_on_test=True)
    (section,) = ranked(tmp_path)
    assert {row["method"] for row in cells(section)} == {"DC †", "Random †"}
    marked = {row["name"]: row["test_selected"] for row in section.data}
    assert marked == {"DC": "random", "Random": "set"}
    assert "(random, set)" in notes(section)


def test_networks_with_f_are_ranked_apart(tmp_path: Path) -> None:
    with_f = [record(0.9, e, used_features=True, evaluation_key="f" * 12, protocol=DATM)
              for e in (0, 1)]  # fmt: skip
    write(tmp_path, recipe_of("digits_dc_f_ipc1", features={}), 0, [*roles(), *with_f])
    (section,) = ranked(tmp_path)
    rows = {row["method"]: row for row in cells(section)}
    assert rows["DC + F"]["IOR"].startswith("0.575") and rows["DC + F"]["ARS"] == "no set_plain"
    assert rows["DC (trained without F)"]["IOR"].startswith("0.225")


def test_hard_labels_are_those_without_f(tmp_path: Path) -> None:
    """``ddranking-hard`` has no ``set_hard``: networks of the set without F serve."""
    made, named = recipe_of("digits_dc_f_ipc1", features={}), {"protocol": "ddranking-hard"}
    with_f = [record(0.9, e, used_features=True, evaluation_key="f" * 12, comparable_key="set",
                     **named) for e in (0, 1)]  # fmt: skip
    write(tmp_path, made, 0, [*roles("set", "random", "real", **named), *with_f])
    (section,) = ranked(tmp_path)
    assert {row["HLR"].split(" [")[0] for row in cells(section)} == {"0.300 ± 0.000"}
    write(tmp_path, made, 0, [*roles("random", "real", **named), *with_f])
    (section,) = ranked(tmp_path)
    (row,) = cells(section)
    assert row["HLR"] == "no set" and row["IOR"].startswith("0.575")


def hard_recipe(**evaluation: Any) -> Recipe:
    block = {"protocol": "ddranking-hard", "repeats": 2, **evaluation}
    return recipe_of("digits_dc_ipc1", network="ConvNetD2", evaluation=block)


def of_recipe(made: Recipe, own: float) -> list[EvaluationRecord]:
    """The roles of a recipe as a run would store them, the set as good as ``own``."""
    values = {"set": own, "random": own - 0.25, "real": 0.875}
    return [
        record(values[arm.role], member, role=arm.role, evaluation_key=arm.key,
               comparable_key=arm.comparable_key, protocol="ddranking-hard",
               network=arm.network.label)
        for arm in recipe_arms(made) for member in range(arm.plan.repeats)
    ]  # fmt: skip


def test_baselines_of_several_evaluations_are_told_apart(tmp_path: Path) -> None:
    """One set, scored twice by one protocol with other augmentations, into one file."""
    first, second = hard_recipe(), hard_recipe(augmentation="none")
    records = {(r.evaluation_key, r.network_seed): r
               for r in [*of_recipe(first, 0.5), *of_recipe(second, 0.75)]}  # fmt: skip
    write(tmp_path, first, 0, list(records.values()))
    (section,) = ranked(tmp_path)
    assert [row["IOR"] for row in cells(section)] == ["0.250 ± 0.000 [0.250, 0.250]"] * 2
    assert [row["HLR"][:5] for row in cells(section)] == ["0.125", "0.375"]
    assert "Unclear" not in notes(section)


def test_baselines_that_cannot_be_told_apart_are_not_used(tmp_path: Path) -> None:
    other = [record(0.1, e, role="random", evaluation_key="?", protocol=DATM) for e in (0, 1)]
    write(tmp_path, DC, 0, [*roles(), *other])
    (section,) = ranked(tmp_path)
    (row,) = cells(section)
    assert row["IOR"] == "unclear random" and row["HLR"].startswith("0.500")
    assert "cannot be told (random)" in notes(section)


def test_only_protocols_with_baselines_are_ranked(tmp_path: Path) -> None:
    write(tmp_path, DC, 0, [record(0.5), record(0.6, 1)])
    write(tmp_path, recipe_of("digits_kmeans_ipc1", "kmeans"), 0, roles(), status="distilled")
    (section,) = ranked(tmp_path)
    assert not section.rows and "No finished run" in notes(section)


def test_a_protocol_of_another_version_is_left_out(tmp_path: Path) -> None:
    write(tmp_path, DC, 0, [*roles("set", "random"), record(0.5, protocol="of-tomorrow")])
    (section,) = ranked(tmp_path)
    assert [row["protocol"] for row in cells(section)] == [DATM]


# --- DC-BENCH ------------------------------------------------------------------------------------


def by_dcbench(
    folder: Path, made: Recipe, values: dict[str, Sequence[float]], *,
    networks: Sequence[str] = (NETWORK,), seed: int = 0, **fields: Any,
) -> None:  # fmt: skip
    """Scores of a set by the protocol, of every network under every augmentation of ``values``."""
    by_name = {NETWORK: made.net, "MLP": resolve("MLP")}
    records = []
    for name in networks:
        for augmentation, accuracies in values.items():
            block = {"protocol": "dcbench-2022", "augmentation": augmentation, **fields}
            spec = EvaluationSpec.parse(block)
            plan = spec.plan(made.facts, by_name[name], ipc=made.ipc)
            key = Arm(by_name[name], plan).key
            records += [
                record(value, e, protocol="dcbench-2022", network=name, evaluation_key=key,
                       comparable_key=key)
                for e, value in enumerate(accuracies)
            ]  # fmt: skip
    write(folder, made, seed, records)


def tables(folder: Path) -> list[Section]:
    return dcbench.view(collect([folder]))


def test_without_and_with_the_best_augmentation(tmp_path: Path) -> None:
    by_dcbench(tmp_path, DC, {"none": [0.5, 0.7], "dsa": [0.6, 0.8], "randaug": [0.9, 0.7]})
    by_dcbench(tmp_path, recipe_of("digits_random_ipc1", "random"), {"none": [0.4, 0.4]})
    section = tables(tmp_path)[0]
    random, dc = cells(section)
    assert dc["no augmentation (%)"] == "60.00 ± 10.00", "ddof 0"
    assert dc["best augmentation (%) †"] == "80.00 ± 10.00" and dc["augmentation"] == "randaug"
    assert random["no augmentation (%)"] == "40.00 ± 0.00" and random["augmentation"] == NOTHING
    assert section.data[1]["best_percent"] == pytest.approx(80)
    assert "DC-BENCH's datasets and sizes: cifar10 at IPC 1, 10, 50;" in notes(section)
    assert (
        "chosen on the test set" in notes(section)
        and dc[f"sets {TIMES} networks"] == f"1 {TIMES} 2"
    )


def test_augmentations_as_columns(tmp_path: Path) -> None:
    by_dcbench(tmp_path, DC, {"none": [0.5], "dsa": [0.625], "cifar_aug": [0.75]})
    section = tables(tmp_path)[1]
    (row,) = cells(section)
    names = ["none", "autoaug", "randaug", "imagenet_aug", "cifar_aug", "dsa"]
    assert list(section.columns)[4:] == names
    assert [row[name][:5] for name in names] == [
        "50.00",
        NOTHING,
        NOTHING,
        NOTHING,
        "75.00",
        "62.50",
    ]
    assert "Missing: 3 of 6 cells" in notes(section)


def test_options_of_an_augmentation_are_told(tmp_path: Path) -> None:
    """DC-BENCH's own way, one set of parameters per batch, of a recipe that says so."""
    block = {"protocol": "dcbench-2022", "augmentation": {"name": "randaug", "batchwise": True}}
    made = recipe_of("digits_dc_ipc1", evaluation=block)
    key = Arm(made.net, made.plans()[0][1]).key
    named = {"protocol": "dcbench-2022", "evaluation_key": key, "comparable_key": key}
    for recipe in (made, DC):  # also where another evaluation came first
        write(tmp_path, recipe, 0, [record(0.5, **named)])
        assert [score["augmentation"] for score in tables(tmp_path)[1].data] == [
            "randaug, batchwise"
        ]


def test_transfer_by_network(tmp_path: Path) -> None:
    by_dcbench(tmp_path, DC, {"dsa": [0.5]}, networks=[NETWORK, "MLP"])
    by_dcbench(tmp_path, recipe_of("digits_random_ipc1", "random"), {"dsa": [0.25]})
    section = tables(tmp_path)[2]
    rows = {row["method"]: row for row in cells(section)}
    assert rows["DC"]["MLP"] == rows["DC"][NETWORK] == "50.00 ± 0.00"
    assert rows["Random"]["MLP"] == NOTHING and "Missing: 1 of 4 cells" in notes(section)


def test_accuracy_against_ipc(tmp_path: Path) -> None:
    for ipc, value in ((10, 0.75), (1, 0.5)):
        by_dcbench(tmp_path, recipe_of(f"digits_dc_ipc{ipc}", ipc=ipc), {"none": [value]})
    section = tables(tmp_path)[3]
    (row,) = cells(section)
    assert list(section.columns)[-2:] == ["IPC 1", "IPC 10"]
    assert (row["IPC 1"], row["IPC 10"]) == ("50.00 ± 0.00", "75.00 ± 0.00")
    assert "digits 1: 0.696 %, digits 10: 6.96 %" in notes(section)  # of 1437 images


def test_only_the_protocols_own_numbers_count(tmp_path: Path) -> None:
    by_dcbench(tmp_path, DC, {"none": [0.5]}, epochs=7)
    write(tmp_path, recipe_of("digits_kmeans_ipc1", "kmeans"), 0, [record(0.5)])
    (section,) = tables(tmp_path)
    assert not section.rows
    assert "Left out: 1 scores (numbers other than those of dcbench-2022)." in notes(section)


def test_two_recipes_of_one_method_are_told_apart(tmp_path: Path) -> None:
    by_dcbench(tmp_path, DC, {"none": [0.5]})
    other = recipe_of("digits_dc_b", {"name": "dc", "lr_img": 1.0})
    by_dcbench(tmp_path, other, {"none": [0.25]})
    names = {row["method"]: row["no augmentation (%)"] for row in cells(tables(tmp_path)[0])}
    assert names == {
        f"DC [digits_dc_ipc1 {DC.key}]": "50.00 ± 0.00",
        f"DC [digits_dc_b {other.key}]": "25.00 ± 0.00",
    }


def test_the_block_of_a_score_is_found_by_its_key(tmp_path: Path) -> None:
    made = hard_recipe()
    write(tmp_path, made, 0, [])
    (path,) = map(str, tmp_path.rglob("*.h5"))
    key = Arm(made.net, made.plans()[0][1]).key
    found = made_by(path, "ddranking-hard", made.net.label, key)
    assert found is not None and augmentation_text(found).startswith("dsa")
    assert made_by(path, "ddranking-hard", made.net.label, "?") is None
    assert made_by(path, "ddranking-hard", "NoSuchNetwork", key) is None


# --- average ranks -------------------------------------------------------------------------------

METHODS = {"digits_dc": "dc", "digits_random": "random", "digits_kmeans": "kmeans"}


def ranked_set(folder: Path, name: str, ipc: int, value: float, **fields: Any) -> None:
    """A row with enough seeds and networks to be ranked."""
    made = recipe_of(f"{name}_ipc{ipc}", METHODS[name], ipc)
    for seed in range(3):
        write(folder, made, seed, [record(value, e, **fields) for e in range(5)])


def averages(folder: Path) -> tuple[Section, dict[str, float]]:
    (section,) = ranks_view.view(collect([folder]))
    return section, {str(row["name"]): row["average_rank"] for row in section.data}  # type: ignore[misc]


def test_average_ranks_by_hand(tmp_path: Path) -> None:
    values = {"digits_dc": [0.9, 0.8, 0.5], "digits_random": [0.5, 0.6, 0.5],
              "digits_kmeans": [0.7, 0.8, 0.6]}  # fmt: skip
    for name, each in values.items():
        for ipc, value in enumerate(each, 1):
            ranked_set(tmp_path, name, ipc, value)
    section, found = averages(tmp_path)
    # ranks 1, 1.5, 2.5; 3, 3, 2.5; 2, 1.5, 1
    assert found == pytest.approx({"DC": 5 / 3, "Random": 8.5 / 3, "K-means": 4.5 / 3})
    assert [row["method"] for row in cells(section)] == ["K-means", "DC", "Random"]
    assert [row["best in"] for row in cells(section)] == ["2 of 3", "2 of 3", "0 of 3"]
    assert "ranks are a description" in notes(section)
    assert "not independent" in notes(section) and section.data[0]["friedman_p"] is None


def test_tests_from_six_cells(tmp_path: Path) -> None:
    for ipc in range(1, 7):
        for place, name in enumerate(METHODS):
            ranked_set(tmp_path, name, ipc, 0.9 - place / 10)
    section, found = averages(tmp_path)
    assert found == {"DC": 1, "Random": 2, "K-means": 3}
    # Friedman: 12 / (6 * 3 * 4) * (36 + 144 + 324) - 3 * 6 * 4 = 12 with 2 degrees of freedom
    assert section.data[0]["friedman_p"] == pytest.approx(math.exp(-6))
    # q(0.05; 3, inf) = 3.314493, over sqrt(2), times sqrt(3 * 4 / (6 * 6))
    assert section.data[0]["critical_difference"] == pytest.approx(1.353130, abs=1e-5)
    assert (section.data[0]["low"], section.data[0]["high"]) == (1, 1)
    assert "differ (Nemenyi, 5 %)" in notes(section) and "bootstrap over cells" in notes(section)


def test_only_cells_that_all_methods_have(tmp_path: Path) -> None:
    for ipc in (1, 2, 3):
        ranked_set(tmp_path, "digits_dc", ipc, 0.9)
        if ipc < 3:
            ranked_set(tmp_path, "digits_random", ipc, 0.5)
    section, found = averages(tmp_path)
    assert found == {"DC": 1, "Random": 2} and section.data[0]["cells"] == 2
    assert "Left out, because a method is missing there: digits IPC 3" in notes(section)


def test_methods_without_a_common_cell(tmp_path: Path) -> None:
    ranked_set(tmp_path, "digits_dc", 1, 0.9)
    ranked_set(tmp_path, "digits_random", 2, 0.5)
    section, _ = averages(tmp_path)
    assert not section.rows and "No cell has all of the methods: DC, Random" in notes(section)


def test_rows_with_few_seeds_are_not_ranked(tmp_path: Path) -> None:
    ranked_set(tmp_path, "digits_dc", 1, 0.9)
    ranked_set(tmp_path, "digits_random", 1, 0.5)
    write(tmp_path, recipe_of("digits_kmeans_ipc1", "kmeans"), 0, [record(0.99)])
    section, found = averages(tmp_path)
    assert found == {"DC": 1, "Random": 2}
    assert "Not ranked in the table, and so not here: K-means." in notes(section)


def test_a_cell_with_two_recipes_of_a_method_is_missing_for_it(tmp_path: Path) -> None:
    for ipc in (1, 2):
        ranked_set(tmp_path, "digits_dc", ipc, 0.9)
        ranked_set(tmp_path, "digits_random", ipc, 0.5)
    other = recipe_of("digits_dc_b", {"name": "dc", "lr_img": 1.0})
    for seed in range(3):
        write(tmp_path, other, seed, [record(0.1, e) for e in range(5)])
    section, found = averages(tmp_path)
    assert found == {"DC": 1, "Random": 2} and section.data[0]["cells"] == 1
    assert "Missing where it was made in several ways: DC." in notes(section)


def test_divisions_are_ranked_apart(tmp_path: Path) -> None:
    with_f = recipe_of("digits_dc_f_ipc1", features={})
    for seed in range(3):
        write(tmp_path, with_f, seed, [
            *(record(0.9, e, used_features=True, evaluation_key="f" * 12) for e in range(5)),
            *(record(0.8, e) for e in range(5)),
        ])  # fmt: skip
    ranked_set(tmp_path, "digits_random", 1, 0.5)
    hard, features = ranks_view.view(collect([tmp_path]))
    assert [row["method"] for row in cells(hard)] == ["DC (trained without F)", "Random"]
    assert not features.rows and "Fewer than two methods" in notes(features)


def test_views_on_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(3):
        write(tmp_path, DC, seed, roles())
    by_dcbench(tmp_path, recipe_of("digits_random_ipc1", "random"), {"none": [0.5], "dsa": [0.6]})
    for view in ("ddranking", "dcbench", "ranks"):
        for fmt in ("github", "latex", "csv", "html", "json"):
            assert main(["table", str(tmp_path), "--view", view, "--format", fmt]) == 0
            shown = capsys.readouterr().out
            assert shown and "nan" not in shown.lower().replace("ddranking", "")
            if fmt == "json":
                assert [part["title"] for part in json.loads(shown)]
    assert main(["table", str(tmp_path), "--view", "ddranking", "--format", "csv"]) == 0
    (row,) = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert float(row["ior"]) == pytest.approx(0.225) and row["ior_interval"] == "t over sets"


# --- all -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("view", [ddranking.view, dcbench.view, ranks_view.view])
def test_views_are_deterministic_and_of_one_shape(tmp_path: Path, view: Any) -> None:
    for seed in range(3):
        write(tmp_path, DC, seed, roles())
    by_dcbench(tmp_path, recipe_of("digits_random_ipc1", "random"), {"none": [0.5]})
    first, second = (view(collect([tmp_path], baselines=True)) for _ in range(2))
    assert first == second and all(len(s.right) == len(s.columns) for s in first)
    for section in first:
        assert all(isinstance(cell, str) for row in section.rows for cell in row)


@pytest.mark.parametrize("view", [ddranking.view, dcbench.view, ranks_view.view])
def test_no_results_make_no_rows(tmp_path: Path, view: Any) -> None:
    assert not any(section.rows for section in view(collect([tmp_path], baselines=True)))
