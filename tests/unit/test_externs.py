"""Externs: what an object leaves to the kernel, and what a kernel that is described by files has for it.

That libbpf reads the same values and hands the kernel the same bytes is tested in tests/kernel: test_externs_run.py and
test_libbpf_agrees.py.  Here stands what needs no kernel: modules, missing and malformed things, the other byte order.
"""

from __future__ import annotations

import gzip
import struct

import pytest
import traced
from btf_making import DATASEC, FUNC, FUNC_PROTO, PTR, VAR, Assembler
from elf_image import STB_GLOBAL, STB_WEAK, STT_NOTYPE, build

import purebpf
from purebpf.abi.bpf import bpf_cmd
from purebpf.btf.types import Datasec, Func, FuncProto, Var
from purebpf.errors import KernelError, ObjectFormatError, PlanError, PureBpfError
from purebpf.kernel.config import first_of, read_config
from purebpf.kernel.facts import KernelFacts
from purebpf.kernel.kallsyms import read_kallsyms
from purebpf.load.execute import fill
from purebpf.load.facts import Facts
from purebpf.load.features import Feature
from purebpf.load.plan import Handle, make_plan
from purebpf.obj.externs import KconfigExtern, KernelSymbol
from purebpf.obj.spec import MapSpec, ObjectSpec, Relocation

RELEASE = "6.12.3"
# include/uapi/linux/bpf.h
CALL, LD_IMM64 = 0x85, 0x18
BPF_PSEUDO_BTF_ID, BPF_PSEUDO_KFUNC_CALL = 3, 2


def parse(name):
    return purebpf.parse(traced.HERE / "objects" / f"{name}.bpf.o")


def slots(command):
    """(opcode, source register, offset, immediate) of each instruction slot."""
    found = struct.iter_unpack("<BBhI", command.fields["insns"].insns)
    return [(code, registers >> 4, offset, imm) for code, registers, offset, imm in found]


def load_of(plan, name):
    return next(command for command in plan if command.creates == Handle("prog", name))


# --- the kernel's BTF, by hand ---


