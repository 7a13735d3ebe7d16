r"""Symbolic identities behind depth_sharing; each runs sympy once and raises Refuted where an identity fails.

The arguments that use them are written in README.md. T_g = W_g diag(f_g) + diag(u_g), f = r z/(z − a).
"""

from __future__ import annotations

from typing import Any

import sympy as sp

from theory.verification.refutation import require

from .zeroed import three_layer_parameters

z = sp.Symbol("z")


def _zero(expression: Any) -> bool:
    return bool(sp.cancel(sp.together(expression)) == 0)


def _all_zero(matrix: sp.Matrix) -> bool:
    return all(_zero(entry) for entry in matrix)


def coupling(modes: Any, residues: Any) -> Any:
    """How the input of channel i reaches the pole λ_2 of layer 2, per unit of p_j: f(λ_2) r_2 λ_2."""
    (l1, l2), (r1, r2) = modes, residues
    return r1 * r2 * l2**2 / (l2 - l1)


def zeroed_one_state() -> int:
    r"""D = G = 2, zeroed, one state per tuned channel: with channels i and i' tuned, W*_ji = 0 for a j ≠ i.

    Poles l_1, l_2 must be λ_1, λ_2. The residue at l_1 has input direction e_i, so l_1 = λ_i, l_2 = λ_j. The residue at l_2
    must have input direction e_j: impossible for i' = i, and for i' = j it makes p_j = 0, hence (T_2 T_1)_ji = 0.
    """
    p, q, u, v = (sp.Matrix(sp.symbols(f"{s}1:3")) for s in "pquv")
    l1, l2, r1, r2 = sp.symbols("l1 l2 r1 r2", nonzero=True)
    e = sp.eye(2)
    count = 0
    for i in (0, 1):
        j = 1 - i
        for k in (0, 1):  # the channel that layer 2 tunes
            first = p * e[:, i].T * (r1 * z / (z - l1)) + sp.diag(*u)
            second = q * e[:, k].T * (r2 * z / (z - l2)) + sp.diag(*v)
            product = second * first
            at_first = (product * (z - l1)).applyfunc(sp.cancel).subs(z, l1)
            at_second = (product * (z - l2)).applyfunc(sp.cancel).subs(z, l2)
            require(_all_zero(at_first[:, j]), "the pole of layer 1 has input direction e_i")
            if k == i:
                require(_all_zero(at_second[:, j]), "a second pole on channel i has input direction e_i")
            else:
                require(
                    _all_zero(at_second[:, i] - q * p[j] * coupling((l1, l2), (r1, r2))), "input direction e_j only where p_j = 0"
                )
                require(_zero(product[j, i].subs(p[j], 0)), "with p_j = 0 the entry (j, i) vanishes")
            count += 3
    return count


def partial_fractions(l1: Any, l2: Any) -> tuple[Any, Any]:
    """α and β with F_1 F_2 = α F_1 + β F_2."""
    return l1 / (l1 - l2), -l2 / (l1 - l2)


