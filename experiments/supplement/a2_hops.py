"""Table a2: the number of hops alpha, and beta where alpha is infinite.

python -m experiments.supplement.a2_hops --root=data/coco-mini
"""

import dataclasses

from experiments.supplement.choices import Table, main
from experiments.supplement.protocol import PAPER

BETAS = (0.1, 0.25, 0.5, 0.75, 0.9, 0.99)
SETTINGS = {str(hops): dataclasses.replace(PAPER, hops=hops) for hops in (1, 2, 3, 4)} | {
    f"inf, beta {beta}": dataclasses.replace(PAPER, form="absorbing", beta=beta) for beta in BETAS
}

TABLE = Table(
    name="a2_hops",
    title="Table a2 analog: hops of the walk",
    key="alpha",
    settings=SETTINGS,
    # At infinity the paper names beta = 0.25, its best.
    timed=True,
    paper={"1": 34.0, "2": 36.1, "3": 40.4, "4": 39.8, "inf, beta 0.25": 39.6},
)

if __name__ == "__main__":
    main(TABLE, __doc__)
