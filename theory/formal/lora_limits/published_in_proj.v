(* lora_limits.published_in_proj: in_proj alone does not double W_B where every row of S reads one channel. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence s6 exponential.
From Ssmproof.lora_limits Require Import in_proj_dominates.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* Clocks that move: dt(s) = t0 + tk s^k + an error of order k + 1 near 0, t0 and tk not 0. The field is real or complex. *)
Definition expands (F : numFieldType) (dt : F -> F) (k : nat) (t0 tk : F) : Prop :=
  exists K eta : F, [/\ 0 <= K, 0 < eta <= 1 & forall s, `|s| <= eta -> `|dt s - t0 - tk * s ^+ k| <= K * `|s| ^+ k.+1].

Section Small.
Variable F : numFieldType.
Implicit Types K eta x : F.

Lemma small_eq0 x K eta : 0 <= K -> 0 < eta -> (forall d, 0 < d <= eta -> `|x| <= K * d) -> x = 0.
Proof.
move=> K0 eta0 small; apply/eqP; rewrite -normr_eq0; apply/negPn/negP => nz.
have x0 : 0 < `|x| by rewrite lt_neqAle eq_sym nz normr_ge0.
have q0 : 0 < `|x| + (K + 1) * eta by rewrite addr_gt0 // mulr_gt0 // ltr_paddl ?ltr01.
pose d := eta * `|x| / (`|x| + (K + 1) * eta).
have d0 : 0 < d by rewrite divr_gt0 ?mulr_gt0.
have de : d <= eta by rewrite ler_pdivr_mulr // ler_pmul2l // ler_addl ltW // mulr_gt0 // ltr_paddl ?ltr01.
have := small d; rewrite d0 de => /(_ isT); apply/negP; rewrite -real_ltNge ?normr_real ?(ger0_real (mulr_ge0 K0 (ltW d0))) //.
rewrite /d mulrA ltr_pdivr_mulr // [K * _]mulrA [_ * `|x|]mulrC ltr_pmul2l //.
by rewrite ltr_paddl ?normr_ge0 // ltr_pmul2r // ltr_addl ltr01.
Qed.

(* a + b d^k of order k + 1 for small d > 0: a and b are 0. *)
Lemma small_pair k (a b : F) K eta : 0 <= K -> 0 < eta <= 1 -> (0 < k)%N ->
  (forall d, 0 < d <= eta -> `|a + b * d ^+ k| <= K * d ^+ k.+1) -> a = 0 /\ b = 0.
Proof.
move=> K0 /andP[eta0 eta1] k0 small.
have below d j : 0 < d <= eta -> 0 < d ^+ j <= 1.
  by case/andP=> d0 de; rewrite exprn_gt0 //=; apply: exprn_ile1; [exact: ltW | exact: le_trans de eta1].
have a0 : a = 0.
  apply: (@small_eq0 _ (K + `|b|) eta) => // [|d dd]; first by rewrite addr_ge0.
  have [d0 de] := andP dd; have -> : a = (a + b * d ^+ k) - b * d ^+ k by ring.
  apply: le_trans (ler_norm_sub _ _) _; rewrite mulrDl ler_add //.
    apply: le_trans (small d dd) _; rewrite ler_wpmul2l // exprS; apply: ler_pimulr; [exact: ltW | by case/andP: (below d k dd)].
  rewrite normrM ler_wpmul2l // normrX (gtr0_norm d0) -(prednK k0) exprS.
  by apply: ler_pimulr; [exact: ltW | case/andP: (below d k.-1 dd)].
split=> //; apply: (@small_eq0 _ K eta) => // d dd; have [d0 de] := andP dd.
have := small d dd; rewrite a0 add0r normrM normrX (gtr0_norm d0) exprS mulrA.
by rewrite ler_pmul2r ?exprn_gt0.
Qed.

(* dt(p u) p^3 = 2 dt(u) for all u > 0 has no solution p: p^3 = 2 and p^(3 + k) = 2 would follow. *)
Lemma no_factor (dt : F -> F) k (t0 tk p : F) : expands dt k t0 tk -> t0 != 0 -> tk != 0 -> (0 < k)%N ->
  ~ (forall u, 0 < u -> dt (p * u) * p ^+ 3 = 2%:R * dt u).