def zeroed_any_states() -> int:
    r"""D = G = 2, zeroed, any proper g, h: the four coefficients whose vanishing forces det W* u*_2 = 0.

    Layer 1 tunes channel 1 by g, layer 2 channel 2 by h. Column 2 gives h = κ F_2 (W*_12 ≠ 0). Eliminating g from column 1
    leaves a combination of 1, F_1, F_2, F_1 F_2 with F_1 F_2 = α F_1 + β F_2, β ≠ 0, which are independent without the last.
    """
    l1, l2 = sp.symbols("lambda1 lambda2", nonzero=True)
    F, H = z / (z - l1), z / (z - l2)
    alpha, beta = partial_fractions(l1, l2)
    require(_zero(F * H - alpha * F - beta * H))
    points = [1, 2, 3]
    gram = sp.Matrix([[1, F.subs(z, t), H.subs(z, t)] for t in points])
    require(not _zero(gram.det()), "1, F_1 and F_2 are independent for distinct nonzero modes")
    w11, w12, w21, w22, p1, p2, q1, q2, u1, u2, v1, v2, kappa, c = sp.symbols("w11 w12 w21 w22 p1 p2 q1 q2 u1 u2 v1 v2 k c")
    h = kappa * H
    g = w21 * F / (p2 * (q2 * h + v2))  # from the entry (2, 1) of T_2 T_1 = T*
    first = sp.Matrix([[p1 * g + u1, 0], [p2 * g, u2]])
    second = sp.Matrix([[v1, q1 * h], [0, q2 * h + v2]])
    product = second * first
    require(_zero(product[1, 0] - w21 * F))
    require(_zero(product[0, 1] - u2 * q1 * h) and _zero(product[1, 1] - u2 * (q2 * h + v2)))
    # the entry (1, 1), with c = u*_1 − v_1 u_1, times p_2 (q_2 h + v_2):
    left = (product[0, 0] - (w11 * F + c + v1 * u1)) * p2 * (q2 * h + v2)
    mixed = w21 * q1 * p2 * kappa - p2 * q2 * kappa * w11
    combination = (w21 * v1 * p1 - p2 * v2 * w11 + mixed * alpha) * F + (-p2 * q2 * kappa * c + mixed * beta) * H - p2 * v2 * c
    require(_zero(left - combination))
    # so v_2 c = 0: either v_2 = 0, u*_2 = u_2 v_2 = 0, or c = 0, mixed = 0, and with the columns of T*:
    require(_zero(mixed.subs({q1: w12 / (u2 * kappa), q2: w22 / (u2 * kappa)}) - p2 * (w21 * w12 - w11 * w22) / u2))
    return 6


def middle_pole(W: Any, modes: Any, u: Any) -> tuple[Any, Any, Any]:
    """P, Q and R of the quadratic (μ − λ_2)(P μ − Q) = R μ² of the middle pole."""
    (w11, w12, w21, w22), (l1, l2), (u1, u2) = W, modes, u
    return u2 * l2 * (w11 + u1) - w22 * l1 * u1, u1 * u2 * l1 * l2, w12 * w21 * l2


def three_layers() -> int:
    """T_3 T_2 T_1 = T* for the parameters of ``three_layer_parameters``, modulo the quadratic of the middle pole.

    The quadratic is linear in W*_21, so W*_21 is eliminated instead of μ: no root is needed.
    """
    w11, w12, w22, l1, l2, u1, u2, mu = sp.symbols("w11 w12 w22 lambda1 lambda2 u1 u2 mu", nonzero=True)
    P, Q, _ = middle_pole((w11, w12, 0, w22), (l1, l2), (u1, u2))
    w21 = (mu - l2) * (P * mu - Q) / (w12 * l2 * mu**2)
    product = sp.eye(2)
    for channel, column, mode, u in three_layer_parameters(((w11, w12), (w21, w22)), (l1, l2), (u1, u2), mu):
        layer = sp.Matrix(column) * sp.eye(2)[:, channel].T * (z / (z - mode)) + sp.diag(*u)
        product = layer * product
    target = sp.Matrix([[w11, w12], [w21, w22]]) * sp.diag(z / (z - l1), z / (z - l2)) + sp.diag(u1, u2)
    require(_all_zero(product - target))
    return 4


def transmission_zeros() -> int:
    r"""The quadratic of μ has λ_2² times the discriminant of det T*: μ is real iff the transmission zeros of T* are.

    det T_g = u_j (p_i r z/(z − a) + u_i) has one real zero, and det T* = Π det T_g: complex zeros exclude every G.
    """
    w11, w12, w21, w22, l1, l2, u1, u2 = sp.symbols("w11 w12 w21 w22 lambda1 lambda2 u1 u2")
    target = sp.Matrix([[w11, w12], [w21, w22]]) * sp.diag(z / (z - l1), z / (z - l2)) + sp.diag(u1, u2)
    numerator = sp.Poly(sp.expand(sp.cancel(target.det() * (z - l1) * (z - l2))), z)
    require(numerator.degree() == 2)
    P, Q, R = middle_pole((w11, w12, w21, w22), (l1, l2), (u1, u2))
    mine = (Q - l2 * P) ** 2 + 4 * l2 * Q * R
    require(sp.expand(mine - l2**2 * sp.discriminant(numerator)) == 0)
    p1, p2, r, a, v1, v2 = sp.symbols("p1 p2 r a v1 v2")
    layer = sp.Matrix([[p1 * r * z / (z - a) + v1, 0], [p2 * r * z / (z - a), v2]])
    require(sp.degree(sp.numer(sp.together(layer.det())), z) == 1)
    return 3


