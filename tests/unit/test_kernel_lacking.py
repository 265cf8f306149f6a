"""What a kernel lacks, of kernels that only pretend: `probe` answers as such a kernel would.

Real ones are asked in tests/kernel/test_unmet_needs.py.
"""

from __future__ import annotations

import errno

import pytest

from purebpf.abi import releases
from purebpf.abi.bpf import bpf_attach_type as attach
from purebpf.abi.bpf import bpf_cmd, bpf_map_flags, bpf_map_type, bpf_prog_flags, bpf_prog_type
from purebpf.errors import KernelError
from purebpf.kernel import lacking
from purebpf.kernel.lacking import lacking as lack

SLEEPABLE, FRAGS = bpf_prog_flags.BPF_F_SLEEPABLE, bpf_prog_flags.BPF_F_XDP_HAS_FRAGS


class Kernel:
    """Knows what came up to its release, unless it was built without; and notes what it is asked."""

    def __init__(self, version, without=()):
        self.version = version
        self.without = without
        self.asked = []

    def _knows(self, origin):
        return self.version >= origin.since and not set(origin.options) & set(self.without)

    def has_program_type(self, name):
        self.asked.append(name)
        return self._knows(releases.PROGRAM_TYPES[bpf_prog_type[f"BPF_PROG_TYPE_{name.upper()}"]])

    def has_map_type(self, name):
        self.asked.append(name)
        return self._knows(releases.MAP_TYPES[bpf_map_type[f"BPF_MAP_TYPE_{name.upper()}"]])

    def has_attach_kind(self, name):
        self.asked.append(name)
        return self.version >= releases.ATTACH_TYPES[attach[f"BPF_{name.upper()}"]]

    def refusal(self, kind, program, fields):
        self.asked.append(kind)
        flags = fields.get("prog_flags", 0)
        if not self._knows(releases.PROGRAM_TYPES[kind]):
            return errno.EINVAL, ""
        if self.version < releases.ATTACH_TYPES.get(fields.get("expected_attach_type"), (0, 0)):
            return errno.EINVAL, ""
        if (flags & SLEEPABLE and self.version < (5, 10)) or (flags & FRAGS and self.version < (5, 18)):
            return errno.EINVAL, ""
        if flags & SLEEPABLE and self.version < releases.SLEEPABLE.get(kind, (99, 0)):
            return errno.EINVAL, "Only fentry/fexit/fmod_ret and lsm programs can be sleepable\n"
        return 0, ""


@pytest.fixture
def kernel(monkeypatch):
    def pretend(version, without=()):
        made = Kernel(version, without)
        for name in ("has_program_type", "has_map_type", "has_attach_kind", "refusal"):
            monkeypatch.setattr(lacking.probe, name, getattr(made, name))
        monkeypatch.setattr(lacking, "_version", lambda: version)
        told = "The kernel was built without {}"
        monkeypatch.setattr(
            lacking, "built_without", lambda *options: told.format(options[0]) if set(options) & set(without) else ""
        )
        return made

    return pretend


def of_program(kind, code=errno.EINVAL, hook=0, flags=0):
    fields = {"prog_type": bpf_prog_type[f"BPF_PROG_TYPE_{kind}"], "expected_attach_type": hook, "prog_flags": flags}
    return lack(code, bpf_cmd.BPF_PROG_LOAD, fields)


def of_map(kind, code=errno.EINVAL, flags=0):
    return lack(code, bpf_cmd.BPF_MAP_CREATE, {"map_type": bpf_map_type[f"BPF_MAP_TYPE_{kind}"], "map_flags": flags})


@pytest.mark.parametrize(
    ("kind", "hook", "flags", "said"),
    [
        ("SYSCALL", 0, SLEEPABLE, "programs of type BPF_PROG_TYPE_SYSCALL, which take Linux 5.14"),
        (
            "NETFILTER",
            attach.BPF_NETFILTER,
            0,
            "programs of type BPF_PROG_TYPE_NETFILTER, which take Linux 6.4 with CONFIG_NETFILTER_BPF_LINK",
        ),
        ("KPROBE", 0, SLEEPABLE, "sleepable programs of type BPF_PROG_TYPE_KPROBE, which take Linux 6.0"),
        ("STRUCT_OPS", 0, SLEEPABLE, "sleepable programs of type BPF_PROG_TYPE_STRUCT_OPS, which take Linux 6.3"),
        ("XDP", attach.BPF_XDP, FRAGS, "XDP programs with BPF_F_XDP_HAS_FRAGS, which take Linux 5.18"),
        (
            "CGROUP_SOCK_ADDR",
            attach.BPF_CGROUP_UNIX_CONNECT,
            0,
            "programs for BPF_CGROUP_UNIX_CONNECT, which take Linux 6.7",
        ),
        ("TRACING", attach.BPF_TRACE_FSESSION, SLEEPABLE, "programs for BPF_TRACE_FSESSION, which take Linux 7.0"),
    ],
)
def test_a_program_that_is_too_new(kernel, kind, hook, flags, said):
    kernel((5, 10))
    assert of_program(kind, hook=hook, flags=flags) == f"Linux 5.10 has no {said}"


