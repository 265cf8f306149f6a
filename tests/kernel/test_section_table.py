"""Every section name that makes a program: its program is recognised, loaded, attached, and an event arrives.

One program for each row of the table of sections is loaded alone (tests/objects/hook_*.bpf.c), attached by what its
section says or by the method of its kind, and made to run by something that happens (triggers.py).

What the running kernel lacks, libbpf has to be refused too, at the same step and with the same errno
(libbpf_attach.c); attachments that libbpf cannot make, `ip` and `tc`.  If they are not, the test fails.

What came of each row goes into the property "section" of its test, and, if the environment variable
PUREBPF_SECTION_TABLE names a file, into that, as a list.  docs/sections.md is made of it (tests/vm/sections.py).
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import triggers
from kernel_state import RELEASE, eventually, has_symbol, running_kernel
from network import cgroup, in_cgroup, ip, namespace, send, unshare_mounts, veth
from probing import x86_64_only
from running import OUTER_PIDS

import purebpf
from purebpf.abi.bpf import bpf_attach_type
from purebpf.abi.perf import perf_sw_ids, perf_type_id
from purebpf.kernel import pin
from purebpf.kernel.config import built_without
from purebpf.obj.sections import SECTIONS

pytestmark = [pytest.mark.needs_root, pytest.mark.needs_tool("ip", "tc"), x86_64_only]

ROOT = Path(__file__).resolve().parents[2]
OBJECTS = ROOT / "tests/objects"
WITH_TRACEFS = ["unshare", "-m", "sh", "-c", 'mount -t tracefs tracefs /sys/kernel/tracing && exec "$@"', "sh"]
"""libbpf has to find one mounted; it is for that process only."""


class LackingError(Exception):
    """Something that purebpf has no part in is missing: the row stays empty, and this says why."""


# How the programs are attached and made to run


class Hook:
    """A way to attach a program, and to make it run.  This one: by its section, and `trigger` does something."""

    object = "hook_tracing"
    libbpf: tuple[str, ...] = ("auto",)
    """How libbpf_attach.c is to do it."""

    def __init__(self, trigger=None, *options):
        """``options``: what it takes of the kernel's configuration, where errors do not say it."""
        self.trigger = trigger
        self.options = options

    def others(self, name):
        """Programs to load besides; they do not count."""
        return ()

    @contextlib.contextmanager
    def surroundings(self):
        """What has to be there before."""
        yield

    def prepare(self, spec, name):
        """Before it is loaded."""

    def attach(self, bpf, program):
        (link,) = bpf.attach()
        return link

    def run(self, bpf, program, link):
        self.trigger()


class UserFunction(Hook):
    """In a library of this test's own, which is found by its name."""

    def __init__(self, function, *arguments):
        super().__init__(lambda: getattr(self._library, function)(*arguments))

    @contextlib.contextmanager
    def surroundings(self):
        with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
            path = shutil.copy(OBJECTS / "probed.x86_64.so", f"{directory}/libhooked.so")
            self._library = ctypes.CDLL(path)
            patch.setenv("LD_LIBRARY_PATH", directory)
            yield


class UserProbe(Hook):
    """In a program of this test's own.  It is found by its name, and told to hit a tracepoint."""

    @contextlib.contextmanager
    def surroundings(self):
        with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
            self._path = shutil.copy(OBJECTS / "probed.x86_64", f"{directory}/hooked")
            patch.setenv("PATH", directory, prepend=os.pathsep)
            yield

    def run(self, bpf, program, link):
        subprocess.run([self._path], input=b"n", stdout=subprocess.DEVNULL, check=True)


class TestFunction(Hook):
    """A function that the kernel has for testing, and calls when it is to run a program of section fentry."""

    __test__ = False  # for pytest

    def others(self, name):
        return ("calls_test_functions",)

    def prepare(self, spec, name):
        spec.programs["calls_test_functions"].autoattach = False

    def run(self, bpf, program, link):
        bpf.programs["calls_test_functions"].run()


class Iterator(Hook):
    def run(self, bpf, program, link):
        link.read()