def rank_one_scale(W: Any) -> Any:
    """s with rank(s e_1 e_1ᵀ − W) ≤ 1: det W/W_22."""
    return W.det() / W[1, 1]


def cancelling_pair() -> int:
    r"""D = G = 2, other channels frozen and nonzero: the rank-1 construction, symbolically.

    W'_1 = s e_1 e_1ᵀ with s = det W_1/(W_1)_22, W'_2 = C diag(x) with x_2 solving det(C diag(x) − W_2) = 0.
    """
    s = {name: sp.Matrix(2, 2, sp.symbols(f"{name}11 {name}12 {name}21 {name}22")) for name in ("a", "b", "w")}
    l1, l2, mu, rho, x1, u1, u2 = sp.symbols("lambda1 lambda2 mu rho x1 u1 u2", nonzero=True)
    first, second, target = s["a"], s["b"], s["w"]
    scale = rank_one_scale(first)
    require(_zero((sp.diag(scale, 0) - first).det()), "W'_1 − W_1 has rank at most 1")
    columns = target.copy()
    columns[0, 0] += u1 - u1 * l1 / mu
    columns[:, 0] = columns[:, 0] / rho
    x2 = sp.Symbol("x2")
    solution = sp.solve((columns * sp.diag(x1, x2) - second).det(), x2)
    require(len(solution) == 1)
    tuned = columns * sp.diag(x1, solution[0])
    tau = 1 / x1  # T_1 = diag(τ (z − μ)/(z − λ_1), 1)
    residue = tau * (1 - mu / l1) / scale
    T1 = sp.diag(scale, 0) * sp.diag(residue * z / (z - l1), 0) + sp.diag(tau * mu / l1, 1)
    require(_zero(T1[0, 0] - tau * (z - mu) / (z - l1)))
    T2 = tuned * sp.diag(rho * z / (z - mu), z / (z - l2) / solution[0]) + sp.diag(u1 * l1 * x1 / mu, u2)
    require(_all_zero(T2 * T1 - (target * sp.diag(z / (z - l1), z / (z - l2)) + sp.diag(u1, u2))))
    require(_zero((tuned - second).det()))
    return 8


def one_state(r: Any, a: Any) -> Any:
    """f(z) = r z/(z − a)."""
    return r * z / (z - a)


def frozen_skip() -> int:
    """f(0) = 0 for every nonzero mode, so T_g(0) = diag(u_g), and diagonal matrices multiply entry by entry."""
    r, a = sp.symbols("r a", nonzero=True)
    require(one_state(r, a).subs(z, 0) == 0)
    require(sp.cancel(one_state(r, a).subs(a, 0)) == r)  # mode 0 is a skip: the assumption is needed
    u, v = sp.symbols("u1:4"), sp.symbols("v1:4")
    require(sp.diag(*u) * sp.diag(*v) == sp.diag(*[p * q for p, q in zip(u, v, strict=True)]))
    return 3


