(* Sums of squares over an ordered field. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Squares.
Variable F : realFieldType.

Lemma norm2_ge0 n (x : 'cV[F]_n) : 0 <= (x^T *m x) 0 0.
Proof. by rewrite mxE; apply: sumr_ge0 => j _; rewrite mxE -expr2 sqr_ge0. Qed.

Lemma norm2_gt0 n (x : 'cV[F]_n) : x != 0 -> 0 < (x^T *m x) 0 0.
Proof.
move=> x0; have /existsP[i xi] : [exists i, x i 0 != 0].
  by apply: contraNT x0 => /existsPn z; apply/eqP/colP => i; rewrite [RHS]mxE; apply/eqP/negPn; exact: z.
rewrite mxE (bigD1 i) //= [X in X * _]mxE -expr2 ltr_paddr //; last by rewrite lt_neqAle sqr_ge0 andbT eq_sym expf_neq0.
by apply: sumr_ge0 => j _; rewrite mxE -expr2 sqr_ge0.
Qed.

(* Cauchy and Schwarz, by Lagrange's identity. *)
Lemma cauchy_schwarz n (x y : 'I_n -> F) : (\sum_i x i * y i) ^+ 2 <= (\sum_i x i ^+ 2) * (\sum_i y i ^+ 2).
Proof.
pose q := \sum_i \sum_j (x i * y j - x j * y i) ^+ 2.
have q0 : 0 <= q by apply: sumr_ge0 => i _; apply: sumr_ge0 => j _; exact: sqr_ge0.
have qE : q = 2%:R * ((\sum_i x i ^+ 2) * (\sum_i y i ^+ 2) - (\sum_i x i * y i) ^+ 2).
  have -> : q = \sum_i \sum_j (x i ^+ 2 * y j ^+ 2 + y i ^+ 2 * x j ^+ 2 - 2%:R * (x i * y i) * (x j * y j)).
    by apply: eq_bigr => i _; apply: eq_bigr => j _; ring.
  under eq_bigr => i _ do rewrite big_split big_split sumrN -!mulr_sumr /=.
  by rewrite big_split big_split sumrN -!mulr_suml -mulr_sumr /=; ring.
by rewrite -subr_ge0 -(pmulr_rge0 _ (ltr0Sn F 1)) -qE.
Qed.
End Squares.
