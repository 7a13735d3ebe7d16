(* sparse_dims.essential, sharp horizon: with K distinct modes two different channels agree on K - 1 outputs. *)
From mathcomp Require Import all_ssreflect all_algebra.
From Ssmproof.core Require Import recurrence lti vandermonde modes.
From Ssmproof.sparse_dims Require Import essential.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

Section Sharp.
Variables (F : fieldType) (k : nat) (lam : 'I_k.+2 -> F).
Hypothesis inj : injective lam.

(* Coefficients, none of them 0, that cancel on all powers j < K - 1, K = k + 2. *)
Lemma cancelling : exists rho : 'I_k.+2 -> F, (forall i, rho i != 0) /\ forall j, (j < k.+1)%N -> \sum_i rho i * lam i ^+ j = 0.
Proof.
have : kermx (vand k.+1 lam) != 0.
  by rewrite -mxrank_eq0 mxrank_ker -lt0n subn_gt0 ltnS rank_leq_col.
case/rowV0Pn => v /sub_kermxP v0 nz.
have ker j : (j < k.+1)%N -> \sum_i v 0 i * lam i ^+ j = 0.
  move=> ltj; have /matrixP/(_ 0 (Ordinal ltj)) := v0; rewrite !mxE => e; rewrite -[RHS]e.
  by apply: eq_bigr => i _; rewrite mxE.
exists (v 0); split=> // i; apply: contra nz => /eqP vi; apply/eqP/rowP => l; rewrite [RHS]mxE.
have [->//|ne] := eqVneq l i; have [m ->] : exists m, l = lift i m.
  by case: (unliftP i l) => [m ->|e]; [exists m | rewrite e eqxx in ne].
apply: (@modes_independent _ _ (lam \o lift i) (fun m => v 0 (lift i m))) => [a b /= /inj/lift_inj //|j ltj].
have := ker j ltj; rewrite (bigD1 i) //= vi mul0r add0r => e; rewrite -[RHS]e.
rewrite (reindex_onto (lift i) (odflt ord0 \o unlift i)) => [|l' ne']; last by case: (unliftP i l') ne' => [m' -> /=|->]; rewrite ?liftK ?eqxx.
by apply: eq_bigl => m'; rewrite /= liftK eqxx andbT eq_sym neq_lift.
Qed.

Lemma essential_distinct c i : essential lam (fun=> 1) c 0 (lam i) = c i.
Proof.
rewrite /essential if_same addr0 /residue (eq_bigl (pred1 i)) ?big_pred1_eq ?mulr1 // => n.
by rewrite /= (inj_eq inj).
Qed.

(* Every mode is essential in one of the two channels, their essential sets differ, and L <= K - 1 outputs agree. *)
Theorem sharp_horizon : exists c1 c2 : 'I_k.+2 -> F,
  [/\ forall i, (essential lam (fun=> 1) c1 0 (lam i) != 0) || (essential lam (fun=> 1) c2 0 (lam i) != 0),
      essential lam (fun=> 1) c1 0 (lam ord0) != essential lam (fun=> 1) c2 0 (lam ord0) &
      forall x, (size x <= k.+1)%N -> outputs (lti_step lam (fun=> 1) c1 0) 0 x = outputs (lti_step lam (fun=> 1) c2 0) 0 x].
Proof.
have [rho [nz ker]] := cancelling.
exists (fun i => if i == ord0 then rho i else 0), (fun i => if i == ord0 then 0 else - rho i); split=> [i||x lex].
- by rewrite !essential_distinct /=; case: (i == ord0); rewrite ?oppr_eq0 nz ?orbT.
- by rewrite !essential_distinct /= ?eqxx nz.
apply: (@eq_from_nth _ 0) => [|t]; rewrite !size_outputs // => ltx; rewrite !outputs_impulse //.
apply: eq_bigr => j _; congr ((_ + _) * _); apply/eqP; rewrite -subr_eq0 -sumrB; apply/eqP.
rewrite -[RHS](ker j (leq_trans (leq_trans (ltn_ord j) ltx) lex)); apply: eq_bigr => i _.
by rewrite !mulr1 -mulrBl; case: (i == ord0); rewrite ?subr0 // sub0r opprK.
Qed.
End Sharp.