class Kernel:
    """A kernel's types: ``functions`` and ``variables`` that take and are what the test objects declare."""

    def __init__(self, functions=(), variables=(), base=None):
        self.types = Assembler(base=base and base.types)
        add = self.types
        if base:
            self.int, self.task, self.pointer = base.int, base.task, base.pointer
        else:
            self.int = add.int()
            self.task = add.struct("task_struct", 4, ("pid", self.int, 0))
            self.pointer = add.add(PTR, "", self.task)
        prototypes = {
            "bpf_task_from_pid": (self.pointer, "pid", self.int),
            "bpf_task_release": (0, "p", self.pointer),
        }
        self.ids = {}
        for name in functions:
            returned, *params = prototypes.get(name, (0,))
            prototype = add.add(FUNC_PROTO, "", returned, *params, vlen=len(params) // 2)
            self.ids[name] = add.add(FUNC, name, prototype)
        for name in variables:
            self.ids[name] = add.add(VAR, name, self.int, 0)
        self.base = base

    def btf(self):
        return self.types.btf(self.base.btf() if self.base else None)


LOCKS, TASKS = ("bpf_rcu_read_lock", "bpf_rcu_read_unlock"), ("bpf_task_from_pid", "bpf_task_release")


def facts(kernel=None, **given):
    return KernelFacts.offline(release=RELEASE, btf=kernel and kernel.btf(), **given)


# --- parsing ---


def test_externs_in_order():
    externs = parse("extern_mixed").externs
    assert list(externs) == [
        "CONFIG_HZ",
        "CONFIG_BPF_SYSCALL",
        "_stext",
        "bpf_rcu_read_lock",
        "bpf_rcu_read_unlock",
        "bpf_task_from_pid",
        "bpf_task_release",
    ]
    value = externs["CONFIG_BPF_SYSCALL"]
    assert isinstance(value, KconfigExtern)
    assert (value.kind, value.size, value.offset, value.is_weak) == ("bool", 1, 4, False)
    symbol = externs["_stext"]
    assert isinstance(symbol, KernelSymbol)
    assert (symbol.type_id, symbol.is_function) == (0, False)


def test_types_as_the_kernel_takes_them():
    btf = parse("extern_mixed").btf
    ksyms, kconfig = (btf.type(btf.find(name, Datasec)[0]) for name in (".ksyms", ".kconfig"))
    assert ksyms.size == 4 * 5
    assert [(place.offset, place.size) for place in ksyms.variables] == [(4 * index, 4) for index in range(5)]
    variables = [btf.type(place.type_id) for place in ksyms.variables]
    assert all(isinstance(variable, Var) and variable.linkage == 1 for variable in variables)
    # The object has a variable of that name itself.
    assert sorted(variable.name for variable in variables) == ["_stext", *4 * ["dummy_ksym"]]
    assert {btf.size_of(variable.type_id) for variable in variables} == {4}
    function = btf.type(btf.find("bpf_task_from_pid", Func)[0])
    prototype = btf.type(function.type_id)
    assert isinstance(prototype, FuncProto)
    assert (function.linkage, prototype.params[0].name) == (1, "dummy_ksym")
    assert kconfig.size == 5
    assert [place.offset for place in kconfig.variables] == [0, 4]


def test_what_can_be_set():
    spec = parse("extern_kconfig")
    assert list(spec.variables) == ["seen"]
    assert spec.maps[".kconfig"].kind == "kconfig"
    assert spec.maps[".kconfig"].contents is None


def described(types, *symbols, order="<"):
    """An object of nothing but these types and undefined symbols."""
    rows = [(name, 0, 0, 0, STT_NOTYPE, binding) for name, binding in symbols]
    return build([(".BTF", types.bytes(), {})], rows, order=order)


def extern_variable(section, third, make=Assembler.int, linkage=2, name="CONFIG_X"):
    types = Assembler()
    variable = types.add(VAR, name, make(types), linkage)
    types.add(DATASEC, section, 0, variable, 0, third, vlen=1)
    return types


def refusal(image):
    with pytest.raises(ObjectFormatError) as caught:
        purebpf.parse(image)
    return str(caught.value)


@pytest.mark.parametrize(
    ("types", "message"),
    [
        (Assembler(), "and .BTF does not say what it is"),
        (extern_variable(".kconfig", 4, linkage=1), "is undefined in the symbol table, and defined in .BTF"),
        (extern_variable(".data", 4), "is declared in section '.data'; mark it __ksym"),
        (extern_variable(".kconfig", 4, lambda types: types.int("__int128", 16)), "has a type that no value"),
        (extern_variable(".kconfig", 4, lambda types: types.add(PTR, "", 0)), "has a type that no value"),
        (extern_variable(".kconfig", 4, lambda types: types.int("_Bool", 4, flags=4)), "has a type that no value"),
        (extern_variable(".kconfig", 4, lambda types: types.array(types.int(), 4)), "has a type that no value"),
        (
            extern_variable(".kconfig", 4, lambda types: types.array(types.array(types.int("char", 1), 4), 4)),
            "has a type that no value",
        ),
        (
            extern_variable(".kconfig", 4, lambda types: types.array(types.int("char", 1), 0)),
            "has a type that no value",
        ),
        (
            extern_variable(".kconfig", 4, lambda types: types.array(types.int("char", 1), 0xFFFFFFFF)),
            "4294967295 bytes; objects with more than 64 MiB of such are refused",
        ),
    ],
)
def test_externs_that_are_refused(types, message):
    assert message in refusal(described(types, ("CONFIG_X", STB_GLOBAL)))


def test_a_function_of_the_configuration():
    types = Assembler()
    function = types.add(FUNC, "f", types.add(FUNC_PROTO), vlen=2)
    types.add(DATASEC, ".kconfig", 0, function, 0, 0, vlen=1)
    assert "only variables can be __kconfig" in refusal(described(types, ("f", STB_GLOBAL)))


@pytest.mark.parametrize("section", [".ksyms", ".kconfig"])
def test_a_section_that_lists_more_than_there_is(section):
    types = Assembler()
    variables = [types.add(VAR, name, types.int(), 2) for name in ("CONFIG_X", "CONFIG_Y")]
    types.add(DATASEC, section, 0, variables[0], 0, 4, variables[1], 0, 4, vlen=2)
    assert "'CONFIG_Y', for which there is no undefined symbol" in refusal(described(types, ("CONFIG_X", STB_GLOBAL)))
    types.add(DATASEC, section, 0, vlen=0)
    both = ("CONFIG_X", STB_GLOBAL), ("CONFIG_Y", STB_WEAK)
    assert list(purebpf.parse(described(types, *both)).externs) == ["CONFIG_X", "CONFIG_Y"]
    assert "there are two externs of the same name" in refusal(described(types, *both, both[0]))


def test_the_second_section_of_a_name():
    types = extern_variable(".ksyms", 4)
    types.add(DATASEC, ".ksyms", 0, types.add(VAR, "y", 1, 2), 0, 4, vlen=1)
    assert "stands in the second section '.ksyms'" in refusal(described(types, ("y", STB_GLOBAL)))


# --- the configuration ---


def kconfig(value, config, byteorder="little", **known):
    """The content of the map for one extern."""
    spec = ObjectSpec("made", byteorder)
    spec.externs[value.name] = value
    spec.maps[".kconfig"] = MapSpec(".kconfig", 2, 4, value.size, 1, kind="kconfig")
    plan = make_plan(spec, KernelFacts.offline(release=RELEASE, config=config, byteorder=byteorder, **known))
    return next(c.fields["value"] for c in plan if c.cmd == bpf_cmd.BPF_MAP_UPDATE_ELEM)


def integer(name, size=4, is_weak=False):
    return KconfigExtern(name, is_weak, 1, "int", False, size)


@pytest.mark.parametrize(
    ("value", "byteorder", "content"),
    [
        (integer("CONFIG_HZ", 2), "big", b"\x00\xfa"),
        (integer("CONFIG_HZ", 8), "little", bytes([250, 0, 0, 0, 0, 0, 0, 0])),
        (KconfigExtern("CONFIG_BPF", False, 1, "tristate", False, 4), "big", b"\0\0\0\1"),
        (KconfigExtern("CONFIG_X", True, 1, "tristate", False, 4), "big", b"\0\0\0\0"),
        (integer("LINUX_KERNEL_VERSION"), "little", bytes([3, 12, 6, 0])),
        (integer("LINUX_KERNEL_VERSION"), "big", bytes([0, 6, 12, 3])),
        (integer("LINUX_HAS_BPF_COOKIE", 1), "little", b"\1"),
        (integer("LINUX_HAS_WINGS", 1, is_weak=True), "little", b"\0"),
    ],
)
def test_values(value, byteorder, content):
    assert kconfig(value, b"CONFIG_HZ=250\nCONFIG_BPF=y\n", byteorder) == content


def test_features_of_the_kernel():
    value = integer("LINUX_HAS_SYSCALL_WRAPPER", 1)
    assert kconfig(value, None, features={Feature.SYSCALL_WRAPPER: False}) == b"\0"
    assert kconfig(value, None, features={Feature.SYSCALL_WRAPPER: True}) == b"\1"


@pytest.mark.parametrize(
    ("value", "config", "message"),
    [
        (
            integer("CONFIG_HZZ"),
            b"CONFIG_HZ=250\n",
            "extern 'CONFIG_HZZ' is not in the given configuration: it is not set, or unknown to Linux 6.12.3; did "
            "you mean CONFIG_HZ? Declare it __weak to read 0 then",
        ),
        (
            integer("CONFIG_HZ"),
            None,
            "extern 'CONFIG_HZ' is a value of the kernel's configuration, and that of Linux 6.12.3 cannot be had: no "
            "configuration was given; pass offline(config=...) a copy of that kernel's /boot/config-RELEASE",
        ),
        (
            integer("LINUX_HAS_WINGS"),
            b"",
            "extern 'LINUX_HAS_WINGS' of section '.kconfig' is no value that is known; beside CONFIG_... there are "
            "LINUX_KERNEL_VERSION, LINUX_HAS_BPF_COOKIE, LINUX_HAS_SYSCALL_WRAPPER",
        ),
        (
            integer("HZ", is_weak=True),
            b"",
            "extern 'HZ' of section '.kconfig' is no value that is known; beside CONFIG_... there are "
            "LINUX_KERNEL_VERSION, LINUX_HAS_BPF_COOKIE, LINUX_HAS_SYSCALL_WRAPPER",
        ),
        (
            integer("CONFIG_HZ"),
            b"CONFIG_HZ=y",
            "extern 'CONFIG_HZ' is declared as an integer, and the given configuration has CONFIG_HZ=y; declare it as "
            "bool",
        ),
        (
            integer("CONFIG_HZ", 1),
            b"CONFIG_HZ=256",
            "extern 'CONFIG_HZ': the given configuration has CONFIG_HZ=256, which does not fit in 8 bits, unsigned, "
            "as it is declared",
        ),
        (
            integer("CONFIG_HZ"),
            b"CONFIG_HZ=many",
            "extern 'CONFIG_HZ' is declared as an integer, and the given configuration has CONFIG_HZ=many; declare it "
            "as enum libbpf_tristate",
        ),
        (
            integer("CONFIG_HZ"),
            b"CONFIG_HZ=one",
            "extern 'CONFIG_HZ': the given configuration has CONFIG_HZ=one, which is neither y, n or m, a string, "
            "nor a number",
        ),
        (
            KconfigExtern("CONFIG_X", False, 1, "string", False, 4),
            b'CONFIG_X="',
            "extern 'CONFIG_X': the given configuration has CONFIG_X=\", a string without an end",
        ),
        (
            integer("LINUX_KERNEL_VERSION", 2),
            b"",
            "extern 'LINUX_KERNEL_VERSION': Linux 6.12.3 has LINUX_KERNEL_VERSION=396291, which does not fit in 16 "
            "bits, unsigned, as it is declared",
        ),
        (
            integer("CONFIG_HZ"),
            b"CONFIG_A=1\nCONFIG_B",
            "the given configuration, line 2: 'CONFIG_B' should read NAME=VALUE",
        ),
    ],
)
def test_values_that_are_refused(value, config, message):
    with pytest.raises(PlanError) as caught:
        kconfig(value, config)
    assert str(caught.value) == message


def test_the_next_configuration_is_read_only_if_need_be():
    value = integer("CONFIG_HZ")
    spec = ObjectSpec("made", "little", externs={"CONFIG_HZ": value})
    read = []

    def config(number, text):
        def read_it():
            read.append(number)
            return read_config(text)

        return read_it

    def plan(*texts):
        read.clear()
        known = {"release": RELEASE, "byteorder": "little", "possible_cpus": 1, "page_size": 4096}
        configs = [config(number, text) for number, text in enumerate(texts)]
        kernel = Facts(read_btf=lambda: None, read_configs=configs, **known)
        make_plan(spec, kernel)
        make_plan(spec, kernel)

    plan(b"CONFIG_HZ=1", b"CONFIG_HZ=2")
    assert read == [0]
    plan(b"CONFIG_A=1", b"CONFIG_HZ=2")
    assert read == [0, 1]
    with pytest.raises(PlanError, match="'CONFIG_HZ' is not in the given configuration or the given configuration"):
        plan(b"", b"")


def test_configuration_files(tmp_path):
    text = b'CONFIG_A=1\n# CONFIG_B is not set\nCONFIG_C="a=b"\nCONFIG_A=2\n CONFIG_D\n'
    wanted = {"CONFIG_A": "1", "CONFIG_C": '"a=b"'}
    path = tmp_path / "config"
    for content in (text, gzip.compress(text)):
        path.write_bytes(content)
        assert read_config(path).values == read_config(content).values == wanted
        assert read_config(path).where == str(path)
        assert first_of([str(tmp_path / "none"), str(path)]).where == str(path)
    with pytest.raises(PureBpfError, match=r"there is neither /none/a nor /none/b; give .*running\(config=...\)"):
        first_of(["/none/a", "/none/b"])
    with pytest.raises(KernelError, match="reading the kernel's configuration from '/none/a': No such file"):
        read_config("/none/a")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (gzip.compress(b"CONFIG_A=1\n" * 9)[:-9], "cut off, or has more than 16 MiB"),
        (gzip.compress(bytes(17 << 20)), "cut off, or has more than 16 MiB"),
        (b"\x1f\x8b" + bytes(30), "the given configuration: damaged gzip data"),
    ],
)
def test_damaged_configuration(data, message):
    with pytest.raises(PlanError, match=message):
        read_config(data)


