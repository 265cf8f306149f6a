"""docs/sections.md says of each kernel how far each section's program gets, and why not further."""

from __future__ import annotations

import json

import pytest

from tests.vm import sections


def row(name, last, why=""):
    reached = sections.STEPS.index(last)
    steps = {step: number <= reached for number, step in enumerate(sections.STEPS)}
    return {"section": name, "kernel": "1.2-test", "why": why, **steps}


def test_the_table():
    old = {"xdp": row("xdp", "event"), "lsm+": row("lsm+", "loaded", "it is refused"), "tc": row("tc", "event")}
    new = {"xdp": row("xdp", "event"), "lsm+": row("lsm+", "event"), "tc": row("tc", "loaded", "it is refused")}
    lines = sections.document({"1.2": old, "1.10": new}).splitlines()
    assert "Each of libbpf's 3 section names" in lines[2]
    assert "| section | 1.2 | 1.10 |" in lines
    assert "| `xdp` | event | event |" in lines
    assert "| `lsm+` | loaded [1] | event |" in lines
    assert "| `tc` | event | loaded [1] |" in lines
    assert "- Linux 1.10 (1.2-test): 2 event, 1 loaded" in lines
    assert lines[-1] == "1. It is refused."


@pytest.mark.parametrize("outcome", ["failed", "lost", None])
def test_no_table_without_all_results(tmp_path, outcome):
    tests = {} if outcome is None else {f"{sections.TEST}::test_section[xdp]": {"outcome": outcome}}
    (tmp_path / "report.json").write_text(json.dumps({"1.2": {"tests": tests}}))
    with pytest.raises(SystemExit, match=r"Linux 1\.2: .*there is no table without that"):
        sections.read_report(tmp_path / "report.json")
