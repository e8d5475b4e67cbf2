"""The settings of point retrieval, checked when they are made."""

import dataclasses
from collections.abc import Callable

from exits_jax.system.errors import UserError


@dataclasses.dataclass(frozen=True)
class RetrievalSettings:
    """Everything that shapes the retrieval; hashable, so it can be a static argument of jit.

    A value from the paper says so; the others are not given in the paper.
    """

    # "attention" (the paper's) or "keys".
    source: str = "attention"
    # 1-based layers whose mean similarity is used, or "all". Layer 10: table a1.
    layers: tuple[int, ...] | str = (10,)
    # alpha, the number of hops: table a2. Unused by the absorbing form.
    hops: int | None = 3
    # Share of propagated against initial scores in the absorbing form: supplement, C.
    beta: float = 0.25
    # "applied" and "kernel" are the same numbers; "absorbing" is alpha = infinity, equation a2.
    form: str = "applied"
    # "difference" p * (s_FG - s_BG) or "log_ratio" log s_FG - log s_BG.
    decision: str = "difference"
    # Thresholds on the score.
    tau_fg: float = 0.4
    tau_bg: float = 0.15
    # How far extreme points are pushed inwards, as a share of the crop's side: supplement, B.
    delta: float = 24 / 512
    # Rounds of Sinkhorn normalisation and whether (T + T^t) / 2 follows.
    sinkhorn: int = 3
    symmetric: bool = True
    # Of the key similarity; distance_sigma in grid cells, None leaves distance out.
    temperature: float = 0.1
    distance_sigma: float | None = None
    # What walks for an instance without extreme points: "nothing" or "centre", a soft central seed.
    box_only: str = "nothing"
    # Strength of the tightness centring; 0 turns it off.
    centring: float = 0.0
    # Rounds of reseeding after the walk, one hop each; 0 is the paper's single walk.
    rounds: int = 0

    def __post_init__(self) -> None:
        """Raises UserError naming a value that means nothing, and what is expected."""
        for name, (right, expected) in _CHECKS.items():
            if not right(self):
                given = getattr(self, name)
                raise UserError(f"retrieval.{name} is {given!r}, expected {expected}")


# field -> (whether it is right, what is expected)
_CHECKS: dict[str, tuple[Callable[[RetrievalSettings], bool], str]] = {
    "source": (lambda s: s.source in ("attention", "keys"), "'attention' or 'keys'"),
    "layers": (
        lambda s: s.layers == "all" or (isinstance(s.layers, tuple) and bool(s.layers)),
        "a tuple of layers or 'all'",
    ),
    "form": (
        lambda s: s.form in ("applied", "kernel", "absorbing"),
        "'applied', 'kernel' or 'absorbing'",
    ),
    "hops": (
        lambda s: s.form == "absorbing" or (s.hops is not None and s.hops >= 0),
        "0 or more, or form 'absorbing'",
    ),
    "beta": (lambda s: 0 <= s.beta < 1, "at least 0 and less than 1"),
    "decision": (
        lambda s: s.decision in ("difference", "log_ratio"),
        "'difference' or 'log_ratio'",
    ),
    "delta": (lambda s: s.delta >= 0, "0 or more"),
    "sinkhorn": (lambda s: s.sinkhorn >= 0, "0 or more"),
    "temperature": (lambda s: s.temperature > 0, "more than 0"),
    "distance_sigma": (
        lambda s: s.distance_sigma is None or s.distance_sigma > 0,
        "more than 0, or None",
    ),
    "box_only": (lambda s: s.box_only in ("nothing", "centre"), "'nothing' or 'centre'"),
    "centring": (lambda s: s.centring >= 0, "0 or more"),
    # Reseeding reads scores as log odds.
    "rounds": (
        lambda s: s.rounds == 0 or (s.rounds > 0 and s.decision == "log_ratio"),
        "0 or more, and 0 unless decision is 'log_ratio'",
    ),
}

# What measured best with DINOv2, without any training. None of it is given in the paper: keys in
# place of attention, log odds in place of a difference, centring by the box's tightness, reseeding.
RESEEDED_KEYS = RetrievalSettings(
    source="keys",
    layers=(9, 10, 11),
    decision="log_ratio",
    delta=16 / 512,
    distance_sigma=8.0,
    box_only="centre",
    centring=0.3,
    rounds=5,
    tau_fg=0.7,
    tau_bg=0.7,
)
