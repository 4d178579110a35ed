"""``ddbench compare``: hand-computed values, what names stand for, what is refused."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ddbench import api, statistics, store
from ddbench.cli import main
from ddbench.distilled import DistilledSet, Space
from ddbench.errors import BadInput
from ddbench.leaderboard.compare import Block, Comparison, compare
from ddbench.leaderboard.compare_text import text
from ddbench.leaderboard.recipe_facts import DIVISIONS
from ddbench.recipe import Recipe
from ddbench.store import EvaluationRecord, Result

NETWORK = "ConvNetD2-W32"
PLAIN, WITH_F = "e" * 12, "f" * 12
SHA = "a" * 64
Sets = dict[int, list[float]]
"""Accuracies of the networks of every seed."""


def recipe_of(name: str, method: str = "dc", ipc: int = 1, **fields: Any) -> Recipe:
    return Recipe.parse({"name": name, "dataset": "digits", "method": method, "ipc": ipc, **fields})


def record(accuracy: float, network_seed: int, **fields: Any) -> EvaluationRecord:
    plain: dict[str, Any] = {
        "evaluation_key": PLAIN, "protocol": "dc", "iteration": 1000, "network": NETWORK,
        "network_seed": network_seed, "used_features": False, "tta": "none", "accuracy": accuracy,
        "best_accuracy": float("nan"), "train_accuracy": 1.0, "epochs": 301, "seconds": 1.0,
        "per_class": np.full(10, np.nan, np.float32), "selection": "last", "comparable_key": PLAIN,
    }  # fmt: skip
    return EvaluationRecord(**(plain | fields))


def of_bits(network_seed: int, bits: str, **fields: Any) -> EvaluationRecord:
    """A network that gets the test images right that are 1 in ``bits``."""
    correct = np.array([bit == "1" for bit in bits])
    return record(float(correct.mean()), network_seed, correct=correct, **fields)


def write(
    folder: Path, made: Recipe, seed: int, records: Sequence[EvaluationRecord], **attrs: Any
) -> Path:
    path = store.result_path(folder, "digits", made.name, made.key, seed)
    values = {
        "recipe": made.to_yaml(), "key": made.key, "seed": seed, "status": "done",
        "dataset_sha256": SHA, **attrs,
    }  # fmt: skip
    synthetic = DistilledSet(torch.zeros(1, 1, 8, 8), torch.zeros(1).long(), Space("unit"))
    store.write(path, Result(values, synthetic, evaluations=records))
    return path


def write_sets(folder: Path, made: Recipe, sets: Sets, **fields: Any) -> None:
    for seed, values in sets.items():
        records = [record(value, member, **fields) for member, value in enumerate(values)]
        write(folder, made, seed, records)


DC, RANDOM = recipe_of("digits_dc_ipc1"), recipe_of("digits_random_ipc1", "random")


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of results that names are looked up in; the working directory is another."""
    monkeypatch.setenv("DDBENCH_RESULTS", str(tmp_path / "results"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "results"


@pytest.fixture
def three(results: Path) -> Path:
    """Means of three sets: 0.6, 0.7, 0.8 and 0.5, 0.65, 0.7."""
    write_sets(results, DC, {0: [0.55, 0.65], 1: [0.65, 0.75], 2: [0.75, 0.85]})
    write_sets(results, RANDOM, {0: [0.5, 0.5], 1: [0.6, 0.7], 2: [0.7, 0.7]})
    return results


def one(comparison: Comparison) -> Block:
    (block,) = comparison.blocks
    return block


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    """What the command line prints as JSON."""
    assert main(["compare", *words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


# --- numbers -------------------------------------------------------------------------------------


def test_by_hand_over_sets(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = told(capsys, "digits_dc_ipc1", "digits_random_ipc1")["blocks"]
    found = block["difference"]
    assert found["differences_points"] == pytest.approx([10, 5, 10])
    assert found["unit"] == "sets" and found["pairs"] == 3, "three sets, not six networks"
    assert found["points"] == pytest.approx(25 / 3)
    # deviations 5/3, -10/3, 5/3: s = 5 / sqrt(3), standard error s / sqrt(3) = 5/3, t = 5
    assert found["p"] == pytest.approx(0.037749551, abs=1e-8)  # t = 5 with 2 degrees of freedom
    quantile = 4.302652730  # of t with 2 degrees of freedom, 97.5 %
    ends = [25 / 3 - quantile * 5 / 3, 25 / 3 + quantile * 5 / 3]
    assert [found["low_points"], found["high_points"]] == pytest.approx(ends)
    assert found["adjusted_p"] == found["p"] and found["wilcoxon_p"] is None
    assert found["equivalent"] is False
    a, b = block["a"], block["b"]
    assert (a["mean_percent"], b["mean_percent"]) == pytest.approx((70, 61.6666667))
    assert (a["n_sets"], a["n_networks"], a["seeds"]) == (3, 6, [0, 1, 2])
    half = quantile * 10 / 3**0.5  # means 60, 70, 80: s = 10
    assert [a["low_percent"], a["high_percent"]] == pytest.approx([70 - half, 70 + half])
    assert block["outcome"] == "A better"
    assert block["verdict"] == "A (DC) is better than B (Random) by 8.33 points."


def test_alpha_is_that_of_interval_and_verdict(three: Path) -> None:
    block = one(compare("dc", "random", results=three, alpha=0.01))
    assert block.outcome == "no difference shown" and block.difference is not None
    assert block.difference.level == pytest.approx(0.99)
    assert block.difference.low_points == pytest.approx(25 / 3 - 9.924843201 * 5 / 3)


def test_one_set_each_speaks_of_these_sets(results: Path) -> None:
    write_sets(results, DC, {4: [0.75, 0.5, 0.75]})
    write_sets(results, RANDOM, {4: [0.5, 0.25, 0.25]})
    block = one(compare("dc", "random", results=results))
    assert block.difference is not None
    assert (block.difference.unit, block.difference.pairs) == ("networks of one set", 3)
    # differences 25, 25, 50: mean 100/3, standard error 25/3, t = 4 with 2 degrees of freedom
    assert block.difference.p == pytest.approx(0.057190958, abs=1e-8)
    assert block.verdict == (
        "Of these two sets of seed 4 alone, not of the methods: no difference is shown between "
        "A (DC) and B (Random)."
    )


def test_networks_of_several_sets_are_never_independent_pairs(three: Path) -> None:
    """A t over all six pairs of networks would say p = 0.0027: it is refused where it is made."""
    with pytest.raises(ValueError, match="networks of one set are not independent"):
        statistics.paired_t(np.array([[0.05, 0.15], [0.05, 0.05], [0.05, 0.15]]))
    with pytest.raises(SystemExit):
        main(["compare", "dc", "random", "--pairs", "networks"])


def test_one_seed_of_several_is_no_test(results: Path) -> None:
    write_sets(results, DC, {0: [0.5, 0.6], 1: [0.7, 0.7]})
    write_sets(results, RANDOM, {1: [0.5, 0.6], 2: [0.4, 0.5]})
    block = one(compare("dc", "random", results=results))
    assert block.difference is not None and block.difference.p is None
    assert block.difference.points == pytest.approx(15)
    assert block.difference.unpaired == ("only A has the seeds 0", "only B has the seeds 2")
    assert block.outcome == "not tested"
    assert block.verdict == "Not tested: A (DC) and B (Random) have one seed in common."


def test_no_seed_in_common_is_no_difference(results: Path) -> None:
    write_sets(results, DC, {0: [0.5, 0.6], 1: [0.7, 0.7]})
    block = one(compare("digits_dc_ipc1:0", "digits_dc_ipc1:1", results=results))
    assert block.difference is None and block.images is None
    assert block.verdict.startswith("Not tested: A (DC) and B (DC) have no seed in common")
    assert "not tested" in {block.outcome}


def test_wilcoxon_from_six_pairs(results: Path) -> None:
    write_sets(results, DC, {seed: [0.5 + seed / 100] for seed in range(6)})
    write_sets(results, RANDOM, {seed: [0.4] for seed in range(6)})
    found = one(compare("dc", "random", results=results)).difference
    assert found is not None and found.wilcoxon_p == pytest.approx(2 / 2**6)


def test_equivalence_within_half_a_point(results: Path) -> None:
    write_sets(results, DC, {seed: [0.7] for seed in range(4)})
    write_sets(results, RANDOM, {seed: [0.7 + (-1) ** seed / 1000] for seed in range(4)})
    block = one(compare("dc", "random", results=results))
    assert block.outcome == "equivalent"
    assert block.verdict == "A (DC) and B (Random) are equivalent within 0.5 points."


def test_better_by_less_than_the_margin(results: Path) -> None:
    write_sets(results, DC, {seed: [0.7] for seed in range(4)})
    write_sets(results, RANDOM, {seed: [0.702] for seed in range(4)})
    block = one(compare("dc", "random", results=results))
    assert block.verdict == (
        "B (Random) is better than A (DC) by 0.20 points, but within 0.5 points."
    )


def test_holm_over_the_blocks(results: Path) -> None:
    networks = {"ConvNetD1": [10, 5, 10], "ConvNetD2": [10, 8, 12], "ConvNetD3": [1, -1, 1]}
    for seed in range(3):
        of_dc, of_random = (
            [record(0.5 + sign * points[seed] / 100, 0, network=name, comparable_key=name)
             for name, points in networks.items()]
            for sign in (1, 0)
        )  # fmt: skip
        write(results, DC, seed, of_dc)
        write(results, RANDOM, seed, of_random)
    found = compare("dc", "random", results=results).blocks
    tests = {block.network: block.difference for block in found if block.difference}
    p = {name: test.p or 0.0 for name, test in tests.items()}
    assert p["ConvNetD2"] < p["ConvNetD1"] < p["ConvNetD3"]
    assert tests["ConvNetD2"].adjusted_p == pytest.approx(3 * p["ConvNetD2"])
    assert tests["ConvNetD1"].adjusted_p == pytest.approx(2 * p["ConvNetD1"])
    assert tests["ConvNetD3"].adjusted_p == pytest.approx(p["ConvNetD3"])
    outcomes = {block.network: block.outcome for block in found}
    assert outcomes["ConvNetD2"] == "A better", "0.013 times 3"
    assert outcomes["ConvNetD1"] == "no difference shown", "0.038 times 2, alone it would be one"
    (alone,) = compare("dc", "random", results=results, networks=["ConvNetD1"]).blocks
    assert alone.outcome == "A better"


# --- with F and without --------------------------------------------------------------------------


def write_with_f(folder: Path, name: str = "digits_dc_f_ipc1") -> Recipe:
    made = recipe_of(name, features={})
    for seed in range(3):
        with_f = [record(0.8 + seed / 100, e, used_features=True, evaluation_key=WITH_F)
                  for e in range(2)]  # fmt: skip
        write(folder, made, seed, [*with_f, *(record(0.75, e) for e in range(2))])
    return made


def test_the_same_twice_compares_with_f_to_without(results: Path) -> None:
    write_with_f(results)
    block = one(compare("digits_dc_f_ipc1", "digits_dc_f_ipc1", results=results))
    assert (block.a.name, block.b.name) == ("DC + F", "DC (trained without F)")
    assert block.a.used_features and not block.b.used_features and block.a.key == block.b.key
    assert block.difference is not None
    assert block.difference.differences_points == pytest.approx((5, 6, 7))
    assert f"divisions differ: {DIVISIONS['features']} and {DIVISIONS['hard']}" in block.notes
    assert one(compare(str(results), str(results), results=results)) == block


def test_rows_with_f_and_without_meet_plain_ones(results: Path) -> None:
    write_with_f(results)
    write_sets(results, RANDOM, {seed: [0.5, 0.5] for seed in range(3)})
    blocks = compare("digits_dc_f_ipc1", "random", results=results).blocks
    assert [block.a.name for block in blocks] == ["DC + F", "DC (trained without F)"]
    assert {block.b.name for block in blocks} == {"Random"}


# --- images --------------------------------------------------------------------------------------


def write_bits(folder: Path, a: dict[int, list[str]], b: dict[int, list[str]]) -> None:
    for made, bits in ((DC, a), (RANDOM, b)):
        for seed, networks in bits.items():
            write(folder, made, seed, [of_bits(e, each) for e, each in enumerate(networks)])


def test_bits_by_hand(results: Path) -> None:
    write_bits(results, {0: ["1111110000", "1111111100"]}, {0: ["1000000000", "1111111111"]})
    images = one(compare("dc", "random", results=results)).images
    assert images is not None and images.test_size == 10 and images.without_bits == 0
    first, second = images.pairs
    # 5 discordant images, all for A: 2 / 2^5; 2 for B: 2 / 2^2
    assert (first.only_a, first.only_b, first.p) == (5, 0, pytest.approx(1 / 16))
    assert (second.only_a, second.only_b, second.p) == (0, 2, pytest.approx(1 / 2))
    assert (first.adjusted_p, second.adjusted_p) == pytest.approx((1 / 8, 1 / 2))
    assert images.significant(0.05) == (0, 0) and images.significant(0.2) == (1, 0)
    # per image: 0, five times 1/2, twice 0, twice -1/2: mean 0.15, squares 1.75, s^2 = 1.525 / 9
    assert images.difference_points == pytest.approx(15)
    error = (1.525 / 9 / 10) ** 0.5
    half = 100 * 2.262157163 * error  # t with 9 degrees of freedom, 97.5 %
    assert (images.low_points, images.high_points) == pytest.approx((15 - half, 15 + half))


def test_holm_over_the_pairs_of_networks(results: Path) -> None:
    better, worse = "1" * 10 + "0" * 10, "0" * 20
    write_bits(results, {0: [better, better], 1: [better]}, {0: [worse, worse], 1: [better]})
    images = one(compare("dc", "random", results=results)).images
    assert images is not None and len(images.pairs) == 3
    assert [pair.adjusted_p for pair in images.pairs] == pytest.approx([3 / 2**9, 3 / 2**9, 1])
    assert [(pair.seed, pair.network_seed) for pair in images.pairs] == [(0, 0), (0, 1), (1, 0)]
    assert images.significant(0.05) == (2, 0)


def test_only_paired_networks_are_looked_at(results: Path) -> None:
    write_bits(results, {0: ["10", "11"], 1: ["11"]}, {0: ["10"], 2: ["00"]})
    images = one(compare("dc", "random", results=results)).images
    assert images is not None and len(images.pairs) == 1
    assert images.difference_points == 0 and images.p == 1


def test_files_without_bits_say_so(results: Path) -> None:
    write(results, DC, 0, [of_bits(0, "10"), record(0.5, 1)])
    write(results, RANDOM, 0, [of_bits(0, "11"), of_bits(1, "11")])
    found = compare("dc", "random", results=results)
    images = one(found).images
    assert images is not None and (len(images.pairs), images.without_bits) == (1, 1)
    assert "no predictions are stored for 1 of 2 pairs of networks" in text(found)


def test_classes_by_size_of_the_difference(results: Path) -> None:
    for made, values in ((DC, (0.5, 0.25, 0.75)), (RANDOM, (0.5, 1.0, 0.5))):
        per_class = np.full(10, np.nan, np.float32)
        per_class[:3] = values
        write(results, made, 0, [record(0.5, e, per_class=per_class) for e in range(2)])
    found = compare("dc", "random", results=results)
    images = one(found).images
    assert images is not None and images.test_size is None
    classes = [(each.label, each.name, each.points) for each in images.classes]
    assert classes == [(1, "1", -75), (2, "2", 25), (0, "0", 0)]
    assert "A - B in points by class, not tested: 1: -75.00, 2: +25.00, 0: +0.00\n" in text(found)


@pytest.mark.parametrize(
    ("bits", "attrs", "says"),
    [
        ("101", {}, "test_size is 3, there 2"),
        ("10", {"dataset_sha256": "b" * 64}, "dataset_sha256 is bbbb"),
    ],
)  # fmt: skip
def test_other_test_images_are_refused(
    results: Path, bits: str, attrs: dict[str, str], says: str
) -> None:
    write(results, DC, 0, [of_bits(0, "10")])
    path = write(results, RANDOM, 0, [of_bits(0, bits)], **attrs)
    with pytest.raises(BadInput, match="was tested on other images") as refused:
        compare("dc", "random", results=results)
    assert says in str(refused.value) and str(path) in str(refused.value)


# --- names ---------------------------------------------------------------------------------------


def test_what_a_name_can_be(three: Path) -> None:
    whole = one(compare("digits_dc_ipc1", "random", results=three)).difference
    assert whole is not None and whole.pairs == 3
    folder = three / "digits" / DC.name
    for name in (DC.key, "dc", str(folder)):
        assert one(compare(name, "random", results=three)).difference == whole
    single = one(compare("digits_dc_ipc1:2", "random", results=three)).difference
    assert single is not None and single.seeds == (2,)
    for name in (f"{DC.key}:2", str(folder / f"{DC.key}-s2.h5")):
        assert one(compare(name, "random", results=three)).difference == single


def test_the_folder_of_results_is_an_option(three: Path, tmp_path: Path) -> None:
    moved = three.rename(tmp_path / "moved")
    assert main(["compare", "dc", "random", "--results", str(moved)]) == 0


def test_a_copy_elsewhere_is_another_run(three: Path, tmp_path: Path) -> None:
    """The same recipe on two machines."""
    write_sets(tmp_path / "gpu", DC, {0: [0.55, 0.65], 1: [0.65, 0.75], 2: [0.75, 0.85]})
    block = one(compare("digits_dc_ipc1", str(tmp_path / "gpu"), results=three))
    assert block.a.key == block.b.key and block.outcome == "equivalent"


def test_one_run_under_two_paths_is_itself(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = write_with_f(results)
    monkeypatch.chdir(results)
    by_path = compare(f"digits/{made.name}", made.name, results=results)
    assert one(by_path).a.name == "DC + F" and one(by_path).b.name == "DC (trained without F)"


def test_ensembles_are_named(results: Path) -> None:
    for seed in range(2):
        write(results, DC, seed, [record(0.5, -1)])
        write(results, RANDOM, seed, [record(0.4, -1)])
    shown = text(compare("dc", "random", results=results))
    assert "protocol dc, ensembles" in shown and "(2 sets, 2 ensembles, t over sets)" in shown


def test_unfinished_runs_are_left_out_and_named(three: Path) -> None:
    path = write(three, DC, 3, [record(0.9, 0)], status="distilled")
    write(three, recipe_of("digits_kmeans_ipc1", "kmeans"), 0, [], status="distilled")
    found = compare("dc", "random", results=three)
    assert one(found).a.seeds == (0, 1, 2)
    assert found.unfinished == (f"{path} (distilled)",), "the other recipe was not asked for"
    assert f"Left out, not finished: {path} (distilled)" in text(found)


def write_more(folder: Path) -> None:
    """Several recipes of one method, other protocols and other data."""
    write_sets(folder, recipe_of("digits_dc_ipc2", ipc=2), {0: [0.5, 0.6], 1: [0.6, 0.6]})
    other = {"protocol": "dsa", "evaluation_key": "d" * 12, "comparable_key": "d" * 12}
    write_sets(folder, recipe_of("digits_kmeans_ipc1", "kmeans"), {0: [0.5, 0.6]}, **other)
    write_sets(folder, recipe_of("digits_full", "full"), {0: [0.9]}, network="MLP")
    changed = recipe_of("digits_herding_ipc1", {"name": "herding", "space": "pixels"})  # type: ignore[arg-type]
    for made in (recipe_of("digits_herding_ipc1", "herding"), changed):
        write_sets(folder, made, {0: [0.5, 0.6]})
    write(folder, recipe_of("digits_average_ipc1", "average"), 0, [], status="failed")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["digits_dcc_ipc1", "random"], "did you mean 'digits_dc_ipc1'"),
        (["dc", "digits_random_ipc1"], "A: 'dc' stands for several sets (digits, ConvNetD2-W32); "
         "name one; allowed: digits_dc_ipc1, digits_dc_ipc2"),
        (["digits_random_ipc1", "digits_herding_ipc1"], "B: 'digits_herding_ipc1' stands for"),
        (["digits_dc_ipc1:7", "random"], "'digits_dc_ipc1' has no finished seed '7'; allowed: 0"),
        (["random", "kmeans"], "no protocol in common; random has dc; kmeans has dsa"),
        (["random", "full"], "no network in common; random has ConvNetD2-W32; full has MLP"),
        (["random", "random"], "of no set of theirs were networks trained both with F and without"),
        (["random", "digits_random_ipc1:0"], "nothing to compare: a run is in both"),
        (["random", "average"], "B: 'average' has no finished run"),
        (["random", ""], "B: no file, recipe, key or method ''"),
        (["random", "elsewhere.h5"], "no file, recipe, key or method 'elsewhere.h5'"),
        (["random", "."], "B: '.' holds no scores"),
        (["random", "kmeans", "--networks", "ConvNetD2-W3"], "did you mean 'ConvNetD2-W32'"),
        (["random", "digits_dc_ipc1", "--alpha", "1.5"], "--alpha: found 1.5"),
        (["random", "digits_dc_ipc1", "--alpha", "nan"], "--alpha: found nan"),
        (["random", "digits_dc_ipc1", "--results", "nowhere"], "no folder of results 'nowhere'"),
        (["random"], "the following arguments are required: B"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared(
    three: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_more(three)
    try:
        code = main(["compare", *words])
    except SystemExit as stopped:
        code = stopped.code  # type: ignore[assignment]
    found = capsys.readouterr()
    assert code == 2 and not found.out
    assert says in found.err
    assert len(found.err.strip().splitlines()) == 1


def test_settings_of_one_protocol_may_differ(three: Path) -> None:
    other = {"evaluation_key": "d" * 12, "comparable_key": "d" * 12}
    write_sets(three, recipe_of("digits_kmeans_ipc1", "kmeans"), {0: [0.5, 0.6]}, **other)
    with pytest.raises(BadInput, match=r"no setting of the protocol in common; dc has eeee"):
        compare("dc", "kmeans", results=three)


@pytest.mark.parametrize("field", ["tta", "selection", "network_seed"])
def test_what_was_tested_otherwise_is_not_compared(three: Path, field: str) -> None:
    value: Any = -1 if field == "network_seed" else "other"
    made = recipe_of("digits_kmeans_ipc1", "kmeans")
    write(three, made, 0, [record(0.5, **({"network_seed": 0} | {field: value}))])
    with pytest.raises(BadInput, match="nothing to compare"):
        compare("dc", "kmeans", results=three)


def test_other_sizes_and_selections_are_said(three: Path) -> None:
    larger = recipe_of("digits_kmeans_ipc2", "kmeans", 2)
    for seed in range(3):
        write(three, larger, seed, [record(0.7, 0)], selected_on_test=True)
    block = one(compare("dc", "kmeans", results=three))
    assert block.notes == (
        "sizes differ: IPC 1 and IPC 2; the order of the data differs with it",
        "the set or a rate of B was chosen on the test set",
    )


# --- the text ------------------------------------------------------------------------------------

GOLDEN = """\
A: digits_dc_f_ipc1
B: random

digits, ConvNetD2-W32, protocol dc
  A  DC + F, IPC 1, digits_dc_f_ipc1 (KEY_OF_DC_F_)     66.67 % [37.98, 95.35]  (3 sets, 3 networks, t over sets)  3.8 kB
  B  Random, IPC 1, digits_random_ipc1 (KEY_OF_RAND_)   50.00 % [25.16, 74.84]  (3 sets, 3 networks, t over sets)  2.6 kB
  A - B       +16.67 points, 95 % interval [+2.32, +31.01]
  test        paired t over 3 pairs of sets: p = 0.0377; adjusted for 2 comparisons (Holm): p = 0.0377
  equivalence not shown (two one-sided tests, margin 0.5 points)
  note        divisions differ: DIVISION_OF_A and DIVISION_OF_B
  verdict     A (DC + F) is better than B (Random) by 16.67 points.
  images      10 test images, for these 3 pairs of networks alone: +16.67 points [-0.19, +33.53], p = 0.0522
              right by A alone: 1 to 2 (median 2); by B alone: 0 images a pair
              McNemar, adjusted (Holm): A better in 0, B better in 0 of 3 pairs

digits, ConvNetD2-W32, protocol dc
  A  DC (trained without F), IPC 1, digits_dc_f_ipc1 (KEY_OF_DC_F_)   10.00 % [-14.84, 34.84]  (3 sets, 3 networks, t over sets)  2.6 kB
  B  Random, IPC 1, digits_random_ipc1 (KEY_OF_RAND_)                 50.00 % [25.16, 74.84]  (3 sets, 3 networks, t over sets)  2.6 kB
  A - B       -40.00 points, 95 % interval [-40.00, -40.00]
  test        paired t over 3 pairs of sets: p < 0.0001; adjusted for 2 comparisons (Holm): p < 0.0001
  equivalence not shown (two one-sided tests, margin 0.5 points)
  verdict     B (Random) is better than A (DC, trained without F) by 40.00 points.
  images      no predictions are stored for 3 of 3 pairs of networks
"""  # noqa: E501


def test_golden_text(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = recipe_of("digits_dc_f_ipc1", features={})
    bits = {0: ("1111110000", "1111000000"), 1: ("1111110000", "1111100000"),
            2: ("1111111100", "1111110000")}  # fmt: skip
    for seed, (a, b) in bits.items():
        with_f = of_bits(0, a, used_features=True, evaluation_key=WITH_F)
        write(results, made, seed, [with_f, record(0.1 * seed, 0)])
        write(results, RANDOM, seed, [of_bits(0, b)])
    assert main(["compare", "digits_dc_f_ipc1", "random"]) == 0
    names = {
        "KEY_OF_DC_F_": made.key, "KEY_OF_RAND_": RANDOM.key,
        "DIVISION_OF_A": DIVISIONS["features"], "DIVISION_OF_B": DIVISIONS["hard"],
    }  # fmt: skip
    golden = GOLDEN
    for place, name in names.items():
        golden = golden.replace(place, name)
    assert capsys.readouterr().out == golden


def test_the_same_text_every_time(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_bits(three, {0: ["10"]}, {0: ["11"]})
    texts = []
    for _ in range(2):
        assert main(["compare", "dc", "random"]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] and "\x1b" not in texts[0]


def test_json_holds_everything(three: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = told(capsys, "dc", "random")
    assert found == json.loads(json.dumps(compare("dc", "random", results=three).data()))
    assert found["alpha"] == 0.05 and found["margin_points"] == 0.5


def test_from_python(three: Path) -> None:
    found = api.compare("dc", three / "digits" / RANDOM.name)
    assert found.blocks[0].outcome == "A better"
    assert found.data() == {**api.compare("dc", "random", results=three).data(), "b": found.b}


def test_names_cannot_steer_a_terminal(three: Path, tmp_path: Path) -> None:
    images = tmp_path / "set.npz"
    np.savez(images, x=np.zeros((10, 1, 8, 8), np.float32), y=np.arange(10))
    method = {"name": "external", "set": str(images), "label": "\x1b[31mred"}
    write_sets(three, recipe_of("digits_external", method), {0: [0.5, 0.6]})  # type: ignore[arg-type]
    shown = text(compare("dc", "external", results=three))
    assert "\x1b" not in shown and "\\x1b[31mred" in shown


# --- laws ----------------------------------------------------------------------------------------

accuracies = st.lists(st.integers(0, 20).map(lambda n: n / 20), min_size=2, max_size=2)
some_sets = st.dictionaries(st.integers(0, 2), accuracies, min_size=1, max_size=3)
few = settings(max_examples=5, deadline=None)


@few
@given(a=some_sets, b=some_sets)
def test_exchanging_the_sides_changes_the_sign(
    tmp_path_factory: pytest.TempPathFactory, a: Sets, b: Sets
) -> None:
    folder = tmp_path_factory.mktemp("results")
    write_sets(folder, DC, a)
    write_sets(folder, RANDOM, b)
    one_way, other_way = (
        one(compare(*names, results=folder)) for names in (("dc", "random"), ("random", "dc"))
    )
    assert (one_way.a, one_way.b) == (other_way.b, other_way.a)
    if one_way.difference is None or other_way.difference is None:
        assert one_way.difference is other_way.difference is None and not set(a) & set(b)
        return
    x, y = one_way.difference, other_way.difference
    assert x.points == pytest.approx(-y.points, abs=1e-12) and x.p == pytest.approx(y.p)
    assert x.equivalent == y.equivalent
    if x.low_points is not None and y.high_points is not None:
        assert x.low_points == pytest.approx(-y.high_points, abs=1e-9)
    swapped = {"A better": "B better", "B better": "A better"}
    assert swapped.get(one_way.outcome, one_way.outcome) == other_way.outcome


@few
@given(
    sets=st.dictionaries(
        st.integers(0, 9), st.text("01", min_size=8, max_size=8), min_size=2, max_size=3
    )
)
def test_identical_scores_show_nothing(
    tmp_path_factory: pytest.TempPathFactory, sets: dict[int, str]
) -> None:
    folder = tmp_path_factory.mktemp("results")
    bits = {seed: [each, each[::-1]] for seed, each in sets.items()}
    write_bits(folder, bits, bits)
    block = one(compare("dc", "random", results=folder))
    assert block.difference is not None and block.images is not None
    assert block.difference.points == 0 and block.difference.p == 1
    assert (block.difference.low_points, block.difference.high_points) == (0, 0)
    assert block.outcome == "equivalent"
    assert all(pair.only_a == pair.only_b == 0 and pair.p == 1 for pair in block.images.pairs)
    assert block.images.difference_points == 0 and block.images.p == 1