@pytest.mark.parametrize(
    ("kind", "flags", "said"),
    [
        ("BLOOM_FILTER", 0, "maps of type BPF_MAP_TYPE_BLOOM_FILTER, which take Linux 5.16"),
        ("USER_RINGBUF", 0, "maps of type BPF_MAP_TYPE_USER_RINGBUF, which take Linux 6.1"),
        ("STRUCT_OPS", bpf_map_flags.BPF_F_LINK, "maps with BPF_F_LINK, which take Linux 6.4"),
    ],
)
@pytest.mark.parametrize("code", [errno.EINVAL, errno.E2BIG])
def test_a_map_that_is_too_new(kernel, code, kind, flags, said):
    kernel((5, 10))
    assert of_map(kind, code, flags) == f"Linux 5.10 has no {said}"


def test_a_program_for_one_driver(kernel):
    """Interface 1 is the loopback interface; this kernel refuses nothing for it."""
    fields = {"prog_type": bpf_prog_type.BPF_PROG_TYPE_XDP, "prog_ifindex": 1}
    for_driver = fields | {"prog_flags": bpf_prog_flags.BPF_F_XDP_DEV_BOUND_ONLY}
    kernel((6, 2))
    assert lack(errno.EINVAL, bpf_cmd.BPF_PROG_LOAD, for_driver) == (
        "Linux 6.2 has no XDP programs with BPF_F_XDP_DEV_BOUND_ONLY, which take Linux 6.3"
    )
    assert lack(errno.EINVAL, bpf_cmd.BPF_PROG_LOAD, fields) == ""
    kernel((6, 3))
    assert lack(errno.EINVAL, bpf_cmd.BPF_PROG_LOAD, for_driver) == ""


def test_before_the_flag_itself(kernel):
    """The verifier is not asked then, and says nothing."""
    kernel((5, 9))
    assert of_program("TRACING", flags=SLEEPABLE).endswith("type BPF_PROG_TYPE_TRACING, which take Linux 5.10")


def test_what_no_kernel_has(kernel):
    kernel((7, 2))
    assert of_program("SOCKET_FILTER", flags=SLEEPABLE) == "There are no sleepable programs of type " + (
        "BPF_PROG_TYPE_SOCKET_FILTER"
    )


@pytest.mark.parametrize("hook", [0, attach.BPF_CGROUP_UNIX_CONNECT])
def test_a_kernel_that_was_built_without(kernel, hook):
    kernel((6, 18), without=["CONFIG_CGROUP_BPF"])
    told = "This kernel has no programs of type BPF_PROG_TYPE_CGROUP_SOCK_ADDR. The kernel was built without CONFIG_CGR"
    assert of_program("CGROUP_SOCK_ADDR", hook=hook).startswith(told)


def test_a_kernel_that_lacks_nothing(kernel):
    asked = kernel((7, 2)).asked
    assert of_program("KPROBE", flags=SLEEPABLE) == of_program("XDP", flags=FRAGS) == of_program("SK_LOOKUP") == ""
    assert of_map("ARENA") == of_map("ARRAY", flags=bpf_map_flags.BPF_F_MMAPABLE) == ""
    assert asked


@pytest.mark.parametrize("code", [errno.EPERM, errno.ENOMEM, errno.EMFILE, errno.EINTR])
def test_an_errno_that_has_other_reasons(kernel, code):
    made = kernel((5, 10))
    assert of_program("NETFILTER", code) == of_map("ARENA", code) == ""
    assert made.asked == []


def test_other_commands(kernel):
    made = kernel((5, 10))
    assert lack(errno.EINVAL, bpf_cmd.BPF_BTF_LOAD, {}) == ""
    assert made.asked == []


@pytest.mark.parametrize("number", [0, 9999, -1])
def test_a_type_without_a_name(kernel, number):
    kernel((5, 10))
    assert lack(errno.EINVAL, bpf_cmd.BPF_PROG_LOAD, {"prog_type": number}) == ""
    assert lack(errno.EINVAL, bpf_cmd.BPF_MAP_CREATE, {"map_type": number}) == ""


def test_who_may_not_ask_gets_no_other_error(kernel, monkeypatch):
    def refuse(*_):
        raise KernelError(errno.EPERM, "asking")

    kernel((5, 10))
    for name in ("has_program_type", "has_map_type", "refusal"):
        monkeypatch.setattr(lacking.probe, name, refuse)
    assert of_program("NETFILTER") == of_map("ARENA") == ""


def test_every_type_has_its_release():
    assert set(releases.PROGRAM_TYPES) == set(bpf_prog_type) - {bpf_prog_type.BPF_PROG_TYPE_UNSPEC}
    assert set(releases.MAP_TYPES) == set(bpf_map_type) - {bpf_map_type.BPF_MAP_TYPE_UNSPEC}
