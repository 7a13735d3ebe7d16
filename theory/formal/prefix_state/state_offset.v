(* prefix_state.state_offset: adding c . h' to every output is not starting from an initial state. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence lti vandermonde modes.
From Ssmproof.prefix_state Require Import equivalent.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

Section StateOffset.
Variables (F : fieldType) (N : nat) (a c : 'I_N -> F) (L : nat).
Let n := n_obs a c.
(* The offset c . h' acts on L outputs as the initial state h. *)
Definition offset_is_state (h' h : 'rV[F]_N) :=
  forall t, (t < L)%N -> free_response a c h t.+1 = lti_readout c h'.

(* On more than n_obs outputs a constant is no combination of modes other than 0 and 1, except 0. *)
Theorem constant_is_no_state (h : 'rV[F]_N) (s : F) : (n < L)%N -> 1 \notin obs_modes a c ->
  (forall t, (t < L)%N -> free_response a c h t.+1 = s) -> s = 0 /\ forall l, l \in obs_modes a c -> kappa a c h l = 0.
Proof.
move=> ltL no1 H.
pose node (j : 'I_n.+1) : F := if unlift ord0 j is Some i then obs_mode i else 1.
pose w (j : 'I_n.+1) := if unlift ord0 j is Some i then kappa a c h (obs_mode i) * obs_mode i else - s.
have ne1 (i : 'I_n) : (obs_mode i : F) != 1 by apply: contraNneq no1 => <-; exact: obs_mode_mem.
have inj : injective node.
  move=> i j; rewrite /node; case: unliftP => [i' ->|->]; case: unliftP => [j' ->|->] // e.
  - by rewrite (obs_mode_inj e).
  - by have := ne1 i'; rewrite e eqxx.
  - by have := ne1 j'; rewrite -e eqxx.
have w0 : forall j, w j = 0.
  apply: (modes_independent inj) => t ltt; have := H t (leq_trans ltt ltL).
  rewrite free_response_modes big_obs => e; rewrite big_ord_recl /w /node unlift_none expr1n mulr1 -e addrC.
  apply/eqP; rewrite subr_eq0; apply/eqP; apply: eq_bigr => i _.
  by rewrite liftK exprS mulrA.
have s0 : s = 0 by have := w0 ord0; rewrite /w unlift_none => /eqP; rewrite oppr_eq0 => /eqP.
split=> // l obs; have lt : (index l (obs_modes a c) < n)%N by rewrite index_mem.
have := w0 (lift ord0 (Ordinal lt)); rewrite /w liftK /obs_mode /= nth_index // => /eqP.
by case/obs_modesP: obs => l0 _; rewrite mulf_eq0 (negPf l0) orbF => /eqP.
Qed.

(* L > n_obs, no observable mode at 1: an offset that is not 0 is no initial state. *)
Theorem offset_outside_states h' : (n < L)%N -> 1 \notin obs_modes a c ->
  lti_readout c h' != 0 -> forall h, ~ offset_is_state h' h.
Proof. by move=> ltL no1 s0 h /(constant_is_no_state ltL no1)[s00 _]; rewrite s00 eqxx in s0. Qed.

(* L > n_obs and some observable mode: a state that shows it is no offset. *)
Theorem state_outside_offsets h : (n < L)%N -> 1 \notin obs_modes a c ->
  (exists2 l, l \in obs_modes a c & kappa a c h l != 0) -> forall h', ~ offset_is_state h' h.
Proof. by move=> ltL no1 [l obs k0] h' /(constant_is_no_state ltL no1)[_ /(_ l obs)/eqP]; rewrite (negPf k0). Qed.

(* Neither class contains the other: some offset is no state, some state is no offset. *)
Theorem incomparable : (n < L)%N -> 1 \notin obs_modes a c -> (0 < n)%N ->
  (exists h', forall h, ~ offset_is_state h' h) /\ (exists h, forall h', ~ offset_is_state h' h).
Proof.
move=> ltL no1 n0; pose l := obs_mode (Ordinal n0) : F; have obs : l \in obs_modes a c := obs_mode_mem _.
have [_ [m _ cm]] := obs_modesP _ _ _ obs; split.
  exists (delta_mx 0 m); apply: offset_outside_states => //.
  rewrite /lti_readout (bigD1 m) //= mxE !eqxx mulr1 big1 ?addr0 // => j ne.
  by rewrite mxE (negPf ne) andbF mulr0.
have [h hE] := kappa_onto a c (fun=> 1); exists h; apply: state_outside_offsets => //.
by exists l => //; rewrite hE ?oner_eq0.
Qed.

(* L <= n_obs: every sequence of L outputs is left by an initial state, *)
Theorem every_output_shown (y : nat -> F) : (L <= n)%N -> exists h, forall t, (t < L)%N -> free_response a c h t.+1 = y t.
Proof.
move=> leL; have full : row_full (vand L (@obs_mode F N a c)).
  by rewrite /row_full rank_vand ?(minn_idPr leL) //; exact: obs_mode_inj.
have /submxP[x xE] := submx_full (\row_(t < L) y t) full.
pose k (l : F) := if insub (index l (obs_modes a c)) is Some i then x 0 i / l else 0.
have [h hE] := kappa_onto a c k; exists h => t ltL; rewrite free_response_modes big_obs.
have := congr1 (fun v : 'rV_L => v 0 (Ordinal ltL)) xE; rewrite !mxE => ->.
apply: eq_bigr => i _; rewrite hE ?obs_mode_mem // /k [obs_mode i]/obs_mode index_uniq ?obs_modes_uniq // valK.
by rewrite !mxE /= exprS mulrA divfK //; exact: obs_mode_neq0.
Qed.

(* so every offset is. *)
Theorem short_horizon : (L <= n)%N -> forall h', exists h, offset_is_state h' h.
Proof. by move=> leL h'; exact: (every_output_shown (fun=> lti_readout c h')). Qed.
End StateOffset.
