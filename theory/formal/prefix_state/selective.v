(* prefix_state.selective: which states a prefix of S6 reaches, constant clock. (i) => (ii) => (iii) of the theorem. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring zify.
From Ssmproof.core Require Import recurrence s6.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Selective.
Variables (F : realFieldType) (D N : nat) (dt : 'I_D -> F) (E : 'M[F]_(D, N)).
Variables (WB WC : 'M[F]_(N, D)) (skip : 'I_D -> F).
Let state s := state_after (s6_step (fun=> dt) (fun=> E) WB WC skip) 0 s.

Definition pairing (l h : 'M[F]_(D, N)) : F := \sum_d \sum_n l d n * h d n.
(* The quadratic form Q_m(l) of the token z in slot m (followed by m further tokens). *)
Definition form (m : nat) (l : 'M[F]_(D, N)) (z : 'cV[F]_D) : F :=
  \sum_d \sum_n l d n * E d n ^+ m * (dt d * z d 0 * (WB *m z) n 0).

Lemma state_entry s d n :
  state s d n = \sum_(m < size s) E d n ^+ m * (dt d * nth 0 (rev s) m d 0 * (WB *m nth 0 (rev s) m) n 0).
Proof.
rewrite /state (sel_state_after _ _ _ _ _ _ 0) mxE mulr0 add0r (reindex_inj rev_ord_inj) /=.
apply: eq_bigr => m _; rewrite [sel_token _ _ _ _ _ _]mxE nth_rev //; congr (_ * _).
rewrite big_const_seq count_predT size_drop /= iter_mulr_1; congr (_ ^+ _).
by have := ltn_ord m; lia.
Qed.

Lemma pairing_state l s : pairing l (state s) = \sum_(m < size s) form m l (nth 0 (rev s) m).
Proof.
rewrite /pairing; under eq_bigr => d _ do under eq_bigr => n _ do rewrite state_entry mulr_sumr.
under eq_bigr => d _ do rewrite exchange_big /=.
rewrite exchange_big /=; apply: eq_bigr => m _; apply: eq_bigr => d _; apply: eq_bigr => n _.
by rewrite mulrA.
Qed.

Definition reaches_all := forall h, exists s, state s = h.
Definition no_obstruction := forall l : 'M[F]_(D, N), (forall m (z : 'cV[F]_D), 0 <= form m l z) -> l = 0.
(* The same for functionals on one block, that is, on the entries with one decay value. *)
Definition no_block_obstruction :=
  forall (e : F) (l : 'M[F]_(D, N)), (forall d n, E d n != e -> l d n = 0) -> (forall z : 'cV[F]_D, 0 <= form 0 l z) -> l = 0.

(* (i) => (ii) *)
Theorem reach_no_obstruction : reaches_all -> no_obstruction.
Proof.
move=> all l psd; have [s sE] := all (- l).
have : 0 <= pairing l (- l).
  by rewrite -sE pairing_state; apply: sumr_ge0 => m _; exact: psd.
have sq d n : 0 <= l d n ^+ 2 by exact: sqr_ge0.
have -> : pairing l (- l) = - \sum_d \sum_n l d n ^+ 2.
  rewrite /pairing -sumrN; apply: eq_bigr => d _; rewrite -sumrN; by apply: eq_bigr => n _; rewrite [X in _ * X]mxE mulrN expr2.
rewrite oppr_ge0 => le0; apply/matrixP => d n; rewrite [RHS]mxE; apply/eqP; rewrite -sqrf_eq0 eq_le sq andbT.
apply: le_trans le0; rewrite (bigD1 d) //= (bigD1 n) //= -addrA ler_addl addr_ge0 //.
  by apply: sumr_ge0 => k _.
by apply: sumr_ge0 => k _; apply: sumr_ge0 => j _.
Qed.

