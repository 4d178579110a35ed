"""The programs a cluster run needs, and what users read where one is missing or refuses."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slurm_cluster import Cluster

from ddbench.cluster import tools
from ddbench.cluster.profile import Profile
from ddbench.errors import BadInput
from ddbench.places import cache_root

ROOT = Path(__file__).resolve().parent.parent
REFUSALS = ROOT / "tests" / "golden" / "slurm" / "refusals.txt"


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on the path, with nothing in it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


# --- Slurm -------------------------------------------------------------------------------------


def test_without_sbatch_one_line_says_how_to_run_instead(bin_folder: Path) -> None:
    with pytest.raises(BadInput) as caught:
        tools.require_slurm()
    assert str(caught.value) == (
        "sbatch not found: this host is not a Slurm submit node. Run here with 'ddbench run "
        "RECIPE', or log in to the cluster, or start the test cluster: slurm/up.sh DIR"
    )


DOWN = """echo 'Slurmctld(primary) at head is DOWN'
echo '*****************************************'
echo '** RESTORE SLURMCTLD DAEMON TO SERVICE **'
exit 1"""


@pytest.mark.parametrize(
    ("script", "said"),
    [
        (DOWN, "Slurmctld(primary) at head is DOWN"),
        ("echo 'scontrol: error: x' >&2; echo 'scontrol: fatal: no configuration' >&2; exit 1",
         "scontrol: fatal: no configuration"),
        ("exit 1", "no reason given"),
        ("exec /bin/sleep 60", "no answer to 'scontrol ping' within 0.2 s"),
    ],
)  # fmt: skip
def test_a_controller_that_does_not_answer_is_named(
    bin_folder: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    monkeypatch.setattr(tools, "_PING_LIMIT", 0.2)
    monkeypatch.setenv("SLURM_CONF", "/site/slurm.conf")
    program(bin_folder / "sbatch", "")
    program(bin_folder / "scontrol", script)
    with pytest.raises(BadInput) as caught:
        tools.require_slurm()
    assert f"{said} (SLURM_CONF: /site/slurm.conf)" in str(caught.value)
    assert "ddbench run" in str(caught.value)


def test_a_backup_controller_is_enough(bin_folder: Path) -> None:
    program(bin_folder / "sbatch", "")
    program(bin_folder / "scontrol", "echo 'Slurmctld(primary) at a is DOWN'\n"
            "echo 'Slurmctld(backup) at b is UP'; exit 1")  # fmt: skip
    tools.require_slurm()


@pytest.mark.slurm
def test_a_real_controller_answers_and_a_wrong_one_does_not(
    slurm: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tools.require_slurm()
    dead = re.sub(r"(?m)^SlurmctldPort=.*$", "SlurmctldPort=1", slurm.conf.read_text())
    (tmp_path / "slurm.conf").write_text(dead)
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    with pytest.raises(BadInput, match=r"is DOWN \(SLURM_CONF: .*slurm.conf\)"):
        tools.require_slurm()


def refusals() -> list[tuple[str, str]]:
    """What sbatch said, and what ddbench makes of it."""
    blocks = REFUSALS.read_text().split("\n$ sbatch ")[1:]
    found = []
    for block in blocks:
        lines = [line for line in block.splitlines()[1:] if not line.startswith("# ")]
        found.append(("\n".join(lines[:-1]), lines[-1].removeprefix("= ")))
    return found


@pytest.mark.parametrize(("said", "explained"), refusals())
def test_refusals_are_explained(said: str, explained: str) -> None:
    assert tools.explain_refusal(said) == explained


def test_the_fields_that_are_named_are_those_of_a_profile() -> None:
    fields = set(Profile.model_fields)
    named = {word for _, advice in tools._ADVICE for word in re.findall(r"'([a-z_]+)'", advice)}
    assert named <= fields and {"partition", "account", "qos", "gres", "time"} <= named


@given(st.text(max_size=300))
def test_any_refusal_is_one_printable_line(said: str) -> None:
    explained = tools.explain_refusal(said)
    assert explained.startswith("sbatch: ") and explained.isprintable()


@pytest.mark.slurm
def test_refusals_of_a_real_slurm(slurm: Cluster) -> None:
    asked = {"partition": "--partition=nope", "constraint": "--constraint=nope",
             "memory": "--mem=999T", "max_array": "--array=0-999999"}  # fmt: skip
    for field, option in asked.items():
        done = slurm.run("sbatch", option, "--wrap=true")
        assert done.returncode != 0
        assert f"'{field}' in the profile" in tools.explain_refusal(done.stderr), field


# --- containers --------------------------------------------------------------------------------


def test_the_runtime_is_found_by_its_name_or_the_first_there_is(bin_folder: Path) -> None:
    assert tools.runtime() is None
    singularity = program(bin_folder / "singularity", "")
    assert tools.runtime() == tools.runtime("singularity") == singularity
    assert tools.runtime("apptainer") is None
    apptainer = program(bin_folder / "apptainer", "")
    assert tools.require_runtime() == apptainer


def test_without_a_runtime_one_line_says_what_to_do(bin_folder: Path) -> None:
    with pytest.raises(BadInput) as caught:
        tools.require_runtime()
    assert str(caught.value) == (
        "neither apptainer nor singularity on PATH: 'module load apptainer' ('modules' in the "
        "profile), or containers/get-apptainer.sh, or run without a container (container: null)"
    )
    program(bin_folder / "apptainer", "")
    with pytest.raises(BadInput, match=r"^no singularity on PATH"):
        tools.require_runtime("singularity")


def memories() -> list[Path]:
    return list((cache_root() / "images").glob("*.json"))


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DDBENCH_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "d.sif"
    path.write_bytes(b"an image")
    return path


def never(*_: object) -> str:
    raise AssertionError("hashed again")


def test_an_image_is_hashed_once(image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(b"an image").hexdigest()
    assert tools.image_digest(image) == digest
    link = image.with_name("link.sif")
    link.symlink_to(image)
    monkeypatch.setattr(tools, "file_sha256", never)
    assert tools.image_digest(image) == tools.image_digest(link) == digest
    assert len(memories()) == 1


def test_a_changed_image_is_hashed_again_even_with_its_old_time(image: Path) -> None:
    before = tools.image_digest(image)
    stat = image.stat()
    replacement = image.with_name("new")
    replacement.write_bytes(b"an imagE")
    os.utime(replacement, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    replacement.replace(image)
    assert tools.image_digest(image) == hashlib.sha256(b"an imagE").hexdigest() != before
    assert len(memories()) == 1
    state = tools._file_state(image)
    os.utime(image, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))  # the same time, set again
    assert tools._file_state(image) != state


DAMAGE = [b"", b"{", b"[]", b"null", b'{"sha256": 3}', b"\xff\xfe"]


@pytest.mark.parametrize("damage", [*DAMAGE, None])
def test_a_damaged_memory_is_not_believed(image: Path, damage: bytes | None) -> None:
    digest = tools.image_digest(image)
    (memory,) = memories()
    entry = json.loads(memory.read_text())
    forged = json.dumps(entry | {"sha256": "0" * 64}).encode()
    memory.write_bytes(forged if damage is None else damage)
    assert tools.image_digest(image) == digest
    assert json.loads(memory.read_text()) == entry


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 255))
def test_no_changed_byte_of_the_memory_is_believed(
    tmp_path_factory: pytest.TempPathFactory, place: float, byte: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("digest")
        patch.setenv("DDBENCH_CACHE", str(folder))
        path = folder / "d.sif"
        path.write_bytes(b"x")
        digest = tools.image_digest(path)
        (memory,) = memories()
        content = bytearray(memory.read_bytes())
        content[int(place * len(content))] = byte
        memory.write_bytes(content)
        assert tools.image_digest(path) == digest


def test_a_cache_that_cannot_be_written_does_no_harm(
    image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DDBENCH_CACHE", str(image))  # a file, so no folder can be made in it
    assert tools.image_digest(image) == hashlib.sha256(b"an image").hexdigest()
    with pytest.raises(OSError, match=r"none\.sif"):
        tools.image_digest(image.with_name("none.sif"))


INSPECTED = {
    "data": {"attributes": {"labels": {"org.ddbench.code": "c0de", "n": 3}}},
    "type": "container",
}


def test_labels_of_an_image(image: Path, bin_folder: Path) -> None:
    asked = bin_folder / "asked"
    runtime = program(bin_folder / "apptainer", f"echo \"$@\" > {asked}\n"
                      f"echo '{json.dumps(INSPECTED)}'")  # fmt: skip
    assert tools.image_labels(runtime, image) == {"org.ddbench.code": "c0de", "n": "3"}
    assert asked.read_text().split() == ["inspect", "--json", str(image)]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo 'FATAL:   not a SIF' >&2; exit 255", "FATAL:   not a SIF"),
        ("echo '{}'", "its output cannot be read"),
        ("echo '[]'", "its output cannot be read"),
        ("exec /bin/sleep 60", "no answer within 0.2 s"),
    ],
)
def test_what_is_no_image_is_refused(
    image: Path, bin_folder: Path, monkeypatch: pytest.MonkeyPatch, script: str, said: str
) -> None:
    monkeypatch.setattr(tools, "_INSPECT_LIMIT", 0.2)
    runtime = program(bin_folder / "apptainer", script)
    with pytest.raises(BadInput) as caught:
        tools.image_labels(runtime, image)
    assert str(caught.value) == f"{image}: apptainer cannot inspect it: {said}"
    with pytest.raises(BadInput, match=r"none\.sif: no such image"):
        tools.image_labels(runtime, image.with_name("none.sif"))


def test_an_image_without_labels_has_none(image: Path, bin_folder: Path) -> None:
    runtime = program(
        bin_folder / "apptainer", """echo '{"data": {"attributes": {"labels": null}}}'"""
    )
    assert tools.image_labels(runtime, image) == {}


# --- capabilities ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uid", "permitted", "bounding", "last", "dropped"),
    [
        (0, "000001fffeffffff", "000001ffffffffff", 40, "CAP_SYS_RESOURCE"),
        (0, "000001ffffffffff", "000001fffeffffff", 40, "CAP_SYS_RESOURCE"),
        (0, "000001ffffffffff", "000001ffffffffff", 40, ""),
        (0, "000000fffeffffff", "000001ffffffffff", 40, "CAP_SYS_RESOURCE,CAP_CHECKPOINT_RESTORE"),
        (0, "0000003fffffffff", "0000003fffffffff", 37, ""),
        (1000, "0000000000000000", "000001ffffffffff", 40, ""),
    ],
)
def test_capabilities_that_root_lacks(
    tmp_path: Path, uid: int, permitted: str, bounding: str, last: int, dropped: str
) -> None:
    (tmp_path / "self").mkdir()
    (tmp_path / "sys/kernel").mkdir(parents=True)
    (tmp_path / "sys/kernel/cap_last_cap").write_text(f"{last}\n")
    status = f"Name:\tCapPrm:\nUid:\t{uid}\t{uid}\t{uid}\t{uid}\nCapPrm:\t{permitted}\n"
    (tmp_path / "self/status").write_text(f"{status}CapBnd:\t{bounding}\n")
    assert tools.needed_drop_caps(tmp_path) == dropped


def test_where_the_system_does_not_say_nothing_is_dropped(tmp_path: Path) -> None:
    assert tools.needed_drop_caps(tmp_path) == ""


def test_the_containers_scripts_drop_the_same() -> None:
    script = ROOT / "containers" / "drop-caps.sh"
    done = subprocess.run(["bash", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == tools.needed_drop_caps()
