"""purebpf.abi against the kernel's own declarations.

The oracle is a C compiler.  Tables of enumerators, offsets, sizes and initialised structures are compiled
against <linux/bpf.h> and <linux/perf_event.h> (linux-libc-dev), and against the types of the running kernel,
which bpftool prints as a header and which are often newer.  The tables are read out of the object file; so
nothing needs to be linked, and -m32 works without a 32-bit C library.

Our lists are newer than most headers.  What is compared is what the header declares, found by reading its
text; what it declares and we lack is a failure.
"""

from __future__ import annotations

import ctypes
import enum
import functools
import platform
import re
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from purebpf.abi import attr, bpf, perf, syscalls
from purebpf.errors import PureBpfError

# --- a header: its text, and a compiler for it ---------------------------------------------------


@dataclass(frozen=True)
class Header:
    include: str  # C source that declares everything
    text: str  # the same declarations as text, without comments, attributes and preprocessor lines
    defines: frozenset[str]  # the names of its macros without parameters
    flags: tuple[str, ...] = ()

    def compile(self, directory, definition):
        """The bytes of a C variable: ``definition`` is like ``int %s[] = {1, 2}``."""
        out = directory / "table.o"
        variable = definition % '__attribute__((section("abi_table"))) table'
        command = ["cc", "-w", *self.flags, "-x", "c", "-c", "-o", str(out), "-"]
        run = subprocess.run(command, input=f"{self.include}\n{variable};\n", capture_output=True, text=True)
        assert run.returncode == 0, run.stderr
        with out.open("rb") as file:
            return ELFFile(file).get_section_by_name("abi_table").data()

    def numbers(self, directory, expressions):
        """The values of C constant expressions, modulo 2**64."""
        rows = ",\n".join(f"(unsigned long long)({expression})" for expression in expressions)
        data = self.compile(directory, f"unsigned long long %s[] = {{{rows}}}")
        return struct.unpack(f"={len(expressions)}Q", data)

    @functools.cached_property
    def enums(self):
        """(tag or "", enumerators) of each enum."""
        return [
            (tag, re.findall(r"(?:^|,)\s*(\w+)", body))
            for tag, body in re.findall(r"\benum\s*(\w*)\s*\{([^{}]*)\}", self.text)
        ]

    def members(self, type_name):
        """The members of a struct or union, those of anonymous members included, as "a" or "a.b.c"."""
        body = re.search(rf"\b{type_name}\s*\{{", self.text)
        if body is None:
            return set()
        tokens = re.compile(r"\w+|[^\w\s]").finditer(self.text, body.end())
        return set(_members(match[0] for match in tokens))


def _members(tokens):
    declaration = []
    for token in tokens:
        if token == "{":
            inner = list(_members(tokens))
            name = "".join(iter(lambda: next(tokens), ";"))  # between "}" and ";"
            yield from (f"{name}.{path}" if name else path for path in inner)
            declaration = []
        elif token == "}":
            return
        elif token == ";":
            declarators = " ".join(declaration).split(",")
            for index, declarator in enumerate(declarators):
                words = re.findall(r"\w+", re.split(r"[\[:]", declarator)[0])
                if len(words) > (index == 0):  # else it has a type only: an unnamed bit field
                    yield words[-1]
            declaration = []
        else:
            declaration.append(token)


def plain(text):
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.DOTALL)
    text = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", "", text, flags=re.MULTILINE)
    return re.sub(r"__attribute__\s*\(\([^;]*?\)\)(?=\s*;)", "", text)


UAPI = "#include <linux/bpf.h>\n#include <linux/perf_event.h>\n#include <asm/unistd.h>\n"


@functools.cache
def uapi(*flags):
    run = subprocess.run(["cc", *flags, "-M", "-x", "c", "-"], input=UAPI, capture_output=True, text=True, check=True)
    paths = re.findall(r"\S+/linux/(?:bpf|perf_event)\.h", run.stdout)
    assert len(paths) == 2
    text = "".join(Path(path).read_text() for path in paths)
    defines = re.findall(r"^#define\s+(\w+)\s+\S", text, flags=re.MULTILINE)
    return Header(UAPI, plain(text), frozenset(defines), flags)