class OnAnotherProgram(Hook):
    """A packet program is run."""

    @contextlib.contextmanager
    def surroundings(self):
        with purebpf.load(OBJECTS / "target_replaceable.bpf.o") as target:
            self.target = target.programs["calls_it"]
            yield

    def run(self, bpf, program, link):
        self.target.run(data=bytes(64))


class Replacement(OnAnotherProgram):
    libbpf = ("freplace", str(OBJECTS / "target_replaceable.bpf.o"), "calls_it", "replaceable")

    def prepare(self, spec, name):
        spec.programs[name].attach_prog_fd = self.target.fileno()


class PerfEvent(Hook):
    libbpf = ("perf_event",)

    def attach(self, bpf, program):
        counter = perf_type_id.PERF_TYPE_SOFTWARE, perf_sw_ids.PERF_COUNT_SW_CPU_CLOCK
        return program.attach_perf_event(*counter, frequency=100, pid=0)


class OnRequest(Hook):
    """Is attached to nothing; running it is all there is."""

    libbpf = ("load",)

    def attach(self, bpf, program):
        return contextlib.nullcontext()

    def run(self, bpf, program, link):
        program.run()


class StructOps(Hook):
    libbpf = ("struct_ops",)

    def __init__(self, object):
        super().__init__(lambda: triggers.congestion_control(b"purebpf_hook"))
        self.object = object

    def prepare(self, spec, name):
        spec.programs[name].autoload = True


class NetworkHook(Hook):
    """In a network namespace with the interfaces pb0 and pb1: what one sends, the other receives."""

    object = "hook_network"

    @contextlib.contextmanager
    def surroundings(self):
        with namespace():
            veth()
            yield


class Xdp(NetworkHook):
    libbpf = ("xdp", "pb0")

    def attach(self, bpf, program):
        return program.attach_xdp("pb0", "driver")

    def run(self, bpf, program, link):
        send("pb1")


class InMap(NetworkHook):
    """Where another XDP program sends packets to: an interface, or a CPU."""

    libbpf = ("load",)

    def __init__(self, kind):
        super().__init__()
        self.kind = kind

    def others(self, name):
        frags = "_frags" if "frags" in name else ""
        return f"to_{self.kind}{frags}", f"pass{frags}"

    @contextlib.contextmanager
    def surroundings(self):
        with super().surroundings():
            veth("pb2", "pb3")
            yield

    def attach(self, bpf, program):
        sends, receives = self.others(program.name)
        if self.kind == "port":
            bpf.maps["ports"][0] = (socket.if_nametoindex("pb2"), {"fd": program.fileno()})
        else:
            bpf.maps["cpus"][0] = (64, {"fd": program.fileno()})
        links = contextlib.ExitStack()
        links.enter_context(bpf.programs[sends].attach_xdp("pb0", "driver"))
        links.enter_context(bpf.programs[receives].attach_xdp("pb3", "driver"))  # it takes what pb2 sends
        return links

    def run(self, bpf, program, link):
        send("pb1")


class Tc(NetworkHook):
    def __init__(self, direction):
        super().__init__()
        self.direction = direction
        self.libbpf = ("tc", "pb0", direction)

    def attach(self, bpf, program):
        says_it = program.spec.section.endswith("gress")
        return program.attach_tc("pb0") if says_it else program.attach_tc("pb0", self.direction)

    def run(self, bpf, program, link):
        send("pb1" if self.direction == "ingress" else "pb0")


class Action(Tc):
    """Which `tc` can make of classic BPF too."""

    def __init__(self):
        super().__init__("ingress")
        self.libbpf = ("load",)

    def attach(self, bpf, program):
        command = "tc qdisc add dev lo clsact && tc filter add dev lo ingress matchall action bpf bytecode '1,6 0 0 0,'"
        done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
        if done.returncode:
            lacking = built_without("CONFIG_NET_ACT_BPF", "CONFIG_NET_CLS_MATCHALL")
            raise LackingError(f"`tc filter add ... matchall action bpf` fails, with classic BPF too. {lacking}")
        return super().attach(bpf, program)