def rank_one_three_channels() -> int:
    r"""D = 3, G = 2, rank 1: the identities of the case analysis (README).

    1. Rank-1 matrices have M_12 M_23 M_31 = M_21 M_32 M_13: W'_1 diagonal is excluded by the cycle of W_1.
    2. With W'_2 e_d = 0 and column d of W'_1 on the diagonal, column d of T_2 T_1 is a multiple of e_d.
    3. Swapped poles in layer 2: the four equations of the first row fix W'_22/W'_23 and W'_32/W'_33.
    """
    x, y = sp.symbols("x1:4"), sp.symbols("y1:4")
    m = sp.Matrix(x) * sp.Matrix([y])
    require(sp.expand(m[0, 1] * m[1, 2] * m[2, 0] - m[1, 0] * m[2, 1] * m[0, 2]) == 0)
    W1 = sp.Matrix(3, 3, sp.symbols("a1:4(1:4)"))
    W2 = sp.Matrix(3, 3, sp.symbols("b1:4(1:4)"))
    f, g, u, v = (sp.symbols(f"{s}1:4") for s in "fguv")
    W1[1, 0] = W1[2, 0] = 0
    W2[:, 0] = sp.zeros(3, 1)
    product = (W2 * sp.diag(*g) + sp.diag(*v)) * (W1 * sp.diag(*f) + sp.diag(*u))
    require(product[1, 0] == 0 and product[2, 0] == 0)
    # swap: T_2 channel 2 has pole λ_3, channel 3 has pole λ_2; ν_2, ν_3 are layer 1's frozen poles
    l2, l3, n2, n3, s2, s3 = sp.symbols("lambda2 lambda3 nu2 nu3 sigma2 sigma3", nonzero=True)
    a, b, m23, m32, w2, w3 = sp.symbols("a b m23 m32 w2 w3", nonzero=True)
    entry2 = a * z / (z - l3) * s2 * (z - l3) / (z - n2) + b * z / (z - l2) * m32 * z / (z - n2) - w2 * z / (z - l2)
    entry3 = a * z / (z - l3) * m23 * z / (z - n3) + b * z / (z - l2) * s3 * (z - l2) / (z - n3) - w3 * z / (z - l3)
    first = sp.Poly(sp.cancel(entry2 / z * (z - l2) * (z - n2)), z).all_coeffs()
    second = sp.Poly(sp.cancel(entry3 / z * (z - l3) * (z - n3)), z).all_coeffs()
    require([sp.expand(e) for e in first] == [sp.expand(a * s2 + b * m32 - w2), sp.expand(-a * s2 * l2 + w2 * n2)])
    require([sp.expand(e) for e in second] == [sp.expand(b * s3 + a * m23 - w3), sp.expand(-b * s3 * l3 + w3 * n3)])
    solved = {s2: w2 * n2 / (l2 * a), m32: w2 * (l2 - n2) / (l2 * b), s3: w3 * n3 / (l3 * b), m23: w3 * (l3 - n3) / (l3 * a)}
    require(all(_zero(e.subs(solved)) for e in [*first, *second]))
    # a zero at λ of ω z/(z − ν) + u: u = −ω λ/(λ − ν), and then ω z/(z − ν) + u = σ (z − λ)/(z − ν), σ = ω ν/(ν − λ)
    omega, lam, nu = sp.symbols("omega lambda nu", nonzero=True)
    require(_zero(omega * z / (z - nu) - omega * lam / (lam - nu) - omega * nu / (nu - lam) * (z - lam) / (z - nu)))
    w22, w33 = s2 * (n2 - l3) / n2, s3 * (n3 - l2) / n3  # ω_22 = W'_22 ρ, ω_33 = W'_33 ρ
    ratio2, ratio3 = swap_ratios((l2, l3), (n2, n3), w2 / w3)
    require(_zero((w22 / m23).subs(solved) - ratio2) and _zero((m32 / w33).subs(solved) - ratio3))
    return 12


def swap_ratios(modes: Any, frozen: Any, w: Any) -> tuple[Any, Any]:
    r"""(ω_22/m_23, m_32/ω_33) for swapped poles: the ratios of ρ_1-weighted entries of W'_1, over any field.

    ``modes`` = (λ_2, λ_3), ``frozen`` = (ν_2, ν_3) the poles of layer 1, w = W*_12/W*_13.
    """
    (l2, l3), (n2, n3) = modes, frozen
    return w * (n2 - l3) * l3 / (l2 * (l3 - n3)), w * (l2 - n2) * l3 / (l2 * (n3 - l2))
