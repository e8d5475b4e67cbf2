"""The whole config: its sections, made from the rooms' settings and read back into them."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any, get_type_hints

from ml_collections import ConfigDict, config_dict

from exits_jax.annotations.settings import DataSettings
from exits_jax.models.published import resolved
from exits_jax.models.settings import (
    SIZES,
    BackboneSettings,
    ExtractorSettings,
    GeneratorSettings,
)
from exits_jax.pseudo_labels.settings import CropSettings, LabelSettings, LossSettings
from exits_jax.report.settings import ReportSettings
from exits_jax.retrieval.settings import RetrievalSettings
from exits_jax.segmentation.settings import SegmentationSettings
from exits_jax.system.errors import UserError
from exits_jax.system.settings import (
    MARKS,
    Affects,
    Section,
    affected,
    at_least,
    setting,
    settings_in,
)
from exits_jax.training.settings import TrainSettings, WarmupSettings


@dataclasses.dataclass(frozen=True)
class Settings(Section):
    """All settings of a run; each section holds what one room of the package takes."""

    name: str = setting("base", "name of the config", mark="?", affects=Affects.LABELS)
    seed: int = setting(
        0,
        "seed of initialisation, order and augmentation",
        mark="?",
        affects=Affects.PARAMETERS,
        check=at_least(0),
    )
    data: DataSettings = dataclasses.field(default=DataSettings())
    crop: CropSettings = dataclasses.field(default=CropSettings())
    extractor: ExtractorSettings = dataclasses.field(default=ExtractorSettings())
    retrieval: RetrievalSettings = dataclasses.field(default=RetrievalSettings())
    generator: GeneratorSettings = dataclasses.field(default=GeneratorSettings())
    loss: LossSettings = dataclasses.field(default=LossSettings())
    warmup: WarmupSettings = dataclasses.field(default=WarmupSettings())
    train: TrainSettings = dataclasses.field(default=TrainSettings())
    label: LabelSettings = dataclasses.field(default=LabelSettings())
    segmentation: SegmentationSettings = dataclasses.field(default=SegmentationSettings())
    report: ReportSettings = dataclasses.field(default=ReportSettings())

    def __post_init__(self) -> None:
        """Raises UserError for settings of two sections that do not work together."""
        super().__post_init__()
        for right, text in _together(self):
            if not right:
                raise UserError(text)


SECTIONS: dict[str, type[Section]] = {
    field.name: type(field.default)
    for field in dataclasses.fields(Settings)
    if isinstance(field.default, Section)
}


def _together(settings: Settings) -> Iterator[tuple[bool, str]]:
    """What must hold between settings, and the message where it does not."""
    data, retrieval = settings.data, settings.retrieval
    yield (
        not (data.boxes and data.source == "tfds"),
        "data.boxes needs data.source=files: prepared data has its own instances",
    )
    depth = SIZES[settings.extractor.size][1] if settings.extractor.size else None
    wrong = [layer for layer in retrieval.layers if depth and not 1 <= layer <= depth]
    yield not wrong, f"retrieval.layers has {wrong}, the extractor has layers 1 to {depth}"
    for section in (settings.extractor, settings.generator):
        name = section.NAME
        yield (
            section.attention != "cudnn" or section.bf16,
            f"{name}.attention is 'cudnn', which needs {name}.bf16 to be True",
        )
    odds = {"generator.prior": settings.generator.prior, "loss.soft": settings.loss.soft}
    odds["label.shape"] = settings.label.shape
    for key, value in odds.items():
        yield (
            not value or retrieval.decision == "log_ratio",
            f"{key} needs log odds: set retrieval.decision to 'log_ratio', or {key} to 0",
        )


def default_config() -> ConfigDict:
    """A config of every setting with its default: what configs start from."""
    config = ConfigDict({"name": Settings.name, "seed": Settings.seed})
    for name, section in SECTIONS.items():
        hints = get_type_hints(section)
        config[name] = ConfigDict()
        for field in settings_in(section):
            value = field.default
            if value is None:  # a type that the command line can read
                value = config_dict.placeholder(hints[field.name].__args__[0])
            config[name][field.name] = value
    return config


def read_settings(config: ConfigDict) -> Settings:
    """A config as settings, with what published weights fix filled in.

    Raises:
      UserError: a value cannot work, or there is no such setting.
    """
    tree = config.to_dict()
    sections = {}
    for name, section in SECTIONS.items():
        known = {field.name for field in settings_in(section)}
        for key in tree.get(name, {}).keys() - known:
            raise UserError(f"there is no setting {name}.{key}; --help=settings lists them all")
        made = section(**tree.get(name, {}))
        sections[name] = resolved(made) if isinstance(made, BackboneSettings) else made
    return Settings(tree["name"], tree["seed"], **sections)


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Settings by their keys: {"label": {"flip": True}} -> {"label.flip": True}."""
    rows: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping):
            rows |= flat(value, f"{prefix}{name}.")
        else:
            rows[prefix + name] = value
    return rows


def as_json(settings: Settings) -> dict[str, Any]:
    """Settings as `config.json` has them: tuples are lists."""
    return json.loads(json.dumps(dataclasses.asdict(settings)))


def keys_affecting(*what: Affects) -> set[str]:
    """The keys of all settings that change one of these."""
    keys = {*affected(Settings, *what)}
    for name, section in SECTIONS.items():
        keys |= {f"{name}.{key}" for key in affected(section, *what)}
    return keys


def free_settings(settings: Settings, section: str) -> dict[str, Any]:
    """The settings of a section that may change in a finished workdir, as JSON has them."""
    values = as_json(settings)[section]
    return {
        f"{section}.{name}": values[name] for name in affected(SECTIONS[section], Affects.NOTHING)
    }


def generator_facts(settings: Settings) -> dict[str, Any]:
    """The settings that trained parameters depend on, by key; shapes show the rest.

    On top of the propagation map they include all settings that the map is made with.
    """
    rows = [(settings.crop, Affects.NETWORK), (settings.generator, Affects.NETWORK)]
    if settings.generator.prior:
        rows += [(settings.retrieval, Affects.MAP), (settings.extractor, Affects.MAP)]
    return {
        f"{section.NAME}.{name}": getattr(section, name)
        for section, what in rows
        for name in affected(type(section), what)
    }


def paths() -> list[str]:
    """The keys of settings that are, or may be, paths."""
    return [
        f"{name}.{field.name}"
        for name, section in SECTIONS.items()
        for field in settings_in(section)
        if field.metadata["path"]
    ]


def help_lines() -> Iterator[str]:
    """Every setting with its default, its source and what it means."""
    yield "Sources: " + "; ".join(f"[{mark}] {words}" for mark, words in MARKS.items())
    for name, section in {"": Settings, **SECTIONS}.items():
        yield ""
        if name:
            yield f"{name}: {section.__doc__.splitlines()[0]}"
        for field in settings_in(section):
            about = field.metadata
            key = f"{name}.{field.name}" if name else field.name
            choice = about["check"].expected
            yield f"  --config.{key}={_shown(field.default)}  [{about['mark']}]"
            yield f"      {about['words']}" + (f" ({choice})" if choice != "anything" else "")
            yield f"      changes {about['affects'].value}"


def _shown(value: Any) -> str:
    return "(as the weights say)" if value is None else repr(value) if value == "" else str(value)