class Tcx(Tc):
    def __init__(self, direction):
        super().__init__(direction)
        self.libbpf = ("tcx", "pb0")

    def attach(self, bpf, program):
        return program.attach_tcx("pb0")


class Netkit(NetworkHook):
    libbpf = ("netkit", "nk0")

    def __init__(self, sender):
        super().__init__(lambda: send(sender), "CONFIG_NETKIT")

    @contextlib.contextmanager
    def surroundings(self):
        with namespace():
            if has_symbol("netkit_prog_attach"):
                ip("link", "add", "nk0", "type", "netkit", "peer", "name", "nk1")
                ip("link", "set", "nk0", "up")
                ip("link", "set", "nk1", "up")
            else:
                veth("nk0", "nk1")
            yield

    def attach(self, bpf, program):
        return program.attach_netkit("nk0")


class InCgroup(Hook):
    def __init__(self, trigger, object="hook_network"):
        super().__init__(trigger)
        self.object = object

    @contextlib.contextmanager
    def surroundings(self):
        with namespace(), cgroup() as self.group:
            self.libbpf = ("cgroup", self.group)
            yield

    def attach(self, bpf, program):
        return program.attach_cgroup(self.group)

    def run(self, bpf, program, link):
        in_cgroup(self.group, self.trigger)


class SocketFilter(NetworkHook):
    libbpf = ("load",)

    @contextlib.contextmanager
    def surroundings(self):
        with namespace(), triggers.receiver() as self.receiver:
            yield

    def attach(self, bpf, program):
        return program.attach_socket_filter(self.receiver)

    def run(self, bpf, program, link):
        triggers.send_to(self.receiver)


class Chooser(SocketFilter):
    @contextlib.contextmanager
    def surroundings(self):
        with namespace(), triggers.receiver(share=True) as self.receiver:
            yield

    def attach(self, bpf, program):
        return program.attach_reuseport(self.receiver)


class Migrator(NetworkHook):
    libbpf = ("load",)

    @contextlib.contextmanager
    def surroundings(self):
        with namespace(), triggers.waiting_connection() as (self.first, self.second):
            yield

    def attach(self, bpf, program):
        return program.attach_reuseport(self.second)

    def run(self, bpf, program, link):
        self.first.close()


class Sockmap(NetworkHook):
    """On what one end of a connection receives, or sends."""

    def __init__(self, attach_type, with_other=None, sending=False):
        super().__init__()
        self.attach_type = attach_type
        self.with_other = with_other
        self.sending = sending
        self.libbpf = ("sockmap", "sockets", str(attach_type.value))

    def others(self, name):
        return (self.with_other,) if self.with_other else ()

    def attach(self, bpf, program):
        with contextlib.ExitStack() as links:
            links.enter_context(program.attach_sockmap(bpf.maps["sockets"], attach_type=self.attach_type))
            if self.with_other:
                links.enter_context(bpf.programs[self.with_other].attach_sockmap(bpf.maps["sockets"]))
            return links.pop_all()

    def run(self, bpf, program, link):
        with triggers.connection() as (one, other):
            bpf.maps["sockets"][0] = (one if self.sending else other).fileno()
            one.send(b"hello")
            assert other.recv(9) == b"hello"


class Netns(NetworkHook):
    libbpf = ("netns",)

    def attach(self, bpf, program):
        return program.attach_netns()


class Netfilter(NetworkHook):
    libbpf = ("netfilter",)

    def attach(self, bpf, program):
        return program.attach_netfilter("ipv4", "input", priority=-7)


