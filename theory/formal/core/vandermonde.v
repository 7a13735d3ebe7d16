(* Powers of distinct numbers are independent. MathComp 1.15 has no Vandermonde determinant: roots are counted instead. *)
From mathcomp Require Import all_ssreflect all_algebra.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

Section Vandermonde.
Variable F : fieldType.

(* W_{i,m} = a_i^m, m = 0 .. M-1 *)
Definition vand n M (a : 'I_n -> F) : 'M[F]_(n, M) := \matrix_(i, m) a i ^+ m.

(* A combination of the powers j < K of K distinct numbers vanishes only if its coefficients do. *)
Theorem modes_independent (K : nat) (lam rho : 'I_K -> F) :
  injective lam -> (forall j, (j < K)%N -> \sum_i rho i * lam i ^+ j = 0) -> forall i, rho i = 0.
Proof.
move=> inj ker i.
have anyp (p : {poly F}) : (size p <= K)%N -> \sum_i rho i * p.[lam i] = 0.
  move=> sp; under eq_bigr do rewrite horner_coef mulr_sumr.
  rewrite exchange_big /= big1 // => j _.
  under eq_bigr do rewrite mulrCA.
  by rewrite -mulr_sumr ker ?mulr0 // (leq_trans (ltn_ord j)).
pose ks := filter (predC1 i) (enum 'I_K).
pose p := \prod_(x <- map lam ks) ('X - x%:P).
have rootp x : root p x = (x \in map lam ks) by rewrite root_prod_XsubC.
have /anyp : (size p <= K)%N.
  rewrite size_prod_XsubC size_map size_filter -[X in (_ <= X)%N](size_enum_ord K).
  by rewrite -(count_predC (pred1 i) (enum 'I_K)) -add1n leq_add2r -has_count has_pred1 mem_enum.
rewrite (bigD1 i) //= big1 ?addr0 => [/eqP|k ki].
  rewrite mulf_eq0 => /orP[/eqP //|]; rewrite -/(root p (lam i)) rootp => /mapP[k].
  by rewrite mem_filter => /andP[/= ki _] /inj ik; rewrite ik eqxx in ki.
have : root p (lam k) by rewrite rootp map_f // mem_filter /= ki mem_enum.
by move=> /rootP ->; rewrite mulr0.
Qed.

Lemma vand_free n M (a : 'I_n -> F) : injective a -> (n <= M)%N -> row_free (vand M a).
Proof.
move=> inja leM; apply: inj_row_free => v v0; apply/rowP => i; rewrite mxE.
apply: (modes_independent inja) => j ltj.
have := congr1 (fun z : 'rV_M => z 0 (Ordinal (leq_trans ltj leM))) v0.
by rewrite !mxE => e; rewrite -[RHS]e; apply: eq_bigr => k _; rewrite mxE.
Qed.

Lemma rank_vand n M (a : 'I_n -> F) : injective a -> \rank (vand M a) = minn n M.
Proof.
move=> inja; case: (leqP n M) => [leM|/ltnW leM].
  by have := vand_free inja leM; rewrite /row_free => /eqP ->.
apply/eqP; rewrite eqn_leq rank_leq_col /=.
have /eqP {1}<- : row_free (vand M (a \o widen_ord leM)).
  by apply: vand_free => // i j /inja/(congr1 val) /= e; apply: val_inj.
have -> : vand M (a \o widen_ord leM) = rowsub (widen_ord leM) (vand M a) by apply/matrixP => i j; rewrite !mxE.
exact: mxrankS (rowsub_sub _ _).
Qed.

Lemma vand_unit n (a : 'I_n -> F) : injective a -> vand n a \in unitmx.
Proof. by move=> inja; rewrite -row_free_unit vand_free. Qed.

Lemma unit_diag n (d : 'I_n -> F) : (forall i, d i != 0) -> diag_mx (\row_i d i) \in unitmx.
Proof. by move=> nz; rewrite unitmxE det_diag unitfE; apply/prodf_neq0 => i _; rewrite mxE. Qed.

(* Rows scaled by r: independent iff no r_i is 0 and there are at least n powers. *)
Lemma rank_scaled_vand M n (lam r : 'I_n -> F) : injective lam ->
  (\rank (diag_mx (\row_i r i) *m vand M lam) == n) = [forall i, r i != 0] && (n <= M)%N.
Proof.
move=> injl; apply/idP/andP => [/eqP rk|[/forallP nz leM]].
- split; last by rewrite -[X in (X <= _)%N]rk rank_leq_col.
  apply/forallP => i; apply/negP => /eqP r0.
  have /row_freeP[B AB] : row_free (diag_mx (\row_i r i) *m vand M lam) by rewrite /row_free rk.
  have e0 : delta_mx 0 i *m diag_mx (\row_i r i) = 0 :> 'rV[F]_n.
    by rewrite -rowE; apply/rowP => m; rewrite !mxE r0 mul0rn.
  have : delta_mx 0 i = 0 :> 'rV[F]_n by rewrite -[LHS]mulmx1 -AB !mulmxA e0 !mul0mx.
  by move/rowP/(_ i)/eqP; rewrite !mxE !eqxx oner_eq0.
- by rewrite eqmxMfull ?rank_vand ?(minn_idPl leM) // row_full_unit unit_diag.
Qed.
End Vandermonde.
