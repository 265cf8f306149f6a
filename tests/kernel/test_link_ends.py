"""How attachments end that take more than closing descriptors: closed, closed twice, or with their process killed.

Above all probes that tracefs defines: where the kernel cannot do without, the definition goes with the process.
"""

from __future__ import annotations

import errno
import os
import random
import re
import signal
import time
from contextlib import contextmanager

import pytest
from kernel_state import RELEASE, children, eventually, id_of, killed_later, links_of
from network import cgroup
from network import loaded as loaded_network
from probing import library, loaded, needs_kprobes, x86_64_only

from purebpf.abi.bpf import bpf_attach_type
from purebpf.abi.perf import perf_event_attr, perf_type_id
from purebpf.errors import AttachError, KernelError
from purebpf.kernel import cpu, tracefs
from purebpf.kernel.features import Feature, Features
from purebpf.kernel.perf import perf_event_open
from purebpf.kernel.tracefs import Tracefs, remove_definition
from purebpf.links.cgroup import attach_cgroup
from purebpf.links.kprobe import attach_kprobe
from purebpf.links.uprobe import attach_uprobe
from purebpf.links.usdt import Specs, attach_usdt

pytestmark = [pytest.mark.needs_root, x86_64_only]
__all__ = ["library"]

FUNCTION = "__x64_sys_sched_get_priority_max"
IOCTL = {Feature.PERF_LINK: False, Feature.KPROBE_PMU: False, Feature.UPROBE_PMU: False}
LINK = {**IOCTL, Feature.PERF_LINK: True}
USDT = {**IOCTL, Feature.UPROBE_MULTI_LINK: False, Feature.BPF_COOKIE: False}

WAYS = [
    pytest.param(IOCTL, id="ioctl"),
    pytest.param(LINK, id="link", marks=pytest.mark.needs_kernel("links to perf events (5.15)", RELEASE >= (5, 15))),
]
KINDS = [
    *("uprobe", "uretprobe"),
    *(pytest.param(kind, marks=needs_kprobes) for kind in ("kprobe", "kretprobe")),
]


class Definer:
    """Attaches programs by events that tracefs defines, and knows which of those there are: on these places."""

    def __init__(self, kind, library):
        self.kind, self.path = kind, library.path
        self.trigger = lambda: (library.probed_sum(1, 2), os.sched_get_priority_max(os.SCHED_FIFO))

    @contextmanager
    def loaded(self):
        with loaded("link_probes", f"on_{self.kind}") as self.bpf:
            self.program = self.bpf.programs[f"on_{self.kind}"]
            yield self.bpf

    def attach(self, features=IOCTL):
        at_return = "ret" in self.kind
        if self.kind.startswith("k"):
            return attach_kprobe(self.program.fileno(), FUNCTION, retprobe=at_return, features=Features(features))
        return attach_uprobe(
            self.program.fileno(), self.path, "probed_sum", retprobe=at_return, features=Features(features)
        )

    def defined(self):
        """As tracefs lists them: p:uprobes/purebpf_12_0_libprobed_so_1_0x1139 /tmp/libprobed.so.1:0x0000000000001139

        An offset of 0 in a function is left out.
        """
        where = FUNCTION if self.kind.startswith("k") else self.path
        with Tracefs.open() as tracefs:
            lines = tracefs.read(f"{self.kind[0]}probe_events").splitlines()
        return [line for line in lines if re.search(rf"[:/]purebpf_\d+_\d+_\w+ {re.escape(where)}(?:[:+]|$)", line)]

    def runs(self):
        return sum(each.count for each in self.bpf.maps["seen"].values())


@pytest.fixture(params=KINDS)
def definer(request, library):
    definer = Definer(request.param, library)
    with definer.loaded():
        yield definer


@pytest.fixture
def uprobe(library):
    definer = Definer("uprobe", library)
    with definer.loaded():
        yield definer


# Probes that tracefs defines


@pytest.mark.parametrize("features", WAYS)
def test_a_killed_process_leaves_no_definition(definer, features):
    with killed_later(lambda: definer.attach(features)):
        (line,) = definer.defined()
        assert line.startswith("r" if "ret" in definer.kind else "p")
        definer.trigger()
        assert definer.runs() == 1
    assert eventually(lambda: not definer.defined())
    definer.trigger()
    assert definer.runs() == 1


@pytest.mark.parametrize("features", WAYS)
def test_closing(definer, features):
    with definer.attach(features) as link:
        assert (len(definer.defined()), len(children())) == (1, 1)
        definer.trigger()
        assert definer.runs() == 1
    for _ in range(2):
        assert link.closed
        assert (definer.defined(), children()) == ([], [])
        link.close()
    definer.trigger()
    assert definer.runs() == 1