@functools.cache
def uapi_i386():
    run = subprocess.run(["cc", "-print-multiarch"], capture_output=True, text=True)
    return uapi("-m32", "-isystem", f"/usr/include/{run.stdout.strip()}")


@functools.cache
def running_kernel():
    btf = Path("/sys/kernel/btf/vmlinux")
    if not btf.exists():
        pytest.skip(f"needs {btf}")
    dump = ["bpftool", "btf", "dump", "file", str(btf), "format", "c"]
    text = subprocess.run(dump, capture_output=True, text=True, check=True).stdout
    return Header(text, plain(text), frozenset())


def header_param(function, *tools):
    return pytest.param(function, id=function.__name__, marks=pytest.mark.needs_tool(*tools))


both_headers = pytest.mark.parametrize(
    "header", [header_param(uapi, "cc"), header_param(running_kernel, "cc", "bpftool")]
)

# --- constants -----------------------------------------------------------------------------------

# What the headers declare and purebpf.abi leaves out, each enum by its tag or its first enumerator.
LEFT_OUT_ENUMS = {
    "bpf_func_id": "helpers: purebpf.asm",
    "BPF_REG_0": "instructions: purebpf.asm",
    "bpf_cond_pseudo_jmp": "instructions: purebpf.asm",
    "bpf_addr_space_cast": "instructions: purebpf.asm",
    **dict.fromkeys(
        [
            "BPF_F_RECOMPUTE_CSUM", "BPF_F_HDR_FIELD_MASK", "BPF_F_PSEUDO_HDR", "BPF_F_TUNINFO_IPV6",
            "BPF_F_SKIP_FIELD_MASK", "BPF_F_ZERO_CSUM_TX", "BPF_F_TUNINFO_FLAGS", "BPF_F_CURRENT_NETNS",
            "BPF_CSUM_LEVEL_QUERY", "BPF_F_ADJ_ROOM_FIXED_GSO", "BPF_ADJ_ROOM_ENCAP_L2_MASK",
            "BPF_F_SYSCTL_BASE_NAME", "BPF_LOCAL_STORAGE_GET_F_CREATE", "BPF_F_GET_BRANCH_RECORDS_SIZE",
            "BPF_RB_NO_WAKEUP", "BPF_RB_AVAIL_DATA", "BPF_SK_LOOKUP_F_REPLACE", "bpf_adj_room_mode",
            "bpf_hdr_start_off", "bpf_lwt_encap_mode", "BPF_F_BPRM_SECUREEXEC", "BPF_F_INGRESS",
            "BPF_SKB_TSTAMP_UNSPEC", "BPF_SOCK_OPS_RTO_CB_FLAG", "SK_BPF_CB_TX_TIMESTAMPING",
            "BPF_SOCK_OPS_VOID", "BPF_TCP_ESTABLISHED", "TCP_BPF_IW", "BPF_LOAD_HDR_OPT_TCP_SYN",
            "BPF_WRITE_HDR_TCP_CURRENT_MSS", "BPF_DEVCG_ACC_MKNOD", "BPF_DEVCG_DEV_BLOCK",
            "BPF_FIB_LOOKUP_DIRECT", "BPF_FIB_LKUP_RET_SUCCESS", "bpf_check_mtu_flags", "bpf_check_mtu_ret",
            "BPF_FLOW_DISSECTOR_F_PARSE_1ST_FRAG", "BTF_F_COMPACT", "BPF_F_TIMER_ABS", "bpf_kfunc_flags",
        ],
        "arguments and results of helpers and kfuncs: for BPF programs",
    ),
    **dict.fromkeys(
        ["bpf_ret_code", "tcx_action_base", "xdp_action", "sk_action"],
        "return codes: for BPF programs",
    ),
    **dict.fromkeys(
        [
            "perf_branch_sample_type_shift", "perf_branch_sample_type", "PERF_BR_UNKNOWN", "PERF_BR_SPEC_NA",
            "PERF_BR_NEW_FAULT_ALGN", "PERF_BR_PRIV_UNKNOWN", "perf_sample_regs_abi", "PERF_TXN_ELISION",
            "NET_NS_INDEX", "perf_record_ksymbol_type", "perf_bpf_event_type", "perf_callchain_context",
        ],
        "contents of samples and records that do not come from BPF",
    ),
}  # fmt: skip
NOT_ABI = re.compile(r"__MAX_\w+|MAX_BPF_\w+|PERF_\w+_MAX")
OUR_DEFINES = re.compile(r"(BPF_F|BPF_PSEUDO|BPF_OBJ|BPF_TAG|PERF_ATTR_SIZE|PERF_FLAG|PERF_EVENT_IOC)_\w+")
LEFT_OUT_DEFINES = {"BPF_F_REDIRECT_FLAGS"}  # arguments of helpers


