"""The report's files, written so that they show the current labels."""

import pathlib
from typing import Any

from exits_jax.app import measuring
from exits_jax.app.label_files import say_written
from exits_jax.app.outputs import LABELS, REPORT, Outputs, file_digest
from exits_jax.app.phases import Counts, Estimate
from exits_jax.app.run import Run
from exits_jax.app.settings import free_settings
from exits_jax.app.workdir import Workdir
from exits_jax.system.errors import UserError
from exits_jax.system.files import recording


def evaluate(run: Run) -> None:
    """Measures the labels where there is ground truth, draws and reports them.

    What an earlier report had and this one does not, a figure or the measures, is removed.

    Raises:
      UserError: there are neither labels nor predictions, or not all of their files.
    """
    workdir = run.workdir
    if not (workdir.labels.exists() or workdir.predictions.exists()):
        raise UserError(
            f"{workdir.labels}: does not exist yet; run --mode=label first (or --mode=predict, for "
            "what a trained model finds)"
        )
    outputs, digest = Outputs(workdir.outputs), file_digest(workdir.labels)
    if outputs.is_unfinished(LABELS):
        raise UserError(
            f"{workdir.folder}: labelling was stopped before all its files were written; run "
            "--mode=label again"
        )
    if outputs.labels_digest() not in ("", digest):
        print(f"note: {workdir.labels} was changed since it was written; it is shown as it is")
    outputs.begin(REPORT)
    with recording() as written:
        measuring.evaluate(run)
    files = [path.relative_to(workdir.folder) for path in written if _is_of_report(workdir, path)]
    outputs.finish(REPORT, {file.as_posix() for file in files}, digest, _settings(run))
    say_written(workdir, outputs.files(REPORT))


def report_is_written(run: Run) -> bool:
    """Whether there is a report of the current labels, with the current settings."""
    outputs, workdir = Outputs(run.workdir.outputs), run.workdir
    return (
        workdir.report.exists()
        and outputs.is_made_from(REPORT, file_digest(workdir.labels))
        and outputs.settings(REPORT) == _settings(run)
    )


def _settings(run: Run) -> dict[str, Any]:
    """What a report is made with besides labels."""
    digest = file_digest(run.workdir.predictions)
    settings = free_settings(run.config, "report")
    if not digest:
        return settings
    shown_score = run.config.segmentation.shown_score
    return settings | {"predictions_sha256": digest, "shown_score": shown_score}


def estimate(run: Run, counts: Counts) -> Estimate:
    """For `--dry_run`."""
    work = f"{counts.label} instances, propagation baseline, report"
    return Estimate(work, float(counts.label), 40.0)


def _is_of_report(workdir: Workdir, path: pathlib.Path) -> bool:
    """Whether evaluation wrote a file for people, not for itself."""
    return path in (workdir.evaluation, workdir.report) or workdir.figures in path.parents
