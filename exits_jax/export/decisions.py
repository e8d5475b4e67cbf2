"""A person's decisions about masks in report.html, and which of them labelling honours.

The report saves `review_decisions.json`:

    {"labels_sha256": "...", "decisions": {"12": "accept", "13": "reject"}, "masks": {"12": "..."}}

`decisions` is keyed by annotation id; `masks` holds a digest of the mask that each was made about,
so that exactly the decisions about masks that have changed since are noticed. (A digest of the
label file would not do: it changes with `label.min_score`, and with every decision.) A file written
by hand or by a script may hold the decisions alone: {"12": "accept"}; they apply to any mask.
"""

import hashlib
import pathlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from exits_jax.annotations.documents import load_json
from exits_jax.annotations.numbers import shown
from exits_jax.annotations.records import BadItem
from exits_jax.export.quality import Label
from exits_jax.system.errors import UserError

VERDICTS = ("accept", "reject")
EXPECTED = 'expected {"decisions": {"12": "accept", "13": "reject"}}, as report.html saves it'


class Decision(NamedTuple):
    """A verdict, "accept" or "reject", and the digest of the mask it is about (None: any mask)."""

    verdict: str
    mask: str | None = None


def mask_digest(rle: Mapping[str, Any]) -> str:
    """Twelve letters that change with the mask: run lengths with `size` and str `counts`."""
    return hashlib.sha256(f"{rle['size']} {rle['counts']}".encode()).hexdigest()[:12]


def decisions_file(setting: str, usual: pathlib.Path) -> pathlib.Path | None:
    """The file of decisions: the setting `label.decisions`, else `usual` if it exists."""
    if setting:
        return pathlib.Path(setting).expanduser()
    return usual if usual.exists() else None


def read_decisions(file: pathlib.Path | None) -> dict[int, Decision]:
    """The decisions in a file by annotation id; none without a file.

    Raises:
      UserError: the file is missing, or is not a file of decisions; the line names the entry.
    """
    if file is None:
        return {}
    try:
        content = load_json(file, lambda note: None)
        decisions, masks = _parts(content)
        return {_annotation_id(key): _decision(key, decisions, masks) for key in decisions}
    except BadItem as bad:
        raise UserError(f"{file}: {bad.text}") from bad


def standing(
    decisions: Mapping[int, Decision], labels: Mapping[int, Label]
) -> tuple[dict[int, Decision], list[str]]:
    """The decisions that apply to these masks, and lines to print about all of them.

    Args:
      decisions: by annotation id.
      labels: by annotation id, of every instance.
    """
    masks = {i: mask_digest(labels[i].rle) for i in decisions if i in labels}
    stale = [i for i in masks if decisions[i].mask not in (None, masks[i])]
    fresh = {i: Decision(decisions[i].verdict, mask) for i, mask in masks.items()}
    for i in stale:
        del fresh[i]
    said = [verdict_counts([decision.verdict for decision in fresh.values()])]
    if stale:
        said.append(
            f"ignored, because the mask has changed since: {len(stale)}, annotation {stale[0]} "
            "first; look again in report.html"
        )
    unknown = [i for i in decisions if i not in masks]
    if unknown:
        said.append(
            f"ignored, because there is no such annotation: {len(unknown)}, {unknown[0]} first"
        )
    return fresh, said


def verdict_counts(verdicts: Collection[str]) -> str:
    """How many masks were accepted, and how many rejected, in words."""
    accepted = sum(verdict == "accept" for verdict in verdicts)
    return f"{accepted} accepted, {len(verdicts) - accepted} rejected and left out"


def is_kept(label: Label, decision: Decision | None, min_score: float) -> bool:
    """Whether a label goes into the label files: as decided, else by its score."""
    if decision is not None:
        return decision.verdict == "accept"
    return label.score >= min_score


def with_decisions(
    rows: Iterable[dict[str, Any]], decisions: Mapping[int, Decision]
) -> Iterator[dict[str, Any]]:
    """Rows of the review queue, with `decision` and `mask` where a person decided."""
    for row in rows:
        decision = decisions.get(row["annotation_id"])
        yield (
            row
            if decision is None
            else {
                **row,
                "decision": decision.verdict,
                "mask": decision.mask,
            }
        )


def decided_in(queue: Iterable[Mapping[str, Any]]) -> dict[int, Decision]:
    """The decisions that were honoured, according to a written review queue."""
    return {
        row["annotation_id"]: Decision(row["decision"], row["mask"])
        for row in queue
        if "decision" in row
    }


def decisions_record(decisions: Mapping[int, Decision], labels_sha256: str) -> dict[str, Any]:
    """The decisions in the form of a file."""
    return {
        "labels_sha256": labels_sha256,
        "decisions": {str(i): decision.verdict for i, decision in decisions.items()},
        "masks": {str(i): decision.mask for i, decision in decisions.items() if decision.mask},
    }


def why_left_out(missing: Sequence[int], decisions: Mapping[int, Decision], total: int) -> str:
    """How many annotations without a label were rejected, and how many scored too low."""
    rejected = sum(i in decisions and decisions[i].verdict == "reject" for i in missing)
    reasons = [f"{rejected} of {total} rejected in the review"] if rejected else []
    if low := len(missing) - rejected:
        reasons.append(f"{low} of {total} are below label.min_score")
    return ", ".join(reasons)


def _parts(content: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The object of decisions and the object of digests in a file's content."""
    if not isinstance(content, dict):
        raise BadItem("bad_decisions", f"holds {shown(content)}; {EXPECTED}")
    decisions = content.get("decisions", content)
    masks = content.get("masks", {}) if decisions is not content else {}
    for name, part in (("decisions", decisions), ("masks", masks)):
        if not isinstance(part, dict):
            raise BadItem("bad_decisions", f"{name!r} is {shown(part)}; {EXPECTED}")
    return decisions, masks


def _annotation_id(key: str) -> int:
    if not re.fullmatch(r"0|-?[1-9][0-9]{0,9}", key):
        raise BadItem("bad_decisions", f"{shown(key)} is not an annotation id; {EXPECTED}")
    return int(key)


def _decision(key: str, decisions: Mapping[str, Any], masks: Mapping[str, Any]) -> Decision:
    verdict, mask = decisions[key], masks.get(key)
    if verdict not in VERDICTS:
        raise BadItem(
            "bad_decisions",
            f"the decision about annotation {key} is {shown(verdict)}; expected 'accept' or "
            "'reject'",
        )
    if mask is not None and not isinstance(mask, str):
        raise BadItem("bad_decisions", f"the mask of annotation {key} is {shown(mask)}")
    return Decision(verdict, mask)