def constants(*modules):
    found = {}
    for module in modules:
        for name, value in vars(module).items():
            if isinstance(value, type) and issubclass(value, enum.IntEnum | enum.IntFlag):
                found.update(value.__members__)
            elif isinstance(value, int) and not name.startswith(("_", "DATA_")):
                found[name] = value
    return found


@both_headers
def test_constants_have_the_values_of_the_header(header, tmp_path):
    header, ours = header(), constants(bpf, perf)
    declared = {name for _, names in header.enums for name in names} | header.defines
    names = sorted(ours.keys() & declared)
    assert len(names) > 300
    theirs = dict(zip(names, header.numbers(tmp_path, names), strict=True))
    assert {name: int(ours[name]) for name in names} == theirs


@pytest.mark.needs_tool("cc")
def test_no_constant_of_the_header_is_missing():
    header, ours = uapi(), constants(bpf, perf)
    wanted = {name for name in header.defines if OUR_DEFINES.fullmatch(name)} - LEFT_OUT_DEFINES
    for tag, names in header.enums:
        if (tag or names[0]) not in LEFT_OUT_ENUMS:
            wanted.update(name for name in names if not NOT_ABI.fullmatch(name))
    assert wanted - ours.keys() == set()


@both_headers
def test_no_member_of_our_enums_is_missing(header):
    header, compared = header(), 0
    for tag, names in header.enums:
        ours = getattr(bpf, tag, None) or getattr(perf, tag, None)
        if tag and ours:
            compared += 1
            missing = {name for name in names if not NOT_ABI.fullmatch(name)} - ours.__members__.keys()
            assert missing <= {"BPF_COMMON_ATTRS"}, tag
    assert compared >= 17


# --- structures ----------------------------------------------------------------------------------

IN_BPF_ATTR = {  # our structure: the member of union bpf_attr that it stands for, "" for an anonymous one
    attr.bpf_attr_map_create: "",
    attr.bpf_attr_map_elem: "",
    attr.bpf_attr_map_batch: "batch",
    attr.bpf_attr_prog_load: "",
    attr.bpf_attr_obj: "",
    attr.bpf_attr_prog_attach: "",
    attr.bpf_attr_prog_test_run: "test",
    attr.bpf_attr_get_id: "",
    attr.bpf_attr_info: "info",
    attr.bpf_attr_prog_query: "query",
    attr.bpf_attr_raw_tracepoint_open: "raw_tracepoint",
    attr.bpf_attr_btf_load: "",
    attr.bpf_attr_task_fd_query: "task_fd_query",
    attr.bpf_attr_link_create: "link_create",
    attr.bpf_attr_link_update: "link_update",
    attr.bpf_attr_link_detach: "link_detach",
    attr.bpf_attr_enable_stats: "enable_stats",
    attr.bpf_attr_iter_create: "iter_create",
    attr.bpf_attr_prog_bind_map: "prog_bind_map",
    attr.bpf_attr_token_create: "token_create",
    attr.bpf_attr_prog_stream_read: "prog_stream_read",
    attr.bpf_attr_prog_assoc_struct_ops: "prog_assoc_struct_ops",
}
OF_THEIR_OWN = {
    attr.bpf_iter_link_info: "union bpf_iter_link_info",
    attr.bpf_common_attr: "struct bpf_common_attr",
    attr.bpf_prog_info: "struct bpf_prog_info",
    attr.bpf_map_info: "struct bpf_map_info",
    attr.bpf_btf_info: "struct bpf_btf_info",
    attr.bpf_link_info: "struct bpf_link_info",
    attr.bpf_token_info: "struct bpf_token_info",
    perf.perf_event_attr: "struct perf_event_attr",
}


