"""The rooms of the package: imports go down the list only."""

import ast
import pathlib

import pytest

import exits_jax

PACKAGE = pathlib.Path(exits_jax.__file__).parent
# From the ground up: a room imports from those before it, and never from those after it.
ROOMS = (
    *("system", "annotations", "data", "models", "retrieval", "losses", "training", "evaluation"),
    *("export", "pseudo_labels", "segmentation", "report", "app", "api"),
)
# Rooms that know nothing of what some earlier rooms are about.
NEVER = {
    "models": {"annotations", "data"},
    "retrieval": {"annotations", "data", "models"},
    "losses": {"annotations", "data", "models", "retrieval"},
    "training": {"annotations", "retrieval", "losses"},
    "export": {"models", "retrieval", "losses", "training"},
    "segmentation": {"retrieval", "pseudo_labels"},
    "report": {"models", "retrieval", "losses", "training", "pseudo_labels", "segmentation"},
}


def room_of(module: str) -> str:
    """The room of `exits_jax.room.module`; of the package itself ""."""
    return [*module.split("."), ""][1]


def imports(path: pathlib.Path, package: str = "exits_jax") -> set[str]:
    """The modules of a package that a file imports, anywhere in it, with the names taken."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return {name for name in found if name.split(".")[0] == package}


def modules() -> list[pathlib.Path]:
    return sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)


def test_every_module_is_in_a_room():
    assert {path.relative_to(PACKAGE).parts[0] for path in modules()} == {*ROOMS} - {"api"}
    assert {path.stem for path in PACKAGE.glob("*.py")} == {"__init__", "api"}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    room = path.relative_to(PACKAGE).parts[0]
    above = {*ROOMS[ROOMS.index(room) + 1 :]} | NEVER.get(room, set())
    found = {room_of(module) for module in imports(path)}
    assert not found & above, f"{room} imports {sorted(found & above)}"


def test_the_package_and_its_tests_stand_without_the_experiments():
    """Tests of experiments are in `experiments/tests`."""
    tests = pathlib.Path(__file__).parent
    found = {path.name: imports(path, "experiments") for path in [*modules(), *tests.glob("*.py")]}
    assert {name for name, taken in found.items() if taken} == set()


def test_the_rule_finds_an_import_that_climbs(tmp_path):
    file = tmp_path / "a.py"
    lines = "def f():", "    from exits_jax.app import run", "    import exits_jax.report.page"
    file.write_text("\n".join(lines))
    assert {room_of(module) for module in imports(file)} == {"app", "report"}
