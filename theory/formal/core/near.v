(* "For all small e > 0", polynomial functions are continuous, and close sums of powers have close modes. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import polynomials vandermonde.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Small.
Variable F : numFieldType.
Implicit Types (P Q : F -> Prop) (c e : F).

Definition small P := exists2 e0, 0 < e0 & forall e, 0 < e <= e0 -> P e.

Lemma small_exists P : small P -> exists2 e, 0 < e & P e.
Proof. by case=> e e0 H; exists e => //; apply: H; rewrite e0 lexx. Qed.

Lemma small_imp P Q : (forall e, 0 < e -> P e -> Q e) -> small P -> small Q.
Proof. by move=> PQ [e0 pos H]; exists e0 => // e /andP[e1 e2]; apply: PQ => //; apply: H; rewrite e1. Qed.

Lemma small_and P Q : small P -> small Q -> small (fun e => P e /\ Q e).
Proof.
move=> [a a0 HP] [b b0 HQ]; have s0 : 0 < a + b by rewrite addr_gt0.
exists (a * b / (a + b)); first by rewrite divr_gt0 ?mulr_gt0.
move=> e /andP[e0 le]; split; [apply: HP | apply: HQ]; rewrite e0 (le_trans le) // ler_pdivr_mulr //.
  by rewrite ler_pmul2l // ler_addr ltW.
by rewrite mulrC ler_pmul2l // ler_addl ltW.
Qed.

Lemma small_all (I : finType) (P : I -> F -> Prop) : (forall i, small (P i)) -> small (fun e => forall i, P i e).
Proof.
move=> H; suff [e0 pos al] : small (fun e => forall i, i \in enum I -> P i e).
  by exists e0 => // e le i; apply: (al e le); rewrite mem_enum.
elim: (enum I) => [|i r IH]; first by exists 1 => // e _ i; rewrite in_nil.
have := small_and (H i) IH; apply: small_imp => e _ [Pi Pr] j; rewrite in_cons => /predU1P[->//|]; exact: Pr.
Qed.

Lemma small_linear K c : 0 <= K -> 0 < c -> small (fun e => K * e <= c).
Proof.
move=> K0 c0; have s0 : 0 < 1 + K by rewrite ltr_paddr ?ltr01.
exists (c / (1 + K)); first by rewrite divr_gt0.
move=> e /andP[e0 le]; apply: (@le_trans _ _ ((1 + K) * e)); first by rewrite ler_wpmul2r ?(ltW e0) // ler_addr ler01.
by rewrite mulrC -ler_pdivl_mulr.
Qed.
End Small.

Section Continuity.
Variables (F : numFieldType) (I : finType).

Lemma poly_near (f : {ffun I -> F} -> F) (x : {ffun I -> F}) (c : F) : poly_fun f -> 0 < c ->
  small (fun e => forall y : {ffun I -> F}, (forall i, `|y i - x i| <= e) -> `|f y - f x| <= c).
Proof.
move=> pf; elim: pf c => [k|i|f1 f2 _ IH1 _ IH2|f1 f2 _ IH1 _ IH2|f1 f2 ef _ IH] c c0.
- by exists 1 => // e _ y _; rewrite subrr normr0 ltW.
- have := small_linear ler01 c0; apply: small_imp => e _; rewrite mul1r => le y /(_ i) l2; exact: le_trans l2 le.
- have h0 : 0 < c / 2%:R by rewrite divr_gt0 ?ltr0n.
  have := small_and (IH1 _ h0) (IH2 _ h0); apply: small_imp => e _ [H1 H2] y near.
  have -> : f1 y + f2 y - (f1 x + f2 x) = (f1 y - f1 x) + (f2 y - f2 x) by ring.
  have -> : c = c / 2%:R + c / 2%:R by field.
  by apply: le_trans (ler_norm_add _ _) _; rewrite ler_add ?H1 ?H2.
- pose n := 1 + `|f1 x| + `|f2 x|; have n0 : 0 < n by rewrite !ltr_paddr ?ltr01.
  have s0 : 0 < c + n by rewrite addr_gt0.
  pose d := c / (c + n); have d0 : 0 < d by rewrite divr_gt0.
  have d1 : d <= 1 by rewrite ler_pdivr_mulr // mul1r ler_addl ltW.
  have dn : d * n <= c by rewrite mulrAC ler_pdivr_mulr // ler_pmul2l // ler_addr ltW.
  have := small_and (IH1 _ d0) (IH2 _ d0); apply: small_imp => e _ [H1 H2] y near.
  have h1 := H1 y near; have h2 := H2 y near.
  have -> : f1 y * f2 y - f1 x * f2 x = (f1 y - f1 x) * (f2 y - f2 x) + f1 x * (f2 y - f2 x) + (f1 y - f1 x) * f2 x by ring.
  apply: le_trans dn; have -> : d * n = d + d * `|f1 x| + d * `|f2 x| by rewrite /n !mulrDr mulr1.
  apply: le_trans (ler_norm_add _ _) _; apply: ler_add; last by rewrite normrM ler_wpmul2r.
  apply: le_trans (ler_norm_add _ _) _; apply: ler_add; last by rewrite normrM mulrC ler_wpmul2r.
  rewrite normrM; apply: le_trans (_ : d * 1 <= _); last by rewrite mulr1.
  by apply: ler_pmul => //; exact: le_trans h2 d1.
- have := IH _ c0; apply: small_imp => e _ H y near; rewrite -!ef; exact: H.
Qed.
End Continuity.

(* k_t = sum_n rho_n lam_n^t with distinct lam and rho not 0: N further modes whose sums of powers are close to k_t for all
   t < 2N come close to every lam_n. *)
Section Modes.
Variables (F : numFieldType) (N : nat) (lam rho : 'I_N -> F).
Hypotheses (inj : injective lam) (rho0 : forall n, rho n != 0).
Let Z : 'M[F]_N := invmx (vand N lam).
Let size1 : F := \sum_i \sum_j `|Z i j|.
Let inv_rho : F := \sum_n `|rho n|^-1.
Definition node_poly (a : 'I_N -> F) : {poly F} := \prod_(m < N) ('X - (a m)%:P).
Definition norm1 (p : {poly F}) : F := \sum_(k < N.+1) `|p`_k|.

Lemma size_node_poly a : size (node_poly a) = N.+1.
Proof. by rewrite /node_poly size_prod_XsubC -[index_enum _]enumT size_enum_ord. Qed.

Lemma horner_node_poly a x : (node_poly a).[x] = \prod_m (x - a m).
Proof. by rewrite horner_prod; apply: eq_bigr => m _; rewrite hornerXsubC. Qed.

(* A polynomial of degree below N is given by its values at the nodes lam. *)
Lemma coef_from_values (p : {poly F}) k : (size p <= N)%N -> p`_(k : 'I_N) = \sum_i Z k i * p.[lam i].
Proof.
move=> sp; have e : vand N lam *m (\col_(j < N) p`_j) = \col_i p.[lam i].
  apply/colP => i; rewrite !mxE (horner_coef_wide _ sp); apply: eq_bigr => j _; by rewrite !mxE mulrC.
have := congr1 (mulmx Z) e; rewrite mulmxA mulVmx ?vand_unit // mul1mx => /colP/(_ k); rewrite !mxE => ->.
by apply: eq_bigr => i _; rewrite mxE.
Qed.

Lemma size1_ge0 : 0 <= size1. Proof. by apply: sumr_ge0 => i _; apply: sumr_ge0 => j _. Qed.
Lemma inv_rho_ge0 : 0 <= inv_rho. Proof. by apply: sumr_ge0 => n _; rewrite invr_ge0. Qed.
Lemma norm1_ge0 p : 0 <= norm1 p. Proof. exact: sumr_ge0. Qed.

Section Student.
Variables (a w : 'I_N -> F) (e : F).
Hypothesis e0 : 0 <= e.
Hypothesis close : forall t, (t < 2 * N)%N -> `|\sum_m w m * a m ^+ t - \sum_n rho n * lam n ^+ t| <= e.
Let q := node_poly a.

Lemma values_small n : `|q.[lam n]| <= inv_rho * (size1 * (e * norm1 q)).
Proof.
have annihilated t : \sum_(k < N.+1) q`_k * (\sum_m w m * a m ^+ (t + k)) = 0.
  under eq_bigr => k _ do rewrite mulr_sumr.
  rewrite exchange_big big1 //= => m _.
  have : q.[a m] = 0 by rewrite horner_node_poly (bigD1 m) //= subrr mul0r.
  rewrite (@horner_coef_wide _ N.+1) ?size_node_poly // => z.
  transitivity (w m * a m ^+ t * 0); last by rewrite mulr0.
  rewrite -[X in _ = _ * X]z mulr_sumr; apply: eq_bigr => k _; rewrite exprD mulrCA -[RHS]mulrA; congr (_ * _); exact: mulrCA.
pose err (t : 'I_N) := \sum_(k < N.+1) q`_k * (\sum_n rho n * lam n ^+ (t + k)).
have errE t : err t = \sum_n (rho n * q.[lam n]) * lam n ^+ t.
  rewrite /err; under [LHS]eq_bigr => k _ do rewrite mulr_sumr.
  rewrite exchange_big; apply: eq_bigr => m _; rewrite (@horner_coef_wide _ N.+1) ?size_node_poly //.
  rewrite mulr_sumr mulr_suml; apply: eq_bigr => k _; rewrite exprD; move: (_ ^+ t) (_ ^+ k) => u v; ring.
have err_small t : `|err t| <= e * norm1 q.
  have -> : err t = \sum_(k < N.+1) q`_k * (\sum_n rho n * lam n ^+ (t + k) - \sum_m w m * a m ^+ (t + k)).
    by rewrite -[LHS]subr0 -[X in _ - X](annihilated t) -sumrB; apply: eq_bigr => k _; rewrite mulrBr.
  apply: le_trans (ler_norm_sum _ _ _) _; rewrite /norm1 mulr_sumr; apply: ler_sum => k _.
  rewrite normrM mulrC ler_wpmul2r // distrC close // mul2n -addnn -addSn leq_add //.
  by rewrite -ltnS.
have solved : rho n * q.[lam n] = \sum_t err t * Z t n.
  have ev : (\row_n (rho n * q.[lam n])) *m vand N lam = \row_t err t.
    by apply/rowP => t; rewrite !mxE errE; apply: eq_bigr => m _; rewrite !mxE.
  have := congr1 (mulmx^~ Z) ev; rewrite mulmxK ?vand_unit // => /rowP/(_ n); rewrite !mxE => ->.
  by apply: eq_bigr => t _; rewrite !mxE.
have -> : q.[lam n] = (rho n)^-1 * \sum_t err t * Z t n by rewrite -solved mulKf.
rewrite normrM normfV; apply: ler_pmul; rewrite ?invr_ge0 //.
  by rewrite /inv_rho (bigD1 n) //= ler_addl sumr_ge0 // => m _; rewrite invr_ge0.
apply: le_trans (ler_norm_sum _ _ _) _; rewrite /size1 mulr_suml; apply: ler_sum => t _.
rewrite normrM mulrC mulr_suml (bigD1 n) //=; apply: ler_paddr; last by rewrite ler_wpmul2l.
by apply: sumr_ge0 => j _; rewrite !mulr_ge0 ?norm1_ge0.
Qed.

Lemma norm1_small : norm1 q <= norm1 (node_poly lam) + size1 * (inv_rho * (size1 * (e * norm1 q))).
Proof.
pose p := q - node_poly lam.
have sp : (size p <= N)%N.
  have m1 : q`_N = 1 by have := monic_prod_XsubC (index_enum _) xpredT a; rewrite monicE /lead_coef -/q size_node_poly => /eqP.
  have m2 : (node_poly lam)`_N = 1 by have := monic_prod_XsubC (index_enum _) xpredT lam; rewrite monicE /lead_coef size_node_poly => /eqP.
  apply/leq_sizeP => j; rewrite leq_eqVlt => /predU1P[<-|lt]; first by rewrite coefB m1 m2 subrr.
  by rewrite coefB !nth_default ?subrr // size_node_poly.
have pv i : p.[lam i] = q.[lam i].
  by rewrite hornerD hornerN [X in _ - X](_ : _ = 0) ?subr0 // horner_node_poly (bigD1 i) //= subrr mul0r.
have e1 : norm1 q = \sum_(k < N.+1) `|(node_poly lam)`_k + p`_k|.
  by apply: eq_bigr => k _; rewrite coefB addrC subrK.
rewrite {1}e1.
apply: (@le_trans _ _ (norm1 (node_poly lam) + norm1 p)).
  by rewrite /norm1 -big_split; apply: ler_sum => k _; exact: ler_norm_add.
rewrite ler_add2l /norm1 big_ord_recr /= (nth_default _ sp) normr0 addr0; set X := inv_rho * _; rewrite /size1 mulr_suml.
apply: ler_sum => k _; rewrite (coef_from_values k sp) mulr_suml.
apply: le_trans (ler_norm_sum _ _ _) _; apply: ler_sum => i _; rewrite normrM ler_wpmul2l // pv; exact: values_small.
Qed.
End Student.

Theorem near_modes eta : 0 < eta -> small (fun e => forall a w : 'I_N -> F,
  (forall t, (t < 2 * N)%N -> `|\sum_m w m * a m ^+ t - \sum_n rho n * lam n ^+ t| <= e) -> forall n, exists m, `|a m - lam n| <= eta).
Proof.
move=> eta0; pose B := norm1 (node_poly lam); have B0 : 0 <= B by exact: norm1_ge0.
have h0 : 0 < 2%:R^-1 :> F by rewrite invr_gt0 ltr0n.
have c0 : 0 < eta ^+ N / 2%:R by rewrite mulr_gt0 ?exprn_gt0.
have K1 : 0 <= size1 * (inv_rho * size1) by rewrite !mulr_ge0 ?size1_ge0 ?inv_rho_ge0.
have K2 : 0 <= inv_rho * size1 * (2%:R * B) by rewrite !mulr_ge0 ?size1_ge0 ?inv_rho_ge0 ?ler0n.
have := small_and (small_linear K1 h0) (small_linear K2 c0); apply: small_imp => e e0 [l1 l2] a w close n.
have n1 : norm1 (node_poly a) <= 2%:R * B.
  have := norm1_small (ltW e0) close; rewrite -/B => le; have q0 := norm1_ge0 (node_poly a).
  have : norm1 (node_poly a) <= B + 2%:R^-1 * norm1 (node_poly a).
    apply: le_trans le _; rewrite ler_add2l.
    rewrite (_ : size1 * _ = size1 * (inv_rho * size1) * e * norm1 (node_poly a)); last by ring.
    exact: ler_wpmul2r.
  rewrite -ler_subl_addr (_ : _ - _ = 2%:R^-1 * norm1 (node_poly a)); last by field.
  by rewrite mulrC ler_pdivr_mulr ?ltr0n // mulrC.
have v := values_small (ltW e0) close n.
have v2 : `|(node_poly a).[lam n]| <= eta ^+ N / 2%:R.
  apply: le_trans v _; apply: le_trans l2.
  rewrite (_ : _ * e = inv_rho * (size1 * (e * (2%:R * B)))); last by ring.
  by rewrite !ler_wpmul2l ?size1_ge0 ?inv_rho_ge0 // ltW.
case: (pickP [pred m | `|a m - lam n| <= eta]) => [m le|none]; first by exists m.
have : eta ^+ N <= `|(node_poly a).[lam n]|.
  rewrite horner_node_poly normr_prod -[X in _ ^+ X]card_ord -prodr_const; apply: ler_prod => m _.
  by rewrite (ltW eta0) distrC; have := none m; rewrite /= real_leNgt ?normr_real ?gtr0_real // => /negbFE/ltW.
move/le_trans/(_ v2); rewrite ler_pdivl_mulr ?ltr0n // ger_pmulr ?exprn_gt0 //.
by rewrite -[1]/(1%:R) ler_nat.
Qed.
End Modes.