# --- addresses ---

SYMBOLS = b"""\
0000000000000000 A fixed
ffffffff81000000 T _stext
ffffffff81000010 t twice
ffffffff81000020 t twice
ffffffff81000030 d clone.llvm.12345
ffffffff81000040 t code.llvm.12345
ffffffff81000050 T bpf_link_put
ffffffffc0000000 t in_module\t[module]
ffffffffc0000010 t last"""


@pytest.mark.parametrize(
    ("name", "addresses"),
    [
        ("fixed", {0}),
        ("_stext", {0xFFFFFFFF81000000}),
        ("twice", {0xFFFFFFFF81000010, 0xFFFFFFFF81000020}),
        ("clone", {0xFFFFFFFF81000030}),
        ("code", set()),
        ("in_module", {0xFFFFFFFFC0000000}),
        ("last", {0xFFFFFFFFC0000010}),
        ("las", set()),
        ("ast", set()),
        ("", set()),
    ],
)
def test_addresses(name, addresses):
    assert read_kallsyms(SYMBOLS).addresses(name) == addresses


def test_symbol_files(tmp_path):
    path = tmp_path / "kallsyms"
    path.write_bytes(SYMBOLS)
    assert read_kallsyms(path).addresses("_stext") == {0xFFFFFFFF81000000}
    assert read_kallsyms({"_stext": 5}).addresses("_stext") == {5}
    with pytest.raises(KernelError, match="reading the kernel's symbols from '/none': No such file"):
        read_kallsyms("/none")
    with pytest.raises(PlanError, match="the given symbols: b'xyz T _stext' should read ADDRESS TYPE NAME"):
        read_kallsyms(b"xyz T _stext\n").addresses("_stext")