(* (ii) => (iii); decays are not negative. *)
Theorem no_obstruction_blocks : (forall d n, 0 <= E d n) -> no_obstruction -> no_block_obstruction.
Proof.
move=> E0 no e l supp psd.
have [l0|e0] : l = 0 \/ 0 <= e.
  have [/eqP ->|] := boolP (l == 0); first by left.
  move=> l0; right; have /existsP[d /existsP[n ln]] : [exists d, exists n, l d n != 0].
    apply: contraNT l0 => /existsPn z; apply/eqP/matrixP => d n; rewrite [RHS]mxE.
    by have /existsPn/(_ n)/negPn/eqP := z d.
  by have [<- //|/supp l0'] := eqVneq (E d n) e; rewrite l0' eqxx in ln.
  exact: l0.
apply: no => m z; suff -> : form m l z = e ^+ m * form 0 l z by rewrite mulr_ge0 ?exprn_ge0.
rewrite /form mulr_sumr; apply: eq_bigr => d _; rewrite mulr_sumr; apply: eq_bigr => n _.
have [-> |/supp ->] := eqVneq (E d n) e; rewrite ?expr0 ?mulr1 ?mul0r ?mulr0 //.
by ring.
Qed.

(* All decays distinct, dt > 0: (iii) says that every row of W_B has at least two nonzero entries. *)
Lemma form_single d0 n0 x z : form 0 (x *: delta_mx d0 n0) z = x * (dt d0 * z d0 0 * (WB *m z) n0 0).
Proof.
rewrite /form (bigD1 d0) //= (bigD1 n0) //= !mxE !eqxx !mulr1.
rewrite [X in _ + X + _]big1 => [|n ne]; last by rewrite !mxE eqxx (negPf ne) mulr0 !mul0r.
rewrite [X in _ + X]big1 => [|d ne]; last by rewrite big1 // => n _; rewrite !mxE (negPf ne) mulr0 !mul0r.
by rewrite !addr0.
Qed.

Theorem distinct_decays : (forall d, 0 < dt d) -> (forall d n d' n', E d n = E d' n' -> d = d' /\ n = n') ->
  no_block_obstruction <-> forall n d, exists2 d', d' != d & WB n d' != 0.
Proof.
move=> dt0 inj; split=> [no n d|two e l supp psd]; last first.
  have single d n : l = l d n *: delta_mx d n \/ l d n = 0.
    have [e1|/supp ->] := eqVneq (E d n) e; [left | by right].
    apply/matrixP => d' n'; rewrite !mxE; have [e2|ne] := eqVneq (E d' n') e.
      by have [-> ->] : d' = d /\ n' = n by [apply: inj; rewrite e1 e2]; rewrite !eqxx mulr1.
    rewrite supp //; case: eqP => [ed|]; case: eqP => [en|] //=; rewrite ?mulr0 //.
    by rewrite ed en e1 eqxx in ne.
  apply/matrixP => d n; rewrite [RHS]mxE; have [lE|//] := single d n.
  apply/eqP/negPn/negP => l0; have [j jd wj] := two n d.
  pose k := l d n * dt d; have k0 : k != 0 by rewrite mulf_neq0 // gt_eqF.
  pose t := (- k^-1 - WB n d) / WB n j.
  pose z : 'cV[F]_D := delta_mx d 0 + t *: delta_mx j 0.
  have zd : z d 0 = 1 by rewrite !mxE !eqxx [d == j]eq_sym (negPf jd) mulr0 addr0.
  have wz : (WB *m z) n 0 = WB n d + t * WB n j by rewrite mulmxDr -scalemxAr -!colE !mxE.
  have := psd z; rewrite lE form_single zd wz mulr1 divfK // [WB n d + _]addrC subrK mulrA -/k mulrN mulfV //.
  by rewrite oppr_ge0 ler10.
have [/existsP[d' /andP[ne w]]|none] := boolP [exists d', (d' != d) && (WB n d' != 0)]; first by exists d'.
have zero d' : d' != d -> WB n d' = 0.
  by move=> ne; apply/eqP/negPn; move/existsPn/(_ d'): none; rewrite ne.
pose l : 'M[F]_(D, N) := (if 0 <= WB n d then 1 else -1) *: delta_mx d n.
have /matrixP/(_ d n)/eqP : l = 0.
  apply: (no (E d n)) => [d' n' ne|z].
    rewrite !mxE; case: eqP => [e1|]; case: eqP => [e2|] //=; rewrite ?mulr0 //; by rewrite e1 e2 eqxx in ne.
  rewrite form_single mxE (bigD1 d) //= big1 ?addr0 => [|d' ne]; last by rewrite zero ?mul0r.
  have -> : (if 0 <= WB n d then 1 else -1) * (dt d * z d 0 * (WB n d * z d 0)) = `|WB n d| * dt d * z d 0 ^+ 2.
    case: ifP => w; first by rewrite ger0_norm //; ring.
    by rewrite ltr0_norm ?ltNge ?w //; ring.
  by apply: mulr_ge0; rewrite ?sqr_ge0 //; apply: mulr_ge0; rewrite ?normr_ge0 //; exact: ltW.
by rewrite !mxE !eqxx mulr1; case: ifP; rewrite ?oppr_eq0 oner_eq0.
Qed.
End Selective.

(* One decay value: what is necessary for h to be reached, in g = diag(1/dt) h and P = W_B g. *)
Section OneDecay.
Variables (F : realFieldType) (D N : nat) (dt : 'I_D -> F) (e : F) (WB WC : 'M[F]_(N, D)) (skip : 'I_D -> F).
Let state s := state_after (s6_step (fun=> dt) (fun=> const_mx e) WB WC skip) 0 s.
Let g s : 'M[F]_(D, N) := \matrix_(d, n) ((dt d)^-1 * state s d n).
Hypotheses (dt0 : forall d, 0 < dt d) (e0 : 0 < e).

Lemma scaled_state s : g s = \sum_(m < size s) e ^+ m *: (nth 0 (rev s) m *m (WB *m nth 0 (rev s) m)^T).
Proof.
apply/matrixP => d n; rewrite mxE state_entry summxE mulr_sumr; apply: eq_bigr => m _.
rewrite [const_mx _ _ _]mxE [RHS]mxE [X in _ = _ * X]mxE big_ord1 [_^T _ _]mxE mulrCA; congr (_ * _).
by rewrite !mulrA mulVf ?mul1r // gt_eqF.
Qed.

Lemma scaled_form s (x : 'cV[F]_N) : (x^T *m (WB *m g s) *m x) 0 0 =
  \sum_(m < size s) e ^+ m * ((WB *m nth 0 (rev s) m)^T *m x) 0 0 ^+ 2.
Proof.
rewrite scaled_state mulmx_sumr mulmx_sumr mulmx_suml summxE; apply: eq_bigr => m _.
rewrite -!scalemxAr -scalemxAl mxE; congr (_ * _).
set b := WB *m _; rewrite !mulmxA -[x^T *m _ *m _]mulmxA -/b -[x^T *m b *m _ *m x]mulmxA mxE big_ord1 expr2; congr (_ * _).
by rewrite -[x^T *m b]trmxK trmx_mul trmxK mxE.
Qed.

Theorem one_decay_necessary s :
  [/\ (WB *m g s)^T = WB *m g s, forall x : 'cV[F]_N, 0 <= (x^T *m (WB *m g s) *m x) 0 0 &
      forall x : 'cV[F]_N, WB *m g s *m x = 0 -> g s *m x = 0].
Proof.
have term_ge0 (x : 'cV[F]_N) m : 0 <= e ^+ m * ((WB *m nth 0 (rev s) m)^T *m x) 0 0 ^+ 2 by rewrite mulr_ge0 ?sqr_ge0 // exprn_ge0 // ltW.
split=> [|x|x Px].
- rewrite scaled_state mulmx_sumr linear_sum; apply: eq_bigr => m _.
  by rewrite -scalemxAr linearZ /= mulmxA trmx_mul trmxK.
- by rewrite scaled_form; apply: sumr_ge0 => m _.
have : (x^T *m (WB *m g s) *m x) 0 0 = 0 by rewrite -mulmxA Px mulmx0 mxE.
rewrite scaled_form => /eqP; rewrite psumr_eq0 // => /allP zero.
rewrite scaled_state mulmx_suml big1 // => m _; rewrite -scalemxAl -mulmxA.
have := zero m (mem_index_enum _); rewrite mulf_eq0 expf_eq0 gt_eqF //= andbF /= sqrf_eq0 => /eqP bx.
suff -> : (WB *m nth 0 (rev s) m)^T *m x = 0 by rewrite mulmx0 scaler0.
by apply/matrixP => i j; rewrite !ord1 bx mxE.
Qed.
End OneDecay.
