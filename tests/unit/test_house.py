"""The rooms of docs/architecture.md: each imports only from rooms before it, and importing purebpf stays cheap."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "purebpf"
ROOMS = ["errors", "abi", "asm", "btf", "obj", "load", "kernel", "maps", "links", "events", "program", "object"]
FRONTS = ["tools", "cli"]
MODULES = sorted(
    path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or path.stem in ("errors", "program", "object")
)


def imported_rooms(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        for name in names:
            if name == "purebpf" or name.startswith("purebpf."):
                yield name.partition(".")[2].partition(".")[0]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_from_rooms_before(path):
    room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    imported = set(imported_rooms(path)) - {room}
    if room in FRONTS:
        assert imported <= {"", *ROOMS, *FRONTS[: FRONTS.index(room)]}
    else:
        assert imported <= set(ROOMS[: ROOMS.index(room)])


@pytest.mark.parametrize("room", ["kernel", "obj"])
def test_only_one_room_knows(room):
    """System calls by ctypes live in kernel/, pyelftools in obj/elf.py."""
    for path in MODULES:
        text = path.read_text()
        if room == "obj" and path != PACKAGE / "obj" / "elf.py":
            assert "elftools" not in {name.partition(".")[0] for name in external_imports(text)}
        if room == "kernel" and path.parent != PACKAGE / "kernel":
            assert "CDLL" not in text


def external_imports(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""


def test_importing_purebpf_loads_nothing_heavy():
    code = (
        "import sys, purebpf; print(*[n for n in ('elftools', 'asyncio', 'numpy', 'subprocess') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_modules_of_hooks_are_imported_when_a_program_is_attached():
    code = "import sys, purebpf; print(*[name for name in sys.modules if name.startswith('purebpf.links.')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["purebpf.links.link"]
