"""What purebpf tells programs about the arguments of static tracepoints is, byte for byte, what libbpf tells them.

And where libbpf refuses, because it cannot read an argument or there are too many, so does purebpf.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import traced
from probing import OBJECTS, library, loaded, needs_cookies, x86_64_only

from purebpf.errors import AttachError
from purebpf.kernel.bpf import map_lookup_elem
from purebpf.obj.binary import Binary
from purebpf.obj.usdt import notes

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tool("cc"), needs_cookies, x86_64_only]
__all__ = ["library"]

COOKIE = 0x8123456789ABCDEF


@pytest.fixture(scope="module")
def libbpf_usdt(tmp_path_factory):
    return traced.compiled(tmp_path_factory.mktemp("libbpf"), Path(__file__).with_name("libbpf_usdt.c"))


with Binary.open(str(OBJECTS / "probed.x86_64.so")) as _binary:
    NAMES = sorted({note.name for note in notes(_binary)} - {"indexed"})  # which libbpf knows since 1.7


@pytest.mark.parametrize("name", NAMES)
def test_the_same_descriptions(name, library, libbpf_usdt):
    arguments = [OBJECTS / "link_usdt.bpf.o", "on_usdt", library.path, "probed", name, str(COOKIE)]
    done = subprocess.run([libbpf_usdt, *arguments], capture_output=True, text=True, check=True)
    lines = done.stdout.split()
    with loaded("link_usdt", "on_usdt", "on_another_usdt") as bpf:
        program, specs = bpf.programs["on_usdt"], bpf.maps["__bpf_usdt_specs"]
        if lines[0].startswith("-"):
            with pytest.raises(AttachError):
                program.attach_usdt(library.path, "probed", name, pid=0, cookie=COOKIE)
            return
        with program.attach_usdt(library.path, "probed", name, pid=0, cookie=COOKIE):
            keys = (key.to_bytes(4, "little") for key in range(specs.max_entries))
            ours = [map_lookup_elem(specs.fileno(), key, len(lines[0]) // 2).hex() for key in keys]
    assert ours == lines
