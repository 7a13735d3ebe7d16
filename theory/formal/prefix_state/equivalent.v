(* prefix_state.equivalent: prefixes of M tokens do what initial states do iff no observable residue vanishes and M >= n_obs. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence lti vandermonde modes.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

Section Equivalent.
Variables (F : fieldType) (N : nat) (a b c : 'I_N -> F) (d : F).
Let n := n_obs a c.
Let lam : 'I_n -> F := @obs_mode F N a c.

(* H_{t,m} = k_{t+m}, t = 1 .. L, m = 0 .. M-1 *)
Definition hankel L M : 'M[F]_(L, M) := \matrix_(t, m) kernel a b c (t.+1 + m).
(* V_{t,i} = lam_i^t over the observable modes; transposed, because row spaces are MathComp's subspaces. *)
Let Vt L : 'M[F]_(n, L) := \matrix_(i, t) lam i ^+ t.+1.
Let rW M : 'M[F]_(n, M) := diag_mx (\row_i residue a b c (lam i)) *m vand M lam.

Lemma rWE M i m : rW M i m = residue a b c (lam i) * lam i ^+ m.
Proof. by rewrite /rW mul_diag_mx !mxE. Qed.

Lemma hankel_factor L M : (hankel L M)^T = (rW M)^T *m Vt L.
Proof.
apply/matrixP => m t; rewrite mxE [LHS]mxE [RHS]mxE addSn kernel_modes big_obs; apply: eq_bigr => i _.
by rewrite [_^T _ _]mxE rWE [Vt _ _ _]mxE -addSn exprD mulrAC mulrA.
Qed.

Lemma rank_Vt L : \rank (Vt L) = minn n L.
Proof.
have -> : Vt L = diag_mx (\row_i lam i) *m vand L lam by apply/matrixP => i t; rewrite mul_diag_mx !mxE exprS.
by rewrite eqmxMfull ?rank_vand //; [exact: obs_mode_inj | rewrite row_full_unit unit_diag // => i; exact: obs_mode_neq0].
Qed.

(* What a state and a prefix add to the outputs, as row vectors. *)
Lemma response_state L h (t : 'I_L) : free_response a c h t.+1 = ((\row_i kappa a c h (lam i)) *m Vt L) 0 t.
Proof. by rewrite free_response_modes big_obs mxE; apply: eq_bigr => i _; rewrite !mxE. Qed.

Lemma response_prefix L M s (t : 'I_L) : size s = M ->
  free_response a c (state_after (lti_step a b c d) 0 s) t.+1 = ((\row_m nth 0 (rev s) m) *m (hankel L M)^T) 0 t.
Proof.
move=> sz; rewrite hankel_factor mulmxA response_state; congr ((_ *m _) 0 t).
apply/rowP => i; rewrite mxE kappa_prefix [RHS]mxE.
rewrite (@horner_coef_wide _ M); last by rewrite (leq_trans (size_Poly _)) // size_rev sz.
rewrite mulr_sumr; apply: eq_bigr => m _; by rewrite mxE [_^T _ _]mxE rWE coef_Poly mulrCA.
Qed.

Lemma reach_all_submx L M :
  (forall h, exists2 s, size s = M & same_outputs a b c d L (state_after (lti_step a b c d) 0 s) h) <->
  (Vt L <= (hankel L M)^T)%MS.
Proof.
split=> [all|/submxP[X VX] h].
  apply/row_subP => i; have [h hk] := kappa_onto a c (fun l => (l == lam i)%:R).
  have [s sz /same_outputsP same] := all h.
  apply/submxP; exists (\row_m nth 0 (rev s) m); apply/rowP => t.
  rewrite -(response_prefix t sz) (same t (ltn_ord t)) response_state.
  rewrite !mxE (bigD1 i) //= big1 => [|j ne]; rewrite !mxE hk ?obs_mode_mem //.
    by rewrite eqxx mul1r addr0.
  by rewrite (inj_eq (@obs_mode_inj _ _ a c)) (negPf ne) mul0r.
pose x := (\row_i kappa a c h (lam i)) *m X.
exists (rev [seq x 0 m | m <- enum 'I_M]); first by rewrite size_rev size_map size_enum_ord.
apply/same_outputsP => t ltL.
have /= -> := @response_prefix L M (rev [seq x 0 m | m <- enum 'I_M]) (Ordinal ltL); last first.
  by rewrite size_rev size_map size_enum_ord.
have /= -> := response_state h (Ordinal ltL); rewrite VX mulmxA; congr ((_ *m _) 0 _); apply/rowP => m.
by rewrite mxE revK (nth_map m) ?size_enum_ord // nth_ord_enum.
Qed.

(* Any horizon L. *)
Theorem equivalent_rank L M :
  (forall h, exists2 s, size s = M & same_outputs a b c d L (state_after (lti_step a b c d) 0 s) h) <->
  \rank (hankel L M) = minn n L.
Proof.
rewrite reach_all_submx -rank_Vt -[X in _ <-> X = _]mxrank_tr.
have sub : ((hankel L M)^T <= Vt L)%MS by rewrite hankel_factor submxMl.
have [_ eqE] := mxrank_leqif_eq sub.
split=> [VH|/eqP]; last by rewrite eqE => /andP[].
by apply/eqP; rewrite eqE sub VH.
Qed.

(* The rank of the Hankel matrix is n_obs iff no observable residue is 0 and M is at least n_obs. *)
Theorem hankel_rank L M : (n <= L)%N ->
  \rank (hankel L M) = n <-> (forall l, l \in obs_modes a c -> residue a b c l != 0) /\ (n <= M)%N.
Proof.
move=> leL; rewrite -mxrank_tr hankel_factor.
have freeV : row_free (Vt L) by rewrite /row_free rank_Vt (minn_idPl leL).
rewrite mxrankMfree // mxrank_tr; have := @rank_scaled_vand F M n lam (fun i => residue a b c (lam i)) (@obs_mode_inj _ _ a c).
rewrite -/(rW M) => rk; split=> [/eqP|[nz leM]].
  rewrite rk => /andP[/forallP nz leM]; split=> // l obs.
  have lt : (index l (obs_modes a c) < n)%N by rewrite index_mem.
  by have := nz (Ordinal lt); rewrite /lam /obs_mode /= nth_index.
by apply/eqP; rewrite rk leM andbT; apply/forallP => i; apply: nz; exact: obs_mode_mem.
Qed.

(* What states add to the outputs: row n is c_n a_n^t, t = 1 .. L. *)
Definition observability L : 'M[F]_(N, L) := \matrix_(j, t) (c j * a j ^+ t.+1).

Lemma observabilityE L h (t : 'I_L) : (h *m observability L) 0 t = free_response a c h t.+1.
Proof. by rewrite mxE; apply: eq_bigr => j _; rewrite mxE mulrC. Qed.

Lemma observability_rank L : \rank (observability L) = minn n L.
Proof.
rewrite -rank_Vt; apply/eqP; rewrite eqn_leq !mxrankS //.
  apply/row_subP => i; have [h hk] := kappa_onto a c (fun l => (l == lam i)%:R).
  apply/submxP; exists h; apply/rowP => t; rewrite observabilityE response_state.
  rewrite !mxE (bigD1 i) //= big1 => [|j ne]; rewrite !mxE hk ?obs_mode_mem //.
    by rewrite eqxx mul1r addr0.
  by rewrite (inj_eq (@obs_mode_inj _ _ a c)) (negPf ne) mul0r.
apply/row_subP => j; apply/submxP; exists (\row_i kappa a c (delta_mx 0 j) (lam i)); apply/rowP => t.
by rewrite -response_state -observabilityE -rowE.
Qed.

(* Horizon at least n_obs. *)
Theorem equivalent L M : (n <= L)%N ->
  (forall h, exists2 s, size s = M & same_outputs a b c d L (state_after (lti_step a b c d) 0 s) h) <->
  (forall l, l \in obs_modes a c -> residue a b c l != 0) /\ (n <= M)%N.
Proof. by move=> leL; rewrite equivalent_rank (minn_idPl leL); exact: hankel_rank. Qed.
End Equivalent.
