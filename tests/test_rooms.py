"""The house stays in order: imports go down, one library lives in one room, modules stay short."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "pacsnode"
MODULES = sorted(PACKAGE.rglob("*.py"))

FLOORS: dict[str, float] = {
    "errors": -1,
    "config": 0, "log": 0, "tls": 0.5,
    "dicom": 1, "audit": 1,
    "storage": 2, "index": 2, "net": 2,
    "archive": 3, "scu": 3,
    "jobs": 4,
    "scp": 5,
    "node": 6,
    "cli": 7,
}  # fmt: skip

LIBRARY_ROOMS = {
    "yaml": "config",
    "pydantic": "config",
    "peewee": "index",
    "playhouse": "index",
    "pynetdicom": "net",
    "click": "cli",
    "rich": "cli",
    "markdown_it": "cli",
    "sdnotify": "node",
    "blake3": "storage",
    "anyascii": "dicom",
    "jellyfish": "dicom",
}


def room_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE)
    return relative.parts[0].removesuffix(".py")


def imports_of(path: Path) -> list[str]:
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names.append(node.module or "")
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down_the_stairs(path: Path) -> None:
    room = room_of(path)
    if room in ("__init__", "__main__"):
        return
    assert room in FLOORS, f"{room} stands on no floor"
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] != "pacsnode" or len(parts) < 2 or parts[1] == room:
            continue
        if parts[1] == "__version__":
            continue
        assert parts[1] in FLOORS, f"{path}: {name}"
        assert FLOORS[parts[1]] < FLOORS[room], f"{path} imports {name}: up or sideways"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_one_library_lives_in_one_room(path: Path) -> None:
    for name in imports_of(path):
        owner = LIBRARY_ROOMS.get(name.split(".")[0])
        assert owner in (None, room_of(path)), f"{path} imports {name}, which lives in {owner}/"


def test_modules_do_not_import_each_other_in_circles() -> None:
    graph: dict[str, set[str]] = {}
    names = {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in MODULES
    }
    for path in MODULES:
        name = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        name = name.removesuffix(".__init__")
        graph[name] = {used for used in top_level_imports(path, names) if used != name}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, f"circle: {' -> '.join((*trail, name))}"
        for used in graph[name] - done:
            visit(used, (*trail, name))
        done.add(name)

    done: set[str] = set()
    for name in sorted(graph):
        visit(name, ())


def top_level_imports(path: Path, modules: set[str]) -> set[str]:
    """The modules that importing `path` needs. `from package import module` needs the module, not
    what else its package's own file imports."""
    names: set[str] = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                module = f"{node.module}.{alias.name}"
                names.add(module if module in modules else node.module or "")
    return (names & modules) - {"pacsnode"}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_module_passes_400_lines_and_no_function_60(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= 60, f"{path}:{node.lineno} {node.name} has {length} lines"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))
