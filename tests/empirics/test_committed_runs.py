"""The committed runs: to the byte those of the first edition, and what every committed summary is made of."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from empirics.errors import CheckpointError
from empirics.study.collect import results_name, summary, unpack
from empirics.study.config import EXPERIMENTS, experiment_names, load_experiment, override
from empirics.study.pack import RUNS, packed, read_pack, unpacked
from empirics.study.results import plain
from empirics.study.store import Run, RunFolder, completed, read_result, shown_options
from figures.sources import QUICK, ROOT
from theory.core.files import json_text

NEW = ("format", "device_kind", "scan")
"""Fields that a record of the first format did not have."""

FIRST_EDITION = {
    "empirics/experiments/lm_benchmark": (792, "b4c5cc37a368350ad30db5ba19a64f40c906c5073f118e42cac267ac74242178"),
    "empirics/experiments/prefix_compiles": (6, "dd53c9c3c8e36bd114d26b913ef09ddcf25abe53acba0e681118ee127a26e2e1"),
    "empirics/experiments/s4_regression": (144, "a76ac10733587debe74484ac559eef28348e0c3682e1449debad60f0844a8818"),
    "empirics/experiments/selection": (20, "5b89a64df8b3601dfee2a8cf7ac8aa2ef7ac2be7dc95ce548b946c06a7d4c26e"),
    "empirics/experiments/state_floor": (3, "0ac2b86f18b56ce56ffa9b5498f1343d01aba6d533bcd0ccc6c68dbe6383f3e1"),
    "empirics/experiments/state_to_prefix": (3, "08a38c48e2234ead9b708a67782f7b6db75e5b5d62edfc50a6ad617155255704"),
    "empirics/experiments/vision": (240, "df2db316a3ca719b90b1ca8871cf49a7af1cf74eef229d9855a15422ce6e1129"),
    "figures/quick/prefix_compiles": (1, "451235942dfae3f496d7437d3cb01fe70ec7f131cb7dd325eccef8c854deba2e"),
    "figures/quick/selection": (4, "4292e2897c050cf2d13a0ce0af2aced6ed1ae9913a56195d1bafd9345936de2e"),
    "figures/quick/state_floor": (1, "59cd8867894033676617b1830a45b4f7554a369ba1a58b0cd007725f2a44d0d3"),
    "figures/quick/state_to_prefix": (1, "b672a72e8bdb44fdffa69e9639e8c785a894fdc65c3d310d17e598ca3862d564"),
}
"""Number of files of the first edition, one a run, and the SHA-256 over their names and bytes in the order of names."""


def first_format(result) -> bytes:
    """The bytes of the file that a result was committed as before records had a format."""
    record = plain(result.model_dump())
    return json_text({key: value for key, value in record.items() if key not in NEW}).encode()


@pytest.mark.parametrize("folder", FIRST_EDITION)
def test_the_first_edition_is_there_to_the_byte(folder):
    count, digest = FIRST_EDITION[folder]
    found = read_pack(ROOT / folder / RUNS)
    whole = hashlib.sha256()
    for name in sorted(found):
        whole.update(name.encode())
        whole.update(first_format(found[name]))
    assert (len(found), whole.hexdigest()) == (count, digest)


@pytest.mark.parametrize("folder", FIRST_EDITION)
def test_packing_again_gives_the_same_bytes(folder):
    path = ROOT / folder / RUNS
    name = Path(folder).name
    text = path.read_text(encoding="utf-8")
    assert packed(unpacked(text, path).values(), shown_options(load_experiment(name))) == text


def committed() -> list[tuple[str, str | None, bool]]:
    """(experiment, scan, quick) of every committed summary."""
    found = []
    for quick, home in ((False, EXPERIMENTS), (True, ROOT / QUICK)):
        for name in experiment_names():
            for scan in (None, "fused"):
                if (home / name / results_name(scan)).is_file():
                    found.append((name, scan, quick))
    return found


@pytest.mark.parametrize(("name", "scan", "quick"), committed())
def test_every_summary_follows_from_its_runs_on_any_machine(name, scan, quick, tmp_path):
    home = ROOT / QUICK if quick else EXPERIMENTS
    file = override(load_experiment(name, quick), scan=scan)
    made = summary(file, read_pack(home / name / RUNS), tmp_path, quick)
    assert json.loads(json.dumps(plain(made))) == json.loads((home / name / results_name(scan)).read_text(encoding="utf-8"))


def test_each_experiment_that_was_run_again_has_both_summaries():
    assert {(name, quick) for name, scan, quick in committed() if scan == "fused"} == {
        ("vision", False), ("selection", False), ("prefix_compiles", False),
    }  # fmt: skip


def test_unpacked_runs_are_found_by_a_runner_and_packed_to_the_same(tmp_path):
    assert unpack("selection", tmp_path) == 20
    folder = RunFolder(tmp_path)
    found = folder.everything("selection")
    assert found == read_pack(EXPERIMENTS / "selection" / RUNS)
    for result in found.values():
        assert folder.find(Run.of(result, shown_options(load_experiment("selection")))) == result
    assert unpack("selection", tmp_path) == 20  # again: they are the same


def test_a_record_of_the_first_format_is_completed_from_its_name(tmp_path):
    found = read_pack(EXPERIMENTS / "vision" / RUNS)
    for name, result in list(found.items())[::40]:
        path = tmp_path / name
        path.write_bytes(first_format(result))
        assert read_result(path) == result
        wrong = tmp_path / name.replace(name[-15:-5], "0123456789")
        wrong.write_bytes(first_format(result))
        with pytest.raises(CheckpointError, match="its name does not say which scan"):
            read_result(wrong)
    scans = {completed(json.loads(first_format(r)), Path(n))["scan"] for n, r in found.items()}
    assert scans == {None, "fused"}


def test_a_pack_that_lost_lines_is_refused(tmp_path):
    text = (EXPERIMENTS / "selection" / RUNS).read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    for kept in (1, 5, len(lines) - 1):
        with pytest.raises(CheckpointError, match=rf"x.jsonl holds {kept - 1} of its 20 runs; take the committed file"):
            unpacked("".join(lines[:kept]), "x.jsonl")
    header = json.loads(lines[0])
    assert header.pop("runs") == 20
    older = json.dumps(header) + "\n"  # says nothing of their number
    assert unpacked(older + "".join(lines[1:]), "x.jsonl") == unpacked(text, "x.jsonl")
    with pytest.raises(CheckpointError, match=r"line 2 is no result \(seed: .*; take the committed file"):
        unpacked("".join([lines[0], re.sub(r'"seed": [0-9]+', '"seed": "x"', lines[1]), *lines[2:]]), "x.jsonl")
