"""The tools that hang on kprobes, on the scheduler, on a clock and on a network interface, by what they print."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from burner import burner
from kernel_state import has_symbol
from network import ETH_P_TEST, ip, namespace, send, veth
from probing import needs_kprobes
from running import OUTER_PIDS, PATIENCE, Run, purebpf

from purebpf.cli.main import main

pytestmark = pytest.mark.needs_root

ETH_P_ALL = 3

x86_64_only = pytest.mark.skipif(platform.machine() != "x86_64", reason="needs x86_64: compiled code")


@pytest.fixture(scope="module")
def burn(tmp_path_factory):
    """A program that burns its time in burn(), called by outer(); with an argument, in system calls of zeros()."""
    path = tmp_path_factory.mktemp("burner") / "burn"
    path.write_bytes(burner())
    path.chmod(0o755)
    return path


@contextlib.contextmanager
def running(*command, cpu=None, **options):
    """A process, until the end of the block."""
    options.setdefault("stdin", subprocess.DEVNULL)
    with subprocess.Popen([str(word) for word in command], **options) as process:
        try:
            if cpu is not None:
                os.sched_setaffinity(process.pid, {cpu})
            yield process
        finally:
            process.kill()


def cpu_seconds(pid):
    """How long a process has been running on CPUs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def wait_until_burnt(*processes, seconds=0.5):
    """Wait until they have had so much time of a CPU; on a busy machine that takes longer."""
    begin = [cpu_seconds(process.pid) for process in processes]
    end = time.monotonic() + PATIENCE * 2
    while any(cpu_seconds(process.pid) < start + seconds for process, start in zip(processes, begin, strict=True)):
        assert time.monotonic() < end, "the machine is too busy"
        time.sleep(0.05)


def profile(processes, *options):
    """The lines that profile prints about these processes, while they burn their time."""
    with Run("profile", *options) as run:
        wait_until_burnt(*processes)
        for process in processes:
            process.send_signal(signal.SIGSTOP)  # it is there, but takes no time from profile, which looks up names
        assert run.end() == 0
    return [line.decode() for line in run.out.rest()], b"\n".join(run.err.rest()).decode()


# profile


@x86_64_only
def test_profile_finds_where_time_is_burnt(burn):
    """In a program, and in the kernel on behalf of a program."""
    with open("/dev/zero", "rb") as zeros, running(burn) as user, running(burn, "x", stdin=zeros) as kernel:
        lines, _ = profile([user, kernel], "--json")
    rows = [json.loads(line) for line in lines]

    (mine,) = [row for row in rows if row["pid"] == user.pid and not row["kernel"]]
    assert (mine["user"], mine["comm"]) == (["_start", "outer", "burn"], "burn")
    assert mine["samples"] >= 15

    theirs = [row for row in rows if row["pid"] == kernel.pid and row["kernel"]]
    reading = sum(row["samples"] for row in theirs if "vfs_read" in row["kernel"])
    assert reading >= 15
    assert all(row["user"] == ["_start", "zeros"] for row in theirs if "vfs_read" in row["kernel"])
    known = [name for row in theirs for name in row["kernel"]]
    assert sum(name.startswith("[") for name in known) <= len(known) // 10


@x86_64_only
@pytest.mark.any_kernel
def test_profile_as_a_table(burn):
    with running(burn) as process:
        lines, message = profile([process])
    assert lines[0].split() == ["SAMPLES", "SHARE", "PID", "COMM", "FUNCTION"]
    samples = [int(line.split()[0]) for line in lines[1:]]
    assert samples == sorted(samples, reverse=True)
    found = [line.split(maxsplit=4) for line in lines[1:]]
    (mine,) = [row for row in found if row[2:] == [str(process.pid), "burn", "burn (burn)"]]
    assert int(mine[0]) >= 15
    assert abs(float(mine[1].rstrip("%")) - 100 * int(mine[0]) / sum(samples)) < 0.1
    assert "profile: 1 program attached; Ctrl-C ends" in message


@x86_64_only
@pytest.mark.any_kernel
def test_profile_of_one_process_folded(burn):
    with running(burn) as process, running(burn):
        lines, _ = profile([process], "--folded", "--pid", process.pid, "--frequency", 299)
    stacks = {stack: int(number) for stack, _, number in (line.rpartition(" ") for line in lines)}
    assert all(stack.startswith("burn;_start;outer;burn") for stack in stacks)
    assert stacks["burn;_start;outer;burn"] >= 30  # of up to 150: slow machines have slow clocks


