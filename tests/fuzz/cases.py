"""Making cases and counting what becomes of them.

The environment variable PUREBPF_FUZZ_CASES says how many cases to make (``make fuzz`` sets it); without it, a short run
makes the same ones each time.
"""

from __future__ import annotations

import collections
import os
import resource

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from limits import limited

from purebpf.errors import PureBpfError

CASES = int(os.environ.get("PUREBPF_FUZZ_CASES", "0"))
ROUND = 2500  # cases that hypothesis makes at a time: it remembers them all


class Outcomes(collections.Counter):
    """What came of how many cases, and the processor time of the slowest."""

    slowest = 0.0

    def note(self, seeds, number, damages, path):
        """Damage a seed and send it down the path, a function of the damaged bytes and the seed."""
        seed = seeds[number % len(seeds)]
        data = bytearray(seed.data)
        for strike in damages:
            strike(seed, data)
        with limited() as cost:
            try:
                path(bytes(data), seed)
                self["loadable"] += 1
            except PureBpfError as error:
                self[type(error).__name__] += 1
        self.slowest = max(self.slowest, cost.seconds)

    def run(self, seeds, path, total, damage):
        """Make that many cases, in rounds; ``damage`` is a strategy for functions of a seed and its bytes."""
        while self.total() < total:

            @settings(
                max_examples=min(total, ROUND),
                derandomize=not CASES,
                database=None,
                deadline=None,
                phases=[Phase.generate, Phase.shrink],
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            )
            @given(st.integers(0, 1 << 15), st.lists(damage, min_size=1, max_size=3))
            def case(number, damages):
                self.note(seeds, number, damages, path)

            case()

    def report(self, what, capsys):
        if not CASES:
            return
        counts = ", ".join(f"{count:,} {outcome}" for outcome, count in self.most_common())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        with capsys.disabled():
            print(f"\n{self.total():,} {what}: {counts}; slowest {self.slowest:.2f} s; peak of the process {peak} MB")


# Numbers that hurt: small ones, powers of two and those below them, and any.
NUMBERS = st.one_of(
    st.integers(-2, 40),
    st.sampled_from([1 << bit for bit in range(64)]),
    st.sampled_from([(1 << bit) - 1 for bit in range(1, 65)]),
    st.integers(0, (1 << 64) - 1),
)
POSITIONS = st.integers(0, 1 << 15)
