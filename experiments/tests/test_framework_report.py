"""The page of the comparison of frameworks says what was measured, and what was not."""

import pytest

from experiments.framework_comparison import bench, report
from experiments.framework_comparison.rows import COLUMNS, MATMUL_SIDE, ROWS

FLOPS = 4e9


def record(row, column, seconds, size="S", **changes):
    base = {"row": row, "size": size, "column": column, "round": 0, "seconds": seconds}
    base |= {"first": 9.0, "examples": 8, "flops": FLOPS if column == "jax" else None}
    base |= {"peak_bytes": 10**9, "device": "cpu", "versions": f"{column} 1.0"}
    return base | changes


@pytest.fixture
def results():
    """Two rounds of the generator, one of the matrix product, and a step PyTorch cannot do."""
    return {
        "machine": {
            "processor": "abacus",
            "cores": 2,
            "memory_gb": 8,
            "system": "Linux",
            "python": "3.11",
        },
        "settings": {
            "crop": 336,
            "patch": 14,
            "batch": 8,
            "rounds": 2,
            "seconds": 20.0,
            "quick": False,
        },
        "load_before": 0.1,
        "load_after": 1.9,
        "measurements": [
            record("matmul", "jax", [0.2]),
            record("matmul", "torch", [0.1]),
            record("generator", "jax", [0.1, 0.2]),
            record("generator", "torch", [0.4, 0.5]),
            record("generator", "jax", [0.3], first=1.0, peak_bytes=2 * 10**9),
            record("generator", "torch", [0.6], first=1.0),
            record("train_step", "jax", [1.0]),
            {"row": "train_step", "size": "S", "column": "torch", "round": 0, "error": "no luck"},
        ],
    }


def test_rounds_are_joined_and_ratios_are_of_medians(results):
    matmul, generator, step = report.lines(results["measurements"])
    assert matmul.size == "any"
    assert generator.cells["jax"].seconds == [0.1, 0.2, 0.3]
    assert generator.cells["jax"].first == 9.0
    assert generator.cells["jax"].peak_bytes == 2 * 10**9
    assert generator.ratio("torch") == pytest.approx(2.5)
    assert generator.ratio("torch.compile") is None
    assert step.cells["torch"].error == "no luck"


def test_share_is_of_the_fastest_matrix_product(results):
    found = report.lines(results["measurements"])
    rate = report.matmul_rate(found)
    assert rate == pytest.approx(2 * MATMUL_SIDE**3 / 0.1)
    line = next(x for x in report.detail_table(found, rate).splitlines() if "generator" in x)
    assert f"{FLOPS / 0.2 / rate:.0%}" in line
    assert "| 40 |" in line  # 8 crops in 0.2 s


def test_the_page_says_what_is_missing(results):
    page = report.page([results], "picture.png")
    assert "| generator | S | cpu | 100 / 200 / 300 | 400 / 500 / 600 | n/a | 2.50 | n/a |" in page
    assert "torch: no luck" in page
    assert "**" not in page
    assert report.plot([results]).startswith(b"\x89PNG")


def test_a_busy_machine_and_a_smoke_run_are_said_first(results):
    results["load_before"] = 3.0
    results["settings"]["quick"] = True
    page = report.page([results], "picture.png")
    assert page.index("smoke run") < page.index("Milliseconds per run")
    assert "**The machine was busy (load 3.0 on 2 cores)" in page


def test_shares_of_a_step(results):
    times = {"mean_field": 0.01, "extractor_attention": 0.2, "retrieval_applied": 0.05}
    results["measurements"] += [record(row, "jax", [time]) for row, time in times.items()]
    assert "| S | 1.0% | 25.0% |" in report.page([results], "picture.png")


def test_another_device_keeps_its_section_and_other_rows_stay(results):
    gpu = {**results, "measurements": [record("matmul", "jax", [0.01], device="GPU")]}
    pipeline = record("input_pipeline", "jax", [1.0])
    old = {**results, "measurements": [record("matmul", "jax", [9.0]), pipeline]}
    failed = {**results, "measurements": [{"row": "matmul", "size": "S", "column": "jax"}]}
    runs = bench.merged([gpu, failed, old], results)
    assert [run["measurements"] for run in runs] == [
        gpu["measurements"],
        [pipeline, *results["measurements"]],
    ]
    other_batch = {**old, "settings": {**old["settings"], "batch": 2}}
    assert bench.merged([other_batch], results) == [results]
    page = report.page(runs, "picture.png")
    assert page.index("## On GPU") < page.index("## On cpu")


def test_every_round_begins_with_another_column():
    assert [bench.order(number)[0] for number in range(3)] == [*COLUMNS]
    assert all(sorted(bench.order(number)) == sorted(COLUMNS) for number in range(3))


def test_rows_that_have_no_size_run_once():
    lines = bench.plan([*ROWS], ["Ti", "S"])
    assert len(lines) == len(set(lines)) == sum(1 + row.sized for row in ROWS.values())
    assert ("matmul", "S") not in lines


def test_absent_pytorch_is_explained(tmp_path):
    absent = bench.not_available(str(tmp_path / "python"))
    assert set(absent) == {"torch", "torch.compile"}
    assert all("make bench" in reason for reason in absent.values())
