"""From cells to arrays: nothing twice, nothing left out, everything after what it needs."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from ddbench.cluster.plan import Cell, Group, Plan, plan
from ddbench.cluster.profile import Profile, Stage


def cell(name: str = "a", seed: int = 0, **changes: object) -> Cell:
    fields = {
        "recipe": f"recipes/{name}.yaml", "name": name, "key": name, "seed": seed,
        "result": f"digits/{name}/{name}-s{seed}.h5", "stages": ("distill", "evaluate"),
    }  # fmt: skip
    return Cell(**(fields | changes))  # type: ignore[arg-type]


def parts(count: int) -> tuple[str, ...]:
    return tuple(f"{k}/{count}" for k in range(1, count + 1)) if count > 1 else ("",)


def done_by(made: Plan, stage: Stage) -> list[tuple[str, int, str]]:
    return [(t.name, t.seed, t.shard) for t in made.tasks if stage in t.stages]


def titles(made: Plan) -> list[str]:
    return [group.title for group in made.groups]


def test_seeds_become_an_array_and_an_evaluation_of_the_same_indices() -> None:
    made = plan([cell(seed=seed) for seed in range(3)], Profile())
    assert titles(made) == ["distill", "evaluate"]
    assert [len(group.elements) for group in made.groups] == [3, 3]
    assert [(a.condition, a.group) for a in made.groups[1].after] == [("aftercorr", 0)]
    pairs = zip(*(group.elements for group in made.groups), strict=True)
    for (first,), (second,) in pairs:
        assert made.tasks[first].seed == made.tasks[second].seed


def test_shared_networks_are_trained_once_for_all_recipes() -> None:
    cells = [
        cell(name, seed, stages=("experts", "distill", "evaluate"),
             experts=(f"net-{seed}",), family=("net",))
        for name in "abc" for seed in range(2)
    ]  # fmt: skip
    made = plan(cells, Profile())
    assert titles(made) == ["experts", "distill", "evaluate"]
    assert [task.experts for task in made.tasks if task.experts] == [("net-0",), ("net-1",)]
    assert len(made.groups[1].elements) == 6
    assert [(a.condition, a.group) for a in made.groups[1].after] == [("afterok", 0)]


def test_networks_that_another_submission_trains_are_waited_for() -> None:
    needy = cell(stages=("experts", "distill"), experts=("net",), family=("net",))
    made = plan([needy], Profile(), {"net": "77_3"})
    assert titles(made) == ["distill"]
    assert [(a.condition, a.job) for a in made.groups[0].after] == [("afterok", "77_3")]


def test_evaluated_networks_are_spread_over_arrays() -> None:
    made = plan([cell(seed=seed, shards=("1/3", "2/3", "3/3")) for seed in range(2)], Profile())
    assert titles(made) == ["distill", "evaluate 1/3", "evaluate 2/3", "evaluate 3/3"]
    assert all(group.after[0].condition == "aftercorr" for group in made.groups[1:])


def test_what_is_distilled_already_is_only_evaluated() -> None:
    made = plan([cell("a"), cell("b", stages=("evaluate",))], Profile())
    waiting = {made.tasks[g.elements[0][0]].name: g.after for g in made.groups[1:]}
    assert titles(made) == ["distill", "evaluate", "evaluate"]
    assert waiting["b"] == ()
    assert waiting["a"][0].group == 0


def test_a_node_of_four_gpus_takes_four_runs() -> None:
    site = Profile(gpus=4, tasks_per_node=4)
    made = plan([cell(seed=seed) for seed in range(6)], site)
    assert [[len(e) for e in group.elements] for group in made.groups] == [[4, 2], [4, 2]]
    assert made.groups[1].after[0].condition == "aftercorr"


def test_unequal_bundles_wait_for_the_whole_array() -> None:
    site = Profile.parse({"tasks_per_node": 4, "stages": {"evaluate": {"tasks_per_node": 1}}})
    made = plan([cell(seed=seed) for seed in range(6)], site)
    assert [(a.condition, a.group) for a in made.groups[1].after] == [("afterok", 0)]


def test_long_arrays_are_cut_and_stay_aligned() -> None:
    made = plan([cell(seed=seed) for seed in range(7)], Profile(max_array=3))
    sizes = {title: [] for title in titles(made)}
    for group in made.groups:
        sizes[group.title].append(len(group.elements))
    assert sizes == {"distill": [3, 3, 1], "evaluate": [3, 3, 1]}
    for group in made.groups:
        for after in group.after:
            assert after.group is not None
            first = made.groups[after.group]
            assert [made.tasks[i].seed for (i,) in first.elements] == [
                made.tasks[i].seed for (i,) in group.elements
            ]


def test_local_lanes_take_whole_runs() -> None:
    site = Profile(scheduler="local", concurrency=2)
    made = plan([cell(seed=seed) for seed in range(5)], site)
    assert len(made.groups) == 1
    assert made.groups[0].elements == ((0, 2, 4), (1, 3))
    assert made.tasks[0].stages == ("distill", "evaluate")


def test_a_hundred_recipes_take_a_handful_of_calls() -> None:
    cells = [cell(f"r{n}", seed) for n in range(100) for seed in range(3)]
    made = plan(cells, Profile())
    assert titles(made) == ["distill", "evaluate"]
    assert [len(group.elements) for group in made.groups] == [300, 300]


NETWORKS = st.lists(st.sampled_from(["n1", "n2", "n3"]), unique=True, max_size=3)
CELLS = st.lists(
    st.tuples(
        st.sampled_from("abcdef"), st.integers(0, 3), st.integers(1, 3), NETWORKS,
        st.booleans(), st.booleans(),
    ),
    unique_by=lambda item: item[:2], max_size=12,
)  # fmt: skip


@given(CELLS, st.integers(1, 4), st.integers(1, 3), st.booleans())
def test_every_stage_of_every_cell_is_done_once_and_after_what_it_needs(
    drawn: list[tuple[str, int, int, list[str], bool, bool]],
    max_array: int,
    per_node: int,
    alike: bool,
) -> None:
    cells = []
    for name, seed, shards, networks, distilled, scored in drawn:
        stages = [*(["experts"] if networks else []), *([] if distilled else ["distill"]),
                  *([] if scored else ["evaluate"])]  # fmt: skip
        if stages in ([], ["experts"]):
            continue
        cells.append(
            cell(name, seed, shards=parts(shards), stages=tuple(stages),
                 family=tuple(sorted(networks)),
                 experts=tuple(f"{network}-{seed}" for network in networks))
        )  # fmt: skip
    evaluate = {"tasks_per_node": per_node if alike else 1}
    site = Profile.parse(
        {"max_array": max_array, "tasks_per_node": per_node, "stages": {"evaluate": evaluate}}
    )
    made = plan(cells, site)

    wanted = [(c.name, c.seed, "") for c in cells if "distill" in c.stages]
    assert sorted(done_by(made, "distill")) == sorted(wanted)
    shards = [
        (c.name, c.seed, shard) for c in cells if "evaluate" in c.stages for shard in c.shards
    ]  # fmt: skip
    assert sorted(done_by(made, "evaluate")) == sorted(shards)
    trained = [key for task in made.tasks for key in task.experts]
    assert len(trained) == len(set(trained))
    assert set(trained) == {key for c in cells for key in c.experts}

    in_groups = [i for group in made.groups for element in group.elements for i in element]
    assert sorted(in_groups) == list(range(len(made.tasks)))
    assert all(len(group.elements) <= max_array for group in made.groups)
    for group in made.groups:
        check_order(made, group, {(c.name, c.seed): c for c in cells})


def check_order(made: Plan, group: Group, cells: dict[tuple[str, int], Cell]) -> None:
    before = {after.group: after.condition for after in group.after}
    assert all(number is not None and number < group.number for number in before)
    for position, element in enumerate(group.elements):
        for index in element:
            task = made.tasks[index]
            own = cells[task.name, task.seed]
            if task.stages == ("evaluate",) and "distill" in own.stages:
                behind = [made.groups[number] for number in before if number is not None]
                assert any(distils(made, one, task.result, before[one.number], position)
                           for one in behind)  # fmt: skip
            elif "experts" in own.stages and task.stages != ("experts",):
                reached = {
                    key for number in before if number is not None
                    for part in made.groups[number].elements for i in part
                    for key in made.tasks[i].experts
                }  # fmt: skip
                assert set(own.experts) <= reached


def distils(made: Plan, group: Group, result: str, condition: str, position: int) -> bool:
    elements = [group.elements[position]] if condition == "aftercorr" else group.elements
    return any(made.tasks[i].result == result for element in elements for i in element)


def test_job_titles_are_words() -> None:
    made = plan([cell(shards=("1/2", "2/2"))], Profile())
    assert all(re.fullmatch(r"[a-z]+( \d/\d)?", title) for title in titles(made))
