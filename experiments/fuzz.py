"""Fuzzes every reader of foreign files, by hypothesis and by atheris; prints and writes a table.

    make fuzz
    .venv-fuzz/bin/python -m experiments.fuzz --target=rle --cases=2000

A case is a file. It has to be accepted or refused with a UserError of one short line; any other
exception, a warning of NumPy's, a hang, a death of the process, memory asked for before a size was
checked, or anything written outside the case's folder is a finding, kept with the shortest file
that shows it under --findings. Needs requirements-fuzz.txt; with PyTorch installed beside it, .pth
files are read, too, without it they are refused for want of it.
"""

import importlib.util
import json
import os
import pathlib
import platform
import re
import subprocess
import sys
import time
from importlib import metadata
from typing import Any

from absl import app, flags

import exits_jax
from exits_jax.system.errors import UserError
from exits_jax.system.files import write_bytes
from experiments.fuzz_targets import TARGETS

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = pathlib.Path(exits_jax.__file__).parent
RESULT = pathlib.Path(__file__).parent / "results" / "fuzz.md"
SHARES = {"hypothesis": 1 / 3, "atheris": 2 / 3}  # of the cases; structured ones are slower to make

CASES = flags.DEFINE_integer("cases", 12_000, "of each target, over both engines", lower_bound=3)
TARGET = flags.DEFINE_list("target", [], f"which of {', '.join(TARGETS)}; empty: all")
SEED = flags.DEFINE_integer("seed", 0, "of both engines", lower_bound=0)
FINDINGS = flags.DEFINE_string("findings", "runs/fuzz", "where reproducers and traces are kept")
OUTPUT = flags.DEFINE_string("output", str(RESULT), "where the table goes")

MOST_DEATHS = 20  # of a target's child processes before its engine is given up

Row = dict[str, Any]


def fuzz(name: str, engine: str, cases: int, seed: int, findings: pathlib.Path) -> Row:
    """Runs an engine on a target until it has had its cases, and adds up what its processes say.

    A process that dies (a hang, a crash in C, an abort for memory) is a finding; another goes on
    with the next seed.
    """
    row: Row = {"target": name, "engine": engine, "cases": 0, "accepted": 0, "seconds": 0.0}
    row |= {"slowest": 0.0, "peak_mb": 0, "findings": {}, "coverage": []}
    for attempt in range(MOST_DEATHS):
        output = findings / name / f"{engine}-{attempt}"
        output.mkdir(parents=True, exist_ok=True)
        for old in output.iterdir():
            old.unlink()
        started = time.perf_counter()
        died = _child(engine, name, cases - row["cases"], seed + 1000 * attempt, output)
        tally = output / "tally.json"
        counts = json.loads(tally.read_text()) if tally.exists() else {"findings": {}}
        for key in ("cases", "accepted"):
            row[key] += counts.get(key, 0)
        row["seconds"] += counts.get("seconds", time.perf_counter() - started)
        for key in ("slowest", "peak_mb"):
            row[key] = max(row[key], counts.get(key, 0))
        row["findings"] |= {f"{key} in {output}": n for key, n in counts["findings"].items()}
        row["coverage"].append(output / "coverage")
        if not died:
            return row
        row["findings"][f"process ended ({died}), see {output}/last and {output}/log.txt"] = 1
        if row["cases"] >= cases:
            return row
    return row


