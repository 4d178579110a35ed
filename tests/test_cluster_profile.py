"""Cluster profiles: time limits, stages, what is refused and how."""

from __future__ import annotations

from pathlib import Path

import pytest

from ddbench.cluster import profile
from ddbench.cluster.profile import STAGES, Profile
from ddbench.errors import BadInput
from ddbench.spec import dump_yaml, load_yaml


def parse(text: str) -> Profile:
    return Profile.parse(load_yaml(text), file="site.yaml")


@pytest.mark.parametrize("name", profile.shipped())
def test_shipped_profiles_are_valid_and_commented(name: str) -> None:
    found = profile.read(name)
    text = profile.shipped()[name].read_text()
    assert text.startswith("# ")
    again = Profile.parse(load_yaml(dump_yaml(found.model_dump(mode="json"))))
    assert again == found


def test_the_four_shipped_ones_are_there() -> None:
    assert set(profile.shipped()) == {"local", "single-gpu", "multi-gpu", "test"}


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90),
        ("12:00:00", 720),  # YAML 1.1 would read 43200
        ("01:30:00", 90),
        ("0:00:30", 1),
        ("1-00:00:00", 1440),
        ("2-12:30:01", 2 * 1440 + 751),
        ('"00:20:00"', 20),
    ],
)
def test_time_limits(text: str, minutes: int) -> None:
    assert parse(f"{{time: {text}, signal_delay: 5}}").time == minutes


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("time: 10:30", ["time", "10:30", "HH:MM:SS"]),
        ("time: 1-25:00:00", ["time", "25"]),
        ("time: 1h", ["time", "1h", "minutes"]),
        ("time: -5", ["time", "-5"]),
        ("time: 1.5", ["time", "1.5"]),
        ("time: 3\nsignal_delay: 120", ["signal_delay", "3 min", "5 to 90"]),
        ("stages: {distill: {time: 1}}", ["stages.distill.signal_delay"]),
        ("stages: {label: {time: 10}}", ["stages", "label", "evaluate"]),
        ("memory: 16", ["memory"]),
        ("memory: 16 GB", ["memory", "16 GB"]),
        ("partition: \"a\\n#SBATCH --nodes=99\"", ["partition", "one line"]),
        ("extra: {array: 0-9}", ["extra.array", "submission"]),
        ("extra: {mem: 5G}", ["extra.mem", "field"]),
        ("extra: {nice: \"1\\n2\"}", ["extra.nice", "one line"]),
        ("extra: {\"a b\": 1}", ["extra", "a b"]),
        ("environment: {CUDA_VISIBLE_DEVICES: \"0\"}", ["CUDA_VISIBLE_DEVICES", "Slurm"]),
        ("environment: {\"A B\": x}", ["environment", "A B"]),
        ("modules: [\"a; rm -rf /\"]", ["modules"]),
        ("container: {image: a.sif, binds: [data]}", ["container.binds", "data", "/SOURCE"]),
        ("container: {image: a.sif, binds: [\"/a,b:/c\"]}", ["container.binds", "/a,b:/c"]),
        ("scheduler: local\ntasks_per_node: 2", ["tasks_per_node", "local"]),
        ("partiton: gpu", ["partiton", "did you mean 'partition'"]),
        ("scheduler: pbs", ["scheduler", "slurm"]),
    ],
)  # fmt: skip
def test_what_is_refused_names_file_and_field(text: str, words: list[str]) -> None:
    with pytest.raises(BadInput) as caught:
        parse(text)
    for word in ["site.yaml", *words]:
        assert word in str(caught.value)


def test_stages_override_what_they_name_and_nothing_else() -> None:
    site = parse("{gpus: 1, time: 600, memory: 8G, stages: {evaluate: {time: 30, gpus: 0}}}")
    assert [site.resources(stage).time for stage in STAGES] == [600, 600, 30]
    assert [site.resources(stage).memory for stage in STAGES] == ["8G"] * 3
    assert [site.device_of(stage) for stage in STAGES] == ["cuda", "cuda", "cpu"]


@pytest.mark.parametrize(
    ("gres", "count"),
    [("gpu", 1), ("gpu:2", 2), ("gpu:a100:4", 4), ("tmp:5,gpu:a100:2", 2), ("tmp:5", 0)],
)
def test_gpus_are_counted_in_gres(gres: str, count: int) -> None:
    site = parse(f'gres: "{gres}"')
    assert site.resources("distill").gpus_per_node == count
    assert site.device_of("distill") == ("cuda" if count else "cpu")


def test_an_unknown_profile_names_the_shipped_ones() -> None:
    with pytest.raises(BadInput, match="did you mean 'single-gpu'"):
        profile.read("single-gpus")
    with pytest.raises(BadInput, match="no such cluster profile"):
        profile.read("slurm/nowhere.yaml")


def test_the_image_is_found_beside_the_profile_and_must_be_there(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text("container: {image: sub/a.sif}")
    with pytest.raises(BadInput, match=r"container\.image.*no image.*build\.sh"):
        profile.read(str(site))
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.sif").write_bytes(b"")
    found = profile.read(str(site)).container
    assert found is not None
    assert found.image == str(tmp_path / "sub" / "a.sif")
    assert profile.read(str(site), image="none").container is None
    other = tmp_path / "b.sif"
    other.write_bytes(b"")
    found = profile.read(str(site), image=str(other)).container
    assert found is not None
    assert found.image == str(other)