@x86_64_only
@pytest.mark.needs_tool("gcc")
def test_profile_of_what_gcc_compiles(tmp_path):
    """With a function of a shared library, found in what is left in it when it is stripped."""
    (tmp_path / "lib.c").write_text("void spin(volatile long *n) { for (;;) ++*n; }")
    (tmp_path / "main.c").write_text("""
        void spin(volatile long *n);
        static __attribute__((noinline)) void work(void) { volatile long n = 0; spin(&n); n = 1; }
        int main(void) { work(); return 0; }
    """)
    gcc = ["gcc", "-O0"]  # with frame pointers, by which the kernel finds who called
    subprocess.run([*gcc, "-shared", "-fPIC", "-s", "-o", "libspin.so", "lib.c"], cwd=tmp_path, check=True)
    subprocess.run([*gcc, "-o", "spinner", "main.c", "./libspin.so"], cwd=tmp_path, check=True)
    with running(tmp_path / "spinner", cwd=tmp_path) as process:
        lines, _ = profile([process], "--json", "--pid", process.pid)
    rows = [json.loads(line) for line in lines]
    most = max(rows, key=lambda row: row["samples"])
    assert most["user"][-3:] == ["main", "work", "spin"]
    assert (most["kernel"], most["comm"]) == ([], "spinner")


MAKES_ITS_CODE = """
import ctypes, mmap, os
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex("ebfe"))  # a jump to itself
address = ctypes.addressof(ctypes.c_char.from_buffer(code))
with open(f"/tmp/perf-{os.getpid()}.map", "w") as file:
    file.write(f"{address:x} 2 burn_in_memory\\n")
ctypes.CFUNCTYPE(None)(address)()
"""


@x86_64_only
@pytest.mark.any_kernel
def test_profile_of_code_that_is_in_no_file():
    """Who makes code at run time, as Python does with -X perf, tells in /tmp/perf-PID.map what it is."""
    with running(sys.executable, "-c", MAKES_ITS_CODE) as process:
        try:
            lines, _ = profile([process], "--json", "--pid", process.pid)
        finally:
            Path(f"/tmp/perf-{process.pid}.map").unlink(missing_ok=True)
    most = max((json.loads(line) for line in lines), key=lambda row: row["samples"])
    assert most["user"][-1] == "burn_in_memory"


