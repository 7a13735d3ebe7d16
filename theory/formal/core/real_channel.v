(* Channels over the complex numbers that store both modes of each conjugate pair: real inputs give real outputs. *)
From mathcomp Require Import all_ssreflect all_algebra complex.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence lti vandermonde modes.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory.
Local Open Scope ring_scope.
Local Open Scope complex_scope.

Section RealChannel.
Variables (R : rcfType) (N : nat).
Let C := R[i].
Variables (a b c : 'I_N -> C).

(* With an observable mode its conjugate is observable, and their residues are conjugate. *)
Definition real_channel := forall l, l \in obs_modes a c -> conjc l \in obs_modes a c /\ residue a b c (conjc l) = conjc (residue a b c l).
(* A state whose outputs are real. *)
Definition real_state (h : 'rV[C]_N) := forall t, complex.Im (free_response a c h t.+1) = 0.
(* Real tokens. *)
Definition real_tokens (s : seq R) : seq C := [seq x%:C | x <- s].

Hypothesis real : real_channel.

Let C_field := [fieldType of C].
Lemma Re_C (z : C) : complex.Im z = 0 -> (complex.Re z)%:C = z.
Proof. by case: z => x y /= ->. Qed.

Lemma conj_fixed (z : C) : conjc z = z -> complex.Im z = 0.
Proof. by case: z => x y [/eqP]; rewrite -subr_eq0 -opprD oppr_eq0 -mulr2n mulrn_eq0 => /eqP. Qed.

Lemma conjC_sum I (r : seq I) (P : pred I) (f : I -> C_field) :
  conjc (\sum_(i <- r | P i) f i) = \sum_(i <- r | P i) conjc (f i) :> C_field.
Proof. exact: (rmorph_sum [rmorphism of @conjc R]). Qed.
Lemma conjCM (x y : C_field) : conjc (x * y) = conjc x * conjc y :> C_field. Proof. exact: (rmorphM [rmorphism of @conjc R]). Qed.
Lemma conjCX (x : C_field) n : conjc (x ^+ n) = conjc x ^+ n :> C_field. Proof. exact: (rmorphX [rmorphism of @conjc R]). Qed.

(* Conjugation permutes the observable modes. *)
Lemma big_conj (f : C -> C) : \sum_(l <- obs_modes a c) f (conjc l) = \sum_(l <- obs_modes a c) f l.
Proof.
rewrite -(big_map (@conjc R) xpredT f); apply: perm_big; apply: uniq_perm.
- by rewrite map_inj_uniq ?obs_modes_uniq //; exact: (inv_inj (@conjcK R)).
- exact: obs_modes_uniq.
move=> l; apply/mapP/idP => [[k obs ->]|obs]; first by have [] := real obs.
by exists (conjc l); rewrite ?conjcK //; have [] := real obs.
Qed.

Lemma kernel_real j : complex.Im (kernel a b c j.+1) = 0.
Proof.
apply: conj_fixed; rewrite kernel_modes conjC_sum -[RHS]big_conj !big_seq; apply: eq_bigr => l obs.
by rewrite conjCM conjCX; have [_ ->] := real obs.
Qed.

Lemma free_responseD h h' t : free_response a c (h + h') t = free_response a c h t + free_response a c h' t.
Proof. by rewrite -big_split; apply: eq_bigr => n _; rewrite mxE mulrDr. Qed.

Lemma free_responseZ k h t : free_response a c (k *: h) t = k * free_response a c h t.
Proof. by rewrite mulr_sumr; apply: eq_bigr => n _; rewrite mxE mulrCA. Qed.

Lemma conj_state h : exists2 h', forall l, l \in obs_modes a c -> kappa a c h' l = conjc (kappa a c h (conjc l)) &
  forall t, free_response a c h' t.+1 = conjc (free_response a c h t.+1).
Proof.
have [h' hE] := kappa_onto a c (fun l => conjc (kappa a c h (conjc l))); exists h' => // t.
rewrite !free_response_modes conjC_sum -[RHS]big_conj !big_seq; apply: eq_bigr => l obs.
by rewrite conjCM conjCX conjcK hE.
Qed.

(* The real part of what a state shows is shown by a state. *)
Lemma real_part_state h : exists h', forall t, free_response a c h' t.+1 = (complex.Re (free_response a c h t.+1))%:C.
Proof.
have [h' _ hE] := conj_state h; exists ((2%:R)^-1 *: (h + h')) => t; rewrite free_responseZ free_responseD hE.
have two : (2%:R : C) != 0 by rewrite pnatr_eq0.
apply: (mulfI two); rewrite mulrA mulfV // mul1r; case: (free_response _ _ _ _) => x y.
by apply/eqP; rewrite eq_complex /=; apply/andP; split; apply/eqP; ring.
Qed.

Lemma real_stateP h : real_state h <-> forall l, l \in obs_modes a c -> kappa a c h (conjc l) = conjc (kappa a c h l).
Proof.
split=> [realh l obs|sym t].
  have [h' hE conjE] := conj_state h.
  have /(same_outputs_kappa (fun=> 0) 0 _ _ (leqnn _)) same : same_outputs a (fun=> 0) c 0 (n_obs a c) h h'.
    apply/same_outputsP => t _; rewrite conjE -[in RHS](Re_C (realh t)) /=.
    by case: (free_response _ _ _ _) (realh t) => x y /= ->; rewrite oppr0.
  have [obs' _] := real obs; by rewrite same // hE // conjcK.
apply: conj_fixed; rewrite !free_response_modes conjC_sum -[RHS]big_conj !big_seq; apply: eq_bigr => l obs.
by rewrite conjCM conjCX sym.
Qed.
End RealChannel.