def addresses_object():
    spec = parse("extern_addresses")
    del spec.externs["purebpf_missing_variable"]  # which has a type
    spec.programs["see"].relocations = tuple(
        entry for entry in spec.programs["see"].relocations if entry.target in spec.externs
    )
    spec.subprograms.clear()
    program = spec.programs["see"]
    program.insns = struct.pack("<BBhiBBhi", LD_IMM64, 1, 0, 0, 0, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0)
    return spec, program


@pytest.mark.parametrize(("name", "value"), [("_stext", 0xFFFFFFFF81000000), ("purebpf_missing_address", 0)])
def test_an_address_in_an_instruction(name, value):
    spec, program = addresses_object()
    program.relocations = (Relocation(0, "extern", name),)
    first, second, _ = slots(load_of(make_plan(spec, facts(symbols=SYMBOLS)), "see"))
    assert first == (LD_IMM64, 0, 0, value & 0xFFFFFFFF)
    assert second == (0, 0, 0, value >> 32)


@pytest.mark.parametrize(
    ("symbols", "message"),
    [
        (
            SYMBOLS.replace(b"bpf_link_put", b"bpf_link_putt"),
            "extern 'bpf_link_put' is not in the given symbols, which has variables only with "
            "CONFIG_KALLSYMS_ALL, and a module's symbols only while it is loaded; did you mean bpf_link_putt? "
            "Declare it __weak to have a null pointer then",
        ),
        (
            SYMBOLS + b"\nffffffff81000060 T bpf_link_put",
            "extern 'bpf_link_put' is ambiguous: by the given symbols, it is at 0xffffffff81000050, 0xffffffff81000060",
        ),
        (
            None,
            "extern '_stext' is a symbol of the kernel, and those of Linux 6.12.3 cannot be had: no symbols were "
            "given; pass offline(symbols=...) a copy of that kernel's /proc/kallsyms",
        ),
    ],
)
def test_addresses_that_cannot_be_had(symbols, message):
    spec, _ = addresses_object()
    with pytest.raises(PlanError) as caught:
        make_plan(spec, facts(symbols=symbols))
    assert str(caught.value) == message


