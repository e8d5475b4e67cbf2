"""The phase that writes the masks."""

import json
import math

from exits_jax.annotations import Annotations
from exits_jax.annotations.packed import PackedRows
from exits_jax.app.label_files import refuse_unwritable, write_labels
from exits_jax.app.labels import make_labels, make_parts
from exits_jax.app.phases import Counts, Estimate
from exits_jax.app.run import Run, data_to_label
from exits_jax.app.trust import check_generator
from exits_jax.system.errors import UserError

LABEL_BYTES = 700  # per annotation in the two label files, typical of COCO


def label(run: Run) -> None:
    """Writes the masks."""
    _say_cold(run)
    data = data_to_label(run)
    refuse_unwritable(run, data.annotations)
    pack(data.annotations)
    if run.config.label.source == "generator":
        check_generator(run, data)
    if not run.hosts.first:
        make_parts(run, data, run.config.label.source)
        return print(
            "every part of the labels is done; process 0 puts them together (start it again if "
            "it has ended)"
        )
    labels = make_labels(run, data, run.config.label.source)
    write_labels(run, data.annotations, labels)


def _say_cold(run: Run) -> None:
    """Says that labelling does not wait for a warm-up that was asked for and not made."""
    config, warmed_up = run.config, run.workdir.extractor
    reads = config.label.source == "propagation" or config.generator.prior
    if reads and config.warmup.epochs and not (config.extractor.params or warmed_up.exists()):
        run.note(
            f"warmup.epochs is {config.warmup.epochs:g}, but {warmed_up} does not exist: the "
            "published backbone is used as it is; --mode=warmup makes it"
        )


def pack(annotations: Annotations) -> None:
    """Keeps the document small until its masks are made.

    Refuses, before the work, one that JSON cannot hold: with NaN, or nested too deeply.
    """
    document = annotations.document
    try:
        json.dumps({k: v for k, v in document.items() if k != "annotations"}, allow_nan=False)
        document["annotations"] = PackedRows(document["annotations"])
    except ValueError as error:
        raise UserError(
            f"{annotations.file}: holds NaN or infinity, which JSON does not allow: {error}"
        ) from error
    except RecursionError as error:
        raise UserError(f"{annotations.file}: is nested too deeply to be written again") from error


def estimate(run: Run, counts: Counts) -> Estimate:
    """For `--dry_run`."""
    parts = math.ceil(counts.label / run.config.label.part_size)
    passes = 2 if run.config.label.flip else 1
    return Estimate(
        f"{counts.label} instances in {parts} part{'s' * (parts != 1)}",
        float(counts.label * passes),
        2 * counts.label * LABEL_BYTES / 1e6,
    )
