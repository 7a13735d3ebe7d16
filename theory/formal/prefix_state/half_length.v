(* prefix_state.minimal_length for half storage: the interpolating polynomial is real, its degree decides the length. *)
From mathcomp Require Import all_ssreflect all_algebra complex.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence lti vandermonde modes half real_channel.
From Ssmproof.prefix_state Require Import equivalent conjugate_pairs minimal_length half_storage.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory.
Local Open Scope ring_scope.
Local Open Scope complex_scope.

Section HalfLength.
Variables (R : rcfType) (N : nat) (ar ai br bi cr ci : 'I_N -> R) (d : R) (L : nat).
Let C := R[i].
Let a := both ar ai.
Let b := both br bi.
Let c := both cr ci.
Let n := n_obs a c.
Let real_C : {rmorphism R -> C} := [rmorphism of real_complex R].

(* The partner of a mode in the closed channel. *)
Definition partner (k : 'I_(N + N)) : 'I_(N + N) := match split k with inl j => rshift N j | inr j => lshift N j end.

Lemma both_partner (xr xi : 'I_N -> R) k : both xr xi (partner k) = (both xr xi k)^*.
Proof.
rewrite -[k]splitK /partner unsplitK; case: (split k) => j /=; have [-> ->] := lift_both xr xi j => //.
by rewrite conjcK.
Qed.

Lemma partnerK : involutive partner.
Proof.
move=> k; rewrite -[k]splitK /partner unsplitK; case: (split k) => j /=.
  by rewrite -[rshift N j]/(unsplit (inr j)) unsplitK.
by rewrite -[lshift N j]/(unsplit (inl j)) unsplitK.
Qed.

Lemma sum_conj (f : 'I_(N + N) -> C) l : (forall k, f (partner k) = (f k)^*) ->
  \sum_(k | a k == l^*) f k = (\sum_(k | a k == l) f k)^*.
Proof.
move=> fc; rewrite (reindex_inj (inv_inj partnerK)) /= rmorph_sum; apply: eq_big => k; last by rewrite fc.
by rewrite /a both_partner (inj_eq (inv_inj (@conjcK _))).
Qed.

Lemma residue_conj l : residue a b c l^* = (residue a b c l)^*.
Proof. by apply: sum_conj => k; rewrite /c /b !both_partner -rmorphM. Qed.

Lemma kappa_conj h l : kappa a c (closed_state h) l^* = (kappa a c (closed_state h) l)^*.
Proof. by apply: sum_conj => k; rewrite /c !mxE !both_partner -rmorphM. Qed.

Lemma obs_conj l : l \in obs_modes a c -> l^* \in obs_modes a c.
Proof.
case/obs_modesP => l0 [k ak ck]; apply/obs_modesP; split; first by rewrite conjc_eq0.
exists (partner k); first by rewrite -ak /a both_partner.
by rewrite /c both_partner conjc_eq0.
Qed.

(* The closed channel is one that stores both modes of each pair. *)
Theorem closed_real_channel : real_channel a b c.
Proof. by move=> l obs; split; [exact: obs_conj | exact: residue_conj]. Qed.

(* Stored states show real outputs, and show what any state of the closed channel with real outputs shows. *)
Theorem closed_state_real h : real_state a c (closed_state h).
Proof. by apply/(real_stateP closed_real_channel) => l _; exact: kappa_conj. Qed.

Theorem real_state_stored h : real_state a c h ->
  exists h', forall t, free_response a c (closed_state h') t.+1 = free_response a c h t.+1.
Proof.
move=> realh; pose g := (2%:R)^-1 *: h.
exists (\row_j (complex.Re (g 0 (lshift N j)) + complex.Re (g 0 (rshift N j))),
        \row_j (complex.Im (g 0 (lshift N j)) - complex.Im (g 0 (rshift N j)))) => t.
have two : (2%:R : C) != 0 by rewrite pnatr_eq0.
have hE : free_response a c h t.+1 = free_response a c g t.+1 + conjc (free_response a c g t.+1).
  have realg : conjc (free_response a c g t.+1) = free_response a c g t.+1.
    have g2 : free_response a c h t.+1 = free_response a c g t.+1 + free_response a c g t.+1.
      by rewrite -free_responseD -scalerDl -[_ + _]mulr2n -mulr_natr mulVf // scale1r.
    move: (realh t); rewrite g2; case: (free_response a c g t.+1) => x y /= /eqP.
    by rewrite -mulr2n mulrn_eq0 /= => /eqP ->; rewrite oppr0.
  by rewrite realg -free_responseD -scalerDl -[_ + _]mulr2n -mulr_natr mulVf // scale1r.
clearbody g; rewrite {}hE /free_response !sum_both conjC_sum -big_split; apply: eq_bigr => j _.
rewrite !mxE /a /c; have [-> ->] := lift_both cr ci j; have [-> ->] := lift_both ar ai j.
set s := (\row_j _) 0; set s' := (\row_j _) 0; have [-> ->] := lift_both s s' j; rewrite /s /s' !mxE.
move: (g 0 (lshift N j)) (g 0 (rshift N j)) => [x y] [x' y'].
rewrite -conjCX -conjCM /=; move: ((_ +i* _) * _ ^+ _) => [u v].
by apply/eqP; rewrite eq_complex /=; apply/andP; split; apply/eqP; ring.
Qed.

Theorem half_minimal_length h : (n <= L)%N -> (forall l, l \in obs_modes a c -> residue a b c l != 0) ->
  exists p : {poly R}, [/\ (size p <= n)%N,
    forall l, l \in obs_modes a c -> (map_poly real_C p).[l] = kappa a c (closed_state h) l / residue a b c l &
    forall m, (exists2 s, size s = m & half_acts ar ai br bi cr ci d L s h) <-> (size p <= m)%N].
Proof.
move=> leL nz; have poly_iff s := @half_prefix_is_polynomial R N ar ai br bi cr ci d L s h leL.
pose v (i : 'I_n) := kappa a c (closed_state h) (obs_mode i) / residue a b c (obs_mode i).
have [pc [sp pE] uniq_p] := interpolation v (@obs_mode_inj _ _ a c).
have pl l : l \in obs_modes a c -> pc.[l] = kappa a c (closed_state h) l / residue a b c l.
  move=> obs; have lt : (index l (obs_modes a c) < n)%N by rewrite index_mem.
  by have := pE (Ordinal lt); rewrite /v /obs_mode /= nth_index.
pose conj_C : {rmorphism C -> C} := [rmorphism of conjc].
have self : map_poly conj_C pc = pc.
  apply: uniq_p => [|i]; first by rewrite size_map_poly.
  have obs := obs_mode_mem i; rewrite -[obs_mode i in LHS]conjcK -[_^* in LHS]/(conj_C _) horner_map /=.
  by rewrite pl ?obs_conj // kappa_conj residue_conj /v rmorphM fmorphV /= !conjcK.
pose p := map_poly (@complex.Re R) pc.
have pC : map_poly real_C p = pc.
  apply/polyP => i; rewrite coef_map /= coef_map_id0 //=.
  have := congr1 (fun q : {poly C} => q`_i) self; rewrite coef_map /=; case: (pc`_i) => x y /= [/eqP].
  by rewrite eq_sym -subr_eq0 opprK -mulr2n mulrn_eq0 /= => /eqP ->.
clearbody p.
exists p; have size_p : size p = size pc by rewrite -pC size_map_poly.
split=> [|l obs|m]; rewrite ?size_p // ?pC ?pl //.
split=> [[s <- /poly_iff act]|le_pm].
  case: (leqP (size s) n) => [sn|/ltnW ns]; last exact: leq_trans ns.
  suff <- : Poly (rev [seq x%:C | x <- s]) = pc by rewrite (leq_trans (size_Poly _)) // size_rev size_map.
  apply: uniq_p => [|i]; first by rewrite (leq_trans (size_Poly _)) // size_rev size_map.
  by have obs := obs_mode_mem i; rewrite /v -act // mulrC mulKf // nz.
exists (rev (mkseq (fun i => p`_i) m)); first by rewrite size_rev size_mkseq.
apply/poly_iff => l obs.
have -> : [seq x%:C | x <- rev (mkseq (fun i => p`_i) m)] = rev (mkseq (fun i => pc`_i) m).
  by rewrite map_rev /mkseq -map_comp; congr rev; apply: eq_map => i; rewrite /= -pC coef_map.
by rewrite poly_tokens // pl // mulrC divfK // nz.
Qed.
End HalfLength.
