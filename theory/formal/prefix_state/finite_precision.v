(* prefix_state.finite_precision: prefixes act through the Hankel matrix; the least dimension that holds an ellipsoid of outputs. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence lti.
From Ssmproof.prefix_state Require Import equivalent.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* H = O R over any field, the complex numbers among them (half storage closed). *)
Section HankelOperator.
Variables (F : fieldType) (N : nat) (a b c : 'I_N -> F) (d : F) (L M : nat).
(* R_{n,m} = a_n^m b_n takes a prefix, last token first, to its state; O_{t,n} = c_n a_n^t takes a state to its outputs, t = 1 .. L. *)
Definition reachability : 'M[F]_(N, M) := \matrix_(n, m) (a n ^+ m * b n).

Theorem prefix_state_is_R s : size s = M ->
  (state_after (lti_step a b c d) 0 s)^T = reachability *m \col_m nth 0 (rev s) m.
Proof.
move=> sz; apply/colP => n; rewrite mxE prefix_state (@horner_coef_wide _ M); last by rewrite (leq_trans (size_Poly _)) // size_rev sz.
by rewrite mulr_sumr mxE; apply: eq_bigr => m _; rewrite !mxE coef_Poly mulrCA mulrC [b n * _]mulrC.
Qed.

Theorem outputs_are_O h : \col_(t < L) free_response a c h t.+1 = (observability a c L)^T *m h^T.
Proof. by apply/colP => t; rewrite mxE [RHS]mxE; apply: eq_bigr => n _; rewrite !mxE. Qed.

Theorem hankel_is_OR : hankel a b c L M = (observability a c L)^T *m reachability.
Proof.
by apply/matrixP => t m; rewrite !mxE; apply: eq_bigr => n _; rewrite !mxE exprD mulrACA [b n * _]mulrC.
Qed.

Theorem prefix_outputs_are_H s : size s = M ->
  \col_(t < L) free_response a c (state_after (lti_step a b c d) 0 s) t.+1 = hankel a b c L M *m \col_m nth 0 (rev s) m.
Proof. by move=> sz; rewrite outputs_are_O (prefix_state_is_R sz) hankel_is_OR mulmxA. Qed.
End HankelOperator.

(* Outputs in any space with an inner product, finitely or infinitely many of them. The ellipsoid has the semi-axes sigma along the
   orthonormal u. The number of sigma above theta is the least dimension of a space that comes within theta of all its points. *)
Section LeastDimension.
Variables (F : rcfType) (W : lmodType F) (dot : W -> W -> F).
Hypotheses (dotC : forall x y, dot x y = dot y x) (dot_linear : forall k x y z, dot (k *: x + y) z = k * dot x z + dot y z).
Hypothesis dot_ge0 : forall x, 0 <= dot x x.
Variables (n : nat) (u : 'I_n -> W) (sigma : 'I_n -> F) (theta : F).
Hypotheses (orthonormal : forall i j, dot (u i) (u j) = (i == j)%:R) (sigma0 : forall i, 0 <= sigma i) (theta0 : 0 <= theta).

Definition point (c : 'I_n -> F) : W := \sum_i (c i * sigma i) *: u i.
(* The span of v comes within theta of every point of the ellipsoid. *)
Definition holds d (v : 'I_d -> W) := forall c, \sum_i c i ^+ 2 <= 1 ->
  exists x : 'I_d -> F, dot (point c - \sum_j x j *: v j) (point c - \sum_j x j *: v j) <= theta ^+ 2.

Lemma dot0l z : dot 0 z = 0.
Proof. by have := dot_linear 1 0 0 z; rewrite scaler0 addr0 mul1r -{1}[dot 0 z]addr0 => /addrI/esym. Qed.
Lemma dotZl k x z : dot (k *: x) z = k * dot x z.
Proof. by rewrite -[k *: x]addr0 dot_linear dot0l addr0. Qed.
Lemma dotDl x y z : dot (x + y) z = dot x z + dot y z.
Proof. by rewrite -[x]scale1r dot_linear mul1r scale1r. Qed.
Lemma dot_suml I (r : seq I) (P : pred I) (f : I -> W) z : dot (\sum_(i <- r | P i) f i) z = \sum_(i <- r | P i) dot (f i) z.
Proof. by elim/big_rec2: _ => [|i y x _ <-]; rewrite ?dot0l ?dotDl. Qed.

Lemma dot_along (k : 'I_n -> F) (P : pred 'I_n) : dot (\sum_(i | P i) k i *: u i) (\sum_(i | P i) k i *: u i) = \sum_(i | P i) k i ^+ 2.
Proof.
rewrite dot_suml; apply: eq_bigr => i Pi; rewrite dotZl dotC dot_suml (bigD1 i) //= big1 ?addr0 => [|j /andP[_ ne]].
  by rewrite dotZl orthonormal eqxx mulr1 expr2.
by rewrite dotZl orthonormal (negPf ne) mulr0.
Qed.

Let large : {set 'I_n} := [set i | theta < sigma i].

Theorem dimension_enough : holds (fun j : 'I_#|large| => u (enum_val j)).
Proof.
move=> c le1; exists (fun j => c (enum_val j) * sigma (enum_val j)).
have -> : \sum_(j < #|large|) (c (enum_val j) * sigma (enum_val j)) *: u (enum_val j) = \sum_(i in large) (c i * sigma i) *: u i.
  by rewrite [RHS]big_enum_val.
have -> : point c - \sum_(i in large) (c i * sigma i) *: u i = \sum_(i | i \notin large) (c i * sigma i) *: u i.
  by rewrite /point (bigID (fun i => i \in large)) /= addrC addKr.
rewrite (dot_along (fun i => c i * sigma i)); apply: le_trans (_ : \sum_(i | i \notin large) c i ^+ 2 * theta ^+ 2 <= _).
  apply: ler_sum => i; rewrite inE -leNgt => le; rewrite exprMn.
  by apply: ler_wpmul2l; rewrite ?sqr_ge0 // ler_expn2r ?nnegrE.
rewrite -mulr_suml -[X in _ <= X]mul1r; apply: ler_wpmul2r; rewrite ?sqr_ge0 //; apply: le_trans le1.
rewrite [X in _ <= X](bigID (fun i => i \in large)) /= ler_addr; apply: sumr_ge0 => i _; exact: sqr_ge0.
Qed.

Theorem dimension_least d (v : 'I_d -> W) : holds v -> (#|large| <= d)%N.
Proof.
move=> all; rewrite leqNgt; apply/negP => lt; pose k := #|large|.
pose G : 'M[F]_(k, d) := \matrix_(i, j) dot (u (enum_val i)) (v j).
have [x xG x0] : exists2 x : 'rV_k, x *m G = 0 & x != 0.
  have : kermx G != 0.
    by rewrite kermx_eq0 /row_free; apply: contraTN lt => /eqP e; rewrite -leqNgt -[#|large|]/k -e rank_leq_col.
  by case/rowV0Pn => x /sub_kermxP xG x0; exists x.
pose co (i : 'I_n) : F := \sum_(j : 'I_k | enum_val j == i) x 0 j.
have coE j : co (enum_val j) = x 0 j.
  by rewrite /co (bigD1 j) //= big1 ?addr0 // => m /andP[/eqP/enum_val_inj -> ]; rewrite eqxx.
have orth m : dot (\sum_(i in large) co i *: u i) (v m) = 0.
  rewrite dot_suml (eq_bigr (fun i => co i * dot (u i) (v m))) => [|i _]; last by rewrite dotZl.
  rewrite big_enum_val /=.
  have := congr1 (fun r : 'rV_d => r 0 m) xG; rewrite !mxE => e; rewrite -[RHS]e; apply: eq_bigr => j _.
  by rewrite coE mxE.
pose q := \sum_(i in large) (co i / sigma i) ^+ 2.
have sig i : i \in large -> 0 < sigma i by rewrite inE; exact: le_lt_trans.
have [j xj] : exists j, x 0 j != 0.
  apply/existsP; apply: contraNT x0 => /existsPn z; apply/eqP/rowP => j; rewrite [RHS]mxE; apply/eqP/negPn; exact: z.
have lj : enum_val j \in large by exact: enum_valP.
have q0 : 0 < q.
  rewrite /q (bigD1 (enum_val j)) //= coE ltr_paddr //; first by apply: sumr_ge0 => i _; exact: sqr_ge0.
  by rewrite lt_neqAle sqr_ge0 andbT eq_sym expf_neq0 // mulf_neq0 // invr_neq0 // gt_eqF // sig.
pose s := (Num.sqrt q)^-1; have s2 : s ^+ 2 * q = 1.
  by rewrite exprVn sqr_sqrtr ?ltW // mulVf // gt_eqF.
pose c i := if i \in large then s * (co i / sigma i) else 0.
have cq : \sum_i c i ^+ 2 = 1.
  rewrite -s2 /q mulr_sumr [RHS]big_mkcond; apply: eq_bigr => i _; rewrite /c; case: ifP => _; rewrite ?expr0n //.
  by rewrite exprMn.
have pointE : point c = s *: \sum_(i in large) co i *: u i.
  rewrite scaler_sumr [RHS]big_mkcond; apply: eq_bigr => i _; rewrite /c; case: ifP => [li|_]; last by rewrite mul0r scale0r.
  by rewrite scalerA; congr (_ *: _); rewrite -mulrA divfK // gt_eqF // sig.
have le1 : \sum_i c i ^+ 2 <= 1 by rewrite cq.
have [z] := all c le1; set w := \sum_m z m *: v m; apply/negP; rewrite -ltNge.
have yw : dot (point c) w = 0.
  rewrite pointE dotZl dotC dot_suml big1 ?mulr0 // => m _; by rewrite dotZl dotC orth mulr0.
have -> : dot (point c - w) (point c - w) = dot (point c) (point c) + dot w w.
  have dotBl p r t : dot (p - r) t = dot p t - dot r t by rewrite dotDl -scaleN1r dotZl mulN1r.
  by rewrite dotBl dotC dotBl [dot w (point c)]dotC yw subr0 [dot w _]dotC dotBl yw sub0r opprK.
apply: ltr_paddr; first exact: dot_ge0.
rewrite pointE dotZl dotC dotZl dot_along mulrA -expr2 mulr_sumr.
have -> : theta ^+ 2 = \sum_(i in large) s ^+ 2 * ((co i / sigma i) ^+ 2 * theta ^+ 2).
  by rewrite -mulr_sumr -mulr_suml mulrA s2 mul1r.
have below i : i \in large -> s ^+ 2 * ((co i / sigma i) ^+ 2 * theta ^+ 2) <= s ^+ 2 * co i ^+ 2.
  move=> li; apply: ler_wpmul2l; rewrite ?sqr_ge0 // expr_div_n mulrAC ler_pdivr_mulr ?exprn_gt0 ?sig //.
  have above : theta <= sigma i by move: li; rewrite inE => /ltW.
  by apply: ler_wpmul2l; rewrite ?sqr_ge0 // ler_expn2r ?nnegrE.
rewrite [X in X < _](bigD1 (enum_val j)) // [X in _ < X](bigD1 (enum_val j)) //=; apply: ltr_le_add.
  have s0 : 0 < s ^+ 2 by rewrite exprn_gt0 // invr_gt0 sqrtr_gt0.
  rewrite ltr_pmul2l // expr_div_n mulrAC ltr_pdivr_mulr ?exprn_gt0 ?sig // ltr_pmul2l; last first.
    by rewrite lt_neqAle sqr_ge0 andbT eq_sym expf_neq0 // coE.
  have above : theta < sigma (enum_val j) by move: lj; rewrite inE.
  by rewrite ltr_expn2r ?nnegrE.
by apply: ler_sum => i /andP[li _]; exact: below.
Qed.
End LeastDimension.
