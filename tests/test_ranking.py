"""DD-Ranking's scores: the package's numbers, the range of the definitions, stored records."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ddbench import store
from ddbench.arms import recipe_arms
from ddbench.ranking import Score, ars, hlr, ior, lacking, lines, lrs, ranking_of
from ddbench.recipe import Recipe
from ddbench.scores import rankings
from ddbench.store import EvaluationRecord

fractions = st.floats(0, 1)
few = settings(max_examples=50, deadline=None)

# --- the reference -------------------------------------------------------------------------------


def close(found: Any, wanted: Any) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-9, atol=1e-12)


@pytest.mark.golden
@pytest.mark.parametrize("behaviour", ["advised", "reference"])
def test_golden_scores(golden: Callable[[str], Any], behaviour: str) -> None:
    data = golden("basics/ddranking.npz")
    bug = behaviour == "reference"
    points = 100 if bug else 1  # the package prints its differences in points

    def check(place: str, rounds: str, total: str, score: np.ndarray[Any, Any]) -> None:
        close(score, data[f"{place}/{rounds}_{behaviour}"])
        close(Score(score).mean, data[f"{place}/{total}_mean_{behaviour}"])
        # differences of numbers of order 1e8 in the saturated scores
        np.testing.assert_allclose(
            Score(score).std, data[f"{place}/{total}_std_{behaviour}"], rtol=1e-9, atol=1e-14
        )

    full, hard, random = (data[f"acc_{name}"] for name in ("full", "syn_hard", "random"))
    for index, weight in enumerate(data["weight"].tolist()):
        for kind, own in (("lrs_hard", hard), ("lrs_soft", data["acc_syn"])):
            place = f"{kind}/weight{index}"
            recovery, improvement = hlr(full, hard), ior(own, random)
            score = lrs(improvement, recovery, weight, percent_bug=bug)
            check(place, "hard_label_recovery", "hard_label_recovery", points * recovery)
            check(place, "improvement_over_random", "improvement_over_random", points * improvement)
            check(place, "lrs", "label_robust_score", score)
        with_, without = (
            ior(data[f"acc_syn_{name}"], data[f"acc_random_{name}"]) for name in ("aug", "noaug")
        )
        place = f"ars/weight{index}"
        check(place, "with_aug_scores", "with_aug_scores", points * with_)
        check(place, "without_aug_scores", "without_aug_scores", points * without)
        score = ars(with_, without, weight, percent_bug=bug)
        check(place, "ars_list", "augmentation_robust_score", score)


# --- the definitions -----------------------------------------------------------------------------


def test_the_worked_example() -> None:
    recovery, improvement = hlr([0.80], [0.50]), ior([0.50], [0.40])
    assert recovery.tolist() == pytest.approx([0.30]) and improvement.tolist() == pytest.approx(
        [0.10]
    )
    assert lrs(improvement, recovery).tolist() == pytest.approx([0.2284536], abs=5e-8)


def test_scores_at_the_ends_of_their_range() -> None:
    assert lrs(1.0, -1.0).tolist() == pytest.approx([1.0])
    assert lrs(0.0, 0.0).tolist() == pytest.approx([0.268941], abs=5e-7)
    assert lrs(-1.0, 1.0).tolist() == pytest.approx([0.0], abs=1e-15)
    assert ars(1.0, 1.0).tolist() == pytest.approx([1.0])
    assert lrs(0.3, 0.2, w=1.0).tolist() == ars(0.3, 0.9, g=1.0).tolist()


def test_percentages_saturate_the_reference() -> None:
    assert lrs(0.0, 0.2, percent_bug=True).tolist() == pytest.approx([-0.1565], abs=5e-5)
    assert lrs(0.2, 0.0, percent_bug=True)[0] == pytest.approx(9.4e3, rel=0.01)


@few
@given(own=fractions, random=fractions, real=fractions, hard=fractions, w=fractions)
def test_scores_stay_in_the_unit_interval(
    own: float, random: float, real: float, hard: float, w: float
) -> None:
    score = lrs(ior(own, random), hlr(real, hard), w)
    assert -1e-12 <= score[0] <= 1 + 1e-12
    assert -1e-12 <= ars(ior(own, random), ior(real, hard), w)[0] <= 1 + 1e-12


@pytest.mark.parametrize("value", [56.5, 1.0001, -0.01, math.nan, math.inf])
def test_what_is_no_fraction_is_refused(value: float) -> None:
    for call in (lambda: hlr([0.5, value], [0.5, 0.5]), lambda: ior([0.5], [value])):
        with pytest.raises(ValueError, match="fractions from 0 to 1, not percentages"):
            call()


def test_differences_and_weights_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="from -1 to 1"):
        lrs([30.0], [0.1])
    with pytest.raises(ValueError, match="the weight is"):
        ars([0.1], [0.1], g=1.5)


# --- stored records ------------------------------------------------------------------------------


def record(role: str, member: int, accuracy: float, **fields: Any) -> EvaluationRecord:
    values: dict[str, Any] = {
        **{"evaluation_key": role, "protocol": "ddranking-soft-datm", "iteration": 0},
        **{"network": "ConvNetD3", "network_seed": member, "used_features": False, "tta": "none"},
        **{"accuracy": accuracy, "best_accuracy": math.nan, "train_accuracy": 1.0, "epochs": 1},
        **{"per_class": np.zeros(2, np.float32), "seconds": 0.0, "selection": "last"},
    }
    return EvaluationRecord(**{**values, **fields}, role=role)


TABLE = {
    "set": [0.5, 0.6],
    "set_hard": [0.4, 0.3],
    "random": [0.3, 0.35],
    "real": [0.8, 0.9],
    "set_plain": [0.45, 0.5],
    "random_plain": [0.2, 0.3],
}


def records(*roles: str, **fields: Any) -> list[EvaluationRecord]:
    return [
        record(role, member, accuracy, **fields)
        for role in roles or TABLE
        for member, accuracy in enumerate(TABLE[role])
    ]


def test_all_roles_give_all_scores() -> None:
    ranking = ranking_of({0: records()})["final"]
    assert ranking.hlr and ranking.ior and ranking.lrs and ranking.ars
    close(ranking.hlr.rounds, [0.4, 0.6])
    close(ranking.ior.rounds, [0.2, 0.25])
    close(ranking.lrs.rounds, lrs([0.2, 0.25], [0.4, 0.6]))
    close(ranking.ars.rounds, ars([0.2, 0.25], [0.25, 0.2]))
    assert ranking.hlr.mean == pytest.approx(0.5) and ranking.hlr.std == pytest.approx(0.1)


def test_scores_are_averaged_over_rounds_not_computed_of_averages() -> None:
    ranking = ranking_of({0: records()})["final"]
    assert ranking.lrs is not None
    of_means = lrs(0.225, 0.5)
    assert ranking.lrs.mean > of_means[0]  # the exponential is convex
    assert ranking.lrs.mean == pytest.approx(lrs([0.2, 0.25], [0.4, 0.6]).mean())


@pytest.mark.parametrize(
    ("roles", "known"),
    [
        (("set", "random"), {"ior"}),
        (("set", "set_hard", "real"), {"hlr"}),
        (("set", "random", "real"), {"ior"}),
        (("set_hard", "random", "real"), {"hlr"}),
        (("set", "random", "set_hard", "real"), {"ior", "hlr", "lrs"}),
        (("set", "random", "set_plain", "random_plain"), {"ior", "ars"}),
        (("set",), set()),
    ],
)
def test_a_missing_role_leaves_its_scores_out(roles: tuple[str, ...], known: set[str]) -> None:
    ranking = ranking_of({0: records(*roles)})["final"]
    assert {name for name in ("hlr", "ior", "lrs", "ars") if getattr(ranking, name)} == known


def test_only_a_protocol_without_hard_role_has_hard_labels_itself() -> None:
    with_features = [record("set", m, 0.9, used_features=True) for m in (0, 1)]
    given = [*records("set", "random", "real"), *with_features]
    for features in (False, True):
        soft = ranking_of({0: given}, used_features=features)["final"]
        assert soft.hlr is None and soft.lrs is None and soft.ior is not None
        hard = ranking_of({0: _by(given, "ddranking-hard")}, used_features=features)["final"]
        assert hard.hlr is not None and hard.lrs is not None
        close(hard.hlr.rounds, [0.3, 0.3])


def test_networks_with_features_are_no_hard_labels() -> None:
    """``features.use: with`` by a protocol without ``set_hard``."""
    with_features = [record("set", m, 0.9, used_features=True) for m in (0, 1)]
    given = _by([*records("random", "real"), *with_features], "ddranking-hard@2")
    ranking = ranking_of({0: given}, used_features=True)["final"]
    assert ranking.hlr is None and ranking.lrs is None and ranking.ior is not None


def _by(found: list[EvaluationRecord], protocol: str) -> list[EvaluationRecord]:
    return [replace(each, protocol=protocol) for each in found]


def test_one_network_on_the_full_data_serves_every_round() -> None:
    one = [record("real", 0, 0.8)]
    ranking = ranking_of({0: [*records("set", "set_hard", "random"), *one]})["final"]
    assert ranking.hlr is not None and ranking.lrs is not None
    close(ranking.hlr.rounds, [0.4, 0.5])
    assert len(ranking.lrs.rounds) == 2


def test_rounds_are_paired_by_the_networks_number() -> None:
    shuffled = records("set") + records("random")[::-1] + [record("set", 7, 0.9)]
    ranking = ranking_of({0: [*shuffled, record("set", -1, 1.0)]})["final"]
    assert ranking.ior is not None
    close(ranking.ior.rounds, [0.2, 0.25])


def test_rounds_are_paired_by_the_seed_of_their_set() -> None:
    """A set that lacks a role lends its rounds to no other."""
    whole = [record("set", 0, 0.9), record("random", 0, 0.1)]
    sets = {4: records("set"), 7: whole, 5: records("set", "random")}
    ranking = ranking_of(sets)["final"]
    assert ranking.ior is not None
    close(ranking.ior.rounds, [0.2, 0.25, 0.8])  # seeds 5, 5 and 7


def test_a_score_knows_the_set_of_every_round() -> None:
    ior_ = ranking_of({4: records("set", "random"), 7: records("set", "random")})["final"].ior
    assert ior_ is not None and ior_.by_set == [pytest.approx([0.2, 0.25])] * 2
    assert ior_.interval is not None and ior_.interval.method == "t over sets"
    assert ior_.interval.low == ior_.interval.high == pytest.approx(0.225)
    alone = ranking_of({4: records("set", "random")})["final"].ior
    assert alone is not None and alone.interval is not None
    assert alone.interval.method == "t over networks of one set"
    # 0.2 and 0.25: 0.025 times 12.7062, t with 1 degree of freedom
    assert alone.interval.low == pytest.approx(0.225 - 0.025 * 12.706204736)
    assert Score(np.array([0.5])).interval is None


def test_what_a_score_lacks() -> None:
    found = lacking({0: records("set", "random", "real")})
    assert found == {
        "hlr": ("set_hard",), "ior": (), "lrs": ("set_hard",), "ars": ("set_plain", "random_plain")
    }  # fmt: skip
    hard = {0: _by(records("random"), "ddranking-hard")}
    assert lacking(hard)["hlr"] == ("real", "set")
    assert lacking({0: records()}, variant="max_over_eval")["ior"] == ("set", "random")


def test_two_scores_of_one_round_are_refused() -> None:
    with pytest.raises(ValueError, match="set 3 has two scores of network 0, random"):
        ranking_of({3: [*records("random"), record("random", 0, 0.2, evaluation_key="other")]})


def test_the_best_over_training_is_ranked_apart() -> None:
    both = ranking_of({0: records("set", "random", best_accuracy=0.75)})
    assert both["final"].ior is not None and both["max_over_eval"].ior is not None
    assert both["max_over_eval"].ior.mean == 0.0
    assert ranking_of({0: records("set", "random")})["max_over_eval"].ior is None


def test_networks_trained_with_features_are_ranked_apart() -> None:
    with_features = [record("set", m, 0.9, used_features=True) for m in (0, 1)]
    mixed = [*records(), *with_features]
    plain, privileged = (ranking_of({0: mixed}, used_features=u)["final"] for u in (False, True))
    assert plain.ior is not None and privileged.ior is not None
    close(plain.ior.rounds, [0.2, 0.25])
    close(privileged.ior.rounds, [0.6, 0.55])
    assert privileged.hlr is not None and privileged.ars is None


def test_other_networks_or_protocols_are_not_mixed() -> None:
    for field in ("network", "protocol"):
        with pytest.raises(ValueError, match=f"several {field}s"):
            ranking_of({0: records("set"), 1: [record("random", 0, 0.1, **{field: "other"})]})


def test_percentages_in_records_are_refused() -> None:
    with pytest.raises(ValueError, match="not percentages"):
        ranking_of({0: [record("set", 0, 56.5), record("random", 0, 30.0)]})


def test_lines_say_what_is_known() -> None:
    (line,) = lines({0: records("set", "random")})
    assert line == "ddranking-soft-datm: IOR 0.225 ± 0.025 (2 rounds)"
    with_features = [record("set", m, 0.9, used_features=True) for m in (0, 1)]
    found = list(lines({0: [*records(), *with_features]}))
    assert len(found) == 2 and found[1].startswith("ddranking-soft-datm with F: HLR 0.500 ± 0.100")
    assert list(lines({0: records("set")})) == []
    assert list(lines({0: records("random", "real")})) == []


def test_lines_say_what_was_chosen_on_the_test_set() -> None:
    (line,) = lines({0: records("set") + records("random", selection="best_on_test")})
    assert line.endswith("(2 rounds) † chosen on the test set, not comparable with others: random")
    (both,) = lines({0: records(selection="best_on_test")})
    assert both.endswith("others: random, random_plain, real, set, set_hard, set_plain")


# --- of result files -----------------------------------------------------------------------------


def recipe(name: str, **fields: Any) -> Recipe:
    evaluation = {"protocol": "ddranking-hard", "lr": 0.01, "repeats": 2}
    return Recipe.parse(
        {"name": name, "dataset": "digits", "network": "ConvNetD2", "ipc": 1, "method": "random",
         "evaluation": evaluation | fields.pop("evaluation", {}), **fields}
    )  # fmt: skip


def stored(made: Recipe, seed: int, folder: Path, own: float, **attrs: Any) -> tuple[Recipe, Path]:
    """A file with the roles of ddranking-hard, every network of the set as good as ``own``."""
    values = {"set": own, "random": 0.25, "real": 0.875}
    found = [
        record(
            arm.role, member, values[arm.role], evaluation_key=arm.key, protocol="ddranking-hard",
            network=arm.network.label,
            selection="best_on_test" if arm.plan.test_selected else "last",
        )
        for arm in recipe_arms(made)
        for member in range(arm.plan.repeats)
    ]  # fmt: skip
    path = folder / f"{made.name}-{made.key}-{seed}.h5"
    header = {"recipe": made.to_yaml(), "key": made.key, "seed": seed, "status": "done", **attrs}
    store.write(path, store.Result(header, evaluations=found))
    return made, path


def test_different_sets_are_ranked_apart(tmp_path: Path) -> None:
    one, other = recipe("one"), recipe("other", method="herding")
    found = [
        stored(one, 0, tmp_path, 0.5), stored(one, 1, tmp_path, 0.75),
        stored(other, 0, tmp_path, 0.375),
    ]  # fmt: skip
    first, second = rankings(found)
    assert first.startswith("one, ConvNetD2: ddranking-hard: HLR 0.250 ± 0.125, IOR 0.375 ± 0.125")
    assert "(4 rounds)" in first
    assert second.startswith("other, ConvNetD2: ddranking-hard: HLR 0.500 ± 0.000, IOR 0.125")
    assert "(2 rounds)" in second
    assert list(rankings(found + found)) == [first, second]  # a file twice is one set


def test_sets_of_one_name_are_told_apart_by_their_keys(tmp_path: Path) -> None:
    found = [stored(recipe("same", ipc=ipc), 0, tmp_path, 0.5) for ipc in (1, 2)]
    told = list(rankings(found))
    assert [line.split(",")[0] for line in told] == [f"same ({r.key})" for r, _ in found]


def test_what_is_chosen_on_the_test_set_is_marked(tmp_path: Path) -> None:
    (line,) = rankings([stored(recipe("a"), 0, tmp_path, 0.5)])
    assert line.endswith("others: random")  # its rate is searched on the test set by the preset
    fair = recipe("b", evaluation={"lr_chosen_on": "validation"})
    (line,) = rankings([stored(fair, 0, tmp_path, 0.5)])
    assert "†" not in line
    (line,) = rankings([stored(fair, 1, tmp_path, 0.5, selected_on_test=True)])
    assert line.endswith("others: set")
