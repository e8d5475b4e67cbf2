"""The experiment on little data: what it counts, and for how long it trains."""

import json

from exits_jax.app.settings import read_settings
from exits_jax.training.schedule import rates, total_steps
from experiments.little_data import Trained, _config, agreement


def test_it_counts_where_the_verdict_is_right():
    def row(generator, propagation, worse):
        return {"iou_generator": generator, "iou_propagation": propagation, "worse": worse}

    rows = [row("0.5", "0.8", "1"), row("0.6", "0.8", "0"), row("0.78", "0.8", "1")]
    rows += [row("0.8", "0.8", "0"), row("0.81", "0.8", "0")]
    found = agreement(rows)
    assert found == (
        "1 of 2 generators that lose more than 0.03 mean IoU are refused, and 1 of the 3 others"
    )


def test_it_trains_for_the_steps_its_rows_name(tmp_path):
    (tmp_path / "annotations").mkdir()
    rows = [{"id": n, "image_id": n % 3, "iscrowd": int(n == 4)} for n in range(9)]
    document = {"annotations": rows, "images": [{"id": n} for n in range(3)]}
    file = tmp_path / "annotations" / "instances_train2017.json"
    file.write_text(json.dumps(document))
    config = read_settings(_config(Trained("fast", 5, 0, 10), str(tmp_path), str(tmp_path)))
    made = json.loads((tmp_path / "5-0.json").read_text())
    assert len(made["annotations"]) == 5
    assert 4 not in {row["id"] for row in made["annotations"]}
    assert {i["id"] for i in made["images"]} == {row["image_id"] for row in made["annotations"]}
    assert total_steps(config.train, 200) == 10
    assert config.train.learning_rate == 1e-4
    rate = rates(config.train, 200, 10)
    assert max(range(10), key=rate) == 2  # a quarter of the steps, rounded
