(* prefix_state.minimal_length and prefix_state.state_offset for half storage: real tokens, real outputs. *)
From mathcomp Require Import all_ssreflect all_algebra complex.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence lti vandermonde modes half.
From Ssmproof.prefix_state Require Import equivalent conjugate_pairs minimal_length state_offset.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory.
Local Open Scope ring_scope.
Local Open Scope complex_scope.

Section HalfStorage.
Variables (R : rcfType) (N : nat) (ar ai br bi cr ci : 'I_N -> R) (d : R) (L : nat).
Let a := both ar ai.
Let b := both br bi.
Let c := both cr ci.
Let half := half_step ar ai br bi cr ci d.
Let response := half_response ar ai br bi cr ci d.
Let real_inj : injective (fun x : R => x%:C). Proof. exact: fmorph_inj. Qed.

Lemma half_same_closed h h' :
  half_same ar ai br bi cr ci d L h h' <-> same_outputs a b c d%:C L (closed_state h) (closed_state h').
Proof.
rewrite half_sameP same_outputsP; split=> same t ltL; first by rewrite -!(half_response_closed ar ai br bi cr ci d) same.
by apply: real_inj; rewrite !half_response_closed; exact: same.
Qed.

(* The prefix s acts as the stored state h on all later inputs. *)
Definition half_acts s h := half_same ar ai br bi cr ci d L (state_after half (0, 0) s) h.

Theorem half_prefix_is_polynomial s h : (n_obs a c <= L)%N ->
  half_acts s h <-> forall l, l \in obs_modes a c ->
    residue a b c l * (Poly (rev [seq x%:C | x <- s])).[l] = kappa a c (closed_state h) l.
Proof.
move=> leL; rewrite /half_acts half_same_closed closed_after closed_rest.
exact: (@prefix_is_polynomial _ _ a b c d%:C L leL).
Qed.

(* State level: the prefix leaves exactly the stored state h iff b_n p(a_n) = h_n for every stored state. *)
Theorem half_state_level s h :
  state_after half (0, 0) s = h <->
  forall n, (br n +i* bi n) * (Poly (rev [seq x%:C | x <- s])).[ar n +i* ai n] = h.1 0 n +i* h.2 0 n.
