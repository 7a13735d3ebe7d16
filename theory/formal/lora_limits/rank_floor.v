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

(* The differential as a matrix on the r(D + N) stored numbers. *)
Definition jacobian : 'M[F]_(D * r + r * N, D * N) := col_mx (lin_mulmxr V) (lin_mx (mulmx U)).
Definition gauge_mx : 'M[F]_(r * r, D * r + r * N) := row_mx (lin_mx (mulmx U)) (- lin_mulmxr V).

Lemma jacobianE dU dV : row_mx (mxvec dU) (mxvec dV) *m jacobian = mxvec (d_product dU dV).
Proof. by rewrite mul_row_col mul_vec_lin /= mul_vec_lin /= /d_product linearD. Qed.

Lemma gaugeE G : mxvec G *m gauge_mx = row_mx (mxvec (U *m G)) (mxvec (- (G *m V))).
Proof. by rewrite mul_mx_row mulmxN !mul_vec_lin /= linearN. Qed.

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

Lemma gauge_free : row_free gauge_mx.
Proof.
apply: inj_row_free => g; rewrite -[g]vec_mxK gaugeE => e0; have [C CU] := row_fullP fullU.
have : U *m vec_mx g = 0.
  by apply: (can_inj mxvecK); rewrite linear0 -[LHS](row_mxKl _ (mxvec (- (vec_mx g *m V)))) e0 linear0.
by move/(congr1 (mulmx C)); rewrite mulmxA CU mul1mx mulmx0 => ->; rewrite linear0.
Qed.

Lemma gauge_is_kernel : (gauge_mx :=: kermx jacobian)%MS.
Proof.
apply/eqmxP/andP; split.
  apply/sub_kermxP/row_matrixP => i; rewrite row0 rowE mulmxA -[delta_mx _ _]vec_mxK gaugeE jacobianE.
  set G := vec_mx _; have -> : d_product (U *m G) (- (G *m V)) = 0 by apply/gauge_kernel; exists G.
  exact: linear0.
apply/rV_subP => v /sub_kermxP; rewrite -[v]hsubmxK -[lsubmx v]vec_mxK -[rsubmx v]vec_mxK jacobianE => e.
have /gauge_kernel[G [-> ->]] : d_product (vec_mx (lsubmx v)) (vec_mx (rsubmx v)) = 0.
  by apply: (can_inj mxvecK); rewrite e linear0.
by apply/submxP; exists (mxvec G); rewrite gaugeE.
Qed.

(* Where U and V have full rank r the differential has rank r(D + N - r). *)
Theorem dimension : \rank jacobian = (r * (D + N - r))%N.
Proof.
have rk := mxrank_ker jacobian; rewrite -gauge_is_kernel (eqP gauge_free) in rk.
have leJ := rank_leq_row jacobian.
have rD : (r <= D)%N by move: fullU; rewrite /row_full => /eqP <-; exact: rank_leq_row.
have rN : (r <= N)%N by move: freeV; rewrite /row_free => /eqP <-; exact: rank_leq_col.
have [k Dk] : exists k, D = (r + k)%N by exists (D - r)%N; lia.
have e : (D + N - r = k + N)%N by lia.
have -> : (r * (D + N - r) = D * r + r * N - r * r)%N by rewrite e Dk; nia.
lia.
Qed.
End Gauge.
