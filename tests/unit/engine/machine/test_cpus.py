"""CPUs by affinity and by the container's quota, the threads a user may ask for, and whether bf16 is fast here."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from coder_engine.machine import cpus
from coder_engine.machine.cpus import check_threads, fast_bf16, usable_cpus

V1 = ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")
Cgroup = Callable[..., None]


@pytest.fixture
def cgroup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cgroup:
    """Make ``tmp_path`` the root of the control groups on a machine of 8 CPUs, with these files in it."""
    monkeypatch.setattr(cpus, "_CGROUP", tmp_path)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)

    def write(v2: str | None = None, quota: str | None = None, period: str | None = None) -> None:
        for name, text in (("cpu.max", v2), (V1[0], quota), (V1[1], period)):
            if text is not None:
                (tmp_path / name).parent.mkdir(exist_ok=True)
                (tmp_path / name).write_text(text)

    return write


def test_no_control_group(cgroup: Cgroup) -> None:
    cgroup()
    assert usable_cpus() == 8


@pytest.mark.parametrize(
    ("limit", "count"),
    [
        ("max 100000\n", 8),
        ("200000 100000\n", 2),
        ("150000 100000\n", 2),
        ("100000 100000\n", 1),
        ("10000 100000\n", 1),
        ("0 100000\n", 1),
        ("25000 5000\n", 5),
        ("6400000 100000\n", 8),
    ],
)
def test_version_2(cgroup: Cgroup, limit: str, count: int) -> None:
    cgroup(limit)
    assert usable_cpus() == count


@pytest.mark.parametrize(
    ("quota", "period", "count"),
    [
        ("-1\n", "100000\n", 8),
        ("300000\n", "100000\n", 3),
        ("50000\n", "100000\n", 1),
        ("250000", "100000", 3),
        ("0", "100000", 8),
    ],
)
def test_version_1(cgroup: Cgroup, quota: str, period: str, count: int) -> None:
    cgroup(None, quota, period)
    assert usable_cpus() == count


@pytest.mark.parametrize("limit", ["", "\n", "200000", "2 of 8", "a b", "200000 100000 1", "200000 0", "0 0", "2.5 1"])
def test_a_malformed_version_2_file_sets_no_limit(cgroup: Cgroup, limit: str) -> None:
    cgroup(limit)
    assert usable_cpus() == 8
    cgroup(limit, "300000", "100000")
    assert usable_cpus() == 3


@pytest.mark.parametrize(
    ("quota", "period"),
    [("", ""), ("max", "100000"), ("200000", ""), ("200000", None), (None, "100000"), ("200000", "0")],
)
def test_malformed_version_1_files_set_no_limit(cgroup: Cgroup, quota: str | None, period: str | None) -> None:
    cgroup(None, quota, period)
    assert usable_cpus() == 8


def test_a_version_2_file_without_limit_outranks_version_1(cgroup: Cgroup) -> None:
    cgroup("max 100000", "200000", "100000")
    assert usable_cpus() == 8


def test_affinity_under_the_quota(cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch) -> None:
    cgroup("400000 100000")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5, 7})
    assert usable_cpus() == 3


@pytest.mark.parametrize(("counted", "found"), [(6, 6), (None, 1)])
def test_systems_without_affinity(
    cgroup: Cgroup, monkeypatch: pytest.MonkeyPatch, counted: int | None, found: int
) -> None:
    cgroup()
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: counted)
    assert usable_cpus() == found


def test_this_machine() -> None:
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)


@pytest.mark.parametrize("threads", [1, 2, 1024])
def test_threads_as_given(threads: int) -> None:
    assert check_threads(threads) == threads


def test_threads_left_out(cgroup: Cgroup) -> None:
    cgroup("300000 100000")
    assert check_threads(None) == 3


@pytest.mark.parametrize("threads", [0, -1, 1025, 10**9, 2.5])
def test_threads_out_of_range(cgroup: Cgroup, threads: float) -> None:
    cgroup("300000 100000")
    wanted = f"^threads must be 1 to 1024, got {threads}; leave it out to use the 3 usable CPUs$"
    with pytest.raises(ValueError, match=wanted):
        check_threads(threads)


INTEL, AMD = "vendor_id\t: GenuineIntel\n", "vendor_id\t: AuthenticAMD\n"


@pytest.mark.parametrize(
    ("cpuinfo", "found"),
    [
        (f"{INTEL}flags\t\t: fpu avx512_bf16 amx_bf16\n", "AMX"),
        (f"{AMD}flags\t\t: fpu avx512_bf16 amx_bf16\n", "AMX"),
        (f"{AMD}flags\t\t: fpu avx512_bf16\n", "AVX512_BF16"),
        (f"{INTEL}flags\t\t: fpu avx512_bf16\n", None),
        ("flags\t\t: fpu avx512_bf16\n", None),
        (f"{AMD}flags\t\t: fpu avx512f\n", None),
        (f"{AMD}flags\t\t:\n\nbugs\t\t: avx512_bf16\n", None),
        ("Features\t: fp asimd bf16\n", "BF16"),
        ("Features\t: fp asimd\n", None),
        ("", None),
    ],
)
def test_cpus_that_are_fast_in_bf16(cpuinfo: str, found: str | None, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{cpuinfo}")
    assert fast_bf16(tmp_path / "cpuinfo") == found


def test_a_cpu_that_says_nothing_of_itself(tmp_path: Path) -> None:
    assert fast_bf16(tmp_path / "none") is None
