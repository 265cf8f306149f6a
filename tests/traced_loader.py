"""Load an object with purebpf between two marks, and print what came of it: see traced.py and libbpf_reference.c.

A line ``plan JSON`` more has the plan's commands in a form that a test can read, after ``text JSON``, the plan as
people see it.  With ``attach`` the programs are attached too.  Like libbpf_reference it loads the object once before
the first mark, after which the kernel's features are known; the pins of that stay only with ``again``.
"""

import ctypes
import json
import os
import sys

import purebpf
from purebpf.abi.attr import bpf_attr_info, bpf_prog_info
from purebpf.abi.bpf import bpf_cmd
from purebpf.kernel.bpf import bpf, map_lookup_elem, obj_get_info_by_fd
from purebpf.kernel.syscall import syscall
from purebpf.load.plan import Code, Filled, Handle


def mark():
    try:
        syscall("bpf", 9999, None, 0)
    except OSError:
        return


def plain(value):
    if isinstance(value, Handle):
        return {"handle": str(value)}
    if isinstance(value, Code):
        return {"code": value.insns.hex(), "handles": [[slot, str(handle)] for slot, handle in value.handles]}
    if isinstance(value, Filled):
        handles = [[offset, size, str(handle)] for offset, size, handle in value.handles]
        return {"bytes": value.data.hex(), "handles": handles}
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    return value if isinstance(value, str) else int(value)


def commands(plan):
    for command in plan:
        yield {
            "cmd": command.cmd.name,
            "fields": {name: plain(value) for name, value in command.fields.items()},
            "without_btf": {name: plain(value) for name, value in (command.without_btf or {}).items()},
            "retry_without_btf": command.retry_without_btf,
            "creates": command.creates and str(command.creates),
        }


def records(program):
    """The function and line records of a program, as the kernel keeps them."""
    have = obj_get_info_by_fd(program.fileno(), bpf_prog_info)
    for kind, name in (("functions", "func_info"), ("lines", "line_info")):
        size, count = getattr(have, f"{name}_rec_size"), getattr(have, f"nr_{name}")
        buffer = ctypes.create_string_buffer(size * count + 1)
        info = bpf_prog_info(**{name: ctypes.addressof(buffer), f"{name}_rec_size": size, f"nr_{name}": count})
        attr = bpf_attr_info(bpf_fd=program.fileno(), info_len=ctypes.sizeof(info), info=ctypes.addressof(info))
        bpf(bpf_cmd.BPF_OBJ_GET_INFO_BY_FD, attr)
        yield kind, buffer.raw[: size * count]


def describe(loaded):
    for name, program in loaded.programs.items():
        for kind, data in records(program):
            print(kind, name, data.hex())
    for key, definition in loaded.spec.maps.items():
        if definition.kind not in ("user", "struct_ops"):
            value = map_lookup_elem(loaded.maps[key].fileno(), bytes(4), definition.value_size)
            print("map -", value.hex())


def load_in_vain(path, keep_pins):
    spec = purebpf.parse(path)
    try:
        spec.load().close()
    except purebpf.PureBpfError:
        return
    for definition in spec.maps.values():
        if definition.pinning and not keep_pins:
            os.unlink(f"/sys/fs/bpf/{definition.name}")


def main(path, *options):
    load_in_vain(path, "again" in options)
    mark()
    try:
        loaded = purebpf.load(path)
    finally:
        mark()
    with loaded:
        print("text", json.dumps(str(loaded.plan)))
        print("plan", json.dumps(list(commands(loaded.plan))))
        if "attach" in options:
            loaded.attach()
        describe(loaded)


if __name__ == "__main__":
    main(*sys.argv[1:])
