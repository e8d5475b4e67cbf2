"""Table a1: the layer whose attention is the similarity.

python -m experiments.supplement.a1_layers --root=data/coco-mini
"""

import dataclasses

from experiments.supplement.choices import Table, main
from experiments.supplement.protocol import PAPER

SETTINGS = {str(layer): dataclasses.replace(PAPER, layers=(layer,)) for layer in range(1, 13)}
SETTINGS["all"] = dataclasses.replace(PAPER, layers=())

TABLE = Table(
    name="a1_layers",
    title="Table a1 analog: the extractor's layer",
    key="layer",
    settings=SETTINGS,
    paper={"all": 39.5, "8": 39.6, "10": 40.4, "12": 40.4},
)

if __name__ == "__main__":
    main(TABLE, __doc__)
