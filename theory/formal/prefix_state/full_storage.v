(* prefix_state.equivalent, minimal_length and state_offset for channels that store both modes of each conjugate pair:
   real tokens, and initial states whose outputs are real. *)
From mathcomp Require Import all_ssreflect all_algebra complex.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence lti vandermonde modes real_channel.
From Ssmproof.prefix_state Require Import equivalent minimal_length state_offset.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory.
Local Open Scope ring_scope.
Local Open Scope complex_scope.

Section FullStorage.
Variables (R : rcfType) (N : nat).
Let C := R[i].
Variables (a b c : 'I_N -> C) (d : C).
Hypothesis real : real_channel a b c.
Let n := n_obs a c.
Let state s := state_after (lti_step a b c d) 0 s.
Let acts L s h := same_outputs a b c d L (state s) h.
Let o h t := free_response a c h t.+1.

Lemma prefix_shows s t : o (state s) t = \sum_(m < size s) nth 0 (rev s) m * kernel a b c (t + m).+1.
Proof.
rewrite /o (@response_prefix _ _ a b c d t.+1 (size s) s (Ordinal (ltnSn t))) // mxE.
by apply: eq_bigr => m _; rewrite !mxE addSn.
Qed.

Lemma Re_sum I (r : seq I) (f : I -> C) : complex.Re (\sum_(i <- r) f i) = \sum_(i <- r) complex.Re (f i).
Proof. exact: (big_morph _ (@raddfD _ _ [additive of @complex.Re R]) (erefl _)). Qed.

(* The real parts of tokens show the real part of what the tokens show. *)
Lemma real_part_tokens (s : seq C) t :
  o (state (real_tokens [seq complex.Re x | x <- s])) t = (complex.Re (o (state s) t))%:C.
Proof.
rewrite !prefix_shows Re_sum rmorph_sum /real_tokens !size_map; apply: eq_bigr => m _.
rewrite -!map_rev (nth_map 0) ?size_map ?size_rev // (nth_map 0) ?size_rev // -(Re_C (kernel_real real (t + m))).
by case: (nth 0 (rev s) m) => x y; rewrite /= mulr0 subr0 rmorphM.
Qed.

(* What real tokens leave is a state with real outputs. *)
Theorem real_prefix_state (s : seq R) : real_state a c (state (real_tokens s)).
Proof.
move=> t; have := real_part_tokens (real_tokens s) t; have -> : [seq complex.Re x | x <- real_tokens s] = s by exact: mapK.
by rewrite /o => ->.
Qed.

Lemma real_part_acts L s h : real_state a c h -> acts L s h -> acts L (real_tokens [seq complex.Re x | x <- s]) h.
Proof.
move=> realh /same_outputsP same; apply/same_outputsP => t ltL.
by rewrite -/(o _ _) real_part_tokens /o same // Re_C.
Qed.

(* Real tokens do what the states with real outputs do iff complex tokens do what all states do. *)
Lemma real_iff_complex L M :
  (forall h, real_state a c h -> exists2 s, size s = M & acts L (real_tokens s) h) <->
  (forall h, exists2 s, size s = M & acts L s h).
Proof.
split=> all h; last first.
  move=> realh; have [s sz /(real_part_acts realh) same] := all h.
  by exists [seq complex.Re x | x <- s]; rewrite ?size_map.
have [h1 h1E] := real_part_state real h; have [h2 h2E] := real_part_state real (- 'i *: h).
have [s1 sz1 /same_outputsP same1] : exists2 s, size s = M & acts L (real_tokens s) h1 by apply: all => t; rewrite h1E.
have [s2 sz2 /same_outputsP same2] : exists2 s, size s = M & acts L (real_tokens s) h2 by apply: all => t; rewrite h2E.
pose s := [seq xy.1%:C + 'i * xy.2%:C | xy <- zip s1 s2].
have sz : size s = M by rewrite size_map size_zip sz1 sz2 minnn.
exists s => //; apply/same_outputsP => t ltL.
have -> : free_response a c h t.+1 = free_response a c h1 t.+1 + 'i * free_response a c h2 t.+1.
  rewrite h1E h2E free_responseZ; case: (free_response _ _ _ _) => x y.
  by apply/eqP; rewrite eq_complex /=; apply/andP; split; apply/eqP; ring.
rewrite -same1 // -same2 // -!/(o _ _) !prefix_shows /real_tokens !size_map size_zip sz1 sz2 minnn mulr_sumr -big_split.
apply: eq_bigr => m _; have ltm := ltn_ord m; rewrite -!map_rev rev_zip ?sz1 ?sz2 // (nth_map (0, 0)) ?size_zip ?size_rev ?sz1 ?sz2 ?minnn //.
by rewrite nth_zip ?size_rev ?sz1 ?sz2 //= !(nth_map 0) ?size_rev ?sz1 ?sz2 // mulrDl mulrA.
Qed.

(* prefix_state.equivalent. Any horizon L: real prefixes of length M do what the states with real outputs do iff the rank of
   the Hankel matrix is min(L, n_obs). *)
Theorem full_equivalent_rank L M :
  (forall h, real_state a c h -> exists2 s, size s = M & same_outputs a b c d L (state (real_tokens s)) h) <->
  \rank (hankel a b c L M) = minn n L.
Proof. by rewrite real_iff_complex; exact: equivalent_rank. Qed.

(* Horizon at least n_obs. *)
Theorem full_equivalent L M : (n <= L)%N ->
  (forall h, real_state a c h -> exists2 s, size s = M & same_outputs a b c d L (state (real_tokens s)) h) <->
  (forall l, l \in obs_modes a c -> residue a b c l != 0) /\ (n <= M)%N.
Proof. by move=> leL; rewrite real_iff_complex; exact: equivalent. Qed.

(* prefix_state.minimal_length: the interpolating polynomial is real, and its degree plus 1 is the least length. *)
Let real_C : {rmorphism R -> C} := [rmorphism of real_complex R].

Theorem full_minimal_length L h : (n <= L)%N -> real_state a c h -> (forall l, l \in obs_modes a c -> residue a b c l != 0) ->
  exists p : {poly R}, [/\ (size p <= n)%N,
    forall l, l \in obs_modes a c -> (map_poly real_C p).[l] = kappa a c h l / residue a b c l &
    forall m, (exists2 s, size s = m & same_outputs a b c d L (state (real_tokens s)) h) <-> (size p <= m)%N].
Proof.
move=> leL realh nz; have [pc [sp pE length]] := minimal_length d leL h nz.
pose conj_C : {rmorphism C -> C} := [rmorphism of @conjc R].
have self : map_poly conj_C pc = pc.
  have [q _ uniq_q] := interpolation (fun i => pc.[obs_mode i]) (@obs_mode_inj _ _ a c).
  rewrite [RHS](uniq_q pc sp (fun i => erefl)); apply: uniq_q => [|i]; first by rewrite size_map_poly.
  have obs := obs_mode_mem i; have [obs' res] := real obs.
  rewrite -[obs_mode i in LHS](@conjcK R) -[conjc _]/(conj_C _) horner_map /= !pE //.
  have /(real_stateP real)/(_ _ obs) -> := realh; rewrite res.
  by rewrite [LHS](fmorph_div conj_C) /= !conjcK.
pose p := map_poly (@complex.Re R) pc.
have pC : map_poly real_C p = pc.
  apply/polyP => i; rewrite coef_map /= coef_map_id0 //=; apply: Re_C; apply: conj_fixed.
  by rewrite -[in RHS]self coef_map.
clearbody p; exists p; have size_p : size p = size pc by rewrite -pC size_map_poly.
split=> [|l obs|m]; rewrite ?size_p ?pC ?pE // -length; split=> [[s sz act]|[s sz act]].
  by exists (real_tokens s); rewrite ?size_map.
by exists [seq complex.Re x | x <- s]; rewrite ?size_map //; exact: real_part_acts.
Qed.

(* A vanishing residue is an obstruction, even for complex tokens. *)
Theorem full_obstruction L l h : (n <= L)%N -> l \in obs_modes a c -> residue a b c l = 0 -> kappa a c h l != 0 ->
  forall s, ~ same_outputs a b c d L (state s) h.
Proof. by move=> leL; exact: obstruction. Qed.

(* prefix_state.state_offset: the offset y on L outputs acts as the state h. *)
Definition full_offset_is_state L (y : R) (h : 'rV[C]_N) := forall t, (t < L)%N -> o h t = y%:C.

(* L > n_obs, no observable mode 1: an offset that is a state is 0, and the state does not show. *)
Theorem full_offset_outside L y h : (n < L)%N -> 1 \notin obs_modes a c -> full_offset_is_state L y h ->
  y = 0 /\ forall l, l \in obs_modes a c -> kappa a c h l = 0.
Proof.
move=> ltL no1 /(constant_is_no_state ltL no1)[y0 k0]; split=> //.
by apply: (fmorph_inj real_C).
Qed.

(* Some observable mode: some real offset c . h' is no state, and some state with real outputs is no offset. *)
Theorem full_incomparable L : (n < L)%N -> 1 \notin obs_modes a c -> (0 < n)%N ->
  (exists h' y, lti_readout c h' = y%:C /\ forall h, ~ full_offset_is_state L y h) /\
  (exists2 h, real_state a c h & forall y, ~ full_offset_is_state L y h).
Proof.
move=> ltL no1 n0; pose l : C := obs_mode (Ordinal n0); have obs : l \in obs_modes a c := obs_mode_mem _.
have [_ [m _ cm]] := obs_modesP _ _ _ obs; split.
  exists ((c m)^-1 *: delta_mx 0 m), 1; split=> [|h /(full_offset_outside ltL no1)[/eqP]]; last by rewrite oner_eq0.
  rewrite /lti_readout (bigD1 m) //= !mxE !eqxx mulr1 mulfV // big1 ?addr0 // => j ne.
  by rewrite !mxE (negPf ne) andbF !mulr0.
have [h hE] := kappa_onto a c (fun=> 1); exists h => [|y /(full_offset_outside ltL no1)[_ /(_ l obs)/eqP]].
  by apply/(real_stateP real) => k obsk; have [obsk' _] := real obsk; rewrite !hE // /= oppr0.
by rewrite hE // oner_eq0.
Qed.

(* L <= n_obs: every sequence of L real outputs, offsets among them, is shown by a state with real outputs. *)
Theorem full_short_horizon L (y : nat -> R) : (L <= n)%N -> exists2 h, real_state a c h & forall t, (t < L)%N -> o h t = (y t)%:C.
Proof.
move=> leL; have [h hE] := every_output_shown (fun t => (y t)%:C) leL; have [h' h'E] := real_part_state real h.
by exists h' => [t|t ltL]; rewrite /o h'E // hE.
Qed.
End FullStorage.
