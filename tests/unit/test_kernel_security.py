"""purebpf.kernel.security: which security modules are active, from whichever file says so."""

from __future__ import annotations

import pytest

from purebpf.errors import AttachError, PureBpfError
from purebpf.kernel import security
from purebpf.load.facts import Config


@pytest.fixture
def says(tmp_path, monkeypatch):
    """A function that makes securityfs, the boot options and the configuration say this."""

    def say(securityfs=None, options="quiet", configured=None):
        files = {"/sys/kernel/security/lsm": securityfs, "/proc/cmdline": f"{options}\n"}
        paths = {}
        for number, (name, text) in enumerate(files.items()):
            paths[name] = tmp_path / str(number)
            if text is not None:
                paths[name].write_text(text)

        def config():
            if configured is None:
                raise PureBpfError("there is none")
            return Config({"CONFIG_LSM": configured}, "a test")

        monkeypatch.setattr(security, "_SECURITYFS", paths["/sys/kernel/security/lsm"])
        monkeypatch.setattr(security, "_BOOT_OPTIONS", paths["/proc/cmdline"])
        monkeypatch.setattr(security, "running_config", config)

    return say


@pytest.mark.parametrize(
    "where",
    [
        {"securityfs": "capability,landlock,bpf", "options": "lsm=landlock"},
        {"options": "lsm=landlock lsm=landlock,bpf quiet", "configured": '"landlock"'},
        {"options": 'quiet lsm="bpf"'},
        {"configured": '"landlock,yama,bpf"'},
        {"options": "mylsm=landlock"},  # nothing is known
    ],
)
def test_active_or_not_known(says, where):
    says(**where)
    security.require_bpf("attaching")


@pytest.mark.parametrize(
    "where",
    [
        {"securityfs": "capability,landlock", "configured": '"bpf"'},
        {"options": "lsm=bpf lsm=capability,landlock", "configured": '"bpf"'},
        {"configured": '"capability,landlock"'},
    ],
)
def test_not_active(says, where):
    says(**where)
    with pytest.raises(AttachError, match=r"^attaching: .*\(capability,landlock\).* lsm=capability,landlock,bpf$"):
        security.require_bpf("attaching")
