"""What Slurm prints, and what is made of it: recorded output for every state, and a real Slurm.

A file of ``golden/slurm`` holds commands (``$``) with what they printed, on stderr after ``2>``,
and below ``=`` what ddbench understands of the jobs after ``?``.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slurm_cluster import Cluster

from ddbench.cluster import diagnosis, scheduler
from ddbench.cluster.scheduler import JobState
from ddbench.cluster.slurm_output import expand, parse_sacct, parse_squeue
from ddbench.errors import RunFailed

FOLDER = Path(__file__).parent / "golden" / "slurm"
GOLDEN = sorted(path for path in FOLDER.glob("*.txt") if path.stem != "refusals")
COMMANDS = ("sacct", "squeue", "scontrol", "scancel")

Slurm = Callable[..., list[list[str]]]


# --- a Slurm that repeats what it is given -----------------------------------------------------


@pytest.fixture
def slurm_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    """Put programs on the path that print what is recorded; gives the commands that were asked."""
    asked = tmp_path / "asked"
    asked.touch()

    def program(name: str, printed: str = "", error: str = "", code: int = 0) -> None:
        (tmp_path / f"{name}.out").write_text(printed)
        (tmp_path / f"{name}.err").write_text(error)
        script = tmp_path / name
        script.write_text(
            f"#!/bin/sh\nprintf '%s\\0' {name} \"$@\" >> {asked}; echo >> {asked}\n"
            f"cat {tmp_path}/{name}.out; cat {tmp_path}/{name}.err >&2; exit {code}\n"
        )
        script.chmod(0o755)

    def says(**programs: tuple[str, str, int]) -> list[list[str]]:
        for name, (printed, error, code) in programs.items():
            program(name, printed, error, code)
        return [line.split("\0")[:-1] for line in asked.read_text().splitlines()]

    for name in COMMANDS:
        program(name, error=f"{name} was not recorded", code=99)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return says


def recorded(text: str) -> dict[str, tuple[str, str, int]]:
    """Of every command of a golden file: stdout, stderr, exit code."""
    found = {}
    for block in text.partition("\n= ")[0].split("\n$ ")[1:]:
        command, *lines = block.split("\n")
        codes = [int(line[5:]) for line in lines if re.fullmatch(r"exit \d+", line)]
        errors = [line[3:] for line in lines if line.startswith("2> ")]
        printed = [line for line in lines if line and not line.startswith(("2> ", "exit "))]
        found[command.split()[0]] = ("\n".join(printed), "\n".join(errors), sum(codes))
    return found


def understood(jobs: list[str]) -> list[str]:
    """What ddbench makes of the answers, a line for each job."""
    answer = scheduler.states(jobs)
    lines = [f"= note: {answer.note}"] if answer.note else []
    for job, state in sorted(answer.known.items(), key=lambda item: _natural(item[0])):
        assert state.job == job
        word = state.state if scheduler.active(state.state) else f"{state.state}, ended"
        details = [state.reason, state.exit_code, f"{state.elapsed} s", state.node, state.by]
        found = diagnosis.of_job(state)
        why = f" -> {found.kind}: {found.reason}" if found else ""
        lines.append(f"= {job} {word} ({' | '.join(details)}){why}")
    return lines + [f"= {job} unknown" for job in jobs if "_" in job and job not in answer.known]


def _natural(job: str) -> list[int]:
    return [int(part) for part in job.split("_")]


@pytest.mark.parametrize("file", GOLDEN, ids=lambda path: path.stem)
def test_recorded_output_is_understood(file: Path, slurm_says: Slurm) -> None:
    text = file.read_text()
    slurm_says(**recorded(text))
    jobs = re.findall(r"^\? (.*)$", text, re.MULTILINE)[0].split()
    assert understood(jobs) == [line for line in text.splitlines() if line.startswith("= ")]
    commands = [line[2:].split() for line in text.splitlines() if line.startswith("$ ")]
    assert slurm_says() == commands, "the commands that were recorded are those that are asked"


def test_every_state_that_slurm_documents_is_in_a_golden_file() -> None:
    documented = (
        "BOOT_FAIL CANCELLED COMPLETED COMPLETING DEADLINE FAILED LAUNCH_FAILED NODE_FAIL"
        " OUT_OF_MEMORY PENDING PREEMPTED REQUEUED REVOKED RUNNING SUSPENDED TIMEOUT"
    ).split()
    text = "\n".join(file.read_text() for file in GOLDEN)
    assert [state for state in documented if not re.search(rf"\|{state}(\||$)", text)] == []


# --- names ------------------------------------------------------------------------------------


def written(numbers: list[int], step: int) -> str:
    """Array elements as Slurm writes them: single ones, ranges, ranges with a step."""
    parts: list[str] = []
    left = list(numbers)
    while left:
        run = [left.pop(0)]
        while left and left[0] == run[-1] + step:
            run.append(left.pop(0))
        if len(run) < 3:
            parts += map(str, run)
        else:
            parts.append(f"{run[0]}-{run[-1]}" + (f":{step}" if step > 1 else ""))
    return ",".join(parts)


ELEMENTS = st.lists(st.integers(0, 400), min_size=1, max_size=60, unique=True).map(sorted)


@given(ELEMENTS, st.integers(1, 4), st.sampled_from(["", "%1", "%16"]))
def test_array_ranges_are_expanded(numbers: list[int], step: int, limit: str) -> None:
    name = f"14_[{written(numbers, step)}{limit}]"
    assert expand(name) == [f"14_{number}" for number in numbers]


@given(ELEMENTS, st.integers(1, 4), st.data())
def test_of_a_list_that_was_cut_only_whole_numbers_are_read(
    numbers: list[int], step: int, data: st.DataObject
) -> None:
    name = f"14_[{written(numbers, step)}%2]"
    cut = name[: data.draw(st.integers(len("14_["), len(name)))]
    assert set(expand(cut)) <= {f"14_{number}" for number in numbers}


def test_a_list_that_sacct_shortened_is_read_up_to_there() -> None:
    assert expand("18_[0,3,97,...%4]") == ["18_0", "18_3", "18_97"]
    assert expand("18_[0,3,97,...]") == ["18_0", "18_3", "18_97"]
    assert expand("18_[0-2,97,") == ["18_0", "18_1", "18_2", "18_97"]
    assert expand("18_[0-2,9") == ["18_0", "18_1", "18_2"]


@given(st.text(alphabet="0123456789_[]-,%:.+ abJOB|\n", max_size=30))
def test_nothing_but_jobs_comes_out_of_any_text(text: str) -> None:
    assert all(re.fullmatch(r"\d+(_\d+)?", job) for job in expand(text))


@given(st.text(alphabet="0123456789_[]-,%:|RUNING \n", max_size=60))
def test_reading_never_fails(text: str) -> None:
    for found in (parse_sacct(text), parse_squeue(text)):
        assert all(state.job == job for job, state in found.items())


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("0:07", 7), ("10:00", 600), ("1:00:01", 3601), ("2-01:00:00", 176400), ("INVALID", 0)],
)
def test_elapsed_times_of_squeue(said: str, seconds: int) -> None:
    assert parse_squeue(f"1|RUNNING|{said}|n1|None")["1"].elapsed == seconds


# --- asking ------------------------------------------------------------------------------------


def test_users_settings_for_slurm_do_not_reach_it(
    slurm_says: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = {
        "SQUEUE_FORMAT": "%i", "SQUEUE_FORMAT2": "JobID", "SQUEUE_STATES": "RUNNING",
        "SQUEUE_PARTITION": "x", "SACCT_FORMAT": "JobID", "SLURM_TIME_FORMAT": "relative",
        "SCANCEL_INTERACTIVE": "1", "SLURM_BITSTR_LEN": "8", "LC_ALL": "de_DE.UTF-8",
    }  # fmt: skip
    for name, text in (users | {"SLURM_CONF": "/site/slurm.conf"}).items():
        monkeypatch.setenv(name, text)
    squeue = tmp_path / "squeue"
    squeue.write_text(f"#!/bin/sh\nenv > {tmp_path}/seen\n")
    assert scheduler.current_state("12") is None
    seen = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().splitlines())
    assert {name: seen.get(name) for name in users} == dict.fromkeys(users) | {
        "LC_ALL": "C", "SLURM_BITSTR_LEN": "0",
    }  # fmt: skip
    assert seen["SLURM_CONF"] == "/site/slurm.conf"


def test_without_slurm_the_note_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    answer = scheduler.states(["12", "13_4"])
    told = "Slurm cannot be reached: squeue not found"
    assert answer == scheduler.Answer({}, told, sure=False)
    assert scheduler.current_state("12") is None
    assert scheduler.requeue("12") == "squeue not found"
    assert scheduler.cancel(["12"]) == "scancel not found"
    with pytest.raises(RunFailed, match="by name: squeue not found"):
        scheduler.find_by_name(["ddbench-0-0"])


def test_a_slurm_that_hangs_is_given_up(
    slurm_says: Slurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler._ask, "__kwdefaults__", {"limit": 0.2})
    slurm_says(squeue=("12|RUNNING|0:10|n1|None", "", 0))
    (tmp_path / "sacct").write_text("#!/bin/sh\nexec sleep 60\n")
    answer = scheduler.states(["12"])
    assert answer.known["12"].state == "RUNNING"
    said = "accounting cannot be asked (sacct did not answer within 0.2 s): states from squeue"
    assert answer.note == said


def test_nothing_is_asked_where_there_is_nothing_to_ask(slurm_says: Slurm) -> None:
    assert scheduler.states([]) == scheduler.Answer({})
    assert scheduler.states(["", "local-12", "12; rm", "12_[1-3]"]) == scheduler.Answer({})
    assert scheduler.cancel([]) is None
    assert scheduler.find_by_name([]) == {}
    assert slurm_says() == []


def test_a_word_that_is_no_job_does_not_spoil_the_question(slurm_says: Slurm) -> None:
    slurm_says(sacct=("", "", 0), squeue=("7|RUNNING|0:01|n1|None", "", 0))
    assert list(scheduler.states(["local-1", "7"]).known) == ["7"]
    assert "--jobs=7" in slurm_says()[0]


def test_many_jobs_take_few_calls(slurm_says: Slurm) -> None:
    slurm_says(sacct=("", "", 0), squeue=("", "", 0), scancel=("", "", 0))
    scheduler.states([f"{base}_{k}" for base in range(1, 401) for k in range(3)])
    assert [call[0] for call in slurm_says()] == ["sacct", "squeue"]
    scheduler.cancel([f"1_{k}" for k in range(501)])
    assert [len(call) for call in slurm_says() if call[0] == "scancel"] == [501, 2]


def test_only_the_elements_that_were_asked_for_are_answered(slurm_says: Slurm) -> None:
    lines = "5_0|RUNNING|0:01|n1|None\n5_1|RUNNING|0:01|n1|None\n6|RUNNING|0:01|n1|None"
    slurm_says(sacct=("", "", 0), squeue=(lines, "", 0))
    assert set(scheduler.states(["5_1", "6"]).known) == {"5_1", "6"}
    assert set(scheduler.states(["5"]).known) == {"5_0", "5_1"}


def test_without_the_queue_a_preempted_job_is_not_known_to_have_ended(slurm_says: Slurm) -> None:
    lines = "1|PREEMPTED|0:0|9|n1|None\n2|NODE_FAIL|0:0|9|n1|None\n3|FAILED|1:0|9|n1|None"
    slurm_says(sacct=(lines, "", 0), squeue=("", "squeue: error: timed out", 1))
    answer = scheduler.states(["1", "2", "3"])
    assert list(answer.known) == ["3"] and "the queue cannot be asked" in answer.note


def test_a_state_of_a_later_slurm_counts_as_living() -> None:
    assert scheduler.active("SOMETHING_NEW")
    assert scheduler.active("REQUEUE_HOLD")
    assert not scheduler.active("RUNAWAY")


def test_jobs_are_found_by_exact_name(slurm_says: Slurm) -> None:
    slurm_says(
        squeue=("14|ddbench-ab-0\n14|ddbench-ab-0\n9|ddbench-ab-1\n20|ddbench-ab-10", "", 0),
        sacct=("14_0|ddbench-ab-0\n14_[1-3%2]|ddbench-ab-0\n3|ddbench-ab-0", "", 0),
    )
    names = ["ddbench-ab-0", "ddbench-ab-1", "ddbench-ab-2"]
    assert scheduler.find_by_name(names) == {"ddbench-ab-0": ["3", "14"], "ddbench-ab-1": ["9"]}
    calls = slurm_says()
    assert [call[0] for call in calls] == ["squeue", "sacct"]
    assert all(f"--name={','.join(names)}" in call for call in calls)
    assert "--starttime=now-30days" in calls[1]


def test_jobs_are_found_by_name_without_accounting(slurm_says: Slurm) -> None:
    slurm_says(squeue=("14|a-0", "", 0), sacct=("", "Slurm accounting storage is disabled", 1))
    assert scheduler.find_by_name(["a-0"]) == {"a-0": ["14"]}


def test_cancelling_what_has_ended_is_no_error(slurm_says: Slurm) -> None:
    gone = "scancel: error: Kill job error on job id 12: Invalid job id specified\n"
    slurm_says(scancel=("", gone, 1))
    assert scheduler.cancel(["12", "12", "13_1"]) is None
    assert slurm_says() == [["scancel", "12", "13_1"]]
    slurm_says(scancel=("", f"{gone}scancel: error: access denied\n", 1))
    assert scheduler.cancel(["12"]) == "scancel: error: access denied"


ARRAY = "47_0|48|RUNNING\n47_1|47|RUNNING\n47_2|49|COMPLETED"


@pytest.mark.parametrize(
    ("job", "element"),
    [("47", "47_1"), ("48", "47_0"), ("47_2", "47_2"), ("47_9", None), ("50", None)],
)
def test_a_number_means_one_element_and_never_the_array(
    slurm_says: Slurm, job: str, element: str | None
) -> None:
    """``scontrol requeue 47`` would start all of the array again, finished elements too."""
    slurm_says(squeue=(ARRAY, "", 0), scontrol=("", "", 0))
    words = dict(line.split("|")[::2] for line in ARRAY.splitlines())
    assert scheduler.current_state(job) == (words[element] if element else None)
    assert scheduler.requeue(job) is None
    assert slurm_says()[-1] == ["scontrol", "requeue", element or job]


def test_nothing_is_queued_again_while_it_is_unclear_what_a_number_means(slurm_says: Slurm) -> None:
    slurm_says(squeue=("", "squeue: error: timed out", 1), scontrol=("", "", 0))
    assert scheduler.requeue("47") == "squeue: error: timed out"
    slurm_says(squeue=("47_2|47|PENDING\n47_3|47|PENDING", "", 0))
    assert scheduler.requeue("47") == "47 is not one job but 2"
    assert scheduler.current_state("47") is None
    assert "scontrol" not in [call[0] for call in slurm_says()]


def test_a_refused_requeue_says_why(slurm_says: Slurm) -> None:
    slurm_says(squeue=("", "", 0), scontrol=("", "Invalid job id specified for job 9\n", 1))
    assert scheduler.requeue("9") == "Invalid job id specified for job 9"


def test_a_state_can_be_written_and_read(slurm_says: Slurm) -> None:
    state = JobState("1", "FAILED", exit_code="1:0")
    assert JobState(**json.loads(json.dumps(vars(state)))) == state


# --- a real Slurm ------------------------------------------------------------------------------


@pytest.mark.slurm
def test_states_on_a_real_slurm(slurm: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SQUEUE_FORMAT", "SQUEUE_STATES", "SACCT_FORMAT", "SLURM_TIME_FORMAT"):
        monkeypatch.setenv(name, "RUNNING")
    array = slurm.submit("exit $SLURM_ARRAY_TASK_ID", "--array=0-1")
    works = slurm.submit("sleep 60", f"--job-name=ddbench-{array}-0")
    waits = slurm.submit("true", "--array=0-3", f"--dependency=afterok:{works}")
    slurm.cancel(f"{waits}_2")
    slurm.wait(array, "COMPLETED", "FAILED")
    slurm.wait(works, "RUNNING")
    asked = [f"{array}_0", f"{array}_1", works, *(f"{waits}_{k}" for k in range(4))]

    def said() -> dict[str, str]:
        return {job: state.state for job, state in scheduler.states(asked).known.items()}

    expected = dict(
        zip(asked, ["COMPLETED", "FAILED", "RUNNING", "PENDING", "PENDING", "CANCELLED", "PENDING"],
            strict=True)
    )  # fmt: skip
    slurm.until(lambda: said() == expected, 10, lambda: str(said()))
    slurm.until(lambda: scheduler.states(asked).known[f"{array}_1"].exit_code == "1:0", 10)
    answer = scheduler.states(asked)
    assert answer.note == ""
    assert answer.known[f"{waits}_0"].reason == "Dependency"
    name = f"ddbench-{array}-0"
    assert scheduler.find_by_name([name, f"{name}1"]) == {name: [works]}
    assert scheduler.cancel([works, waits, array]) is None
    slurm.wait(works, "CANCELLED")
    slurm.until(lambda: not any(map(scheduler.active, said().values())), 20, lambda: str(said()))
    assert scheduler.states([works]).known[works].by != ""


@pytest.mark.slurm
def test_one_element_is_queued_again_by_its_number(slurm: Cluster) -> None:
    script = 'test $SLURM_ARRAY_TASK_ID != 1 || { echo "raw $SLURM_JOB_ID"; sleep 60; }'
    array = slurm.submit(script, "--array=0-1", "--requeue")
    slurm.wait(f"{array}_0", "COMPLETED")
    slurm.wait(f"{array}_1", "RUNNING")
    raw = slurm.jobs(array)[f"{array}_1"].raw
    assert raw == array, "the last element has the number of the array"
    assert scheduler.current_state(raw) == "RUNNING"
    assert scheduler.requeue(raw) is None
    slurm.wait(f"{array}_1", "PENDING", "COMPLETING", timeout=20)
    answer = scheduler.states([f"{array}_0", f"{array}_1"])
    assert answer.known[f"{array}_0"].state == "COMPLETED"
    assert scheduler.active(answer.known[f"{array}_1"].state)
    slurm.clear()
    slurm.until(lambda: scheduler.current_state(raw) == "CANCELLED", 30)
    assert "Invalid job id" in (scheduler.requeue("999999999") or "")


@pytest.mark.slurm
def test_states_without_accounting(bare_slurm: Cluster) -> None:
    failed = bare_slurm.submit("exit 3")
    bare_slurm.wait(failed)
    answer = scheduler.states([failed])
    assert answer.note == "accounting is disabled on this cluster: states from squeue"
    assert (answer.known[failed].state, answer.known[failed].exit_code) == ("FAILED", "3:0")
    found = diagnosis.of_job(answer.known[failed])
    assert found is not None and found.kind == "exception"