class Route(NetworkHook):
    """`ip` makes the route, and gives it the program by its pin."""

    libbpf = ("load",)

    def __init__(self, route, trigger):
        super().__init__(trigger)
        self.route = route.split()

    @contextlib.contextmanager
    def surroundings(self):
        with super().surroundings(), tempfile.TemporaryDirectory() as self.directory:
            ip("address", "add", "10.9.1.2/30", "dev", "pb0")
            for setting in ("pb0/disable_ipv6=0", "all/forwarding=1"):
                path, _, value = setting.partition("=")
                Path("/proc/sys/net/ipv6/conf", path).write_text(value)
            yield

    def attach(self, bpf, program):
        """By a child process, where a BPF file system can be mounted for itself alone."""
        answer, told = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                unshare_mounts()
                subprocess.run(["mount", "-t", "bpf", "bpf", self.directory], check=True)
                pin.make(program, f"{self.directory}/program", "pinning")
                command = ["ip", "-6"] if "::" in self.route[0] else ["ip"]
                command += ["route", "add", *self.route, "pinned", f"{self.directory}/program"]
                done = subprocess.run(command, capture_output=True, text=True)
                os.write(told, (done.stderr or "?" if done.returncode else "added").encode())
            finally:
                os._exit(0)
        os.close(told)
        with open(answer) as file:
            said = file.read().strip()
        os.waitpid(child, 0)
        assert said
        if said != "added":
            raise LackingError(f"`ip route add {' '.join(self.route)}` fails: {said}")
        return contextlib.nullcontext()


class Infrared(NetworkHook):
    libbpf = ("load",)

    def attach(self, bpf, program):
        if not Path("/dev/lirc0").exists():
            raise LackingError("there is no infrared receiver in this machine")
        return program.attach_lirc("/dev/lirc0")


SUM = UserFunction("probed_sum", 40, 2)
SYSTEM_CALL = Hook(triggers.system_call)
SLEEPABLE = TestFunction()
VERDICT, PARSER = bpf_attach_type.BPF_SK_SKB_STREAM_VERDICT, bpf_attach_type.BPF_SK_SKB_STREAM_PARSER

HOOKS = {
    "socket": SocketFilter(),
    "sk_reuseport/migrate": Migrator(),
    "sk_reuseport": Chooser(),
    **dict.fromkeys(("kprobe+", "kretprobe+"), Hook(triggers.sleep)),
    **dict.fromkeys(
        ("kprobe.multi+", "kretprobe.multi+", "kprobe.session+"), Hook(triggers.system_call, "CONFIG_FPROBE")
    ),
    **dict.fromkeys(("ksyscall+", "kretsyscall+"), SYSTEM_CALL),
    **{row.name: SUM for row in SECTIONS if row.name.startswith(("uprobe", "uretprobe"))},
    **dict.fromkeys(("usdt+", "usdt.s+"), UserProbe()),
    **dict.fromkeys(("tc/ingress", "tc", "classifier"), Tc("ingress")),
    "tc/egress": Tc("egress"),
    "tcx/ingress": Tcx("ingress"),
    "tcx/egress": Tcx("egress"),
    "action": Action(),
    "netkit/primary": Netkit("nk0"),
    "netkit/peer": Netkit("nk1"),
    **{row.name: SYSTEM_CALL for row in SECTIONS if row.name.startswith(("tracepoint", "tp", "raw_t"))},
    **dict.fromkeys(("raw_tracepoint.w+", "raw_tp.w+"), OnAnotherProgram()),
    **dict.fromkeys(("fentry+", "fexit+", "fsession+"), Hook(triggers.sleep)),
    **dict.fromkeys(("fentry.s+", "fexit.s+", "fsession.s+", "fmod_ret.s+"), SLEEPABLE),
    **dict.fromkeys(("fentry.multi+", "fexit.multi+", "fsession.multi+"), SYSTEM_CALL),
    **dict.fromkeys(("fentry.multi.s+", "fexit.multi.s+", "fsession.multi.s+"), SLEEPABLE),
    "freplace+": Replacement(),
    **dict.fromkeys(("lsm+", "fmod_ret+"), Hook(triggers.open_device)),
    "lsm.s+": Hook(triggers.execute),
    "lsm_cgroup+": InCgroup(triggers.create, "hook_tracing"),
    **dict.fromkeys(("iter+", "iter.s+"), Iterator()),
    "syscall": OnRequest(),
    **dict.fromkeys(("xdp.frags/devmap", "xdp/devmap"), InMap("port")),
    **dict.fromkeys(("xdp.frags/cpumap", "xdp/cpumap"), InMap("cpu")),
    **dict.fromkeys(("xdp.frags", "xdp"), Xdp()),
    "perf_event": PerfEvent(triggers.busy),
    "lwt_in": Route("table local local 10.9.0.1/32 dev lo encap bpf in", lambda: triggers.udp_to("10.9.0.1")),
    "lwt_out": Route("10.9.1.0/24 dev pb0 encap bpf out", lambda: triggers.udp_to("10.9.1.77")),
    "lwt_xmit": Route("10.9.1.0/24 dev pb0 encap bpf xmit", lambda: triggers.udp_to("10.9.1.77")),
    "lwt_seg6local": Route("fd00::/64 dev pb0 encap seg6local action End.BPF endpoint", triggers.segment_routed),
    **{name: InCgroup(trigger) for name, trigger in triggers.IN_CGROUP.items()},
    "sk_skb/stream_parser": Sockmap(PARSER, "any_verdict"),
    "sk_skb/stream_verdict": Sockmap(VERDICT, "any_parser"),
    "sk_skb/verdict": Sockmap(bpf_attach_type.BPF_SK_SKB_VERDICT),
    "sk_skb": Sockmap(VERDICT, "any_parser"),
    "sk_msg": Sockmap(bpf_attach_type.BPF_SK_MSG_VERDICT, sending=True),
    "lirc_mode2": Infrared(None, "CONFIG_BPF_LIRC_MODE2"),
    "flow_dissector": Netns(lambda: send("lo")),  # an AF_PACKET socket has the headers taken apart of what it sends
    "struct_ops+": StructOps("hook_struct_ops"),
    "struct_ops.s+": StructOps("hook_struct_ops_s"),
    "sk_lookup": Netns(triggers.knock),
    "netfilter": Netfilter(lambda: triggers.exchange(triggers.IP4)),
}