# --- functions and variables by their types ---


def calls(plan):
    return [slot for slot in slots(load_of(plan, "call")) if slot[0] == CALL]


def test_functions_of_the_kernel():
    kernel = Kernel(LOCKS + TASKS)
    plan = parse("extern_kfuncs").plan(facts(kernel))
    names = ["bpf_rcu_read_lock", "bpf_rcu_read_unlock", "bpf_task_from_pid", "bpf_task_release"]
    assert calls(plan) == [(CALL, BPF_PSEUDO_KFUNC_CALL, 0, kernel.ids[name]) for name in names]
    assert "fd_array" not in load_of(plan, "call").fields
    assert not [command for command in plan if command.cmd == bpf_cmd.BPF_BTF_GET_FD_BY_ID]


class Descriptor:
    def __init__(self, number):
        self.number = number

    def fileno(self):
        return self.number


def test_functions_of_modules():
    """A call names the BTF of its module by a place in fd_array, where place 0 is for the kernel proper."""
    kernel = Kernel(LOCKS[:1])
    first, second = Kernel(TASKS[1:], base=kernel), Kernel(LOCKS[1:] + TASKS[:1], base=kernel)
    modules = {"unused": Kernel(["other"], base=kernel).btf(), "first": first.btf(), "second": second.btf()}
    plan = parse("extern_kfuncs").plan(facts(kernel, modules=modules))
    assert calls(plan) == [
        (CALL, BPF_PSEUDO_KFUNC_CALL, 0, kernel.ids["bpf_rcu_read_lock"]),
        (CALL, BPF_PSEUDO_KFUNC_CALL, 1, second.ids["bpf_rcu_read_unlock"]),
        (CALL, BPF_PSEUDO_KFUNC_CALL, 1, second.ids["bpf_task_from_pid"]),
        (CALL, BPF_PSEUDO_KFUNC_CALL, 2, first.ids["bpf_task_release"]),
    ]
    opened = [command.creates for command in plan if command.cmd == bpf_cmd.BPF_BTF_GET_FD_BY_ID]
    assert opened == [Handle("module btf", "second"), Handle("module btf", "first")]
    descriptors = {handle: Descriptor(number) for number, handle in enumerate(opened, 40)}
    array = fill(load_of(plan, "call").fields["fd_array"], descriptors)
    assert struct.unpack("=3i", array) == (0, 40, 41)


