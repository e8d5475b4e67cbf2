"""Settings are written down once, and everything about them is there."""

import dataclasses

import numpy as np
import pytest

from configs import (
    base,
    coco,
    coco_mini,
    demo,
    lvis,
    own,
    solov2_coco,
    solov2_lvis,
    solov2_mini,
    solov2_scenes,
    solov2_voc,
    synthetic,
    voc,
)
from exits_jax.app.command_line import main
from exits_jax.app.settings import (
    SECTIONS,
    Settings,
    default_config,
    flat,
    free_settings,
    generator_facts,
    help_lines,
    keys_affecting,
    read_settings,
)
from exits_jax.models.published import BACKBONES, published
from exits_jax.retrieval.score import propagation_score, similarity_matrix
from exits_jax.retrieval.settings import RetrievalSettings
from exits_jax.system.errors import UserError
from exits_jax.system.settings import MARKS, Affects, Check, Section, setting, settings_in
from tests import tiny_config

ALL = [(name, field) for name, section in SECTIONS.items() for field in settings_in(section)]
STAGE2 = (solov2_coco, solov2_lvis, solov2_mini, solov2_scenes, solov2_voc)
CONFIGS = (base, coco, coco_mini, demo, lvis, own, synthetic, voc, tiny_config, *STAGE2)


@pytest.mark.parametrize(("section", "field"), ALL, ids=lambda x: getattr(x, "name", x))
def test_every_setting_says_all_about_itself(section, field):
    about = field.metadata
    assert about["words"]
    assert about["mark"] in MARKS
    assert isinstance(about["affects"], Affects)
    assert isinstance(about["check"], Check)
    assert field.default is None or about["check"].holds(field.default)


@pytest.mark.parametrize("section", SECTIONS.values(), ids=lambda section: section.NAME)
def test_a_section_has_nothing_but_settings(section):
    assert {field.name for field in dataclasses.fields(section)} == {
        field.name for field in settings_in(section)
    }


def test_a_field_that_says_nothing_about_itself_is_no_setting():
    @dataclasses.dataclass(frozen=True)
    class Forgetful(Section):
        told: int = setting(1, "a number", mark="?", affects=Affects.MAP)
        forgotten: int = 2

    names = {field.name for field in dataclasses.fields(Forgetful)}
    assert names - {field.name for field in settings_in(Forgetful)} == {"forgotten"}


def test_the_config_and_its_help_have_every_setting_once():
    keys = [*flat(default_config().to_dict())]
    assert len(keys) == len({*keys}) == len(ALL) + 2  # name and seed
    told = [line.split("=")[0].strip() for line in help_lines() if line.startswith("  --config.")]
    assert sorted(f"--config.{key}" for key in keys) == sorted(told)


@pytest.mark.parametrize("module", CONFIGS, ids=lambda module: module.__name__)
def test_every_config_can_be_read(module):
    settings = read_settings(module.get_config())
    assert settings.name
    left_open = [key for key, value in flat(dataclasses.asdict(settings)).items() if value is None]
    assert left_open == []


def test_a_backbone_s_facts_come_from_its_record():
    config = default_config()
    config.extractor.weights = "augreg_s16"
    found, record = read_settings(config).extractor, BACKBONES["augreg_s16"]
    for name in ("size", "patch", "family", "normalise", "position_resize", "position_grid"):
        assert getattr(found, name) == getattr(record, name)
    config.extractor.size = "B"  # what is asked for wins
    assert read_settings(config).extractor.size == "B"
    with pytest.raises(UserError, match="expected one of"):
        published("mae_b17")


def test_settings_that_are_none_are_named():
    config = default_config()
    config.label.colours = "red"
    with pytest.raises(UserError, match=r"no setting label.colours; --help=settings"):
        read_settings(config)


