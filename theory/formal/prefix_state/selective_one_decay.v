(* prefix_state.selective, special cases: one decay value (which states are reached, by how many tokens) and one channel. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence vandermonde squares psd s6.
From Ssmproof.prefix_state Require Import selective.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section OneDecay.
Variables (F : rcfType) (D N : nat) (dt : 'I_D -> F) (e : F) (WB WC : 'M[F]_(N, D)) (skip : 'I_D -> F).
Let state s := state_after (s6_step (fun=> dt) (fun=> const_mx e) WB WC skip) 0 s.
(* g = diag(1/dt) h *)
Definition unscaled (h : 'M[F]_(D, N)) : 'M[F]_(D, N) := \matrix_(d, n) ((dt d)^-1 * h d n).
Hypotheses (dt0 : forall d, 0 < dt d) (e0 : 0 < e).

Lemma unscaledE h : unscaled h = diag_mx (\row_d (dt d)^-1) *m h.
Proof. by apply/matrixP => d n; rewrite mul_diag_mx !mxE. Qed.

Lemma unscaled_unit : diag_mx (\row_d (dt d)^-1) \in unitmx.
Proof. by apply: unit_diag => d; rewrite invr_neq0 // gt_eqF. Qed.

Lemma rank_unscaled h : \rank (unscaled h) = \rank h.
Proof. by rewrite unscaledE eqmxMfull // row_full_unit unscaled_unit. Qed.

Lemma unscaled_inj : injective unscaled.
Proof. by move=> h h'; rewrite !unscaledE; exact: (can_inj (mulKmx unscaled_unit)). Qed.

Lemma unscaled_rcons s z : unscaled (state (rcons s z)) = e *: unscaled (state s) + z *m (WB *m z)^T.
Proof.
rewrite /state state_after_rcons -/(state s); apply/matrixP => d n.
rewrite !mxE big_ord1 !mxE mulrDr mulrCA; congr (_ + _).
by rewrite !mulrA mulVf ?mul1r // gt_eqF.
Qed.

Lemma unscaled_rest : unscaled (state [::]) = 0.
Proof. by apply/matrixP => d n; rewrite !mxE mulr0. Qed.

Lemma unscaled_gram s : exists2 S, psd S & unscaled (state s) = S *m WB^T.
Proof.
elim/last_ind: s => [|s z [S pS sE]].
  by exists 0; rewrite ?mul0mx ?unscaled_rest //; split=> [|x]; rewrite ?trmx0 ?mulmx0 ?mul0mx ?mxE.
exists (e *: S + z *m z^T).
  apply: psdD; last exact: psd_gram.
  case: pS => sym pos; split=> [|x]; first by rewrite linearZ /= sym.
  by rewrite -scalemxAr -scalemxAl mxE mulr_ge0 // ltW.
by rewrite unscaled_rcons sE mulmxDl -scalemxAl trmx_mul mulmxA.
Qed.

Lemma rank_state s : (\rank (state s) <= size s)%N.
Proof.
rewrite -rank_unscaled; elim/last_ind: s => [|s z IH]; first by rewrite unscaled_rest mxrank0.
rewrite unscaled_rcons size_rcons -[(size s).+1]addn1; apply: leq_trans (mxrank_add _ _) (leq_add (leq_trans (mxrank_scale _ _) IH) _).
exact: leq_trans (mxrankM_maxl _ _) (rank_leq_col _).
Qed.

(* Tokens are the columns of U, the last token first. *)
Lemma columns_state k (U : 'M[F]_(D, k)) : exists2 s, size s = k & unscaled (state s) = U *m (WB *m U)^T.
Proof.
elim: k U => [|k IH] U.
  by exists [::]; rewrite // unscaled_rest; apply/matrixP => i j; rewrite [RHS]mxE big_ord0 mxE.
pose u := lsubmx (U : 'M_(D, 1 + k)); pose V := rsubmx (U : 'M_(D, 1 + k)); pose q := Num.sqrt e.
have q0 : q != 0 by rewrite gt_eqF // sqrtr_gt0.
have [s sz sE] := IH (q^-1 *: V); exists (rcons s u); first by rewrite size_rcons sz.
have : row_mx u V *m (WB *m row_mx u V)^T = u *m (WB *m u)^T + V *m (WB *m V)^T.
  by rewrite mul_mx_row tr_row_mx mul_row_col.
rewrite /u /V hsubmxK -/u -/V => ->; rewrite unscaled_rcons sE addrC; congr (_ + _).
rewrite -!scalemxAr linearZ /= -scalemxAl -scalemxAr !scalerA.
have e1 : e * (q^-1 * q^-1) = 1 by rewrite -invfM -expr2 sqr_sqrtr ?ltW // mulfV // gt_eqF.
by rewrite -?mulrA e1 scale1r.
Qed.

Lemma zeros_first k s : state (nseq k 0 ++ s) = state s.
Proof.
have rest : (s6_step (fun=> dt) (fun=> const_mx e) WB WC skip 0 0).1 = 0.
  by apply/matrixP => d n; rewrite !mxE !mulr0 mul0r addr0.
rewrite /state state_after_cat; congr state_after; elim: k => // k IH.
by rewrite -[LHS]/(state_after _ (s6_step (fun=> dt) (fun=> const_mx e) WB WC skip 0 0).1 (nseq k 0)) rest.
Qed.

(* Where P = W_B g is symmetric, positive semidefinite and of the rank of h, as many columns as this rank leave h. *)
Lemma thin h : psd (WB *m unscaled h) -> \rank (WB *m unscaled h) = \rank h ->
  exists U : 'M_(D, \rank h), unscaled h = U *m (WB *m U)^T.
Proof.
move=> pP rkP; have [B PB] := psd_factor pP rkP; have gP : (unscaled h <= WB *m unscaled h)%MS.
  by have [_ <-] := mxrank_leqif_sup (submxMl WB (unscaled h)); rewrite rkP rank_unscaled.
have /submxP[U UE] : (unscaled h <= B^T)%MS by apply: submx_trans gP _; rewrite PB submxMl.
have [Br BBr] : exists Br, B^T *m Br = 1%:M.
  by apply/row_freeP; rewrite /row_free eqn_leq rank_leq_row /= mxrank_tr -[X in (X <= _)%N]rkP PB mxrankM_maxl.
exists U; suff -> : WB *m U = B by [].
by have := PB; rewrite UE mulmxA => /(congr1 (mulmx^~ Br)); rewrite -!mulmxA BBr !mulmx1.
Qed.

(* h is reached iff P = W_B g is so; *)
Theorem one_decay_reached h : (exists s, state s = h) <-> psd (WB *m unscaled h) /\ \rank (WB *m unscaled h) = \rank h.
Proof.
split=> [[s <-]|[pP rkP]].
  have [S pS sE] := unscaled_gram s; have pP : psd (WB *m unscaled (state s)) by rewrite sE mulmxA; exact: psd_congr.
  split=> //; apply/eqP; rewrite -rank_unscaled eqn_leq mxrankM_maxr /=; apply: mxrankS; apply: kernel_submx => x.
  by rewrite sE mulmxA => Px; apply: psd_congr_kernel.
have [U UE] := thin pP rkP; have [s _ sE] := columns_state U; exists s.
by apply: unscaled_inj; rewrite sE UE.
Qed.

(* and then the lengths that reach it are those from the rank of h on. *)
Theorem one_decay_length h m : (exists s, state s = h) -> (exists2 s, size s = m & state s = h) <-> (\rank h <= m)%N.
Proof.
move=> /one_decay_reached[pP rkP]; split=> [[s <- <-]|le]; first exact: rank_state.
have [U UE] := thin pP rkP; have [s sz sE] := columns_state U.
exists (nseq (m - \rank h) 0 ++ s); first by rewrite size_cat size_nseq sz subnK.
by rewrite zeros_first; apply: unscaled_inj; rewrite sE UE.
Qed.
End OneDecay.

(* D = 1: the reached states are the cone over the moment curve (E_1^m, .., E_N^m), m = 0, 1, .. *)
Section OneChannel.
Variables (F : rcfType) (N : nat) (dt : F) (E : 'M[F]_(1, N)) (WB WC : 'M[F]_(N, 1)) (skip : 'I_1 -> F).
Let state s := state_after (s6_step (fun=> fun=> dt) (fun=> E) WB WC skip) 0 s.

Theorem one_channel_cone h : (exists s, state s = h) <->
  (exists M (w : nat -> F), (forall m, 0 <= w m) /\ forall n, h 0 n = dt * WB n 0 * \sum_(m < M) w m * E 0 n ^+ m).
Proof.
split=> [[s <-]|[M [w [w0 hE]]]].
  exists (size s), (fun m => nth 0 (rev s) m 0 0 ^+ 2); split=> [m|n]; first exact: sqr_ge0.
  rewrite [LHS]state_entry mulr_sumr; apply: eq_bigr => m _; rewrite [(WB *m _) n 0]mxE big_ord1.
  by move: (nth 0 (rev s) m 0 0) (E 0 n ^+ m) (WB n 0) => z f b; ring.
exists (rev (mkseq (fun m => const_mx (Num.sqrt (w m))) M)); apply/matrixP => d n; rewrite !ord1 hE [LHS]state_entry mulr_sumr.
rewrite size_rev size_mkseq; apply: eq_bigr => m _; rewrite revK nth_mkseq // [(WB *m _) n 0]mxE big_ord1 !mxE.
rewrite -[w m in RHS](sqr_sqrtr (w0 m)); by move: (Num.sqrt _) (E 0 n ^+ m) (WB n 0) => z f b; ring.
Qed.

Theorem one_channel_never : (0 < N)%N -> (forall n, 0 <= E 0 n) -> ~ (forall h, exists s, state s = h).
Proof.
move=> N0 E0 all; pose n := Ordinal N0; pose x := dt * WB n 0.
have [s /(congr1 (fun h : 'M_(1, N) => h 0 n))] := all (const_mx (if x == 0 then 1 else - x)); rewrite mxE => sE.
have [M [w [w0 hE]]] := proj1 (one_channel_cone (state s)) (ex_intro _ s erefl); move: sE; rewrite hE -/x.
have pos : 0 <= \sum_(m < M) w m * E 0 n ^+ m by apply: sumr_ge0 => m _; rewrite mulr_ge0 ?exprn_ge0.
case: eqP => [->|/eqP x0]; first by rewrite mul0r => /eqP; rewrite eq_sym oner_eq0.
rewrite -[- x]mulrN1 => /(mulfI x0) e1; by move: pos; rewrite e1 oppr_ge0 ler10.
Qed.
End OneChannel.