SINCE = {
    r"lsm_cgroup|u(ret)?probe\.s|usdt\.s": (6, 0),
    r"kprobe\.multi|kretprobe\.multi": (5, 18),
    r"kprobe\.session": (6, 10),
    r"u(ret)?probe\.multi(\.s)?": (6, 6),
    r"uprobe\.session(\.s)?": (6, 13),
    r"tcx/.*": (6, 6),
    r"netkit/.*|cgroup/.*_unix": (6, 7),
    r"syscall|sk_reuseport/migrate": (5, 14),
    r"xdp\.frags.*": (5, 18),
    r"netfilter": (6, 4),
    r"sk_skb/verdict": (5, 13),
    r"struct_ops\.s": (6, 3),
    r"fsession(\.s)?": (7, 0),
    r"(raw_)?(tracepoint|tp)\.s|tp_btf\.s|f(entry|exit|session)\.multi(\.s)?": (7, 2),
}
"""Which Linux brought what, for the notes in the table."""


# The table


@pytest.fixture(scope="module")
def specs():
    """The objects, parsed once."""
    names = ("hook_network", "hook_tracing", "hook_struct_ops", "hook_struct_ops_s")
    found = {name: purebpf.parse(OBJECTS / f"{name}.bpf.o") for name in names}
    found["hook_tracing"].variables["only_tgid"] = os.getpid() * OUTER_PIDS
    found["hook_tracing"].variables["system_call"] = 148  # sched_rr_get_interval, on x86-64
    return found


@pytest.fixture(scope="module")
def table():
    """The results, which are written when all are there."""
    rows = []
    yield rows
    path = os.environ.get("PUREBPF_SECTION_TABLE")
    if path:
        Path(path).write_text(json.dumps(rows, indent=1) + "\n")


