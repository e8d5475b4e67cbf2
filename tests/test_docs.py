"""What the texts name exists: links, files, settings, commands."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
import yaml

from exits_jax.app.settings import SECTIONS, default_config, flat
from tests.real_backbone import require_backbone

ROOT = pathlib.Path(__file__).parent.parent
TEXTS = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
PATH = re.compile(r"(?<![\w/.-])(?:exits_jax|configs|experiments|tests|demo|docs)/[\w/.-]*\w")
SETTING = re.compile(
    rf"--(?:no)?config\.([a-z_]+\.[a-z_]+)|`((?:{'|'.join(SECTIONS)})\.[a-z_]+)[`=]"
)
NO_SETTINGS = {"section.field", "report.html"}


@pytest.fixture(params=TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def text(request):
    return request.param


def links(text: str) -> list[str]:
    """The targets of links and pictures that lie in this repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target for target in targets if not target.startswith(("https://", "http://", "#"))]


def modules(text: str) -> list[str]:
    """The modules of experiments and of the package that commands run."""
    return re.findall(r"-m ((?:experiments|exits_jax)[\w.]*\w)", text)


def settings(text: str) -> list[str]:
    """The settings that commands give and sentences name."""
    return [given or named for given, named in SETTING.findall(text)]


def test_every_link_leads_somewhere(text):
    absent = [link for link in links(text.read_text()) if not (text.parent / link).exists()]
    assert absent == []


def test_every_file_that_is_named_is_there(text):
    if text.name == "CHANGELOG.md":  # names files as they were
        return
    content = re.sub(r"\]\([^)]*\)", "]", text.read_text())
    absent = [path for path in PATH.findall(content) if not (ROOT / path).exists()]
    assert absent == []


def test_every_module_that_is_run_is_there(text):
    for name in modules(text.read_text()):
        path = ROOT / name.replace(".", "/")
        assert path.with_suffix(".py").is_file() or path.is_dir(), name


def test_every_setting_that_is_named_is_one(text):
    known = flat(default_config().to_dict()).keys()
    assert {*settings(text.read_text())} - known - NO_SETTINGS == set()


def test_every_make_target_that_is_named_is_one(text):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    named = re.findall(r"`make ([a-z]+)", text.read_text())
    assert {*named} - {*targets} == set()


def test_the_patterns_find_what_they_are_for():
    line = "see [a](b.md) and `configs/none.py`, `-m experiments.x --root=configs`, "
    line += "--noconfig.a.b=1 `crop.x`"
    assert links(line) == ["b.md"]
    assert modules(line) == ["experiments.x"]
    assert PATH.findall(line) == ["configs/none.py"]
    assert settings(line) == ["a.b", "crop.x"]
    assert PATH.findall("github.com/a/docs/x.md runs/demo/report.html") == []


def test_the_readme_is_short_and_has_the_picture():
    lines = (ROOT / "README.md").read_text().splitlines()
    assert len(lines) <= 120
    assert "docs/pictures/idea.png" in links(lines[2])
    assert (ROOT / "docs" / "pictures" / "idea.png").stat().st_size < 400_000


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = (ROOT / "pyproject.toml").read_text()
    assert f'version = "{citation["version"]}"' in project
    assert citation["license"] in project
    (paper,) = citation["references"]
    for said in (paper["title"], paper["url"]):
        assert said in (ROOT / "README.md").read_text()


def test_the_notebook_runs_from_a_clone(tmp_path):
    """Its cells one after the other, in a process of their own; what they end in is not shown."""
    require_backbone()
    cells = json.loads((ROOT / "docs" / "quickstart.ipynb").read_text())["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(sources) >= 4
    script = tmp_path / "cells.py"
    checks = "assert less.sum() < first.sum() and masks.shape[0] == len(instances) == len(scores)"
    script.write_text("\n".join(["import matplotlib", 'matplotlib.use("Agg")', *sources, checks]))
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-W", "ignore", str(script)]
    done = subprocess.run(
        command, cwd=ROOT / "docs", env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def test_the_reference_is_written_without_a_warning(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "docs/reference.py", str(tmp_path)]
    options = {"cwd": ROOT, "capture_output": True, "text": True}
    done = subprocess.run(command, env=environment, **options)
    assert done.returncode == 0, done.stderr
    assert "label_image" in (tmp_path / "exits_jax.html").read_text()
