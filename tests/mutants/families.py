"""Mutants of the statements: prefix_state, lora_limits and sparse_dims."""

from __future__ import annotations

from . import Mutant

FAMILIES = (
    Mutant(
        "selective: shift a power by one",
        "prefix_state/reach/cone.py",
        "return self.decay**slot * self.token(z)",
        "return self.decay ** (slot + 1) * self.token(z)",
        "prefix_state/selective/test_selective.py",
    ),
    Mutant(
        "selective: drop the distinctness guard",
        "prefix_state/reach/cone.py",
        "groups.setdefault(value, []).append((index[0], index[1]))",
        "groups[value] = [(index[0], index[1])]",
        "prefix_state/selective/test_selective.py",
    ),
    Mutant(
        "selective: check only the first slot of an obstruction",
        "prefix_state/reach/cone.py",
        "                if not linalg.is_psd(self.form(ell, m)):\n                    return False\n            checked",
        "                if not linalg.is_psd(self.form(ell, 0)):\n                    return False\n"
        "            tail = True\n            checked",
        "prefix_state/selective/test_selective.py",
    ),
    Mutant(
        "selective: forget the rank condition of one decay value",
        "prefix_state/reach/selective.py",
        "if linalg.rank(p) < linalg.rank(g):",
        "if linalg.rank(p) < 0:",
        "prefix_state/selective/test_selective.py",
    ),
    Mutant(
        "equivalent: count one token too few",
        "prefix_state/equivalent/claim.py",
        "return prefix_length >= len(modes) and",
        "return prefix_length >= len(modes) - 1 and",
        "prefix_state/equivalent/test_equivalent.py",
    ),
    Mutant(
        "equivalent: drop the guard against vanishing residues",
        "prefix_state/equivalent/claim.py",
        "return prefix_length >= len(modes) and not any(is_zero(mode.residue) for mode in modes)",
        "return prefix_length >= len(modes)",
        "prefix_state/equivalent/test_equivalent.py",
    ),
    Mutant(
        "inverse map: swap b and c",
        "prefix_state/reach/interpolation.py",
        "kappa = tidy(sum((full.c[n] * h[n] for n in mode.indices), 0 * h[0]))",
        "kappa = tidy(sum((full.b[n] * h[n] for n in mode.indices), 0 * h[0]))",
        "prefix_state/minimal_length/test_minimal_length.py",
    ),
    Mutant(
        "inverse map: tokens in the wrong order",
        "prefix_state/reach/interpolation.py",
        "[real(v) for v in reversed(polynomial)]",
        "[real(v) for v in polynomial]",
        "prefix_state/minimal_length/test_minimal_length.py",
    ),
    Mutant(
        "conv: re-fit with a power too many",
        "prefix_state/reach/window.py",
        "    factor = system.b\n",
        "    factor = system.b / system.a\n",
        "prefix_state/contained/test_contained.py",
    ),
    Mutant(
        "state offset: horizon one too short",
        "prefix_state/state_offset/claim.py",
        "return Comparison(joint == linalg.rank(state), joint == linalg.rank(offset))",
        "return Comparison(joint - 1 == linalg.rank(state), joint == linalg.rank(offset))",
        "prefix_state/state_offset/test_state_offset.py",
    ),
    Mutant(
        "sparse_dims: forget the residue of an unmatched state",
        "sparse_dims/adjustment.py",
        "cost[:, len(modes) :] = np.array([not is_zero(x) for x in r], dtype=np.int64)[:, None]",
        "cost[:, len(modes) :] = 0",
        "sparse_dims/test_adjustment.py sparse_dims/minimal_adjustment/test_minimal_adjustment.py",
    ),
    Mutant(
        "lora_limits: drop one relabelling",
        "lora_limits/unreachable/relabelling.py",
        "return product(permutations(range(columns)), repeat=rows)",
        "return iter(list(product(permutations(range(columns)), repeat=rows))[:-1])",
        "lora_limits/unreachable/test_relabelling.py",
    ),
    Mutant(
        "lora_limits: rank off by one",
        "lora_limits/unreachable/relabelling.py",
        "if exact_rank(difference) <= r:",
        "if exact_rank(difference) <= r + 1:",
        "lora_limits/unreachable/test_relabelling.py",
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
        "lora_limits/spectrum_frozen/poles.py",
        "return n + q + int(bool(skip))",
        "return n + q - 1 + int(bool(skip))",
        "lora_limits/spectrum_frozen/test_spectrum_frozen.py",
    ),
    Mutant(
        "lora_limits: swap W_B and W_C in what in_proj has to read",
        "lora_limits/in_proj_dominates/block.py",
        "return np.concatenate([self.W_B, self.W_C, (self.v @ self.W_dn)[None, :]])",
        "return np.concatenate([self.W_B, self.W_B, (self.v @ self.W_dn)[None, :]])",
        "lora_limits/in_proj_dominates/test_in_proj_dominates.py",
    ),
    Mutant(
        "mamba2: rank off by one",
        "prefix_state/reach/mamba2.py",
        "if limit is not None and need > limit:",
        "if limit is not None and need > limit + 1:",
        "prefix_state/mamba2/test_mamba2.py",
    ),
)
