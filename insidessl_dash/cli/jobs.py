"""``jobs list | cancel``: the dashboard's jobs, seen by whoever runs it."""

from __future__ import annotations

import typer

from insidessl_dash.cli.output import out
from insidessl_dash.core.settings import settings

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False)


@app.command("list")
def list_jobs() -> None:
    """Every job on record, newest first."""
    from insidessl_dash.engine.records import JobRecords
    from insidessl_dash.engine.spec import MatrixSpec

    rows = JobRecords(settings().home).all()
    if not rows:
        out.print("No jobs on record.")
    for _owner, job in sorted(rows, key=lambda row: row[1].created, reverse=True):
        if isinstance(job.spec, MatrixSpec):
            what = f"matrix of {job.spec.model} on an upload"
        else:
            source = job.spec.corpus or f"{len(job.spec.uploads)} uploads"
            what = f"{', '.join(job.spec.models)} on {source}"
        out.print(
            f"{job.id}  {job.state:10} {job.completed}/{job.total}  {job.created}  {what}"
            + (f"  {job.error}" if job.error else "")
        )


@app.command("cancel")
def cancel(job_id: str) -> None:
    """Ask the running dashboard to stop a job."""
    from insidessl_dash.engine.records import JobRecords
    from insidessl_dash.engine.spec import ENDED

    job = JobRecords(settings().home).ask_to_cancel(job_id)
    ended = job.state in ENDED
    out.print(
        f"{job_id}: " + (f"it has ended already ({job.state})." if ended else "asked to stop.")
    )