def test_modules_of_kernels_without_their_types():
    kernel = Kernel(LOCKS)
    modules = {"tasks": Kernel(TASKS, base=kernel).btf()}
    with pytest.raises(PlanError, match=r"there is no function 'bpf_task_from_pid' in .BTF of Linux 6.12.3[.;]"):
        parse("extern_kfuncs").plan(facts(kernel, modules=modules, features={Feature.MODULE_BTF: False}))


def test_core_looks_into_modules():
    kernel = Kernel()
    known = facts(kernel, modules={"m": Kernel(["f"], base=kernel).btf()})
    assert [btf.find("f", Func) for btf in known.core_target.modules] == [[known.modules[0].btf.find("f")[0]]]


def test_the_id_of_a_module_is_not_known_before_it_is_loaded():
    kernel = Kernel(LOCKS)
    modules = {"tasks": Kernel(TASKS, base=kernel).btf()}
    plan = parse("extern_kfuncs").plan(facts(kernel, modules=modules))
    opening = next(command for command in plan if command.cmd == bpf_cmd.BPF_BTF_GET_FD_BY_ID)
    assert str(opening) == (
        "bpf(BPF_BTF_GET_FD_BY_ID)  opening the types of module 'tasks', by the id that they get when the kernel loads"
        " it  -> <module btf tasks>"
    )


