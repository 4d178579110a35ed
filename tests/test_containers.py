"""Container images: what their sources promise, and the image that CI builds, run for real."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from functools import partial
from pathlib import Path

import pytest
from container_fixtures import CONTAINERS, RUNTIMES, labels

import ddbench
from ddbench import recipe_files, store
from ddbench.content import COMMIT_FILE, code_digest
from ddbench.verification import differences

pytest_plugins = ["container_fixtures"]

ROOT = CONTAINERS.parent
SCRIPTS = sorted(path.name for path in CONTAINERS.glob("*.sh"))
DEFINITIONS = ("ddbench.def", "ddbench-ci.def")
RECIPE = "digits_random_ipc1"

run_text = partial(subprocess.run, capture_output=True, text=True)


def script(name: str, *words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_text([CONTAINERS / name, *words], env={**os.environ, **environment})


def text_of(name: str) -> str:
    return (CONTAINERS / name).read_text()


def sections(name: str) -> dict[str, list[str]]:
    """Section to stripped lines; the lines before the first ``%`` under ``header``."""
    found: dict[str, list[str]] = {"header": []}
    current = "header"
    for line in text_of(name).splitlines():
        if line.startswith("%"):
            current = line[1:]
            found[current] = []
        elif line.strip() and not line.startswith("#"):
            found[current].append(line.strip())
    return found


def steps(text: str) -> list[str]:
    """The calls of ``install.sh``, with the names of variables however they are written."""
    plain = re.sub(r"\$?\{+ ?(\w+) ?\}+", r"<\1>", text)
    return re.findall(r"^(?:RUN|\s)\s*bash \S+/(install\.sh .+)$", plain, re.MULTILINE)


# --- sources --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_strict_and_refuses_what_it_does_not_know(name: str) -> None:
    assert "\nset -euo pipefail\n" in text_of(name)
    assert os.access(CONTAINERS / name, os.X_OK)
    assert run_text(["bash", "-n", CONTAINERS / name]).returncode == 0
    if name in ("drop-caps.sh", "mirror.sh"):  # take nothing
        return
    done = script(name, "--no-such-option")
    assert (done.returncode, done.stdout) == (2, "")
    assert "usage" in done.stderr


@pytest.mark.parametrize("name", DEFINITIONS)
def test_a_definition_is_complete(name: str) -> None:
    found = sections(name)
    assert {"files", "post", "labels", "environment", "runscript", "test"} <= set(found)
    assert any(RECIPE in line for line in found["test"])
    named = {line.split()[0] for line in found["labels"]}
    assert {"org.opencontainers.image.version", "org.opencontainers.image.revision"} <= named
    assert any("org.ddbench.code" in line for line in found["post"])
    defaults = {line.partition("=")[0] for line in found["arguments"]}
    given = set(re.findall(r'--build-arg "(\w+)=', text_of("build.sh")))
    assert set(re.findall(r"\{\{ (\w+) \}\}", text_of(name))) <= defaults | given


def test_the_production_base_is_pinned() -> None:
    base = next(line for line in sections("ddbench.def")["arguments"] if line.startswith("BASE="))
    assert re.fullmatch(r"BASE=debian:bookworm-\d{8}-slim", base)
    assert f"ARG {base}" in text_of("Containerfile").splitlines()
    assert "latest" not in "".join(map(text_of, (*DEFINITIONS, "Containerfile", "rootfs.sh")))


def test_the_images_differ_in_their_packages_only() -> None:
    production, ci = map(sections, DEFINITIONS)
    for name in ("files", "environment", "runscript", "test"):
        assert production[name] == ci[name]
    assert steps(text_of("ddbench-ci.def")) == ["install.sh code"]
    assert [line for line in production["post"] if line not in ci["post"]] == [
        "bash /opt/ddbench/containers/install.sh debian",
        "bash /opt/ddbench/containers/install.sh packages {{ VARIANT }} "
        "/opt/ddbench/requirements.lock",
    ]
    assert [line for line in ci["post"] if line not in production["post"]] == []


def test_the_containerfile_does_what_the_definition_does() -> None:
    text, definition = text_of("Containerfile"), sections("ddbench.def")
    assert steps(text) == steps(text_of("ddbench.def")) != []
    exported = " ".join(line.removeprefix("export ") for line in definition["environment"])
    assert f"ENV {exported}" in text.splitlines()
    assert " && ".join(definition["test"]) in re.sub(r"\s*\\\n\s*", " ", text)
    code = {"org.ddbench.code"}
    named = {line.split()[0] for line in definition["labels"]} - {"org.ddbench.inputs"}
    assert set(re.findall(r"([\w.]+)=\S+(?: \\)?$", text.partition("LABEL")[2], re.MULTILINE)) == (
        named | code
    )


def test_pip_installs_nothing_unchecked_but_the_two_cpu_wheels() -> None:
    text = re.sub(r"\s*\\\n\s*", " ", text_of("install.sh"))
    calls = re.findall(r"^.*\bpip (?:install|download) .*$", text, re.MULTILINE)
    assert len(calls) == 6
    unchecked = [
        line for line in calls if "--require-hashes" not in line and "--no-index" not in line
    ]
    assert len(unchecked) == 1
    assert '--index-url "$CPU_INDEX"' in unchecked[0]
    assert re.findall(r'pinned "\$lock" (\w+)', unchecked[0]) == ["torch", "torchvision"]


def entries(lock: str) -> dict[str, str]:
    """Name to what a lock has of it, several versions of one package together."""
    found: dict[str, str] = {}
    for part in filter(None, re.split(r"^(?=[a-z0-9])", lock, flags=re.MULTILINE)):
        name = re.split(r"==|\[", part)[0]
        found[name] = found.get(name, "") + part
    return found


def test_an_image_has_what_runs_and_trackers_need_and_no_tools_of_development() -> None:
    lock = ROOT / "requirements.lock"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {name: needs for name, needs in project["optional-dependencies"].items()
              if name not in ("test", "dev")}  # fmt: skip
    wanted = [*project["dependencies"], *(need for needs in extras.values() for need in needs)]
    needed = {re.split(r"[^a-z0-9-]", need.lower())[0] for need in wanted}
    whole = entries(lock.read_text())
    while more := {name for name, text in whole.items() if needed & set(parents(text))} - needed:
        needed |= more
    kept = entries(script("install.sh", "lock", lock).stdout)
    assert set(kept) == needed
    assert kept.items() <= whole.items()
    assert {"torch", "tensorboard", "wandb"} <= set(kept)
    assert not {"pytest", "playwright", "mypy", "ruff"} & set(kept)


def parents(entry: str) -> list[str]:
    """The packages that need one, as the lock says it."""
    return re.findall(r"^ +#(?: via)?\s+([a-z0-9-]+)$", entry, re.MULTILINE)


def test_the_cpu_variant_leaves_out_cuda_and_nothing_else() -> None:
    whole = entries(script("install.sh", "lock", ROOT / "requirements.lock").stdout)
    kept = entries(script("install.sh", "cpu-lock", ROOT / "requirements.lock").stdout)
    assert kept.items() <= whole.items()
    left_out = set(whole) - set(kept)
    assert {"torch", "torchvision", "triton", "nvidia-cublas"} <= left_out
    assert all(re.fullmatch(r"torch(vision)?|triton|(nvidia|cuda)-.+", name) for name in left_out)
    assert not any(re.match("nvidia|cuda", name) for name in kept)


# --- what goes into an image ----------------------------------------------------------------------


def staged_code(folder: Path) -> str:
    """The code digest that the package staged in ``folder`` gives of itself."""
    program = "from ddbench.content import code_digest; print(code_digest())"
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.check_output(
        [sys.executable, "-c", program], text=True, cwd=folder, env=environment
    ).strip()


def test_the_package_is_staged_whole_and_says_its_commit(tmp_path: Path) -> None:
    done = script("stage.sh", tmp_path / "stage")
    assert done.returncode == 0, done.stderr
    stage = tmp_path / "stage"
    assert staged_code(stage) == code_digest()
    assert sorted(path.stem for path in stage.glob("recipes/*.yaml")) == [
        path.stem for path in recipe_files.shipped()
    ]
    assert not list(stage.rglob("__pycache__"))
    head = run_text(["git", "-C", ROOT, "rev-parse", "HEAD"])
    if head.returncode == 0:
        commit = (stage / "ddbench" / COMMIT_FILE).read_text().strip()
        assert commit.removesuffix("+") == head.stdout.strip()
    again = script("stage.sh", stage)
    assert again.returncode == 2
    assert "not empty" in again.stderr


def test_a_copy_without_git_is_staged_without_caches(tmp_path: Path) -> None:
    script("stage.sh", tmp_path / "copy")
    copy = tmp_path / "copy"
    shutil.copy(CONTAINERS / "stage.sh", copy / "containers")
    (copy / "ddbench" / COMMIT_FILE).write_text("c0ffee\n")
    (copy / "ddbench" / "__pycache__").mkdir()
    (copy / "ddbench" / "__pycache__" / "api.pyc").touch()
    done = run_text([copy / "containers" / "stage.sh", tmp_path / "stage"])
    assert done.returncode == 0, done.stderr
    assert staged_code(tmp_path / "stage") == code_digest()
    assert (tmp_path / "stage" / "ddbench" / COMMIT_FILE).read_text() == "c0ffee\n"
    assert not list((tmp_path / "stage").rglob("__pycache__"))


# --- getting a runtime ----------------------------------------------------------------------------


def test_capabilities_that_root_lacks_are_named() -> None:
    named = script("drop-caps.sh").stdout.strip()
    if os.geteuid() != 0:
        assert named == ""
        return
    status = dict(re.findall(r"^(Cap\w+):\s+(\w+)$", Path("/proc/self/status").read_text(), re.M))
    held = int(status["CapPrm"], 16) & int(status["CapBnd"], 16)
    known = int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1
    assert len(re.findall(r"CAP_\w+", named)) == known - held.bit_count()


def without_runtime(folder: Path) -> str:
    """A PATH that has the machine's programs but neither apptainer nor singularity."""
    for place in reversed(os.environ["PATH"].split(os.pathsep)):
        for program in Path(place).glob("*") if place else ():
            if program.name not in RUNTIMES:
                (folder / program.name).unlink(missing_ok=True)
                (folder / program.name).symlink_to(program)
    return str(folder)