@x86_64_only
@pytest.mark.needs_tool("unshare")
@pytest.mark.any_kernel
def test_profile_in_a_pid_namespace(burn):
    """Process ids are those of the namespace; of who is not in it there are no names, and above all no wrong ones."""
    tool = shlex.join(purebpf("run", "profile", "--json", "--duration", "3"))
    script = f"{shlex.quote(str(burn))} & echo $!; exec {tool}"
    with running(burn), Run(command=["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script]) as run:
        run.process.wait(4 * PATIENCE)  # two burn their time until it has ended
        assert run.wait() == 0
    first, *lines = [line.decode() for line in run.out.rest()]
    rows = [json.loads(line) for line in lines]
    assert {tuple(row["user"]) for row in rows if row["pid"] == int(first)} == {("_start", "outer", "burn")}
    others = [row for row in rows if row["pid"] == 0 and row["comm"] == "burn"]
    assert others
    assert {name for row in others for name in row["user"]} == {"[unknown]"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--pid", 1 << 30], f"profiling process {1 << 30}: No such process (ESRCH)"),
        (["--frequency", 10_000_000], "beyond kernel.perf_event_max_sample_rate"),
    ],
)
def test_what_cannot_be_profiled(options, message, check_refused):
    check_refused("profile", *options, message=message)


@pytest.fixture
def check_refused(capsys):
    """Run a tool that ends with one message and nothing else."""

    def check(*arguments, message):
        assert main(["run", *map(str, arguments)]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith("purebpf: ") and message in captured.err
        assert captured.err.count("\n") == 1

    return check


def test_a_thread_is_no_process(check_refused):
    code = "import threading, time; threading.Thread(target=time.sleep, args=(99,)).start(); print(flush=True)"
    with running(sys.executable, "-c", code, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        (thread,) = set(os.listdir(f"/proc/{process.pid}/task")) - {str(process.pid)}
        check_refused("profile", "--pid", thread, message=f"That is a thread of process {process.pid}")


# runqlat


def waits(run):
    """How often somebody has waited, by the shortest time in microseconds that this took."""
    return {row["from_us"]: row["waits"] for row in run.rows()}


needs_outer_pids = pytest.mark.skipif(not OUTER_PIDS, reason="needs process ids as the kernel has them: no container")


@needs_outer_pids
def test_runqlat_counts_waits():
    """A process that sleeps and is woken up a number of times waits that often.

    Now and then a kernel passes no tracepoint when it switches from an idle CPU to a task; a plain tracepoint program
    that counts has the same gaps.
    """
    code = "import time\ninput()\nfor _ in range(500): time.sleep(0.001)\nprint(flush=True)\ninput()"
    with (
        running(sys.executable, "-c", code, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process,
        Run("runqlat", "--json", "--set", f"target_pid={process.pid}") as run,
    ):
        process.stdin.write(b"\n")
        process.stdin.flush()
        process.stdout.readline()
        assert run.end() == 0
    assert 450 <= sum(waits(run).values()) < 1500
    assert b"not measured" not in b"".join(run.err.rest())


@needs_outer_pids
@x86_64_only
def test_runqlat_sees_who_is_kept_waiting(burn):
    """Two that want the same CPU take it from each other, and wait while the other has it: milliseconds."""
    cpu = max(os.sched_getaffinity(0))
    with (
        running(burn, cpu=cpu) as one,
        running(burn, cpu=cpu) as other,
        Run("runqlat", "--json", "--set", f"target_pid={one.pid}") as run,
    ):
        wait_until_burnt(one, other, seconds=0.5)
        assert run.end() == 0
    assert sum(number for shortest, number in waits(run).items() if shortest >= 512) >= 5


# xdpcount


@contextlib.contextmanager
def xdpcount(interface, *options):
    """A running xdpcount, and after the block its rows by protocol."""
    found = {}
    with Run("xdpcount", interface, "--json", *options) as run:
        yield found
        assert run.end() == 0
        found.update((row["protocol"], row) for row in run.rows())


@contextlib.contextmanager
def arrivals(interface):
    """A function that waits until so many packets have arrived, which comes after XDP."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL)) as receiver:
        receiver.settimeout(PATIENCE)
        receiver.bind((interface, ETH_P_ALL))

        def arrived(number):
            for _ in range(number):
                receiver.recv(65536)

        yield arrived


def frame(ethertype, payload):
    return b"\xff" * 6 + b"\x02" * 6 + ethertype.to_bytes(2, "big") + payload.ljust(46, b"\0")


def ipv4(protocol):
    return b"\x45" + bytes(8) + bytes([protocol]) + bytes(10)


def ipv6(protocol):
    return b"\x60" + bytes(5) + bytes([protocol]) + bytes(33)


VLAN_TAG = bytes.fromhex("0007")


@pytest.mark.needs_tool("ip")
def test_xdpcount_counts_packets_by_protocol():
    packets = {
        "ARP": [frame(0x806, b"")] * 3,
        "IPv4 TCP": [frame(0x800, ipv4(6))] * 5 + [frame(0x8100, VLAN_TAG + b"\x08\x00" + ipv4(6))],
        "IPv4 UDP": [frame(0x800, ipv4(17) + bytes(1000))] * 7,
        "IPv4 protocol 253": [frame(0x800, ipv4(253))],
        "IPv6 UDP": [frame(0x86DD, ipv6(17))] * 2,
        "IPv6 ICMPv6": [frame(0x88A8, VLAN_TAG + b"\x81\x00" + VLAN_TAG + b"\x86\xdd" + ipv6(58))] * 4,
        "IEEE 802.3": [frame(46, b"")],
        "ethertype 0x88b5": [frame(0x88B5, b"")] * 9,
        "IPv6, truncated": [frame(0x86DD, b"")[:40]],
    }
    with namespace():
        veth()
        with xdpcount("pb1") as found, arrivals("pb1") as arrived:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sender:
                sender.bind(("pb0", 0))
                for each in packets.values():
                    for packet in each:
                        sender.send(packet)
            arrived(sum(map(len, packets.values())))
        assert not xdp_programs("pb1")
    counted = {name: (row["packets"], row["bytes"]) for name, row in found.items()}
    assert counted == {name: (len(each), sum(map(len, each))) for name, each in packets.items()}
    assert (found["IPv4 UDP"]["ethertype"], found["IPv4 UDP"]["ip_protocol"]) == (0x800, 17)
    assert found["ARP"]["ip_protocol"] is None


@pytest.mark.needs_tool("ip")
def test_xdpcount_of_real_connections():
    """By the loopback interface, where the kernel's own packets go."""
    with namespace(), xdpcount("lo") as found, socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_connection(server.getsockname()) as one, server.accept()[0] as other:
            one.sendall(b"x" * 100_000)
            received = 0
            while received < 100_000:
                received += len(other.recv(65536))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.bind(("127.0.0.1", 0))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for _ in range(20):
                    sender.sendto(b"datagram", receiver.getsockname())
                    assert receiver.recv(8) == b"datagram"
    assert found["IPv4 TCP"]["bytes"] > 100_000
    assert found["IPv4 UDP"]["packets"] == 20
    assert found["IPv4 UDP"]["bytes"] == 20 * (14 + 20 + 8 + 8)


def xdp_programs(interface):
    """In which mode the interface has a program: "xdp" (the driver's) or "xdpgeneric"."""
    (shown,) = json.loads(subprocess.check_output(["ip", "-j", "link", "show", interface]))
    return {1: "xdp", 2: "xdpgeneric"}[shown["xdp"]["mode"]] if "xdp" in shown else None


@pytest.mark.needs_tool("ip")
def test_xdpcount_where_the_driver_has_no_xdp():
    """veth has none while packets may be larger than a page."""
    with namespace():
        veth()
        with xdpcount("pb1"):
            assert xdp_programs("pb1") == "xdp"
        for name in ("pb0", "pb1"):
            ip("link", "set", name, "mtu", 9000)
        with xdpcount("pb1") as found, arrivals("pb1") as arrived:
            assert xdp_programs("pb1") == "xdpgeneric"
            send("pb0", 6)
            arrived(6)
    assert found[f"ethertype {ETH_P_TEST:#06x}"]["packets"] == 6


@pytest.mark.needs_tool("ip")
def test_xdpcount_where_another_program_is(check_refused):
    with namespace():
        veth()
        with xdpcount("pb1"):
            check_refused("xdpcount", "pb1", message="has an XDP program already")


def test_xdpcount_without_such_an_interface(check_refused):
    check_refused("xdpcount", "lol", message="no network interface with the name 'lol'; did you mean lo?")
    check_refused("xdpcount", "x" * 300, message="no network interface with the name 'xxx")


# hello-kprobe


@needs_kprobes
def test_hello_kprobe():
    path = f"/purebpf-hello-{os.getpid()}"
    with Run("hello-kprobe", "--json") as run:
        with pytest.raises(FileNotFoundError):
            os.open(path, os.O_RDONLY)
        row = run.wait_for_row(lambda row: row["pid"] == os.getpid() or not OUTER_PIDS)
        assert run.end() == 0
    assert row["text"] == "Hello, world!"
    assert all(row["text"] == "Hello, world!" for row in run.rows())


@needs_kprobes
def test_hello_kprobe_by_ring():
    names = [f"/purebpf-hello-{os.getpid()}-{number}" for number in range(20)] + [
        "/" + "x" * 254,
        f"/{'x' * 200}/{'x' * 200}",
    ]
    with Run("hello-kprobe", "--ring", "--json") as run:
        for name in names:
            with pytest.raises(FileNotFoundError):
                os.open(name, os.O_RDONLY)
        wanted = [name[:255] for name in names]
        rows = run.wait_for_rows(lambda row: row["file"] in wanted, len(names))
        assert run.end() == 0
        assert run.lost() == 0
    assert [row["file"] for row in rows] == wanted
    with open("/proc/thread-self/comm") as comm:
        assert {row["comm"] for row in rows} == {comm.read().rstrip("\n")}
    if OUTER_PIDS:
        assert {row["pid"] for row in rows} == {os.getpid()}


@pytest.mark.needs_kernel("no CONFIG_KPROBES", lambda: not has_symbol("register_kprobe"))
@pytest.mark.parametrize("options", [[], ["--ring"]])
def test_without_kprobes(options, check_refused):
    check_refused("hello-kprobe", *options, message="CONFIG_KPROBE")
