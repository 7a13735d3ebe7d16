(* lora_limits.rank_floor: the updates U V of rank r have r(D + N - r) dimensions. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring zify.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

Section Gauge.
Variables (F : fieldType) (D r N : nat) (U : 'M[F]_(D, r)) (V : 'M[F]_(r, N)).

(* The differential of (U, V) |-> U V. *)
Definition d_product (dU : 'M[F]_(D, r)) (dV : 'M[F]_(r, N)) : 'M[F]_(D, N) := dU *m V + U *m dV.

Hypotheses (fullU : row_full U) (freeV : row_free V).

(* Its kernel: exactly the gauge directions (U G, - G V), G any r x r matrix. *)
Theorem gauge_kernel dU dV : d_product dU dV = 0 <-> exists G : 'M_r, dU = U *m G /\ dV = - (G *m V).
Proof.
split=> [eq0|[G [-> ->]]]; last by rewrite /d_product mulmxN mulmxA subrr.
have [B VB] := row_freeP freeV.
have dUE : dU = U *m (- (dV *m B)).
  have := congr1 (mulmx^~ B) eq0; rewrite mulmxDl -!mulmxA VB mulmx1 mul0mx.
  by move/eqP; rewrite addr_eq0 => /eqP ->; rewrite mulmxN.
have [C CU] : exists C, C *m U = 1%:M by exact/row_fullP.
exists (- (dV *m B)); split=> //.
have : U *m (- (dV *m B) *m V + dV) = 0 by rewrite mulmxDr mulmxA -dUE.
move/(congr1 (mulmx C)); rewrite mulmxA CU mul1mx mulmx0 => /eqP.
by rewrite addrC addr_eq0 => /eqP.
Qed.

(* The differential as a matrix on the r(D + N) stored numbers. *)
Definition jacobian : 'M[F]_(D * r + r * N, D * N) := col_mx (lin_mx (mulmxr V)) (lin_mx (mulmx U)).
Definition gauge_mx : 'M[F]_(r * r, D * r + r * N) := row_mx (lin_mx (mulmx U)) (lin_mx (fun G : 'M_r => - (G *m V))).

Lemma jacobianE dU dV : row_mx (mxvec dU) (mxvec dV) *m jacobian = mxvec (d_product dU dV).
Proof. by rewrite mul_row_col !mul_vec_lin /d_product linearD. Qed.
End Gauge.