def test_a_runtime_on_the_path_is_used(tmp_path: Path) -> None:
    fake = tmp_path / "apptainer"
    fake.write_text("#!/bin/sh\n")
    fake.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    done = script("get-apptainer.sh", tmp_path / "prefix", PATH=path)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"(export APPTAINER_DROP_CAPS=[A-Z_,]+\n)?", done.stdout)
    assert not (tmp_path / "prefix").exists()


def test_a_folder_with_other_things_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    kept = tmp_path / "prefix" / "mine"
    kept.parent.mkdir()
    kept.touch()
    path = without_runtime(tmp_path / "bin")
    done = script("get-apptainer.sh", kept.parent, PATH=path)
    assert (done.returncode, done.stdout) == (2, "")
    assert "not empty" in done.stderr
    assert kept.exists()


def test_building_without_a_runtime_says_how_to_get_one(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    path = without_runtime(tmp_path / "bin")
    done = script("build.sh", "ci", PATH=path, DDBENCH_CI_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 2
    assert "get-apptainer.sh" in done.stderr
    assert not (tmp_path / "cache").exists()


# --- the image itself -----------------------------------------------------------------------------


def inside(
    runtime: Path, image: Path, *words: str | Path, options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """A command in the image without the host's home and environment."""
    environment = {f"{name.upper()}ENV_OMP_NUM_THREADS": "1" for name in RUNTIMES}
    return run_text(
        [runtime, "exec", "--cleanenv", "--no-home", "--pwd", "/tmp", *options, image, *words],
        env={**os.environ, **environment},
    )


def results_of(folder: Path) -> Path:
    (path,) = folder.rglob("*.h5")
    return path


@pytest.mark.container
def test_a_run_in_the_image_has_the_bits_of_one_outside(
    runtime: Path, image: Path, tmp_path: Path
) -> None:
    """And needs no network: it has none."""
    words = ["run", RECIPE, "--device", "cpu", "--results"]
    folder, outside = tmp_path / "inside", tmp_path / "outside"
    folder.mkdir()
    options = ("--net", "--network", "none", "--bind", f"{folder}:{folder}")
    offline = inside(
        runtime, image, "python3", "-c", "print(open('/proc/net/route').read())", options=options
    )
    assert offline.returncode == 0, offline.stderr
    assert len(offline.stdout.split("\n")) <= 3, "a network is there"
    done = inside(runtime, image, "ddbench", *words, folder, options=options)
    assert done.returncode == 0, done.stderr
    subprocess.run(
        [sys.executable, "-m", "ddbench", *words, outside], check=True, capture_output=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    theirs, ours = store.read(results_of(folder)), store.read(results_of(outside))
    assert len(theirs.evaluations) == 10
    assert differences(theirs, ours) == []
    revision = labels(runtime, image)["org.opencontainers.image.revision"]
    assert theirs.attrs["git"] == (revision if revision != "unknown" else "")
    assert image.name in theirs.attrs["image"]


@pytest.mark.container
def test_the_image_says_what_it_is(runtime: Path, image: Path) -> None:
    found = labels(runtime, image)
    assert found["org.opencontainers.image.version"] == ddbench.__version__
    assert re.fullmatch(r"[0-9a-f]{40}\+?|unknown", found["org.opencontainers.image.revision"])
    program = "from ddbench.content import code_digest; print(code_digest())"
    done = inside(runtime, image, "python", "-c", program)
    assert done.stdout.strip() == found["org.ddbench.code"] == code_digest()


@pytest.mark.container
def test_the_image_cannot_be_written_to(runtime: Path, image: Path) -> None:
    done = inside(runtime, image, "touch", "/opt/ddbench/new")
    assert done.returncode != 0
    assert "Read-only file system" in done.stderr


@pytest.mark.container
def test_the_image_has_working_packages_and_all_recipes(runtime: Path, image: Path) -> None:
    done = inside(runtime, image, "ddbench", "doctor")
    assert done.returncode == 0, done.stdout
    assert "native operators" in done.stdout
    listed = inside(runtime, image, "ddbench", "list", "recipes").stdout
    assert [line.split()[0] for line in listed.splitlines()] == [
        path.stem for path in recipe_files.shipped()
    ]
