"""The report of a run: its contents are gathered here, and drawn by `report`."""

import shlex
import sys
import time
from collections.abc import Mapping
from typing import Any

from exits_jax.app.hops import hops_of
from exits_jax.app.outputs import version
from exits_jax.app.predictions import Measured
from exits_jax.app.review import review_for_page
from exits_jax.app.run import Run
from exits_jax.export.decisions import verdict_counts
from exits_jax.report.gallery import Files, write_gallery
from exits_jax.report.report import PredictionPart, summary_rows
from exits_jax.report.shown import Shown, chosen, worst


def report(
    run: Run,
    what: Shown,
    record: Mapping[str, Any] | None,
    name: str,
    facts: Mapping[str, object],
    predicted: Measured | None = None,
) -> None:
    """Writes `figures/*.png` and `report.html` of the workdir; the labels are called `name`.

    Args:
      run: whose labels are shown.
      what: every label.
      record: the content of evaluation.json; None without ground truth.
      name: see above.
      facts: for the head of the page; when, how and from which labels it was made comes after them.
      predicted: what there is to show of predictions.
    """
    settings, workdir = run.config.report, run.workdir
    few = chosen(what, settings.max_items)
    review = review_for_page(run)
    write_gallery(
        Files(workdir.report, workdir.figures, workdir.metrics),
        few,
        hops_of(run, worst(few, settings.max_panels)),
        title=f"exits_jax: {run.config.name}",
        summary=summary_rows(record, name.capitalize()) if record else None,
        facts={**facts, **_made(review)},
        review=review,
        total=len(what.instances),
        predictions=PredictionPart(*predicted) if predicted else None,
    )


def _made(review: Mapping[str, Any]) -> dict[str, str]:
    """When, how and from which labels the page was made, and the decisions about them."""
    verdicts, labels = review["decisions"].values(), review["labels_sha256"]
    python = "python " if sys.argv[0].endswith(".py") else ""
    return {
        "made": time.strftime("%Y-%m-%d %H:%M %z"),
        "exits_jax": version(),
        **({"pseudo_labels.json": f"sha256 {labels[:16]}"} if labels else {}),
        **({"review": verdict_counts(verdicts)} if verdicts else {}),
        "command": python + shlex.join(sys.argv),
    }