@dataclass(frozen=True)
class Leaf:
    path: str  # as in C
    offset: int
    size: int
    bits: int  # of a bit field, else 0


def leaves(structure, prefix="", base=0):
    """Every field that is not itself a structure, without our padding."""
    for name, kind, *bits in structure._fields_:
        offset = base + getattr(structure, name).offset
        if issubclass(kind, ctypes.Structure | ctypes.Union):
            anonymous = name in getattr(structure, "_anonymous_", ())
            yield from leaves(kind, prefix if anonymous else f"{prefix}{name}.", offset)
        elif not name.startswith("_"):
            yield Leaf(prefix + name, offset, ctypes.sizeof(kind), bits[0] if bits else 0)


def all_structures():
    """(C type, leaves) of each of our structures."""
    for structure, member in IN_BPF_ATTR.items():
        yield "union bpf_attr", list(leaves(structure, f"{member}." if member else ""))
    for structure, c_type in OF_THEIR_OWN.items():
        yield c_type, list(leaves(structure))


@both_headers
def test_no_field_of_the_header_is_missing(header):
    header = header()
    ours: dict[str, set[str]] = {}
    for c_type, fields in all_structures():
        ours.setdefault(c_type, set()).update(leaf.path for leaf in fields)
    for c_type, paths in ours.items():
        declared = {path for path in header.members(c_type) if "__reserved" not in path}
        assert declared - paths == set(), c_type
    assert len(header.members("union bpf_attr")) > 120


def layout_differences(header, directory):
    """(C type, path, (our offset, our size), (its offset, its size)) where the two differ."""
    declared = {c_type: header.members(c_type) for c_type in ("union bpf_attr", *OF_THEIR_OWN.values())}
    ours = [
        (c_type, leaf)
        for c_type, fields in all_structures()
        for leaf in fields
        if not leaf.bits and leaf.path in declared[c_type]
    ]
    expressions = []
    for c_type, leaf in ours:
        expressions.append(f"__builtin_offsetof({c_type}, {leaf.path})")
        expressions.append(f"sizeof((({c_type} *)0)->{leaf.path})")
    theirs = iter(header.numbers(directory, expressions))
    for c_type, leaf in ours:
        their_place = next(theirs), next(theirs)
        if their_place != (leaf.offset, leaf.size):
            yield c_type, leaf.path, (leaf.offset, leaf.size), their_place


@both_headers
def test_fields_are_where_the_header_has_them(header, tmp_path):
    assert list(layout_differences(header(), tmp_path)) == []


@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs a compiler for i386: x86-64 only")
@pytest.mark.needs_tool("cc")
def test_fields_are_where_i386_has_them_but_for_the_documented_ones(tmp_path):
    different = {path for _, path, _, _ in layout_differences(uapi_i386(), tmp_path)}
    assert different <= {
        "link_create.tracing.cookie",
        "link_create.tcx.expected_revision",
        "link_create.netkit.expected_revision",
        "link_create.cgroup.expected_revision",
    }