OTHER = {
    "source": "keys",
    "layers": (1,),
    "sinkhorn_iterations": 1,
    "symmetric": False,
    "form": "absorbing",
    "hops": 1,
    "beta": 0.5,
    "decision": "log_ratio",
    "delta": 200.0,
    "temperature": 0.5,
    "distance_sigma": 1.0,
    "box_only": "centre",
    "rounds": 2,
    "centring": 0.5,
    "tau_fg": 0.9,
    "tau_bg": 0.9,
    "target_empty": 0.5,
    "when": "once",
    "canonical_size": 64,
    "canonical_margin": 0.9,
}


@pytest.mark.parametrize("field", [*settings_in(RetrievalSettings)], ids=lambda field: field.name)
def test_what_changes_the_map_is_marked_so_and_nothing_else(field):
    """A setting that a generator must not be parted from is found by its effect, not by a list."""
    usual = {
        "temperature": {"source": "keys"},
        "distance_sigma": {"source": "keys"},
        "beta": {"form": "absorbing"},
        "rounds": {"decision": "log_ratio"},
    }.get(field.name, {})
    settings = RetrievalSettings(**{"layers": (2,), "tau_fg": 0.1, "tau_bg": 0.1} | usual)
    other = dataclasses.replace(settings, **{field.name: OTHER[field.name]})
    changes = not np.array_equal(_map(settings), _map(other))
    assert changes == (field.metadata["affects"] is Affects.MAP)


def _map(settings: RetrievalSettings) -> np.ndarray:
    """Propagation scores of two crops; the second has no points."""
    rng = np.random.default_rng(0)
    maps = {layer: rng.random((2, 64, 64)) for layer in (1, 2)}
    keys = {layer: rng.normal(size=(2, 64, 8)) for layer in (1, 2)}
    maps = {layer: x / x.sum(-1, keepdims=True) for layer, x in maps.items()}
    similarity = similarity_matrix(
        {"attention": maps, "keys": keys}, class_token=False, settings=settings
    )
    points = np.tile([[0.5, 0.2], [0.2, 0.5], [0.5, 0.8], [0.8, 0.5]], (2, 1, 1))
    box, whole = np.tile([0.2, 0.2, 0.8, 0.8], (2, 1)), np.tile([0.0, 0.0, 1.0, 1.0], (2, 1))
    has_points = np.array([True, False])
    score = propagation_score(similarity, points, has_points, box, whole, grid=8, settings=settings)
    return np.asarray(score.score)


def test_a_generator_is_bound_to_its_map_and_to_the_meaning_of_its_parameters():
    config = coco_mini.get_config()
    facts = generator_facts(read_settings(config))
    assert {"crop.size", "generator.prior", "generator.normalise"} <= facts.keys()
    assert {f"retrieval.{name}" for name in ("source", "rounds", "distance_sigma")} <= facts.keys()
    assert {"extractor.normalise", "extractor.position_resize"} <= facts.keys()
    assert not {"retrieval.tau_fg", "loss.mil", "train.epochs", "label.source"} & facts.keys()
    config.generator.prior = 0.0
    alone = generator_facts(read_settings(config))
    assert not any(key.startswith(("retrieval", "extractor")) for key in alone)


def test_what_may_change_in_a_finished_workdir():
    free = keys_affecting(Affects.NOTHING)
    assert {"label.min_score", "label.formats", "report.max_items", "train.log_every"} <= free
    assert not {"seed", "label.threshold", "crop.size", "retrieval.hops", "loss.mil"} & free
    assert free_settings(Settings(), "report").keys() == {
        f"report.{name}" for name in ("apart", "max_items", "max_panels")
    }


def test_help_lists_them_and_the_version_is_told(capsys):
    assert main(["main.py", "--help=settings"]) == 0
    out = capsys.readouterr().out
    assert "--config.retrieval.hops=3  [S]" in out
    assert "(0 or more)" in out
    assert main(["main.py", "--version"]) == 0
    assert capsys.readouterr().out.startswith("exits_jax ")
