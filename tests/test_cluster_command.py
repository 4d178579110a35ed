"""The commands of tasks, frozen: with a container and without."""

from __future__ import annotations

from pathlib import Path

import pytest

from ddbench.cluster.command import Place, command, visible_gpus
from ddbench.cluster.plan import Task
from ddbench.cluster.profile import Container, Profile
from ddbench.errors import BadInput

TASK = Task("recipes/0/r.yaml", "r", "k", 1, "digits/r/k-s1.h5", ("evaluate",), 0, "2/3")
PLACE = Place(
    submission="/res/.submissions/x", results="/res", data="/data", cache="/cache",
    python="/venv/bin/python", code="c0de", image="d1e5", job="12_3", restarts=2,
    runtime="/opt/bin/apptainer",
)  # fmt: skip
RUN = [
    "run", "/res/.submissions/x/recipes/0/r.yaml", "--seeds", "1", "--stages", "evaluate",
    "--shard", "2/3", "--results", "/res", "--device",
]  # fmt: skip
JOB = {
    "PATH": "/bin", "HOME": "/home/u", "PYTHONPATH": "/evil", "LD_LIBRARY_PATH": "/lib/of/modules",
    "CUDA_VISIBLE_DEVICES": "0,1", "SLURM_CPUS_PER_TASK": "4", "SLURM_JOB_ID": "15",
    "APPTAINER_BIND": "/evil", "SINGULARITYENV_X": "evil", "SLURM_CLUSTER_NAME": "site",
}  # fmt: skip


def test_without_a_container_the_submitted_code_runs() -> None:
    words, environment = command(TASK, Profile(environment={"A": "b c"}), PLACE, JOB)
    assert words == ["/venv/bin/python", "-m", "ddbench", *RUN, "cpu", "--json"]
    assert environment["PYTHONPATH"] == "/res/.submissions/x/code"
    assert environment["PYTHONSAFEPATH"] == "1"
    assert environment["LD_LIBRARY_PATH"] == "/lib/of/modules"
    expected = {
        "A": "b c", "DDBENCH_DATA": "/data", "DDBENCH_CACHE": "/cache", "DDBENCH_CODE": "c0de",
        "DDBENCH_JOB": "12_3", "DDBENCH_RESTARTS": "2", "OMP_NUM_THREADS": "4",
        "PYTHONNOUSERSITE": "1", "CUDA_VISIBLE_DEVICES": "0,1", "SLURM_JOB_ID": "15",
    }  # fmt: skip
    assert expected.items() <= environment.items()
    assert "DDBENCH_IMAGE" not in environment


def contained(**changes: object) -> Profile:
    fields = {"container": Container(image="/img/d.sif", binds=["/scratch:/scratch"])}
    return Profile(**(fields | changes))  # type: ignore[arg-type]


def test_a_container_gets_its_binds_and_nothing_of_the_host() -> None:
    inputs = [Path("/data/own.npz"), Path("/home/u/set.pt")]
    words, environment = command(TASK, contained(), PLACE, JOB, inputs=inputs)
    assert words == [
        "/opt/bin/apptainer", "exec", "--cleanenv", "--no-home", "--pwd", "/res",
        "--bind", "/res:/res:rw", "--bind", "/cache:/cache:rw", "--bind", "/data:/data:ro",
        "--bind", "/home/u/set.pt:/home/u/set.pt:ro", "--bind", "/scratch:/scratch",
        "/img/d.sif", "ddbench", *RUN, "cpu", "--json",
    ]  # fmt: skip
    assert "APPTAINER_BIND" not in environment
    assert "SINGULARITYENV_X" not in environment
    for prefix in ("APPTAINERENV", "SINGULARITYENV"):
        inside = {
            name.removeprefix(f"{prefix}_"): text
            for name, text in environment.items() if name.startswith(prefix)
        }  # fmt: skip
        assert inside == {
            "CUDA_VISIBLE_DEVICES": "0,1", "DDBENCH_DATA": "/data", "DDBENCH_CACHE": "/cache",
            "DDBENCH_CODE": "c0de", "DDBENCH_IMAGE": "d.sif sha256:d1e5", "DDBENCH_JOB": "12_3",
            "DDBENCH_RESTARTS": "2", "OMP_NUM_THREADS": "4", "PYTHONNOUSERSITE": "1",
            "PYTHONUNBUFFERED": "1", "SLURM_CLUSTER_NAME": "site",
        }  # fmt: skip


def test_gpus_are_passed_through_only_where_they_are_asked_for() -> None:
    words, _ = command(TASK, contained(gpus=1), PLACE, JOB)
    assert words[:3] == ["/opt/bin/apptainer", "exec", "--nv"]
    assert words[-2:] == ["cuda", "--json"]
    words, _ = command(TASK, contained(gpus=1, device="cpu"), PLACE, JOB)
    assert "--nv" not in words


@pytest.mark.parametrize("path", ["/re,s", "/re:s"])
def test_a_path_that_a_bind_cannot_hold_is_refused(path: str) -> None:
    place = Place(**{**PLACE.__dict__, "results": path})
    with pytest.raises(BadInput, match="separate binds"):
        command(TASK, contained(), place, JOB)
    assert command(TASK, Profile(), place, JOB)[0][-4] == path


@pytest.mark.parametrize(
    ("devices", "rank", "ranks", "expected"),
    [
        ("0,1,2,3", 2, 4, "2"),
        ("0,1,2,3", 1, 2, "2,3"),
        ("GPU-a,GPU-b", 1, 2, "GPU-b"),
        ("3", 1, 4, None),  # the site has bound it already
        ("0,1", 0, 1, None),
        ("", 0, 2, None),
    ],
)
def test_every_rank_of_a_node_takes_its_own_gpus(
    devices: str, rank: int, ranks: int, expected: str | None
) -> None:
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": devices}, rank, ranks) == expected