@both_headers
def test_sizes_are_those_of_a_header_that_has_all_fields(header, tmp_path):
    header = header()
    same_age = {
        f"sizeof({c_type})": ctypes.sizeof(structure)
        for structure, c_type in OF_THEIR_OWN.items()
        if {leaf.path for leaf in leaves(structure)} <= header.members(c_type)
    }
    assert same_age
    theirs = dict(zip(same_age, header.numbers(tmp_path, same_age), strict=True))
    assert same_age == theirs


@both_headers
@pytest.mark.parametrize("structure", [perf.perf_event_attr, attr.bpf_prog_info])
def test_bit_fields_are_the_bits_of_the_header(header, structure, tmp_path):
    header, c_type = header(), OF_THEIR_OWN[structure]
    bit_fields = [leaf for leaf in leaves(structure) if leaf.bits and leaf.path in header.members(c_type)]
    assert bit_fields
    rows = ", ".join(f"{{.{leaf.path} = -1}}" for leaf in bit_fields)
    data = header.compile(tmp_path, f"{c_type} %s[] = {{{rows}}}")
    their_size = len(data) // len(bit_fields)
    for index, leaf in enumerate(bit_fields):
        ours = bytes(structure(**{leaf.path: (1 << leaf.bits) - 1}))
        theirs = data[index * their_size : (index + 1) * their_size]
        assert ours[:their_size] == theirs, leaf.path
        assert not any(ours[their_size:])


def is_packed(structure):
    """Whether ctypes adds no padding of its own, so that the layout is the same under every ABI."""
    end = bit_end = 0
    for name, kind, *bits in structure._fields_:
        if issubclass(kind, ctypes.Structure | ctypes.Union) and not is_packed(kind):
            return False
        if bits and bit_end:
            bit_end -= bits[0]
            continue
        offset, size = getattr(structure, name).offset, ctypes.sizeof(kind)
        if issubclass(kind, ctypes.c_uint64) and offset % 8:
            return False
        if issubclass(structure, ctypes.Union):
            end = max(end, size)
            continue
        if offset != end or bit_end:
            return False
        end += size
        bit_end = 8 * size - bits[0] if bits else 0
    return ctypes.sizeof(structure) == end and not bit_end


@pytest.mark.parametrize("structure", [*IN_BPF_ATTR, *OF_THEIR_OWN], ids=lambda structure: structure.__name__)
def test_layout_does_not_depend_on_the_machine(structure):
    assert is_packed(structure)
    assert all(leaf.offset % leaf.size == 0 for leaf in leaves(structure) if leaf.size <= 8)


@pytest.mark.parametrize("structure", [*IN_BPF_ATTR, *OF_THEIR_OWN], ids=lambda structure: structure.__name__)
def test_a_misspelled_field_is_an_error(structure):
    with pytest.raises(AttributeError):
        structure(no_such_field=1)


def test_every_command_has_its_attributes():
    assert set(attr.ATTR_OF_CMD) == set(bpf.bpf_cmd)
    assert set(attr.ATTR_OF_CMD.values()) == set(IN_BPF_ATTR)


@both_headers
def test_perf_ring_is_read_as_the_kernel_writes_it(header, tmp_path):
    header = header()
    fields = ["data_head", "data_tail", "data_offset", "data_size"]
    offsets = header.numbers(tmp_path, [f"__builtin_offsetof(struct perf_event_mmap_page, {name})" for name in fields])
    assert offsets == (perf.DATA_HEAD, perf.DATA_TAIL, perf.DATA_OFFSET, perf.DATA_SIZE)

    record = header.compile(tmp_path, "struct perf_event_header %s = {.type = 9, .misc = 0x1234, .size = 40}")
    assert perf.perf_event_header.unpack(record) == (9, 0x1234, 40)


# --- what differs between machines ---------------------------------------------------------------


# Newer than the headers and libseccomp of Debian 12.  It is called on a kernel that has it (test_link_usdt.py).
NEW = {"uprobe"}


