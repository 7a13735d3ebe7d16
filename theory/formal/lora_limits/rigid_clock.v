(* lora_limits.spectrum_frozen, clock: one decay A softplus(w z + beta) that depends on the token determines A, w and beta. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import exponential.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Clock.
Variables (R : realFieldType) (e : exponential R).
Notation s := (softplus e).

(* s(c x + b) = k s(x) for all x only with c = k = 1, b = 0: compare the two for large x, then at x = 0. *)
Lemma rigid_softplus (c b k : R) : 0 < k -> (forall x, s (c * x + b) = k * s x) -> [/\ c = 1, b = 0 & k = 1].
Proof.
move=> k0 same.
have c0 : 0 < c.
  rewrite ltNge; apply/negP => c0; pose x := s b / k.
  have x0 : 0 <= x by rewrite divr_ge0 ?ltW ?softplus_gt0.
  have := same x; apply/eqP; rewrite lt_eqF //.
  apply: (@le_lt_trans _ _ (s b)); first by rewrite softplus_le // ger_addr mulr_le0_ge0.
  have /andP[big _] := softplus_near e x0.
  have -> : s b = k * x by rewrite /x mulrC divfK ?lt0r_neq0.
  by rewrite ltr_pmul2l.
have near y : 0 <= y -> exists2 x, y <= x & `|(c - k) * x + b| <= (1 + k) * (1 + y)^-1.
  move=> y0; pose x := y + (y + `|b|) / c.
  have q0 : 0 <= (y + `|b|) / c by rewrite divr_ge0 ?addr_ge0 // ltW.
  have yx : y <= x by rewrite ler_addl.
  have yz : y <= c * x + b.
    have -> : c * x + b = y + (c * y + (`|b| + b)) by rewrite /x; field; rewrite lt0r_neq0.
    by rewrite ler_addl addr_ge0 ?mulr_ge0 ?(ltW c0) // -ler_subl_addr sub0r -normrN ler_norm.
  have inv z : y <= z -> (1 + z)^-1 <= (1 + y)^-1.
    by move=> le; rewrite lef_pinv ?posrE ?ler_add2l // ltr_paddr // (le_trans y0).
  exists x => //; have /andP[l1 u1] := softplus_near e (le_trans y0 yx); have /andP[l2 u2] := softplus_near e (le_trans y0 yz).
  have d1 : 0 <= k * (s x - x) <= k * (1 + y)^-1.
    rewrite ler_pmul2l // pmulr_rge0 // subr_ge0 ltW //= ler_subl_addl (le_trans u1) // ler_add2l; exact: inv.
  have d2 : 0 <= s (c * x + b) - (c * x + b) <= (1 + y)^-1.
    rewrite subr_ge0 ltW //= ler_subl_addl (le_trans u2) // ler_add2l; exact: inv.
  have -> : (c - k) * x + b = k * (s x - x) - (s (c * x + b) - (c * x + b)) by rewrite same; ring.
  apply: le_trans (ler_norm_sub _ _) _; case/andP: d1 => p1 q1; case/andP: d2 => p2 q2.
  by rewrite !ger0_norm // mulrDl mul1r addrC ler_add.
have pos (y : R) : 0 <= y -> 0 < 1 + y by move=> y0; rewrite ltr_paddr ?ltr01.
have ck : c = k.
  apply/eqP; rewrite -subr_eq0; apply/negPn/negP => ne.
  have g0 : 0 < `|c - k| by rewrite normr_gt0.
  pose B := 1 + k + `|b|.
  have B0 : 0 < B by rewrite ltr_paddr ?normr_ge0 // addr_gt0 ?ltr01.
  have y0 : 0 <= 2%:R * B / `|c - k| by rewrite divr_ge0 ?mulr_ge0 ?ler0n ?ltW.
  have [x yx] := near _ y0; apply/negP; rewrite -ltNge.
  apply: (@le_lt_trans _ _ (1 + k)).
    by rewrite ler_pdivr_mulr ?pos // ler_pmulr ?ler_addl // addr_gt0 ?ltr01.
  apply: (@lt_le_trans _ _ (`|(c - k) * x| - `|b|)); last by rewrite -[X in _ <= `|_ + X|]opprK -[X in _ - X]normrN ler_sub_dist.
  rewrite ltr_subr_addr -/B normrM (lt_le_trans (y := 2%:R * B)) //; first by rewrite mulr_natl mulr2n ltr_addl.
  by move: yx; rewrite ler_pdivr_mulr // => /le_trans; apply; rewrite mulrC ler_pmul2l // ler_norm.
have b0 : b = 0.
  apply/eqP/negPn/negP => ne; have g0 : 0 < `|b| by rewrite normr_gt0.
  have y0 : 0 <= (1 + k) / `|b| by rewrite divr_ge0 // ltW // addr_gt0 ?ltr01.
  have [x _] := near _ y0; rewrite ck subrr mul0r add0r; apply/negP; rewrite -ltNge ltr_pdivr_mulr ?pos //.
  by rewrite mulrDr mulr1 [_ * (_ / _)]mulrC divfK ?lt0r_neq0 // ltr_addr.
have k1 : k = 1.
  by apply: (mulIf (lt0r_neq0 (softplus_gt0 e 0))); rewrite mul1r -same b0 mulr0 addr0.
by rewrite ck k1.
Qed.

(* Equal log-decays at all tokens z. *)
Theorem rigid_clock A w beta A' w' beta' : A != 0 -> w != 0 ->
  (forall z, A * s (w * z + beta) = A' * s (w' * z + beta')) -> [/\ A = A', w = w' & beta = beta'].
Proof.
move=> A0 w0 same; have s0 x : s x != 0 by rewrite lt0r_neq0 ?softplus_gt0.
have A0' : A' != 0 by apply: contra_neq (mulf_neq0 A0 (s0 (w * 0 + beta))); rewrite same => ->; rewrite mul0r.
have same' x : s (w' / w * x + (beta' - w' / w * beta)) = A / A' * s x.
  apply: (mulfI A0'); have := same ((x - beta) / w).
  have -> : w * ((x - beta) / w) + beta = x by field.
  have -> : w' * ((x - beta) / w) + beta' = w' / w * x + (beta' - w' / w * beta) by field.
  by move=> <-; field.
have k0 : 0 < A / A'.
  by rewrite -(pmulr_lgt0 _ (softplus_gt0 e 0)) -same' softplus_gt0.
have [c1 b0 k1] := rigid_softplus k0 same'; split.
- by rewrite -[LHS](divfK A0') k1 mul1r.
- by rewrite -[RHS](divfK w0) c1 mul1r.
by move: b0; rewrite c1 mul1r => /eqP; rewrite subr_eq0 => /eqP.
Qed.

(* A constant clock can be rescaled to any other A of the same sign. *)
Theorem constant_clock_rescales A beta A' : 0 < A / A' -> exists beta', forall z, A * s (0 * z + beta) = A' * s (0 * z + beta').
Proof.
move=> k0; have A0' : A' != 0 by apply: contraTneq k0 => ->; rewrite invr0 mulr0 ltxx.
have [x xE] := softplus_onto e (mulr_gt0 k0 (softplus_gt0 e beta)).
by exists x => z; rewrite mul0r !add0r xE; field.
Qed.
End Clock.
