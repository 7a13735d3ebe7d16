"""Breaking the mathematics must break a test: each mutant changes one line of theory/ in a copy and runs its tests there.

A mutant that survives means a test that cannot fail. The text to replace must occur exactly once, so a mutant cannot
silently stop applying when the code moves.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Mutant:
    """One wrong line: in ``file`` (under theory/) ``old`` becomes ``new``, and one of ``tests`` must fail."""

    name: str
    file: str
    old: str
    new: str
    tests: str


MUTANTS = (
    Mutant(
        "selective: shift a power by one",
        "prefix_state/selective_cone.py",
        "return self.decay**slot * self.token(z)",
        "return self.decay ** (slot + 1) * self.token(z)",
        "prefix_state/test_selective.py",
    ),
    Mutant(
        "selective: drop the distinctness guard",
        "prefix_state/selective_cone.py",
        "groups.setdefault(value, []).append((index[0], index[1]))",
        "groups[value] = [(index[0], index[1])]",
        "prefix_state/test_selective.py",
    ),
    Mutant(
        "selective: check only the first slot of an obstruction",
        "prefix_state/selective_cone.py",
        "                if not linalg.is_psd(self.form(ell, m)):\n                    return False\n            checked",
        "                if not linalg.is_psd(self.form(ell, 0)):\n                    return False\n"
        "            tail = True\n            checked",
        "prefix_state/test_selective.py",
    ),
    Mutant(
        "selective: forget the rank condition of one decay value",
        "prefix_state/selective_reach.py",
        "if linalg.rank(p) < linalg.rank(g):",
        "if linalg.rank(p) < 0:",
        "prefix_state/test_selective.py",
    ),
    Mutant(
        "linalg: semidefinite test accepts a zero pivot with a nonzero row",
        "core/linalg.py",
        "if pivot < 0 or (pivot == 0 and any(m[k, j] != 0 for j in range(n))):",
        "if pivot < 0:",
        "prefix_state/test_selective.py",
    ),
    Mutant(
        "lti: shift a power of the kernel by one",
        "core/lti.py",
        "power, out = self.c * self.b, []",
        "power, out = self.c * self.b * self.a, []",
        "sparse_dims/test_essential.py",
    ),
    Mutant(
        "gramians: shift a power of the Hankel matrix by one",
        "core/gramians.py",
        "out[t - 1, m] = k[t + m]",
        "out[t - 1, m] = k[t + m - 1]",
        "core/test_gramians.py",
    ),
    Mutant(
        "lti: drop the grouping of equal modes",
        "core/lti.py",
        "                if is_zero(value - representative):\n                    members.append(n)\n                    break",
        "                if value is representative:\n                    members.append(n)\n                    break",
        "prefix_state/test_equivalent.py",
    ),
    Mutant(
        "lti: forget to close half storage under conjugation",
        "core/lti.py",
        "        if not self.half:\n            return self\n        a, b, c",
        "        if self.half:\n            return self\n        a, b, c",
        "prefix_state/test_equivalent.py",
    ),
    Mutant(
        "equivalent: count one token too few",
        "prefix_state/equivalent.py",
        "return prefix_length >= len(modes) and",
        "return prefix_length >= len(modes) - 1 and",
        "prefix_state/test_equivalent.py",
    ),
    Mutant(
        "equivalent: drop the guard against vanishing residues",
        "prefix_state/equivalent.py",
        "return prefix_length >= len(modes) and not any(is_zero(mode.residue) for mode in modes)",
        "return prefix_length >= len(modes)",
        "prefix_state/test_equivalent.py",
    ),
    Mutant(
        "inverse map: swap b and c",
        "prefix_state/interpolation.py",
        "kappa = tidy(sum((full.c[n] * h[n] for n in mode.indices), 0 * h[0]))",
        "kappa = tidy(sum((full.b[n] * h[n] for n in mode.indices), 0 * h[0]))",
        "prefix_state/test_minimal_length.py",
    ),
    Mutant(
        "inverse map: tokens in the wrong order",
        "prefix_state/interpolation.py",
        "[real(v) for v in reversed(polynomial)]",
        "[real(v) for v in polynomial]",
        "prefix_state/test_minimal_length.py",
    ),
    Mutant(
        "conv: forget the window",
        "core/conv.py",
        "        for i, token in enumerate(recent[1:]):\n            window[i] = token\n",
        "",
        "prefix_state/test_contained.py",
    ),
    Mutant(
        "conv: re-fit with a power too many",
        "prefix_state/window.py",
        "    factor = system.b\n",
        "    factor = system.b / system.a\n",
        "prefix_state/test_contained.py",
    ),
    Mutant(
        "gramians: forget that outputs start at t = 1",
        "core/gramians.py",
        "v = c * _power(a, first)",
        "v = c * _power(a, first - 1)",
        "core/test_gramians.py",
    ),
    Mutant(
        "gramians: conjugate on the wrong side of Wo",
        "core/gramians.py",
        "    z = _outer(conj(a), a)\n    return _outer(conj(v), v) *",
        "    z = _outer(a, conj(a))\n    return _outer(v, conj(v)) *",
        "core/test_gramians.py",
    ),
    Mutant(
        "state offset: horizon one too short",
        "prefix_state/state_offset.py",
        "return Comparison(joint == linalg.rank(state), joint == linalg.rank(offset))",
        "return Comparison(joint - 1 == linalg.rank(state), joint == linalg.rank(offset))",
        "prefix_state/test_state_offset.py",
    ),
    Mutant(
        "certificate: off by one rank",
        "core/certificate.py",
        "return self.rank > dimension",
        "return self.rank >= dimension",
        "core/test_certificate.py",
    ),
    Mutant(
        "sparse_dims: forget the residue of an unmatched state",
        "sparse_dims/adjustment.py",
        "cost[:, len(modes) :] = np.array([not is_zero(x) for x in r], dtype=np.int64)[:, None]",
        "cost[:, len(modes) :] = 0",
        "sparse_dims/test_adjustment.py sparse_dims/test_minimal_adjustment.py",
    ),
    Mutant(
        "sparse_dims: mode 0 does not merge with the skip",
        "core/function_equality.py",
        "direct = tidy(direct + total)",
        "direct = tidy(direct)",
        "sparse_dims/test_essential.py",
    ),
    Mutant(
        "lora_limits: drop one relabelling",
        "lora_limits/relabelling.py",
        "return product(permutations(range(columns)), repeat=rows)",
        "return iter(list(product(permutations(range(columns)), repeat=rows))[:-1])",
        "lora_limits/test_relabelling.py",
    ),
    Mutant(
        "lora_limits: rank off by one",
        "lora_limits/relabelling.py",
        "if exact_rank(difference) <= r:",
        "if exact_rank(difference) <= r + 1:",
        "lora_limits/test_relabelling.py",
    ),
    Mutant(
        "lora_limits: forget the gauge in the dimension",
        "lora_limits/low_rank.py",
        "return r * (rows + columns - r)",
        "return r * (rows + columns)",
        "lora_limits/test_low_rank.py",
    ),
    Mutant(
        "lora_limits: horizon one too short",
        "lora_limits/poles.py",
        "return n + q + int(bool(skip))",
        "return n + q - 1 + int(bool(skip))",
        "lora_limits/test_spectrum_frozen.py",
    ),
    Mutant(
        "lora_limits: swap W_B and W_C in what in_proj has to read",
        "lora_limits/mixer_block.py",
        "return np.concatenate([self.W_B, self.W_C, (self.v @ self.W_dn)[None, :]])",
        "return np.concatenate([self.W_B, self.W_B, (self.v @ self.W_dn)[None, :]])",
        "lora_limits/test_in_proj_dominates.py",
    ),
    Mutant(
        "mamba2: rank off by one",
        "prefix_state/mamba2_reach.py",
        "if limit is not None and need > limit:",
        "if limit is not None and need > limit + 1:",
        "prefix_state/test_mamba2.py",
    ),
)


@pytest.mark.slow
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m.name)
def test_mutant_is_killed(mutant: Mutant, tmp_path: Path) -> None:
    copy = tmp_path / "theory"
    shutil.copytree(ROOT / "theory", copy, ignore=shutil.ignore_patterns("__pycache__"))
    target = copy / mutant.file
    source = target.read_text(encoding="utf-8")
    assert source.count(mutant.old) == 1, f"{mutant.name}: the line to change occurs {source.count(mutant.old)} times"
    target.write_text(source.replace(mutant.old, mutant.new), encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow: slow\n    gpu: gpu\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "HYPOTHESIS_PROFILE": "ci", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider"]
    command += [str(copy / t) for t in mutant.tests.split()]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 1, f"{mutant.name} survived (exit {run.returncode}):\n{run.stdout[-2000:]}\n{run.stderr[-1000:]}"
    assert "failed" in run.stdout, f"{mutant.name}: no test failed, something else broke:\n{run.stdout[-2000:]}"


@pytest.mark.slow
def test_the_unchanged_copy_passes(tmp_path: Path) -> None:
    """The negative twin of every mutant: without a change the same tests pass in a copy."""
    shutil.copytree(ROOT / "theory", tmp_path / "theory", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    slow: slow\n    gpu: gpu\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "HYPOTHESIS_PROFILE": "ci", "OMP_NUM_THREADS": "1"}
    tests = sorted({t for m in MUTANTS for t in m.tests.split()})
    command = [sys.executable, "-m", "pytest", "-x", "-q", "--no-header", "-p", "no:cacheprovider"]
    command += [str(tmp_path / "theory" / t) for t in tests]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    assert run.returncode == 0, run.stdout[-3000:]