Proof.
move=> [K [eta [K0 /andP[eta0 eta1] near]]] nz0 nzk k0 same.
pose P := 1 + `|p|; have P1 : 1 <= P by rewrite ler_addl.
have P0 : 0 < P := lt_le_trans ltr01 P1.
have r0 : 0 < eta / P by rewrite divr_gt0.
have re : eta / P <= eta by rewrite ler_pdivr_mulr // ler_pmulr.
pose K1 := K * `|p| ^+ k.+1 * `|p| ^+ 3 + 2%:R * K.
have K10 : 0 <= K1 by rewrite addr_ge0 ?mulr_ge0 ?exprn_ge0 ?normr_ge0 ?ler0n.
have [|d /andP[d0 dr]|e1 e2] := @small_pair k ((p ^+ 3 - 2%:R) * t0) ((p ^+ (k + 3) - 2%:R) * tk) K1 (eta / P) K10 _ k0.
- by rewrite r0 (le_trans re).
- have dn : `|d| = d by rewrite gtr0_norm.
  have n2 := near d _; rewrite dn in n2; have {}n2 := n2 (le_trans dr re).
  have n1 := near (p * d) _; rewrite normrM dn in n1; have {}n1 : `|dt (p * d) - t0 - tk * (p * d) ^+ k| <= K * (`|p| * d) ^+ k.+1.
    apply: n1; have dP : d * P <= eta by rewrite -ler_pdivl_mulr.
    by apply: le_trans dP; rewrite mulrC ler_wpmul2l ?(ltW d0) // ler_addr ler01.
  set r1 := dt (p * d) - _ - _ in n1; set r2 := dt d - _ - _ in n2.
  have -> : (p ^+ 3 - 2%:R) * t0 + (p ^+ (k + 3) - 2%:R) * tk * d ^+ k = 2%:R * r2 - r1 * p ^+ 3.
    have /eqP := same d d0; rewrite eq_sym -subr_eq0 /r1 /r2 exprMn exprD => /eqP.
    move: (dt _) (dt d) (p ^+ k) (d ^+ k) => X Y Q Z e; rewrite -[LHS]add0r -e; ring.
  apply: le_trans (ler_norm_sub _ _) _; rewrite /K1 mulrDl addrC [`|r1 * _|]normrM [`|_ * r2|]normrM [`|p ^+ 3|]normrX normr_nat ler_add //.
    by rewrite mulrAC ler_wpmul2r ?exprn_ge0 // -mulrA -exprMn.
  by rewrite -mulrA ler_wpmul2l ?ler0n.
have p3 : p ^+ 3 = 2%:R by move/eqP: e1; rewrite mulf_eq0 (negPf nz0) orbF subr_eq0 => /eqP.
have pk : p ^+ k = 1.
  move/eqP: e2; rewrite mulf_eq0 (negPf nzk) orbF exprD p3 -[X in _ - X]mul1r -mulrBl mulf_eq0 pnatr_eq0 orbF subr_eq0.
  by move/eqP.
have /eqP : (2%:R : F) ^+ k = 1 by rewrite -p3 exprAC pk expr1n.
by rewrite -natrX -[1]/(1%:R) eqr_nat -(expn0 2) eqn_exp2l // => /eqP k00; rewrite k00 in k0.
Qed.
End Small.

(* D + 1 channels, one state, all rows of S read the first channel, W_B* = 2 W_B; W_in is any column p. D = 0: all weights 1. *)
Section Witness.
Variables (F : numFieldType) (D : nat) (dt : F -> F) (decay : F -> 'I_1 -> F).
Let e : 'rV[F]_D.+1 := delta_mx 0 0.
Let block Win WB := block_outputs dt decay 0 Win WB e e e 0.

Theorem tied_rows_fail k t0 tk : expands dt k t0 tk -> t0 != 0 -> tk != 0 -> (0 < k)%N ->
  forall p : 'cV[F]_D.+1, ~ (forall u, block p e [:: u] = block (const_mx 1) (2%:R *: e) [:: u]).
Proof.
move=> near nz0 nzk k0 p same; apply: (no_factor (p := p 0 0) near nz0 nzk k0) => u u0.
have eE (q : 'cV[F]_D.+1) i j : (e *m (q *m const_mx u)) i j = q 0 0 * u.
  by rewrite -rowE !mxE big_ord1 mxE.
have := same (const_mx u); rewrite /block !first_output !big_ord1 /block_clock !addr0 -!scalemxAl => -[/colP/(_ 0)].
have scale (a : F) (M : 'cV[F]_1) : (a *: M) 0 0 = a * M 0 0 by rewrite mxE.
rewrite !scale !eE mxE mul1r => eq_out; apply: (mulIf (expf_neq0 3 (lt0r_neq0 u0))).
have -> : 2%:R * dt u * u ^+ 3 = dt u * (u * (2%:R * u)) * u by ring.
by rewrite -eq_out; ring.
Qed.
End Witness.

(* 1 / (1 + s^2) is such a clock, over the reals and the complex numbers. *)
Theorem rational_clock (F : numFieldType) : expands (fun s : F => (1 + s ^+ 2)^-1) 2 1 (- 1).
Proof.
have h0 : 0 < 2%:R^-1 :> F by rewrite invr_gt0 ltr0n.
have h1 : 2%:R^-1 <= 1 :> F by rewrite invf_le1 ?ler1n ?ltr0n.
exists 1, 2%:R^-1; rewrite ler01 h0 h1; split=> // s le.
have s2 : `|s ^+ 2| <= 2%:R^-1.
  by rewrite normrX (le_trans _ le) // expr2; apply: ler_pimulr => //; exact: le_trans le h1.
have ge : 2%:R^-1 <= `|1 + s ^+ 2|.
  have -> : 2%:R^-1 = `|1| - 2%:R^-1 :> F by rewrite normr1; field.
  rewrite -[X in `|_ + X|]opprK; apply: le_trans (ler_sub_dist _ _); by rewrite ler_add2l ler_opp2 normrN.
have nz : 1 + s ^+ 2 != 0 by rewrite -normr_gt0 (lt_le_trans h0).
have -> : (1 + s ^+ 2)^-1 - 1 - -1 * s ^+ 2 = s ^+ 3 * (s / (1 + s ^+ 2)) by field.
rewrite normrM normrX mul1r; apply: ler_pimulr; first by rewrite exprn_ge0.
rewrite normrM normfV ler_pdivr_mulr ?(lt_le_trans h0) // mul1r; exact: le_trans ge.
Qed.

(* The real softplus is one, with k = 1. *)
Theorem softplus_clock (R : realFieldType) (e : exponential R) :
  expands (softplus e) 1 (loga e 2%:R) 2%:R^-1 /\ loga e 2%:R != 0.
Proof.
have two0 : 0 < 2%:R :> R by rewrite ltr0n.
have h1 : 2%:R^-1 <= 1 :> R by rewrite invf_le1 ?ler1n.
split; last first.
  rewrite lt0r_neq0 // ltNge; apply/negP => /(expo_le e); rewrite logaK // expo0.
  by rewrite (ler_nat R 2 1).
exists 2%:R, 2%:R^-1; split; [exact: ltW | by rewrite invr_gt0 two0 invf_le1 ?ler1n | move=> s le].
have [ge le2] : - 2%:R^-1 <= s /\ s <= 2%:R^-1 by apply/andP; rewrite -ler_norml.
pose y := (expo e s - 1) / 2%:R.
have y1 : s / 2%:R <= y by rewrite ler_pdivr_mulr // divfK ?lt0r_neq0 // ler_subr_addl expo_ge.
have y2 : y <= s / 2%:R + s ^+ 2.
  have s1 : 0 < 1 - s by rewrite subr_gt0 (le_lt_trans le2) // invf_lt1 ?ltr1n.
  have big : expo e s * (1 - s) <= 1.
    by rewrite -[X in _ <= X](mulfV (lt0r_neq0 (expo_gt0 e s))) ler_pmul2l ?expo_gt0 // -expoN expo_ge.
  rewrite ler_pdivr_mulr // mulrDl divfK ?lt0r_neq0 // ler_subl_addl -(ler_pmul2r s1) (le_trans big) // -subr_ge0.
  have -> : (1 + (s + s ^+ 2 * 2%:R)) * (1 - s) - 1 = s ^+ 2 * (1 - 2%:R * s) by ring.
  by rewrite mulr_ge0 ?sqr_ge0 // subr_ge0 -[X in _ <= X](mulfV (lt0r_neq0 two0)) ler_pmul2l.
have pos : 0 < 1 + y.
  have -> : 1 + y = (1 + expo e s) / 2%:R by rewrite /y; field.
  by rewrite divr_gt0 ?softplus_arg.
have -> : softplus e s - loga e 2%:R - 2%:R^-1 * s ^+ 1 = loga e (1 + y) - s / 2%:R.
  have -> : softplus e s = loga e 2%:R + loga e (1 + y) by rewrite -logaM //; congr loga; rewrite /y; field.
  ring.
have /andP[low up] := loga1p e pos; rewrite -normrX (ger0_norm (sqr_ge0 s)) ler_norml; apply/andP; split; last first.
  rewrite ler_subl_addr (le_trans up) // (le_trans y2) // addrC ler_add2r mulr_natl mulr2n ler_addl sqr_ge0 //.
rewrite ler_subr_addr; apply: le_trans low; rewrite ler_pdivl_mulr // -subr_ge0.
have c0 : 0 <= 1 - s / 2%:R + 2%:R * s ^+ 2.
  apply: addr_ge0; last by rewrite mulr_ge0 ?sqr_ge0 // ltW.
  by rewrite subr_ge0 ler_pdivr_mulr // mul1r (le_trans le2) // (le_trans h1) // (ler_nat R 1 2).
rewrite (_ : y - _ =
    (y - s / 2%:R) * (1 - s / 2%:R + 2%:R * s ^+ 2) + s ^+ 2 * (2%:R - 2%:R^-1 / 2%:R + s)); last by field.
apply: addr_ge0; apply: mulr_ge0; rewrite ?sqr_ge0 ?subr_ge0 //.
have -> : 2%:R - 2%:R^-1 / 2%:R + s = (s + 2%:R^-1) + (1 + 2%:R^-1 / 2%:R) by field.
rewrite addr_ge0 //; first by rewrite -ler_subl_addr sub0r.
by rewrite addr_ge0 ?ler01 // divr_ge0 ?invr_ge0 // ltW.
Qed.