def compiled_numbers(header, directory, names):
    return dict(zip(names, header.numbers(directory, [f"__NR_{name}" for name in names]), strict=True))


@pytest.mark.needs_tool("cc")
def test_system_call_numbers_of_this_machine(tmp_path):
    ours = syscalls.NUMBERS[syscalls.machine()]
    numbers = {name: number for name, number in ours.items() if name not in NEW}
    assert compiled_numbers(uapi(), tmp_path, numbers) == numbers
    assert {name: syscalls.number(name) for name in ours} == ours


@pytest.mark.skipif(platform.machine() != "x86_64", reason="needs a compiler for i386: x86-64 only")
@pytest.mark.needs_tool("cc")
def test_system_call_numbers_of_i386(tmp_path):
    ours = syscalls.NUMBERS["i386"]
    assert compiled_numbers(uapi_i386(), tmp_path, ours) == ours


@pytest.mark.needs_tool("cc")
@pytest.mark.parametrize("machine", ["aarch64", "riscv64", "loongarch64"])
def test_system_call_numbers_of_the_generic_table(machine, tmp_path):
    generic = Header("#include <asm-generic/unistd.h>", "", frozenset())
    ours = syscalls.NUMBERS[machine]
    assert compiled_numbers(generic, tmp_path, ours) == ours


def test_system_call_numbers_of_all_machines_agree_with_libseccomp():
    try:
        seccomp = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        pytest.skip("needs libseccomp.so.2")
    seccomp.seccomp_arch_resolve_name.restype = ctypes.c_uint32
    seccomp.seccomp_syscall_resolve_name_arch.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    unknown = set()
    for machine, ours in syscalls.NUMBERS.items():
        arch = seccomp.seccomp_arch_resolve_name({"i386": "x86"}.get(machine, machine).encode())
        if arch == 0:
            unknown.add(machine)
            continue
        theirs = {name: seccomp.seccomp_syscall_resolve_name_arch(arch, name.encode()) for name in ours}
        assert {name: number for name, number in ours.items() if name not in NEW or theirs[name] >= 0} == {
            name: number for name, number in theirs.items() if name not in NEW or number >= 0
        }, machine
    assert unknown <= {"loongarch64"}  # new in libseccomp 2.6; the generic table has it


@pytest.mark.parametrize(
    ("uname", "pointer_size", "machine"),
    [
        ("x86_64", 8, "x86_64"),
        ("x86_64", 4, "i386"),
        ("i686", 4, "i386"),
        ("aarch64", 8, "aarch64"),
        ("aarch64_be", 8, "aarch64"),
        ("aarch64", 4, "arm"),
        ("armv7l", 4, "arm"),
        ("armv8l", 4, "arm"),
        ("ppc64", 8, "ppc64le"),
        ("riscv64", 8, "riscv64"),
    ],
)
def test_machine_is_that_of_the_process(uname, pointer_size, machine):
    assert syscalls.machine(uname, pointer_size) == machine


@pytest.mark.parametrize("machine", [syscalls.machine("mips64", 4), syscalls.machine("parisc64", 8)])
def test_an_unknown_machine_is_named(machine):
    with pytest.raises(PureBpfError, match=machine):
        syscalls.number("bpf", machine)


def test_ioctl_requests_are_packed_as_each_machine_does():
    # From asm/ioctl.h of each: SET_BPF is _IOW('$', 8, __u32), ENABLE is _IO('$', 0), QUERY_BPF is _IOWR.
    for machine in syscalls.NUMBERS:
        old = machine in ("mips64", "ppc64le")
        assert perf.ioctl_request(1, 8, 4, machine) == (0x80042408 if old else 0x40042408)
        assert perf.ioctl_request(0, 0, 0, machine) == (0x20002400 if old else 0x2400)
        assert perf.ioctl_request(3, 10, 8, machine) == (0xC008240A)
