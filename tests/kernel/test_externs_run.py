"""Externs in the running kernel: programs read them, and what they read is what the kernel's own files say."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
from pathlib import Path

import pytest
import traced
from kernel_state import RELEASE, has_symbol, parsed
from with_libbpf import compiled

import purebpf
from purebpf.errors import PlanError, VerifierError
from purebpf.kernel.facts import KernelFacts
from purebpf.kernel.modules import running_modules
from purebpf.load.plan import Handle

pytestmark = pytest.mark.needs_root

OBJECTS = Path(traced.HERE) / "objects"


PACKET = bytes(14)


def kernel_config():
    release = os.uname().release
    places = (f"/boot/config-{release}", "/proc/config.gz", f"/lib/modules/{release}/config")
    for path in map(Path, places):
        if path.exists():
            data = path.read_bytes()
            text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode()
            return dict(re.findall(r"^(CONFIG_\w+)=(.*)$", text, re.MULTILINE))
    return None


NEEDS_CONFIG = pytest.mark.needs_kernel("its configuration at hand", kernel_config() is not None)


@NEEDS_CONFIG
def test_a_program_reads_the_configuration():
    config = kernel_config()
    with parsed("extern_kconfig").load() as loaded:
        loaded.programs["see"].run(data=PACKET)
        seen = loaded.maps[".bss"][0].seen
        live = loaded.maps[".kconfig"][0]
    major, minor = re.match(r"(\d+)\.(\d+)", os.uname().release).groups()
    assert seen.version >> 8 == int(major) << 8 | int(minor)
    assert seen.hz == live.CONFIG_HZ == int(config["CONFIG_HZ"])
    assert seen.nr_cpus == int(config["CONFIG_NR_CPUS"])
    assert seen.log_buf_shift == int(config["CONFIG_LOG_BUF_SHIFT"])
    assert seen.illegal == int(config.get("CONFIG_ILLEGAL_POINTER_VALUE", "0"), 16)
    assert seen.syscall == 1
    assert seen.letter == ord("y")
    assert seen.none == seen.unknown == 0
    assert str(seen.compiler) == config["CONFIG_CC_VERSION_TEXT"].strip('"')[:63]
    assert str(seen.hostname) == config["CONFIG_DEFAULT_HOSTNAME"].strip('"')[:3]


@NEEDS_CONFIG
def test_the_map_is_read_only():
    with parsed("extern_kconfig").load() as loaded:
        with pytest.raises(purebpf.KernelError, match="EPERM"):
            loaded.maps[".kconfig"][0] = bytes(120)
        assert "CONFIG_HZ" not in loaded.spec.variables


@NEEDS_CONFIG
def test_what_the_caller_says_goes_first():
    facts = KernelFacts.running(config=b"CONFIG_HZ=77\nCONFIG_BPF_JIT=m\n# CONFIG_BPF is not set\n")
    with parsed("extern_kconfig").load(facts) as loaded:
        loaded.programs["see"].run(data=PACKET)
        seen = loaded.maps[".bss"][0].seen
    assert (seen.hz, seen.jit) == (77, 2)
    assert seen.letter == ord("y")  # the kernel's own configuration has it


HZ, CPUS, SHIFT, LOG = "CONFIG_HZ", "CONFIG_NR_CPUS", "CONFIG_NODES_SHIFT", "CONFIG_LOG_BUF_SHIFT"
CASES = [
    *(f"{HZ}={n}" for n in ("0", "18446744073709551615", "18446744073709551616", "-1", "0x1F", "0X1f", "010", "08")),
    *(f"{HZ}={n}" for n in ("+5", " 7", "7 ", "y", "m", '"x"', "1k", "", "-", "0x", "--1", "-18446744073709551615")),
    HZ,
    f"{HZ}=1\n{HZ}=x",
    f"# {HZ}=5\n\n{HZ}=6\r",
    f"{HZ}=1\nCONFIG_NOT_ASKED_FOR",
    f"{HZ}=1\nCONFIG_NOT_ASKED_FOR=",
    f"{HZ}=1\nCONFIG_NOT_ASKED_FOR=?",
    *(f"{CPUS}={n}" for n in ("65535", "65536", "-1", "n")),
    *(f"{SHIFT}={n}" for n in ("127", "128", "-128", "-129", "0xff", "y", "n", "m", "x")),
    *(f"{LOG}={n}" for n in ("2147483647", "2147483648", "-2147483648", "-2147483649", "0xffffffffffffffff")),
    *(f"CONFIG_BPF={n}" for n in ("y", "n", "m", "65", "-1", "yes", "200")),
    *(f"CONFIG_BPF_SYSCALL={n}" for n in ("y", "n", "m", "1", "0", '"y"', "yes")),
    *(f"CONFIG_BPF_JIT={n}" for n in ("y", "n", "m", "1", '"y"', "none")),
    *(f"CONFIG_DEFAULT_HOSTNAME={n}" for n in ('""', '"abc"', '"abcd"', '"abc', 'a"', '"a"b"', "y", "3", '"é"')),
    *(f"CONFIG_CC_VERSION_TEXT={n}" for n in (f'"{"x" * 63}"', f'"{"x" * 64}"')),
    "CONFIG_NOT_THERE_TRISTATE=m",
    'CONFIG_NOT_THERE_TEXT="there"',
]


@pytest.fixture(scope="module")
def values_of_libbpf(tmp_path_factory):
    """What libbpf puts into the map for each case, None if it refuses the object."""
    program = compiled(tmp_path_factory.mktemp("libbpf"), traced.HERE / "libbpf_kconfig.c")
    command = [program, OBJECTS / "extern_kconfig.bpf.o", *CASES]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return {case: None if line == "refused" else bytes.fromhex(line) for case, line in zip(CASES, lines, strict=True)}


@pytest.mark.needs_tool("cc")
@pytest.mark.parametrize("case", CASES)
def test_values_as_libbpf_reads_them(case, values_of_libbpf):
    spec = parsed("extern_kconfig")
    facts = KernelFacts.running(config=case.encode())
    if values_of_libbpf[case] is None:
        with pytest.raises(PlanError, match="CONFIG_"):
            spec.plan(facts)
    else:
        content = next(c for c in spec.plan(facts) if c.fields.get("map_fd") == Handle("map", ".kconfig"))
        assert content.fields["value"] == values_of_libbpf[case]


def test_addresses_are_those_of_kallsyms():
    with parsed("extern_addresses").load() as loaded:
        loaded.programs["see"].run(data=PACKET)
        found, missing = loaded.maps[".bss"][0], loaded.maps[".data"][0]
    listed = dict(
        reversed(line.split()[:3:2])
        for line in Path("/proc/kallsyms").read_text().splitlines()
        if line.split()[2] in ("_stext", "bpf_link_put", "bpf_link_inc")
    )
    addresses = {name: int(address, 16) for name, address in listed.items()}
    assert addresses["_stext"]
    assert (found.stext, found.link_put, found.link_inc) == tuple(
        addresses[name] for name in ("_stext", "bpf_link_put", "bpf_link_inc")
    )
    assert (missing.missing_address, missing.missing_variable) == (0, 0)


needs_syscall_programs = pytest.mark.needs_kernel("programs of section syscall (Linux 5.14)", RELEASE >= (5, 14))
has_task_kfuncs = has_symbol("bpf_task_from_pid")


@pytest.mark.needs_kernel("bpf_task_from_pid() and bpf_rcu_read_lock() (Linux 6.2)", has_task_kfuncs)
@pytest.mark.parametrize(("pid", "found"), [(os.getpid(), 1), (0x7FFFFFFF, 0)], ids=["ours", "nobody's"])
def test_functions_of_the_kernel_are_called(pid, found):
    spec = parsed("extern_kfuncs")
    spec.variables["pid"] = pid
    with spec.load() as loaded:
        loaded.programs["call"].run()
        assert loaded.maps[".data"][0].found == found


@needs_syscall_programs
def test_weak_functions():
    spec = parsed("extern_weak_kfuncs")
    spec.variables["pid"] = os.getpid()
    with spec.load() as loaded:
        loaded.programs["call"].run()
        seen = loaded.maps[".data"][0]
    assert (seen.found, seen.missing, seen.other) == ((1, 0, 0) if has_task_kfuncs else (-1, 1, 0))


@needs_syscall_programs
def test_a_missing_function_that_is_called_without_asking():
    spec = parsed("extern_weak_kfuncs")
    spec.programs["unguarded"].autoload = True
    with pytest.raises(VerifierError) as caught:
        spec.load().close()
    assert "invalid func unknown#2002000003" in caught.value.log
    assert "from tests/objects/extern_weak_kfuncs.bpf.c:" in str(caught.value)
    assert "The kernel has no function 'purebpf_missing' as declared" in str(caught.value)


def types_have(name):
    types = Path("/sys/kernel/btf/vmlinux")
    return types.exists() and f"\0{name}\0".encode() in types.read_bytes()


@NEEDS_CONFIG
@pytest.mark.needs_kernel("variables in its BTF", lambda: types_have("runqueues"))
def test_a_variable_of_the_kernel():
    """Without CONFIG_KALLSYMS_ALL the kernel refuses it, and the error says why."""
    if "CONFIG_KALLSYMS_ALL" in kernel_config():
        with parsed("extern_variables").load() as loaded:
            loaded.attach()
            os.sched_yield()
            seen = loaded.maps[".data"][0]
        assert seen.cpu_of_queue == 0
        assert (seen.active >= 0) == types_have("bpf_prog_active")
    else:
        with pytest.raises(VerifierError, match="CONFIG_KALLSYMS_ALL"):
            parsed("extern_variables").load().close()


def test_modules_of_the_running_kernel():
    kernel = KernelFacts.running()
    modules = running_modules(kernel.btf)
    own = {path.name: path for path in Path("/sys/kernel/btf").iterdir() if path.name != "vmlinux"}
    assert {module.name for module in modules} == set(own)
    assert [module.id for module in modules] == sorted(module.id for module in modules)
