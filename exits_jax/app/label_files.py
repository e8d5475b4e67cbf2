"""The files for the user, written so that all of them show the same labels."""

import functools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Console

from exits_jax.annotations import Annotations, Instance, problem_line
from exits_jax.app.outputs import (
    LABELS,
    REPORT,
    Outputs,
    file_digest,
    summary,
    version,
)
from exits_jax.app.review import reviewed
from exits_jax.app.run import Run
from exits_jax.app.settings import free_settings
from exits_jax.app.workdir import Workdir
from exits_jax.evaluation.tables import rich_table
from exits_jax.export.decisions import Decision, decisions_file, is_kept, with_decisions
from exits_jax.export.export import (
    detector_scores,
    pseudo_label_rows,
    pseudo_labels,
    results,
    review_queue,
)
from exits_jax.export.formats import export_problems, write_format
from exits_jax.export.quality import Label, flag_counts
from exits_jax.pseudo_labels import predicted_iou
from exits_jax.system.errors import UserError
from exits_jax.system.files import write_json_rows


def write_labels(run: Run, annotations: Annotations, labels: Mapping[int, Label]) -> None:
    """`pseudo_labels.json`, then the review queue, the results form and the formats asked for.

    Labels below `label.min_score`, or rejected in a review, are left out of all but the queue.
    Further formats (`label.formats`) go where `export.formats` says. What an earlier call wrote and
    this one does not, or what shows other labels, is removed, with a note.

    Raises:
      UserError: a file cannot be written; after a format that fails the others are still written.
    """
    outputs, workdir = Outputs(run.workdir.outputs), run.workdir
    decided = reviewed(run, labels)
    kept = _kept(run, annotations.instances, labels, decided)
    if moved := outputs.keep_edited(workdir.labels):
        print(f"{workdir.labels} was edited after it was written; the edited file is kept: {moved}")
    outputs.begin(LABELS)
    rows = pseudo_label_rows(annotations.document, labels, kept)
    write_json_rows(workdir.labels, rows, annotations.document)
    digest = file_digest(workdir.labels)
    _remove_stale(run, outputs, digest)
    lower = predicted_iou.LOWER_90 if run.config.label.score == "predicted_iou" else None
    queue = review_queue(labels, annotations.instances, lower)
    write_json_rows(workdir.review, with_decisions(queue, decided))
    found = detector_scores(annotations.document, kept) if run.config.data.boxes else None
    write_json_rows(workdir.results, results(labels, kept, found))
    files = [path.name for path in (workdir.labels, workdir.results, workdir.review)]
    outputs.finish(LABELS, files, digest, _settings(run))
    failures = [*_write_formats(run, outputs, annotations, labels, kept)]
    counts = flag_counts(labels[instance.id] for instance in kept)
    table = [["every mask was checked", ""], *([name, str(n)] for name, n in counts.items())]
    Console().print(rich_table(table))
    say_written(workdir, outputs.files(LABELS))
    if failures:
        raise UserError("; ".join(map(str, failures)))


def refuse_unwritable(run: Run, annotations: Annotations) -> None:
    """Refuses, before the work, what a format that is asked for could not hold.

    A crowd that cannot be read is left out by the formats where `data.on_error` is "skip".

    Raises:
      UserError: names the first such annotation, and counts them.
    """
    found = export_problems(run.config.label.formats, annotations.document, annotations.images)
    if run.config.data.on_error == "skip":
        found = [problem for problem in found if problem.annotation_id is None]
    if found:
        more = f"; {len(found) - 1:,} more" * (len(found) > 1)
        raise UserError(
            f"{problem_line(annotations.file, found[0])}{more}; leave the format out of "
            "label.formats, or correct the file"
        )


def labels_are_written(run: Run) -> bool:
    """Whether the label files exist as the config asks for them, all of the same labels."""
    outputs, workdir = Outputs(run.workdir.outputs), run.workdir
    formats, digest = {*run.config.label.formats}, outputs.labels_digest()
    return (
        workdir.labels.exists()
        and outputs.settings(LABELS) == _settings(run)
        and outputs.formats() == formats
        and all(outputs.is_made_from(name, digest) for name in formats)
    )


def say_written(workdir: Workdir, files: Sequence[str]) -> None:
    """Prints the paths of what was written, one per line, as they can be opened from here."""
    print(*(f"wrote {workdir.folder / name}" for name in summary(files)), sep="\n", flush=True)


def _settings(run: Run) -> dict[str, Any]:
    """The settings that may change in a finished workdir; the label files are then rewritten."""
    file = decisions_file(run.config.label.decisions, run.workdir.decisions)
    review = {"decisions_sha256": file_digest(file)} if file else {}
    return free_settings(run.config, "label") | review


def _kept(
    run: Run,
    instances: Sequence[Instance],
    labels: Mapping[int, Label],
    decided: Mapping[int, Decision],
) -> list[Instance]:
    """The instances whose labels go into the label files."""
    least = run.config.label.min_score
    kept = [i for i in instances if is_kept(labels[i.id], decided.get(i.id), least)]
    if least:
        print(f"kept {len(kept)} of {len(instances)} (label.min_score = {least})")
    return kept


def _stale(run: Run, outputs: Outputs, digest: str) -> list[str]:
    """The outputs that show other labels, or are formats that are not asked for any more."""
    dropped = outputs.formats() - {*run.config.label.formats}
    other = {REPORT} & outputs.names()
    return sorted(dropped | {name for name in other if not outputs.is_made_from(name, digest)})


def _remove_stale(run: Run, outputs: Outputs, digest: str) -> None:
    """Removes what shows other labels or is not asked for any more, and prints what that was."""
    removed = outputs.remove(_stale(run, outputs, digest))
    if removed:
        print(f"removed (of other labels, or not asked for): {', '.join(summary(removed))}")
    report = run.workdir.report
    if REPORT not in outputs.names() and report.exists():  # from a version that kept no list
        print(f"note: {report}: nothing says which labels it shows; --mode=evaluate rewrites it")


def _write_formats(
    run: Run,
    outputs: Outputs,
    annotations: Annotations,
    labels: Mapping[int, Label],
    kept: Sequence[Instance],
) -> Iterator[UserError]:
    """Writes the formats asked for; yields why one could not be written, and goes on."""
    if not run.config.label.formats:
        return
    digest, settings = outputs.labels_digest(), outputs.settings(LABELS)
    about = {"made_from": run.workdir.labels.name, "labels_sha256": digest, "exits_jax": version()}
    document = pseudo_labels(annotations.document, labels, kept) | {"exits": about}
    for name in run.config.label.formats:
        simplify = run.config.label.simplify
        write = functools.partial(_write_format, name, document, annotations, simplify)
        try:
            print(f"{name}: {outputs.replace(name, write, digest, settings)}")
        except UserError as error:
            yield error
            continue
        say_written(run.workdir, outputs.files(name))


def _write_format(
    name: str,
    document: Mapping[str, Any],
    annotations: Annotations,
    simplify: float,
    folder: pathlib.Path,
) -> str:
    return write_format(name, folder, document, annotations.images, simplify=simplify)
