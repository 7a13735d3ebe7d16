(* States of one channel grouped by mode: equal modes act as one. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence lti vandermonde.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

Section Modes.
Variables (F : fieldType) (N : nat) (a b c : 'I_N -> F) (d : F).

(* r_lam = sum of c_n b_n over the states of mode lam; kappa_lam the same with a state h in place of b. *)
Definition residue (lam : F) : F := \sum_(n | a n == lam) c n * b n.
Definition kappa (h : 'rV[F]_N) (lam : F) : F := \sum_(n | a n == lam) c n * h 0 n.

(* Observable: not 0, and some state of the mode has c_n != 0. Listed once each. *)
Definition obs_modes : seq F := undup [seq a n | n <- enum 'I_N & (a n != 0) && (c n != 0)].
Definition n_obs : nat := size obs_modes.

Lemma obs_modesP lam : reflect (lam != 0 /\ exists2 n, a n = lam & c n != 0) (lam \in obs_modes).
Proof.
rewrite mem_undup; apply: (iffP mapP) => [[n]|[lam0 [n an cn]]].
  by rewrite mem_filter => /andP[/andP[a0 c0] _] ->; split=> //; exists n.
by exists n; rewrite ?an // mem_filter an lam0 cn mem_enum.
Qed.

Lemma obs_modes_uniq : uniq obs_modes. Proof. exact: undup_uniq. Qed.

Lemma group_by_mode (g : 'I_N -> F) t :
  \sum_n c n * g n * a n ^+ t.+1 = \sum_(lam <- obs_modes) (\sum_(n | a n == lam) c n * g n) * lam ^+ t.+1.
Proof.
under [RHS]eq_bigr => lam _ do rewrite big_mkcond mulr_suml /=.
rewrite exchange_big /=; apply: eq_bigr => n _.
case: (boolP (a n \in obs_modes)) => [obs|hid].
  rewrite (bigD1_seq (a n)) ?obs_modes_uniq //= eqxx big1 ?addr0 // => lam ne.
  by rewrite eq_sym (negPf ne) mul0r.
rewrite big1_seq; last first.
  by move=> lam /andP[_ obs]; case: eqP => [e|]; rewrite ?mul0r //; rewrite -e (negPf hid) in obs.
have [a0|a0] := eqVneq (a n) 0; first by rewrite a0 exprS mul0r mulr0.
have [->|c0] := eqVneq (c n) 0; first by rewrite !mul0r.
by case/obs_modesP: hid; split=> //; exists n.
Qed.

Lemma free_response_modes h t : free_response a c h t.+1 = \sum_(lam <- obs_modes) kappa h lam * lam ^+ t.+1.
Proof. by rewrite -group_by_mode; apply: eq_bigr => n _; rewrite mulrAC. Qed.

Lemma kernel_modes j : kernel a b c j.+1 = \sum_(lam <- obs_modes) residue lam * lam ^+ j.+1.
Proof. by rewrite -group_by_mode. Qed.

(* Every choice of kappa is taken by some state. *)
Lemma kappa_onto (k : F -> F) : exists h, forall lam, lam \in obs_modes -> kappa h lam = k lam.
Proof.
pose rep lam := [pick n | (a n == lam) && (c n != 0)].
exists (\row_n (if rep (a n) == Some n then k (a n) / c n else 0)) => lam /obs_modesP[_ [m am cm]].
have [n repE /andP[/eqP an cn]] : exists2 n, rep lam = Some n & (a n == lam) && (c n != 0).
  by rewrite /rep; case: pickP => [n Pn|/(_ m)]; [exists n | rewrite am eqxx cm].
rewrite /kappa (bigD1 n) ?an //= mxE an repE eqxx mulrC divfK // big1 ?addr0 // => j /andP[/eqP aj ne].
by rewrite mxE aj repE; case: eqP => [[e]|]; rewrite ?mulr0 //; rewrite e eqxx in ne.
Qed.

Lemma kappa_prefix s lam : kappa (state_after (lti_step a b c d) 0 s) lam = residue lam * (Poly (rev s)).[lam].
Proof.
by rewrite /residue mulr_suml; apply: eq_bigr => n /eqP an; rewrite prefix_state an mulrA.
Qed.

(* Two states that no input sequence of length L tells apart. *)
Definition same_outputs L h h' :=
  forall x, size x = L -> outputs (lti_step a b c d) h x = outputs (lti_step a b c d) h' x.

Lemma same_outputsP L h h' :
  same_outputs L h h' <-> (forall t, (t < L)%N -> free_response a c h t.+1 = free_response a c h' t.+1).
Proof.
split=> [same t ltL|same x sz].
  by rewrite -!(outputs_zero a b c d _ ltL) same ?size_nseq.
apply: (@eq_from_nth _ 0) => [|t]; rewrite !size_outputs // sz => ltL.
by rewrite !lti_outputs_nth ?sz // same.
Qed.

(* Observable modes by number. *)
Definition obs_mode (i : 'I_n_obs) : F := nth 0 obs_modes i.

Lemma obs_mode_inj : injective obs_mode.
Proof.
by move=> i j /eqP; rewrite nth_uniq ?obs_modes_uniq // => /eqP; apply: val_inj.
Qed.

Lemma obs_mode_mem i : obs_mode i \in obs_modes. Proof. exact: mem_nth. Qed.

Lemma obs_mode_neq0 i : obs_mode i != 0. Proof. by case/obs_modesP: (obs_mode_mem i). Qed.

Lemma big_obs (f : F -> F) : \sum_(lam <- obs_modes) f lam = \sum_i f (obs_mode i).
Proof. by rewrite (big_nth 0) big_mkord. Qed.

(* Two states act alike (horizon at least n_obs) iff their kappas agree. *)
Lemma same_outputs_kappa L h h' : (n_obs <= L)%N ->
  same_outputs L h h' <-> (forall lam, lam \in obs_modes -> kappa h lam = kappa h' lam).
Proof.
move=> leL; split=> [/same_outputsP same lam obs|same]; last first.
  apply/same_outputsP => t _; rewrite !free_response_modes; apply: eq_big_seq => lam obs.
  by rewrite same.
pose k i := (kappa h (obs_mode i) - kappa h' (obs_mode i)) * obs_mode i.
have k0 : forall i, k i = 0.
  apply: (modes_independent obs_mode_inj) => j ltj.
  have := same j (leq_trans ltj leL); rewrite !free_response_modes !big_obs => /eqP; rewrite -subr_eq0 => /eqP e; rewrite -[RHS]e.
  by rewrite -sumrB; apply: eq_bigr => i _; rewrite /k exprS; ring.
have ilt : (index lam obs_modes < n_obs)%N by rewrite index_mem.
have := k0 (Ordinal ilt); rewrite /k /obs_mode /= nth_index // => /eqP.
case/obs_modesP: obs => lam0 _; by rewrite mulf_eq0 (negPf lam0) orbF subr_eq0 => /eqP.
Qed.
End Modes.