@pytest.mark.parametrize("in_module", [False, True])
def test_a_variable(in_module):
    """The second half of the load has the descriptor of the module's BTF, 0 for the kernel proper."""
    spec = parse("extern_variables")
    del spec.externs["runqueues"]
    program = spec.programs["see"]
    load = next(entry for entry in program.relocations if entry.target == "bpf_prog_active")
    program.insns = struct.pack("<BBhiBBhi", LD_IMM64, 1, 0, 0, 0, 0, 0, 0) + struct.pack("<BBhi", 0x95, 0, 0, 0)
    program.relocations = (Relocation(0, "extern", load.target),)
    spec.btf_ext = None
    kernel = Kernel(variables=() if in_module else ["bpf_prog_active"])
    module = Kernel(variables=["bpf_prog_active"], base=kernel)
    command = load_of(spec.plan(facts(kernel, modules={"m": module.btf()})), "see")
    found = (module if in_module else kernel).ids["bpf_prog_active"]
    assert slots(command)[:2] == [(LD_IMM64, BPF_PSEUDO_BTF_ID, 0, found), (0, 0, 0, 0)]
    assert command.fields["insns"].handles == (((1, Handle("module btf", "m")),) if in_module else ())
    assert "fd_array" not in command.fields


def test_weak_functions():
    """libbpf's poison is 2002000000 and the extern's place among all, which are sorted by name."""
    spec = parse("extern_weak_kfuncs")
    kernel = Kernel(["bpf_task_from_pid", "bpf_rcu_read_lock"])
    plan = spec.plan(facts(kernel))
    places = {name: 2002000000 + place for place, name in enumerate(sorted(spec.externs))}
    poisons = [slot for slot in calls(plan) if slot[1:3] == (0, 0)]
    assert {slot[3] for slot in poisons} == {
        places["purebpf_missing"],
        places["bpf_rcu_read_lock"],  # which is there, and declared otherwise
        places["bpf_task_release"],
    }
    assert (CALL, BPF_PSEUDO_KFUNC_CALL, 0, kernel.ids["bpf_task_from_pid"]) in calls(plan)
    load = load_of(plan, "call")
    notes = {load.notes[index] for index, slot in enumerate(slots(load)) if slot in poisons}
    assert "The kernel has no function 'purebpf_missing' as declared; test bpf_ksym_exists() first" in notes


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (
            Kernel((*LOCKS, "bpf_task_from_pids", "bpf_task_release")),
            "extern 'bpf_task_from_pid': there is no function 'bpf_task_from_pid' in .BTF of Linux 6.12.3; did "
            "you mean bpf_task_from_pids? Declare it __weak to test for it with bpf_ksym_exists()",
        ),
        (
            None,
            "extern 'bpf_rcu_read_lock' is a function of the kernel, and the types of Linux 6.12.3 cannot be had: no "
            "BTF was given; pass offline(btf=...) a copy of that kernel's /sys/kernel/btf/vmlinux",
        ),
    ],
)
def test_functions_that_are_missing(kernel, message):
    with pytest.raises(PlanError) as caught:
        parse("extern_kfuncs").plan(facts(kernel))
    assert str(caught.value) == message


def test_a_variable_that_is_missing():
    with pytest.raises(
        PlanError, match=r"no variable 'runqueues' in .BTF of .*; of variables, it describes only those"
    ):
        parse("extern_variables").plan(facts(Kernel(variables=["bpf_prog_active"])))


def test_a_variable_of_another_type():
    kernel = Kernel(variables=["runqueues"])
    with pytest.raises(PlanError) as caught:
        parse("extern_variables").plan(facts(kernel))
    assert str(caught.value) == "extern 'runqueues' is declared as struct rq, and in .BTF it is int"


def test_a_function_of_another_type():
    kernel = Kernel(LOCKS[1:])
    wrong = kernel.types.add(FUNC_PROTO, "", kernel.pointer, "p", kernel.pointer, "n", kernel.int, vlen=2)
    kernel.types.add(FUNC, "bpf_rcu_read_lock", wrong)
    with pytest.raises(PlanError) as caught:
        parse("extern_kfuncs").plan(facts(kernel))
    assert str(caught.value) == (
        "extern 'bpf_rcu_read_lock' is declared as void (), and in .BTF it is "
        "struct task_struct * (struct task_struct *, int)"
    )