def _child(engine: str, name: str, cases: int, seed: int, output: pathlib.Path) -> str:
    """Runs one child process; how it died, nothing for a good end."""
    command = [sys.executable, "-m", "experiments.fuzz_child", engine, name, str(cases)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": "1"}
    try:
        with open(output / "log.txt", "wb") as log:
            done = subprocess.run(
                [*command, str(seed), str(output.resolve())],
                cwd=ROOT,
                env=environment,
                stdout=log,
                stderr=log,
                timeout=600 + cases,
                check=False,
            )
    except subprocess.TimeoutExpired:
        return "no end"
    return f"status {done.returncode}" if done.returncode else ""


def line_coverage(data: list[pathlib.Path], modules: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    """Lines reached and lines in all of each module, over several processes.

    A line is a statement as coverage.py counts them; imports and definitions are among them.
    """
    import coverage

    joined = coverage.Coverage(data_file=None, config_file=False)
    joined.combine([str(path) for path in data if path.exists()], keep=True, strict=False)
    lines = {}
    for module in modules:
        _, statements, _, missing, _ = joined.analysis2(str(PACKAGE / module))
        lines[module] = len(statements) - len(missing), len(statements)
    return lines


def _share(lines: dict[str, tuple[int, int]]) -> str:
    reached, total = (sum(numbers) for numbers in zip(*lines.values(), strict=True))
    return f"{100 * reached / total:.0f} % of {total}"


def page(rows: list[Row]) -> str:
    """The whole result as Markdown."""
    head = "| target | engine | cases | accepted | refused | findings | s | slowest ms | peak MB |"
    lines = [head, "|" + "---|" * 9]
    for row in rows:
        refused = row["cases"] - row["accepted"] - sum(row["findings"].values())
        lines.append(
            f"| {row['target']} | {row['engine']} | {row['cases']:,} | {row['accepted']:,} |"
            f" {refused:,} | {sum(row['findings'].values())} | {row['seconds']:.0f} |"
            f" {1000 * row['slowest']:.0f} | {row['peak_mb']} |"
        )
    findings = [
        f"* {row['target']}: {text} ({n})" for row in rows for text, n in row["findings"].items()
    ]
    total = sum(row["cases"] for row in rows)
    return "\n".join(
        [
            "# Hostile input\n",
            f"{total:,} cases in all, {len(findings)} findings. Accepted: read to the end."
            " Refused: one line of our own error. The checker and readers with"
            ' `on_error="skip"` list mistakes and accept.\n',
            *lines,
            "\n## Line coverage\n",
            *_coverage_table(rows),
            "\n## Findings\n",
            *(findings or ["None."]),
            f"\nMachine: {_machine()}.\n",
            f"Command: `python -m experiments.fuzz --cases={CASES.value} --seed={SEED.value}"
            f"{' --target=' + ','.join(TARGET.value) if TARGET.value else ''}`\n",
        ]
    )


def _coverage_table(rows: list[Row]) -> list[str]:
    """Reached lines by target, over both engines, then by module, over all targets that read it."""
    lines = ["| target | modules | both engines |", "|---|---|---|"]
    names = list(dict.fromkeys(row["target"] for row in rows))
    for name in names:
        data = [path for row in rows if row["target"] == name for path in row["coverage"]]
        modules = TARGETS[name].modules
        lines.append(f"| {name} | {len(modules)} | {_share(line_coverage(data, modules))} |")
    modules = tuple(dict.fromkeys(module for name in names for module in TARGETS[name].modules))
    everything = line_coverage([path for row in rows for path in row["coverage"]], modules)
    lines += ["", "| module | lines reached by any target |", "|---|---|"]
    lines += [f"| {module} | {_share({module: n})} |" for module, n in everything.items()]
    return [*lines, f"| all | {_share(everything)} |"]


def _machine() -> str:
    """Processor, cores and versions, and nothing that names a host."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    model = re.search(r"^model name\s*: (.*)$", text, re.MULTILINE)
    processor = model.group(1) if model else platform.processor() or platform.machine()
    packages = ("hypothesis", "atheris", "coverage", "numpy", "pillow", "pycocotools", "onnx")
    packages += ("safetensors", "torch")
    versions = [f"{name} {metadata.version(name)}" for name in packages if _installed(name)]
    absent = "" if _installed("torch") else "; without torch: every .pth is refused for want of it"
    python = platform.python_version()
    return f"{processor}, {os.cpu_count()} cores; Python {python}, {', '.join(versions)}{absent}"


def _installed(name: str) -> bool:
    return importlib.util.find_spec({"pillow": "PIL"}.get(name, name)) is not None


def main(argv: list[str]) -> None:
    """Fuzzes the targets one after another, prints and writes the table."""
    if len(argv) > 1:
        raise app.UsageError(f"unexpected argument {argv[1]!r}")
    unknown = sorted(set(TARGET.value) - set(TARGETS))
    if unknown:
        raise app.UsageError(f"--target: found {unknown[0]!r}, expected some of {[*TARGETS]}")
    if not (_installed("atheris") and _installed("coverage")):
        raise UserError("atheris or coverage is not installed: use `make fuzz`")
    rows = []
    for name in TARGET.value or TARGETS:
        for engine, share in SHARES.items():
            cases = round(share * CASES.value)
            row = fuzz(name, engine, cases, SEED.value, pathlib.Path(FINDINGS.value))
            rows.append(row)
            found = sum(row["findings"].values())
            seconds = f"{row['seconds']:.0f} s"
            print(f"{name}, {engine}: {row['cases']} cases, {found} findings, {seconds}")
            sys.stdout.flush()
    text = page(rows)
    print(text)
    write_bytes(OUTPUT.value, text.encode())


if __name__ == "__main__":
    app.run(main)
