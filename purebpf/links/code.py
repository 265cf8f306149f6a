"""Places in programs and shared libraries, as a person names them: a file, and a function in it.

What `purebpf.obj.binary` and `purebpf.obj.symbols` read is looked up here, with errors that say what there is instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from purebpf.errors import AttachError, KernelError
from purebpf.links.glob import matcher
from purebpf.load.nearest import nearest, suggestion
from purebpf.obj import symbols
from purebpf.obj.binary import SHT_DYNSYM, SHT_SYMTAB, Binary, find, is_library, search_path


def full_path(path: str, action: str) -> str:
    """The file that is meant: with a slash the path as it is, else what `purebpf.obj.binary.find` finds.

    Raises AttachError if there is none.
    """
    if "/" in path:
        folder = Path(path).parent
        if not Path(path).exists():
            near = nearest(Path(path).name, (each.name for each in folder.iterdir())) if folder.is_dir() else []
            raise AttachError(f"{action}: there is no file {path}{suggestion(near)}")
        return path
    found = find(path)
    if found is None:
        folders = search_path(is_library(path))
        present = (each.name for folder in map(Path, folders) if folder.is_dir() for each in folder.iterdir())
        what = "shared library" if is_library(path) else "program"
        raise AttachError(
            f"{action}: there is no {what} {path} in {':'.join(folders)}{suggestion(nearest(path, present))}"
        )
    return found


@contextmanager
def opened(path: str, action: str) -> Iterator[Binary]:
    """An ELF file, open while something is looked up in it.  Raises KernelError, and ObjectFormatError."""
    try:
        binary = Binary.open(path)
    except OSError as error:
        raise KernelError(error.errno or 0, f"{action}: reading {path}") from None
    with binary:
        yield binary


def function_offset(path: str, name: str, action: str) -> int:
    """Where in a file a function begins, in bytes; its name may have a version, ``pthread_create@GLIBC_2.34``.

    Raises AttachError if there is no such function, with the nearest names, or more than one.
    """
    with opened(path, action) as binary:
        found = symbols.find(binary, name)
        if len(found) == 1 and found[0].offset is not None:
            return found[0].offset
        if found:
            versions = sorted(f"{each.name}@{each.version}" for each in found if each.version)
            which = f"; name one: {', '.join(versions)}" if versions else "; give the offset of one in the file"
            raise AttachError(f"{action}: {path} has {len(found)} functions {name}{which}")
        raise AttachError(f"{action}: {_why_absent(binary, name)}")


def function_offsets(path: str, pattern: str, action: str) -> list[int]:
    """Where in a file all functions begin whose names fit a pattern (``*``, ``?``), each place once.

    Raises AttachError if there is none.
    """
    fits = matcher(pattern)
    with opened(path, action) as binary:
        for table in (SHT_SYMTAB, SHT_DYNSYM):
            known = symbols.functions(binary, table)
            places = {each.offset for each in known if each.offset and not each.indirect and fits(each.name)}
            if places:
                return sorted(places)
        raise AttachError(f"{action}: {_why_absent(binary, pattern)}")


def _why_absent(binary: Binary, wanted: str) -> str:
    """What to say about a function that is not in a file."""
    path = binary.path
    known = [each for table in (SHT_DYNSYM, SHT_SYMTAB) for each in symbols.functions(binary, table)]
    name = wanted.partition("@")[0]
    same = [each for each in known if each.name.partition("@")[0] == name]
    own = sorted({each.name for each in known if each.offset is not None and not each.indirect})
    if any(each.indirect for each in same):
        others = [each for each in own if name in each][:5]
        return (
            f"{name} in {path} stands for one of several functions, which the dynamic linker chooses when a program"
            f" starts (STT_GNU_IFUNC); probe those{': ' + ', '.join(others) if others else ''}"
        )
    if any(each.offset is not None for each in same):
        versions = sorted({each.version for each in same if each.version})
        return f"{path} has no {wanted}; it has {name} in version {', '.join(versions) or 'none'}"
    if same:
        return f"{path} only calls {name}, which is in a shared library; probe that one"
    if not own:
        return f"{path} names none of its functions, as it was stripped of its symbols; give an offset in the file"
    near = suggestion(nearest(wanted, own))
    if near or binary.section(SHT_SYMTAB) is not None:
        return f"{path} has no function {wanted}{near}"
    return f"{path}, which was stripped, names no function {wanted} among the {len(own)} that it offers to others"