@functools.cache
def loader():
    """The path of the compiled libbpf_attach.c, which takes a newer libbpf than machines have."""
    built = Path(__file__).parent / ".build/libbpf_attach"
    may_fetch = "1" in (os.environ.get("PUREBPF_FETCH"), os.environ.get("PUREBPF_REQUIRE_ALL"))
    if not (built.exists() or may_fetch):
        pytest.skip("needs the libbpf that make section-table fetches")
    command = [sys.executable, "-m", "tests.vm.libbpf_attach"]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def libbpf(hook, program):
    """What libbpf is told when it does the same: (errno of loading, errno of attaching, its version)."""
    row = program.definition
    target = program.attach_to if row.needs_btf_target else ""
    unknown = ("as", row.type.value, int(row.attach_type), int(row.prog_flags), target)
    words = (OBJECTS / f"{hook.object}.bpf.o", program.name, *unknown, *hook.libbpf)
    done = subprocess.run([*WITH_TRACEFS, loader(), *map(str, words)], capture_output=True, text=True, check=True)
    loading, attaching, version = done.stdout.splitlines()[0].split()
    return int(loading), int(attaching), f"libbpf {version.removeprefix('v')}"


def name_of(number):
    return errno.errorcode.get(number, f"errno {number}")


def refusal(step, error, hook, program):
    """Why the row is empty: libbpf's answer, which has to be the same, and what purebpf says about that."""
    loading, attaching, version = libbpf(hook, program)
    number = loading if step == "load" else attaching
    assert number and not (step == "attach" and loading), f"{version} can {step} it; purebpf: {error}"
    if isinstance(error, OSError):
        assert name_of(error.errno) == name_of(number), f"{version} gets {name_of(number)}; purebpf: {error}"
    answer = f"cannot be {step}ed: {name_of(number)}, for {version} too"
    said = explanation(error, program.definition, hook)
    return f"{answer}. {said}" if said else answer


def explanation(error, row, hook):
    """What the kernel is too old for, or else what the error says besides what was refused."""
    since = next((since for names, since in SINCE.items() if re.fullmatch(names, row.name.rstrip("+"))), (0,))
    if since > RELEASE:
        return "It takes Linux {}.{}".format(*since)
    lacking = built_without(*hook.options) if hook.options else ""
    if lacking:
        return lacking
    if isinstance(error, purebpf.KernelError) and error.hint:
        return error.hint
    if isinstance(error, purebpf.VerifierError):
        lines = [line for line in error.log.splitlines() if not line.startswith("processed ")]
        return f'The kernel says "{lines[0]}"' if lines else ""
    if isinstance(error, purebpf.KernelError):
        return ""
    said = re.sub(r"^(program '\w+': )?(attaching to [^:]+: )?", "", str(error))
    return said[:1].upper() + said[1:]


def parameters():
    return [pytest.param(row, id=row.name.rstrip("+")) for row in SECTIONS]


@pytest.mark.parametrize("row", parameters())
def test_section(row, specs, table, record_property):
    hook = HOOKS[row.name]
    spec = specs[hook.object]
    name = "on_" + re.sub(r"\W", "_", row.name.rstrip("+"))
    result = {"section": row.name, "recognised": False, "loaded": False, "attached": False, "event": False, "why": ""}
    result["kernel"] = platform.release()
    table.append(result)
    record_property("section", result)

    program = spec.programs[name]
    result["recognised"] = program.definition == row
    assert result["recognised"]
    with contextlib.ExitStack() as stack:
        stack.enter_context(hook.surroundings())
        hook.prepare(spec, name)
        for each in spec.programs.values():
            each.autoload = each.name in (name, *hook.others(name))
        try:
            bpf = stack.enter_context(spec.load(running_kernel()))
        except purebpf.PureBpfError as error:
            result["why"] = refusal("load", error, hook, program)
            return
        result["loaded"] = True
        try:
            link = stack.enter_context(hook.attach(bpf, bpf.programs[name]))
        except purebpf.PureBpfError as error:
            result["why"] = refusal("attach", error, hook, program)
            return
        except LackingError as error:
            result["why"] = str(error)
            return
        result["attached"] = True
        before = bpf.maps[".bss"][0].runs
        hook.run(bpf, bpf.programs[name], link)
        assert eventually(lambda: bpf.maps[".bss"][0].runs > before)
        result["event"] = True


def test_every_section_is_in_the_table():
    assert len(SECTIONS) == 116
    assert set(HOOKS) == {row.name for row in SECTIONS}