def test_killed_at_any_moment(uprobe, rounds):
    """Before, while and after tracefs defines the event, and while the definition is removed."""
    chosen = random.Random(4)
    for _ in rounds(40):
        child = os.fork()
        if child == 0:
            try:
                while True:
                    uprobe.attach().close()
            finally:
                os._exit(1)
        time.sleep(chosen.uniform(0, 0.3))
        os.kill(child, signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert eventually(lambda: not uprobe.defined())


def test_many_definitions_of_one_process(library):
    """A static tracepoint in many places is a probe for each."""
    uprobe = Definer("uprobe", library)
    with loaded("link_usdt", "on_usdt") as bpf:
        program = bpf.programs["on_usdt"]

        def attach():
            where = library.path, "probed", "places"
            return attach_usdt(program.fileno(), Specs(bpf.maps), *where, pid=os.getpid(), features=Features(USDT))

        with killed_later(attach):
            assert len(uprobe.defined()) == 3
        assert eventually(lambda: not uprobe.defined())


def test_a_guard_that_somebody_killed(uprobe):
    with uprobe.attach():
        (guard,) = children()
        os.kill(int(guard), signal.SIGKILL)
        assert len(uprobe.defined()) == 1
    assert (uprobe.defined(), children()) == ([], [])


def test_a_failed_attachment(uprobe):
    """A cookie takes a bpf link: that shows only when the event has been defined."""
    with pytest.raises(AttachError, match="a cookie needs"):
        attach_uprobe(uprobe.program.fileno(), uprobe.path, "probed_sum", cookie=1, features=Features(IOCTL))
    assert (uprobe.defined(), children()) == ([], [])


def test_what_tracefs_refuses_to_define(uprobe):
    with pytest.raises(KernelError) as error:
        attach_uprobe(uprobe.program.fileno(), uprobe.path, offset=1 << 40, features=Features(IOCTL))
    assert error.value.errno == errno.EINVAL
    assert (uprobe.defined(), children()) == ([], [])


def test_a_definition_that_is_gone_already(uprobe):
    remove_definition("uprobe_events", f"uprobes/purebpf_{os.getpid()}_gone")


def test_a_definition_that_somebody_uses(uprobe, monkeypatch):
    """As by perf: it stays as long as that, and no longer."""
    monkeypatch.setattr(tracefs, "_PATIENCE", 0.2)
    with killed_later(uprobe.attach):
        (line,) = uprobe.defined()
        group, name = re.match(r"p:(\w+)/(\w+) ", line).groups()
        attr = perf_event_attr(type=perf_type_id.PERF_TYPE_TRACEPOINT, config=tracefs.tracepoint_id(group, name))
        event = perf_event_open(attr, -1, cpu.online()[0])
    with event:
        with pytest.raises(KernelError, match=f"^removing event {group}/{name} from uprobe_events") as error:
            remove_definition("uprobe_events", f"{group}/{name}")
        assert error.value.errno == errno.EBUSY
        assert uprobe.defined() == [line]
    assert eventually(lambda: not uprobe.defined())


# Others, closed twice


@pytest.mark.needs_tool("bpftool")
def test_a_static_tracepoint_closed_twice(library):
    with loaded("link_usdt", "on_usdt") as bpf:
        program = bpf.programs["on_usdt"]
        specs = Specs(bpf.maps)
        link = attach_usdt(program.fileno(), specs, library.path, "probed", "counted", pid=0)
        library.trace_counted()
        link.close()
        assert specs._taken == set()
        with attach_usdt(program.fileno(), specs, library.path, "probed", "constants", pid=0):
            link.close()
            assert link.closed
            assert specs._taken == {0}  # what is another's by now stays so
            library.trace_counted(), library.trace_constants()
        assert bpf.maps["seen"][0].count == 2
        assert eventually(lambda: not links_of(id_of(program)))


def test_what_has_a_guard_closed_twice():
    attach_type = bpf_attach_type.BPF_CGROUP_INET_SOCK_CREATE
    with cgroup() as path, loaded_network("on_sock_create") as bpf:
        program = bpf.programs["on_sock_create"]

        def attach():
            return attach_cgroup(program.fileno(), path, attach_type, features=Features({Feature.CGROUP_LINK: False}))

        link = attach()
        link.close()
        with attach() as again:
            link.close()
            assert (link.closed, again.closed) == (True, False)
            assert len(children()) == 1
        assert children() == []
