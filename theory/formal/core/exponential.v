(* exp, log and softplus over an ordered field: all that is used of exp is E(x + y) = E x E y and 1 + x <= E x, and of log
   that it is the inverse. The real exp and log are such a pair. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Record exponential (R : realFieldType) := Exponential {
  expo : R -> R;
  loga : R -> R;
  expoD : forall x y, expo (x + y) = expo x * expo y;
  expo_ge : forall x, 1 + x <= expo x;
  expoK : forall x, loga (expo x) = x;
  logaK : forall y, 0 < y -> expo (loga y) = y }.

Section Facts.
Variables (R : realFieldType) (e : exponential R).
Notation E := (expo e).
Notation L := (loga e).

Lemma expo0 : E 0 = 1.
Proof.
have ge1 := expo_ge e 0; rewrite addr0 in ge1; have nz : E 0 != 0 by rewrite lt0r_neq0 // (lt_le_trans ltr01).
by apply: (mulfI nz); rewrite -expoD addr0 mulr1.
Qed.

Lemma expo_gt0 x : 0 < E x.
Proof.
have inv : E x * E (- x) = 1 by rewrite -expoD subrr expo0.
rewrite lt_neqAle eq_sym; apply/andP; split.
  by apply: contra_eq_neq inv => ->; rewrite mul0r eq_sym oner_neq0.
have -> : x = x / 2%:R + x / 2%:R by field.
by rewrite expoD -expr2 sqr_ge0.
Qed.

Lemma expoN x : E (- x) = (E x)^-1.
Proof. by apply: (mulfI (lt0r_neq0 (expo_gt0 x))); rewrite -expoD subrr expo0 mulfV // lt0r_neq0 ?expo_gt0. Qed.

Lemma expo_lt x y : x < y -> E x < E y.
Proof.
move=> lt; have -> : y = x + (y - x) by rewrite addrC subrK.
rewrite expoD -[X in X < _]mulr1 ltr_pmul2l ?expo_gt0 // (lt_le_trans _ (expo_ge _ _)) //.
by rewrite ltr_addl subr_gt0.
Qed.

Lemma expo_le x y : x <= y -> E x <= E y.
Proof. by rewrite le_eqVlt => /predU1P[->//|/expo_lt/ltW]. Qed.

Lemma loga_le x y : 0 < x -> x <= y -> L x <= L y.
Proof.
move=> x0 le; have y0 := lt_le_trans x0 le; rewrite leNgt; apply/negP => /expo_lt.
by rewrite !logaK // ltNge le.
Qed.

Lemma logaM x y : 0 < x -> 0 < y -> L (x * y) = L x + L y.
Proof. by move=> x0 y0; rewrite -[in LHS](logaK e x0) -[in LHS](logaK e y0) -expoD expoK. Qed.

(* y / (1 + y) <= log (1 + y) <= y *)
Lemma loga1p y : 0 < 1 + y -> y / (1 + y) <= L (1 + y) <= y.
Proof.
have up z : 0 < 1 + z -> L (1 + z) <= z by move=> z0; rewrite -[X in _ <= X](expoK e) loga_le ?expo_ge.
move=> y0; rewrite up // andbT; have inv : 1 - y / (1 + y) = (1 + y)^-1 by field; rewrite lt0r_neq0.
have i0 : 0 < (1 + y)^-1 by rewrite invr_gt0.
have L1 : L 1 = 0 by rewrite -expo0 expoK.
have := up (- (y / (1 + y))); rewrite inv => /(_ i0); rewrite ler_oppr; congr (_ <= _).
by apply/eqP; rewrite eq_sym -subr_eq0 opprK -logaM // mulfV ?lt0r_neq0 // L1.
Qed.

Definition softplus (x : R) : R := L (1 + E x).

Lemma softplus_arg x : 0 < 1 + E x. Proof. by rewrite addr_gt0 ?ltr01 ?expo_gt0. Qed.

Lemma softplus_gt0 x : 0 < softplus x.
Proof.
rewrite ltNge; apply/negP => /expo_le; rewrite logaK ?softplus_arg // expo0.
by rewrite ger_addl leNgt expo_gt0.
Qed.

Lemma softplusE x : softplus x = x + softplus (- x).
Proof.
rewrite /softplus -{2}(expoK e x) -logaM ?expo_gt0 ?softplus_arg //; congr L.
by rewrite mulrDr mulr1 -expoD subrr expo0 addrC.
Qed.

Lemma softplus_le x y : x <= y -> softplus x <= softplus y.
Proof. by move=> le; rewrite loga_le ?softplus_arg // ler_add2l expo_le. Qed.

(* For x >= 0 softplus exceeds x by at most 1/(1 + x). *)
Lemma softplus_near x : 0 <= x -> x < softplus x <= x + (1 + x)^-1.
Proof.
move=> x0; rewrite [softplus x]softplusE ltr_addl softplus_gt0 ler_add2l.
have x1 : 0 < 1 + x by rewrite ltr_paddr.
apply: (@le_trans _ _ (E (- x))); last by rewrite expoN lef_pinv ?posrE ?expo_gt0 ?expo_ge.
by rewrite -[X in _ <= X](expoK e) loga_le ?softplus_arg ?expo_ge.
Qed.

Lemma softplus_onto y : 0 < y -> exists x, softplus x = y.
Proof.
move=> y0; have g0 : 0 < E y - 1 by rewrite subr_gt0 -expo0 expo_lt.
by exists (L (E y - 1)); rewrite /softplus logaK // addrC subrK expoK.
Qed.
End Facts.
