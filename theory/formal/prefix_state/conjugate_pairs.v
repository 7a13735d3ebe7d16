(* prefix_state.equivalent for half storage: one mode of each conjugate pair is stored, tokens and outputs are real. *)
From mathcomp Require Import all_ssreflect all_algebra complex.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence lti vandermonde modes half.
From Ssmproof.prefix_state Require Import equivalent.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory.
Local Open Scope ring_scope.
Local Open Scope complex_scope.

Section Half.
Variables (R : rcfType) (N : nat) (ar ai br bi cr ci : 'I_N -> R) (d : R).
Let C := R[i].
Let half := half_step ar ai br bi cr ci d.

(* The closed channel: the stored modes followed by their conjugates, N + N states over the complex numbers. *)
Definition both (xr xi : 'I_N -> R) (k : 'I_(N + N)) : C :=
  match split k with inl n => xr n +i* xi n | inr n => xr n +i* (- xi n) end.
Let a := both ar ai.
Let b := both br bi.
Let c := both cr ci.
Let closed := lti_step a b c (d%:C).
Definition closed_state (h : 'rV[R]_N * 'rV[R]_N) : 'rV[C]_(N + N) := \row_k both (h.1 0) (h.2 0) k.

Lemma sum_both (f : 'I_(N + N) -> C) : \sum_k f k = \sum_n (f (lshift N n) + f (rshift N n)).
Proof. by rewrite big_split_ord big_split. Qed.

Lemma lift_both (xr xi : 'I_N -> R) n : both xr xi (lshift N n) = xr n +i* xi n /\ both xr xi (rshift N n) = (xr n +i* xi n)^*.
Proof.
rewrite /both; split; case: splitP => j /= e.
- by have -> : n = j by exact: val_inj.
- by have := ltn_ord n; rewrite e ltnNge leq_addr.
- by have := ltn_ord j; rewrite -e ltnNge leq_addr.
- by have -> : n = j by apply: val_inj; exact: (@addnI N).
Qed.

Lemma closed_state_step h x : closed_state (half_state ar ai br bi h x) = lti_state a b (closed_state h) x%:C.
Proof.
apply/rowP => k; rewrite !mxE /a /b /both; case: (split k) => n; rewrite !mxE; apply/eqP; rewrite eq_complex /=.
  by apply/andP; split; apply/eqP; ring.
by apply/andP; split; apply/eqP; ring.
Qed.

Lemma closed_readout h : (half_readout cr ci h)%:C = lti_readout c (closed_state h).
Proof.
rewrite /lti_readout sum_both /half_readout mulr_sumr rmorph_sum; apply: eq_bigr => n _.
rewrite !mxE /c; have [-> ->] := lift_both cr ci n; have [-> ->] := lift_both (h.1 0) (h.2 0) n.
by apply/eqP; rewrite eq_complex /=; apply/andP; split; apply/eqP; ring.
Qed.

(* Half storage is the closed channel, output by output. *)
Theorem half_is_closed h s : map (fun y => y%:C) (outputs half h s) = outputs closed (closed_state h) (map (fun x => x%:C) s).
Proof.
elim: s h => //= x s IH h; rewrite IH closed_state_step; congr (_ :: _).
by rewrite -closed_state_step -closed_readout -rmorphM -rmorphD.
Qed.

Lemma closed_after h s : closed_state (state_after half h s) = state_after closed (closed_state h) (map (fun x => x%:C) s).
Proof. by elim: s h => //= x s IH h; rewrite /state_after /= -/(state_after _ _ _) IH closed_state_step. Qed.

Lemma closed_rest : closed_state (0, 0) = 0.
Proof. by apply/rowP => k; rewrite !mxE /both; case: (split k) => n; rewrite !mxE ?oppr0. Qed.

(* What a state adds to the output t + 1, and to the outputs 1 .. L as a linear map of (real parts, imaginary parts). *)
Definition half_response (h : 'rV[R]_N * 'rV[R]_N) (t : nat) : R := nth 0 (outputs half h (nseq t.+1 0)) t.
Let w (n : 'I_N) (t : nat) : C := (cr n +i* ci n) * (ar n +i* ai n) ^+ t.+1.
Definition half_obs L : 'M[R]_(N + N, L) :=
  col_mx (\matrix_(n, t) (2%:R * complex.Re (w n t))) (\matrix_(n, t) (- (2%:R * complex.Im (w n t)))).

Lemma half_response_closed h t : (half_response h t)%:C = free_response a c (closed_state h) t.+1.
Proof.
rewrite /half_response -[0 in LHS]/(0 : R) -(outputs_zero a b c d%:C _ (ltnSn t)).
have <- : map (fun x => x%:C) (nseq t.+1 (0 : R)) = nseq t.+1 (0 : C) by rewrite map_nseq.
by rewrite -half_is_closed (nth_map 0) // size_outputs size_nseq.
Qed.

Lemma half_obsE L h (t : 'I_L) : half_response h t = (row_mx h.1 h.2 *m half_obs L) 0 t.
Proof.
have inj : injective (fun x : R => x%:C) by exact: fmorph_inj.
apply: inj; rewrite half_response_closed mul_row_col mxE [X in X + _]mxE [X in _ + X]mxE -big_split /free_response sum_both.
rewrite rmorph_sum; apply: eq_bigr => n _; rewrite !mxE /a /c.
have [-> ->] := lift_both cr ci n; have [-> ->] := lift_both ar ai n; have [-> ->] := lift_both (h.1 0) (h.2 0) n.
rewrite -!rmorphX -!rmorphM /= -/(w n t); case: (w n t) => u v; apply/eqP; rewrite eq_complex /=.
by apply/andP; split; apply/eqP; ring.
Qed.

(* Two states that no real input sequence of length L tells apart. *)
Definition half_same L h h' := forall x, size x = L -> outputs half h x = outputs half h' x.

Lemma half_sameP L h h' : half_same L h h' <-> (forall t, (t < L)%N -> half_response h t = half_response h' t).
Proof.
have inj : injective (fun x : R => x%:C) by exact: fmorph_inj.
split=> [same t ltL|same x sz].
  apply: inj; rewrite !half_response_closed -!(outputs_zero a b c d%:C _ ltL).
  have <- : map (fun x => x%:C) (nseq L (0 : R)) = nseq L (0 : C) by rewrite map_nseq.
  by rewrite -!half_is_closed same ?size_nseq.
apply: (inj_map inj); rewrite !half_is_closed; apply: (@eq_from_nth _ 0) => [|t]; rewrite !size_outputs // size_map sz => ltL.
by rewrite !lti_outputs_nth ?size_map ?sz // -!half_response_closed same.
Qed.

(* The real Hankel matrix, transposed. *)
Definition half_kernel (j : nat) : R := \sum_n 2%:R * complex.Re ((cr n +i* ci n) * (br n +i* bi n) * (ar n +i* ai n) ^+ j).
Definition half_hankel L M : 'M[R]_(M, L) := \matrix_(m, t) half_kernel (t.+1 + m).

Lemma half_kernelC j : (half_kernel j)%:C = kernel a b c j.
Proof.
rewrite /kernel sum_both rmorph_sum; apply: eq_bigr => n _; rewrite /a /b /c.
have [-> ->] := lift_both cr ci n; have [-> ->] := lift_both ar ai n; have [-> ->] := lift_both br bi n.
rewrite -!rmorphX -!rmorphM /=; case: (_ * _ * _) => u v; apply/eqP; rewrite eq_complex /=.
by apply/andP; split; apply/eqP; ring.
Qed.

Lemma map_half_hankel L M : map_mx (fun x : R => x%:C) (half_hankel L M) = (hankel a b c L M)^T.
Proof. by apply/matrixP => m t; rewrite !mxE half_kernelC. Qed.

Lemma half_prefix L M s (t : 'I_L) : size s = M ->
  half_response (state_after half (0, 0) s) t = ((\row_m nth 0 (rev s) m) *m half_hankel L M) 0 t.
Proof.
move=> sz; have inj : injective (fun x : R => x%:C) by exact: fmorph_inj.
apply: inj; rewrite half_response_closed closed_after closed_rest (@response_prefix _ _ a b c d%:C L M) ?size_map //.
rewrite -map_half_hankel !mxE rmorph_sum; apply: eq_bigr => m _.
by rewrite !mxE rmorphM -map_rev (nth_map 0) // size_rev sz.
Qed.

Lemma half_obs_rank L : \rank (half_obs L) = minn (n_obs a c) L.
Proof.
rewrite -observability_rank -(mxrank_map (complex.ComplexField.real_complex_rmorphism R)).
have obsE : observability a c L = col_mx (\matrix_(n, t) w n t) (\matrix_(n, t) (w n t)^*).
  apply/matrixP => k t; rewrite -[k]splitK; case: (split k) => n /=; rewrite ?col_mxEu ?col_mxEd !mxE /a /c.
    by have [-> _] := lift_both cr ci n; have [-> _] := lift_both ar ai n.
  by have [_ ->] := lift_both cr ci n; have [_ ->] := lift_both ar ai n; rewrite -rmorphX -rmorphM.
set S := map_mx _ _; have SE : S = block_mx 1%:M 1%:M ('i)%:M (- 'i)%:M *m observability a c L.
  rewrite obsE /S /half_obs map_col_mx mul_block_col !mul1mx !mul_scalar_mx; congr col_mx; apply/matrixP => n t; rewrite !mxE;
    case: (w n t) => u v; apply/eqP; rewrite eq_complex /=; apply/andP; split; apply/eqP; ring.
have OE : (2%:R : R)%:C *: observability a c L = block_mx 1%:M (- 'i)%:M 1%:M ('i)%:M *m S.
  rewrite obsE scale_col_mx /S /half_obs map_col_mx mul_block_col !mul1mx !mul_scalar_mx; congr col_mx; apply/matrixP => n t;
    rewrite !mxE; case: (w n t) => u v; apply/eqP; rewrite eq_complex /=; apply/andP; split; apply/eqP; ring.
have two : (2%:R : R)%:C != 0 by rewrite (fmorph_eq0 (complex.ComplexField.real_complex_rmorphism R)) pnatr_eq0.
apply/eqP; rewrite eqn_leq; apply/andP; split; first by rewrite SE mxrankM_maxr.
by rewrite -(eqmx_scale _ two) OE mxrankM_maxr.
Qed.

(* Any horizon: prefixes of length M do what initial states do iff the rank of the Hankel matrix is min(L, n_obs).
   n_obs counts both modes of a pair. *)
Theorem half_equivalent_rank L M :
  (forall h, exists2 s, size s = M & half_same L (state_after half (0, 0) s) h) <->
  \rank (hankel a b c L M) = minn (n_obs a c) L.
Proof.
have rkH : \rank (hankel a b c L M) = \rank (half_hankel L M).
  by rewrite -mxrank_tr -map_half_hankel (mxrank_map (complex.ComplexField.real_complex_rmorphism R)).
have sub : (half_hankel L M <= half_obs L)%MS.
  apply/row_subP => m; pose x : 'rV[R]_M := delta_mx 0 m; pose s := rev [seq x 0 k | k <- enum 'I_M].
  have sz : size s = M by rewrite size_rev size_map size_enum_ord.
  pose h := state_after half (0, 0) s; apply/submxP; exists (row_mx h.1 h.2); apply/rowP => t.
  rewrite -half_obsE (half_prefix t sz) rowE; congr ((_ *m _) 0 t).
  by apply/rowP => k; rewrite [RHS]mxE revK (nth_map k) ?size_enum_ord // nth_ord_enum.
have [_ eqE] := mxrank_leqif_eq sub.
rewrite rkH -half_obs_rank; split=> [all|/eqP].
  apply/eqP; rewrite eqE sub /=; apply/row_subP => k; rewrite rowE; set e := delta_mx 0 k.
  have [s sz /half_sameP same] := all (lsubmx e, rsubmx e); apply/submxP; exists (\row_m nth 0 (rev s) m).
  apply/rowP => t; rewrite -(half_prefix t sz) (same t (ltn_ord t)) half_obsE /= hsubmxK //.
rewrite eqE => /andP[_ /submxP[X XE]] h; pose x := row_mx h.1 h.2 *m X.
have sz : size (rev [seq x 0 m | m <- enum 'I_M]) = M by rewrite size_rev size_map size_enum_ord.
exists (rev [seq x 0 m | m <- enum 'I_M]) => //; apply/half_sameP => t ltL.
have /= -> := half_prefix (Ordinal ltL) sz; have /= -> := half_obsE h (Ordinal ltL).
rewrite XE mulmxA; congr ((_ *m _) 0 _); apply/rowP => m.
by rewrite mxE revK (nth_map m) ?size_enum_ord // nth_ord_enum.
Qed.

(* Horizon at least n_obs. *)
Theorem half_equivalent L M : (n_obs a c <= L)%N ->
  (forall h, exists2 s, size s = M & half_same L (state_after half (0, 0) s) h) <->
  (forall l, l \in obs_modes a c -> residue a b c l != 0) /\ (n_obs a c <= M)%N.
Proof. by move=> leL; rewrite half_equivalent_rank (minn_idPl leL); exact: hankel_rank. Qed.
End Half.