Proof.
have entry n : (br n +i* bi n) * (Poly (rev [seq x%:C | x <- s])).[ar n +i* ai n] =
    (state_after half (0, 0) s).1 0 n +i* (state_after half (0, 0) s).2 0 n.
  have := congr1 (fun v : 'rV_(N + N) => v 0 (lshift N n)) (closed_after ar ai br bi cr ci d (0, 0) s).
  rewrite closed_rest prefix_state [LHS]mxE; have [-> _] := lift_both ((state_after half (0, 0) s).1 0) ((state_after half (0, 0) s).2 0) n.
  by have [-> _] := lift_both ar ai n; have [-> _] := lift_both br bi n.
split=> [<- //|same]; apply/eqP; rewrite [state_after _ _ _]surjective_pairing [h]surjective_pairing xpair_eqE.
by apply/andP; split; apply/eqP/rowP => n; have := same n; rewrite entry => -[].
Qed.

(* A vanishing residue is an obstruction at any length. *)
Theorem half_obstruction l h : (n_obs a c <= L)%N -> l \in obs_modes a c -> residue a b c l = 0 ->
  kappa a c (closed_state h) l != 0 -> forall s, ~ half_acts s h.
Proof. by move=> leL obs r0 k0 s /(half_prefix_is_polynomial _ _ leL)/(_ l obs)/eqP; rewrite r0 mul0r eq_sym (negPf k0). Qed.

(* The offset y on L outputs acts as the stored state h. *)
Definition half_offset_is_state (y : R) h := forall t, (t < L)%N -> response h t = y.

(* L > n_obs, no observable mode 1: an offset that is not 0 is no initial state; a state that shows is no offset. *)
Theorem half_offset_outside y h : (n_obs a c < L)%N -> 1 \notin obs_modes a c -> half_offset_is_state y h ->
  y = 0 /\ forall l, l \in obs_modes a c -> kappa a c (closed_state h) l = 0.
Proof.
move=> ltL no1 is_state.
have [|y0 k0] := constant_is_no_state ltL no1 (h := closed_state h) (s := y%:C).
  by move=> t ltt; rewrite -(half_response_closed ar ai br bi cr ci d) -/(response h t) is_state.
by split=> //; apply: real_inj.
Qed.

(* L <= n_obs: every sequence of L real outputs is left by a stored state, offsets among them. *)
Theorem half_short_horizon (y : nat -> R) : (L <= n_obs a c)%N -> exists h, forall t, (t < L)%N -> response h t = y t.
Proof.
move=> leL; have full : row_full (half_obs ar ai cr ci L).
  by rewrite /row_full (half_obs_rank ar ai cr ci L) (minn_idPr leL).
have /submxP[x xE] := submx_full (\row_(t < L) y t) full.
exists (lsubmx x, rsubmx x) => t ltL; have /= e := half_obsE ar ai br bi cr ci d (lsubmx x, rsubmx x) (Ordinal ltL).
by rewrite /response e hsubmxK -xE mxE.
Qed.

(* Every real number is an offset c . h' of a stored state, if some mode is observable. *)
Lemma half_offset_any (y : R) : (0 < n_obs a c)%N -> exists h', half_readout cr ci h' = y.
Proof.
move=> n0; have [_ [k _ ck]] := obs_modesP _ _ _ (obs_mode_mem (Ordinal n0)).
have [j cj] : exists j, (cr j != 0) || (ci j != 0).
  move: ck; rewrite /c /both; case: (split k) => j; rewrite eq_complex /= ?oppr_eq0 negb_and; by exists j.
have two : (2%:R : R) != 0 by rewrite pnatr_eq0.
have pick (f : 'I_N -> R) (x : R) : f j != 0 -> \sum_m f m * (x / f j *: delta_mx 0 j : 'rV[R]_N) 0 m = x.
  move=> fj; rewrite (bigD1 j) //= !mxE !eqxx mulr1 mulrC divfK // big1 ?addr0 // => m ne.
  by rewrite !mxE (negPf ne) andbF !mulr0.
case/orP: cj => cj.
  exists ((y / 2%:R) / cr j *: delta_mx 0 j, 0); rewrite /half_readout /=.
  by under eq_bigr do rewrite [X in _ - _ * X]mxE mulr0 subr0; rewrite pick // mulrC divfK.
exists (0, (- (y / 2%:R)) / ci j *: delta_mx 0 j); rewrite /half_readout /=.
by under eq_bigr do rewrite [X in _ * X - _]mxE mulr0 sub0r; rewrite sumrN pick // opprK mulrC divfK.
Qed.

Theorem half_incomparable : (n_obs a c < L)%N -> 1 \notin obs_modes a c -> (0 < n_obs a c)%N ->
  (exists h', forall h, ~ half_offset_is_state (half_readout cr ci h') h) /\
  (exists h, forall y, ~ half_offset_is_state y h).
Proof.
move=> ltL no1 n0; split.
  have [h' h'E] := half_offset_any 1 n0; exists h' => h; rewrite h'E => /(half_offset_outside ltL no1)[/eqP].
  by rewrite oner_eq0.
have : half_obs ar ai cr ci L != 0.
  by rewrite -mxrank_eq0 (half_obs_rank ar ai cr ci L) (minn_idPl (ltnW ltL)) -lt0n.
case/rowV0Pn => v /submxP[x xE] v0; exists (lsubmx x, rsubmx x) => y off.
have [y0 _] := half_offset_outside ltL no1 off; case/eqP: v0; apply/rowP => t.
have /= e := half_obsE ar ai br bi cr ci d (lsubmx x, rsubmx x) t.
by have := off t (ltn_ord t); rewrite /response e hsubmxK -xE y0 mxE.
Qed.
End HalfStorage.
