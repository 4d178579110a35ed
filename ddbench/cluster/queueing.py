"""Handing the groups of a submission to Slurm, or to this machine, through submitit.

One call of sbatch per group. The job of a group is recorded right after its call; a group without
a record whose job is queued all the same is found by the job's name (``survey``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from shlex import quote
from typing import Any

from ddbench.cluster import local_jobs, scheduler, snapshot
from ddbench.cluster.environment import clean_environment
from ddbench.cluster.plan import After, Group
from ddbench.cluster.records import Queued, Submission
from ddbench.cluster.tools import explain_refusal
from ddbench.cluster.worker import submit_workers
from ddbench.errors import RunFailed, printable

_NO_LIMIT = 10 * 365 * 24 * 60
"""Minutes: how often a cut-off job is started again is bounded by its progress, not by submitit."""


def queue(submission: Submission) -> list[Queued]:
    """Queue every group that has no record yet; what became of each group, in order.

    A group that is refused does not stop the others, except those that wait for it.
    """
    found: list[Queued] = []
    for group in submission.plan.groups:
        queued = submission.queued(group.number)
        if queued is None:
            queued = _queued(submission, group, found)
            submission.set_queued(group.number, queued)
        found.append(queued)
    return found


def _queued(submission: Submission, group: Group, before: Sequence[Queued]) -> Queued:
    lacking = [one.group for one in group.after if one.group is not None
               and not before[one.group].job]  # fmt: skip
    if lacking:
        return Queued(refused=f"group {lacking[0]}, which it waits for, was not accepted")
    jobs = dict(enumerate(before))
    try:
        if submission.header.profile.scheduler == "local":
            return local_jobs.start(submission, group)
        return _slurm(submission, group, jobs)
    except Exception as error:  # submitit's own, of which one is plain
        _withdraw(submission, group)
        said = str(error).strip() or type(error).__name__
        local = submission.header.profile.scheduler == "local"
        return Queued(refused=printable(said) if local else explain_refusal(said))


def _withdraw(submission: Submission, group: Group) -> None:
    """End a job that Slurm took although its answer was lost: its workers were not written."""
    if submission.header.profile.scheduler == "local":
        return
    name = submission.job_name(group.number)
    with suppress(RunFailed):
        scheduler.cancel(scheduler.find_by_name([name]).get(name, []))


def _slurm(submission: Submission, group: Group, before: Mapping[int, Queued]) -> Queued:
    from submitit import SlurmExecutor

    executor = SlurmExecutor(submission.folder / "jobs", max_num_timeout=_NO_LIMIT,
                             python=_python(submission))  # fmt: skip
    executor.update_parameters(**parameters(submission, group, before))
    with clean_environment():
        ids = submit_workers(executor, submission, group)
    return Queued(ids[0].partition("_")[0], ids)


def parameters(
    submission: Submission, group: Group, before: Mapping[int, Queued]
) -> dict[str, Any]:
    """What submitit's Slurm executor is given for a group.

    Args:
        before: jobs of earlier groups; those absent stand as ``GROUP_n`` (``--dry-run``).
    """
    profile, asked = submission.header.profile, group.resources
    named = {
        "partition": asked.partition, "qos": asked.qos, "constraint": asked.constraint,
        "gres": asked.gres, "gpus_per_node": asked.gpus or None, "mem": asked.memory,
        "account": profile.account, "mail_user": profile.mail,
        "mail_type": ",".join(profile.mail_on) if profile.mail else None,
        "dependency": dependency(group.after, submission.plan.groups, before),
    }  # fmt: skip
    own: dict[str, Any] = {"requeue": True}
    if group.after:
        own["kill-on-invalid-dep"] = "yes"
    return {name: value for name, value in named.items() if value is not None} | {
        "job_name": submission.job_name(group.number),
        "time": asked.time,
        "nodes": asked.nodes,
        "ntasks_per_node": asked.tasks_per_node,
        "cpus_per_task": asked.cpus,
        "signal_delay_s": asked.signal_delay,
        "array_parallelism": asked.concurrency,
        "wckey": profile.wckey,
        "setup": _setup(submission),
        # whatever the site's default: a run that ends must not end those beside it
        "srun_args": ["--kill-on-bad-exit=0", "--wait=0"],
        "additional_parameters": own | {n: v for n, v in profile.extra.items() if v is not False},
    }


def dependency(
    after: Sequence[After], groups: Sequence[Group], before: Mapping[int, Queued]
) -> str | None:
    """sbatch's ``--dependency``: all of the conditions; None where there are none."""
    by_condition: dict[str, list[str]] = {}
    for one in after:
        job, condition = one.job, one.condition
        if one.group is not None:
            job = before[one.group].job if one.group in before else f"GROUP_{one.group}"
            if len(groups[one.group].elements) == 1:
                condition = "afterok"  # elements are paired only where there is an array
        by_condition.setdefault(condition, []).append(job)
    return ",".join(":".join((name, *jobs)) for name, jobs in by_condition.items()) or None


def _setup(submission: Submission) -> list[str]:
    """Lines of the batch script before the worker: the code as submitted, the site's modules."""
    profile, folder = submission.header.profile, submission.folder
    lines = [
        f"export PYTHONPATH={quote(str(folder / snapshot.FOLDER))}",
        # else the folder that the job starts in would come before the submitted code
        "export PYTHONSAFEPATH=1 PYTHONNOUSERSITE=1",
        # since Slurm 22.05 srun does not take the job's own value
        'export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"',
        # left by a kill within submitit's writing, it would stop the next start
        f'rm -f {quote(str(folder / "jobs"))}/"${{SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}}'
        '${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"_*.save_tmp',
    ]
    if profile.modules:
        lines.append("type module >/dev/null 2>&1 || . /etc/profile")
    return lines + [f"module load {quote(name)} || exit 1" for name in profile.modules]


def script(submission: Submission, group: Group) -> str:
    """The batch script of a group as sbatch would get it."""
    from submitit.slurm.slurm import _make_sbatch_string

    worker = f"{_python(submission)} -u -m submitit.core._submit"
    folder = submission.folder / "jobs"
    count = len(group.elements)
    text: str = _make_sbatch_string(
        command=f"{worker} {quote(str(folder))}", folder=folder,
        map_count=count if count > 1 else None, **parameters(submission, group, {}),
    )  # fmt: skip
    return text


def _python(submission: Submission) -> str:
    return quote(submission.header.python)
