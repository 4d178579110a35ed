"""Slurm jobs inside the image: the same bits, and a record of where they came from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_cluster import Cluster
from submitted import LONG, SMALL, Site

from ddbench.cluster import tools

pytestmark = [pytest.mark.slurm, pytest.mark.container, pytest.mark.timeout(1800)]


@pytest.fixture
def site(
    tmp_path: Path, slurm: Cluster, runtime: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Site]:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("DDBENCH_CACHE", str(tmp_path / "cache"))
    with Site(tmp_path, container={"image": str(image)}, memory="2G") as site:
        site.environment["PATH"] = f"{runtime.parent}:{os.environ['PATH']}"
        yield site


def test_the_same_bits_and_where_they_came_from(site: Site, image: Path) -> None:
    alone = {**SMALL, "seeds": [0]}
    site.submit(site.recipe(alone))
    site.wait()
    assert site.states() == ["done", "done"], site.tasks()
    site.check_same_as_here(alone, 0)
    attrs = site.result(alone).attrs
    assert attrs["image"] == f"{image.name} sha256:{tools.image_digest(image)}"
    assert attrs["job"] == f"{site.job()} {site.job('evaluate')}"
    assert attrs["restarts"] == 0
    assert attrs["git"]


def test_a_preempted_run_resumes_in_its_container(site: Site, slurm: Cluster) -> None:
    alone = {
        **LONG, "name": "contained", "features": None, "seeds": [0],
    }  # fmt: skip
    site.submit(site.recipe(alone))
    site.begin_here(alone)
    site.wait(site.running)
    slurm.preempt()
    site.wait()
    assert site.states() == ["done", "done"], site.tasks()
    attrs = site.result(alone).attrs
    assert attrs["restarts"] >= 1
    assert attrs["job"].startswith(f"{site.job()}+")
    assert "resumed at iteration" in site.tasks()[0].submission.log(0).read_text()
    site.check_same_as_here(alone, 0)


def test_an_image_of_other_code_is_refused_before_anything_is_queued(
    site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from ddbench.cluster import profile, submitting
    from ddbench.errors import BadInput

    monkeypatch.setattr(submitting, "code_digest", lambda: "0" * 64)
    monkeypatch.setenv("PATH", site.environment["PATH"])
    with pytest.raises(BadInput, match=r"holds ddbench code .*build\.sh"):
        submitting.check_tools(profile.read(str(site.profile)))
