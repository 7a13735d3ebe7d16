(* The real numbers: an ordered field in which bounded sets have suprema. A convex cone that is not everything has a linear
   functional that is not negative on it (in finite dimension, by Hahn and Banach's extension one coordinate at a time). *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* A set of numbers that is not empty and has an upper bound has a least one, which the set comes as near to as is wanted. *)
Definition complete (R : realFieldType) := forall S : R -> Prop, (exists x, S x) -> (exists b, forall x, S x -> x <= b) ->
  exists s, (forall x, S x -> x <= s) /\ forall b, b < s -> exists2 x, S x & b < x.

Section Complete.
Variable R : realFieldType.
Hypothesis real : complete R.

(* Completeness decides every statement: it is the supremum of {0} and, if it holds, 1. *)
Lemma decide (P : Prop) : P \/ ~ P.
Proof.
have [||s [up near]] := real (S := fun x => x = 0 \/ (x = 1 /\ P)).
- by exists 0; left.
- by exists 1 => x [->|[-> _]] //; exact: ler01.
case: (ltP s 1) => [lt|le].
  by right => p; have := up 1 (or_intror (conj erefl p)); rewrite leNgt lt.
have [x [->|[_ p]]] := near 0 (lt_le_trans ltr01 le); last by left.
by rewrite ltxx.
Qed.

Lemma archimedean : Num.archimedean_axiom R.
Proof.
move=> x; case: (decide (exists n, `|x| < n%:R)) => // none; exfalso.
have [||s [up near]] := real (S := fun y => exists n, y = n%:R).
- by exists 0, 0%N.
- by exists `|x| => _ [n ->]; rewrite leNgt; apply/negP => lt; apply: none; exists n.
have [|_ [n ->] lt] := near (s - 1); first by rewrite ltr_subl_addr ltr_addl ltr01.
by have := up n.+1%:R (ex_intro _ n.+1 erefl); rewrite leNgt -addn1 natrD -ltr_subl_addr lt.
Qed.

(* The greatest lower bound. *)
Lemma infimum (S : R -> Prop) : (exists x, S x) -> (exists b, forall x, S x -> b <= x) ->
  exists s, (forall x, S x -> s <= x) /\ forall b, s < b -> exists2 x, S x & x < b.
Proof.
move=> [x0 Sx0] [b low]; have [||s [up near]] := real (S := fun x => S (- x)).
- by exists (- x0); rewrite opprK.
- by exists (- b) => x /low; rewrite ler_oppr.
exists (- s); split=> [x Sx|c lt]; first by rewrite ler_oppl up ?opprK.
by have [|x Sx lt'] := near (- c); [rewrite ltr_oppl | exists (- x); rewrite // ltr_oppl].
Qed.

(* A cone above every v that does not go down over 0 lies above a linear function. *)
Lemma supporting n (C : R -> 'rV[R]_n -> Prop) :
  (forall a v b w, C a v -> C b w -> C (a + b) (v + w)) -> (forall k a v, 0 <= k -> C a v -> C (k * a) (k *: v)) ->
  (forall v, exists a, C a v) -> (forall a, C a 0 -> 0 <= a) ->
  exists f : 'cV_n, forall a v, C a v -> (v *m f) 0 0 <= a.
Proof.
elim: n C => [|n IH] C addC scaleC total above.
  by exists 0 => a v Cav; rewrite mulmx0 mxE; apply: above; rewrite -(thinmx0 v).
pose e (b : R) (v : 'rV[R]_n) : 'rV[R]_(1 + n) := row_mx b%:M v.
have eD b c v w : e b v + e c w = e (b + c) (v + w) by rewrite /e add_row_mx -raddfD.
have eZ k b v : k *: e b v = e (k * b) (k *: v) by rewrite /e scale_row_mx scale_scalar_mx.
have e0 : e 0 0 = 0 by rewrite /e raddf0 row_mx0.
have [a1 Ca1] := total (e (- 1) 0).
have [||al [low near]] := infimum (S := fun a => C a (e 1 0)).
- exact: total.
- exists (- a1) => a Ca; rewrite -subr_ge0 opprK; apply: above.
  by have := addC _ _ _ _ Ca Ca1; rewrite eD subrr addr0 e0.
pose C1 a v := exists b, C (a + b * al) (e b v).
have [|||a|f fE] := IH C1.
- move=> a v b w [x Cx] [y Cy]; exists (x + y); have := addC _ _ _ _ Cx Cy.
  by rewrite eD; congr (C _ _); ring.
- move=> k a v k0 [x Cx]; exists (k * x); have := scaleC _ _ _ k0 Cx.
  by rewrite eZ; congr (C _ _); ring.
- by move=> v; have [a Ca] := total (e 0 v); exists a, 0; rewrite mul0r addr0.
- move=> [b Cb]; case: (ltrgt0P b) => [b0|b0|b0]; last by apply: above; move: Cb; rewrite b0 mul0r addr0 e0.
    have /low : C ((a + b * al) / b) (e 1 0).
      have ib : 0 <= b^-1 by rewrite invr_ge0 ltW.
      by have := scaleC _ _ _ ib Cb; rewrite eZ scaler0 mulVf ?gt_eqF // mulrC.
    by rewrite ler_pdivl_mulr // mulrC ler_addr.
  rewrite leNgt; apply/negP => a0; have nb : 0 < - b by rewrite oppr_gt0.
  have [|c Cc lt] := near (al - a / (- b)).
    by rewrite ltr_addl oppr_gt0 ltr_pdivr_mulr // mul0r.
  have := above (a + b * al + (- b) * c); rewrite -e0 => pos; have {pos} : 0 <= a + b * al + - b * c.
    apply: pos; have := addC _ _ _ _ Cb (scaleC _ _ _ (ltW nb) Cc).
    by rewrite eZ eD scaler0 addr0 mulr1 subrr.
  have : - b * c < - b * (al - a / - b) by rewrite ltr_pmul2l.
  rewrite mulrBr mulrCA divff ?gt_eqF // mulr1 => lt1; rewrite leNgt => /negP[]; rewrite -[0](subrr (a + b * al)).
  by rewrite ltr_add2l; apply: lt_le_trans lt1 _; rewrite le_eqVlt; apply/orP; left; apply/eqP; ring.
exists (col_mx al%:M f : 'cV_(1 + n)) => a v Cav; have vE : v = e (lsubmx (v : 'rV_(1 + n)) 0 0) (rsubmx (v : 'rV_(1 + n))).
  by rewrite /e -mx11_scalar hsubmxK.
move: (lsubmx _ 0 0) (rsubmx _) vE => b w vE; rewrite {}vE in Cav *.
have -> : (e b w *m (col_mx al%:M f : 'cV_(1 + n))) 0 0 = b * al + (w *m f) 0 0.
  by rewrite /e mul_row_col mxE -scalar_mxM mxE eqxx mulr1n.
by rewrite addrC -ler_subr_addr; apply: fE; exists b; rewrite subrK.
Qed.

Theorem separate n (C : 'rV[R]_n -> Prop) : (forall v w, C v -> C w -> C (v + w)) -> (forall k v, 0 <= k -> C v -> C (k *: v)) ->
  C 0 -> (exists v, ~ C v) -> exists2 l : 'cV_n, l != 0 & forall v, C v -> 0 <= (v *m l) 0 0.
Proof.
elim: n C => [|n IH] C addC scaleC C0 [v0 nC].
  by case: nC; rewrite (thinmx0 v0).
pose e (b : R) (v : 'rV[R]_n) : 'rV[R]_(1 + n) := row_mx b%:M v.
have eD b c v w : e b v + e c w = e (b + c) (v + w) by rewrite /e add_row_mx -raddfD.
have eZ k b v : k *: e b v = e (k * b) (k *: v) by rewrite /e scale_row_mx scale_scalar_mx.
have e0 : e 0 0 = 0 by rewrite /e raddf0 row_mx0.
have split_ (v : 'rV_(1 + n)) : v = e (lsubmx v 0 0) (rsubmx v) by rewrite /e -mx11_scalar hsubmxK.
case: (decide (exists v, ~ (exists b, C (e b v)))) => [hole|full].
  have [||||l l0 lE] := IH (fun v => exists b, C (e b v)).
  - by move=> v w [b Cb] [c Cc]; exists (b + c); rewrite -eD; exact: addC.
  - by move=> k v k0 [b Cb]; exists (k * b); rewrite -eZ; exact: scaleC.
  - by exists 0; rewrite e0.
  - exact: hole.
  exists (col_mx 0 l : 'cV_(1 + n)) => [|v Cv]; first apply: contraNneq l0 => l00.
    have := congr1 (fun x : 'cV_(1 + n) => dsubmx x) l00; rewrite col_mxKd => ->.
    by apply/eqP/matrixP => i j; rewrite !mxE.
  have -> : (v : 'rV_(1 + n)) *m col_mx 0 l = rsubmx (v : 'rV_(1 + n)) *m l by rewrite {1}(split_ v) /e mul_row_col mulmx0 add0r.
  by apply: lE; exists (lsubmx (v : 'rV_(1 + n)) 0 0); rewrite -(split_ v).
have total v : exists b, C (e b v).
  by case: (decide (exists b, C (e b v))) => // none; case: full; exists v.
have one_side (s : R) : s != 0 -> ~ C (e (- s) 0) -> exists2 l : 'cV_(1 + n), l != 0 & forall v, C v -> 0 <= (v *m l) 0 0.
  move=> s0 out; have [||||f fE] := @supporting n (fun a v => C (e (s * a) v)).
  - by move=> a v b w Ca Cb; rewrite mulrDr -eD; exact: addC.
  - by move=> k a v k0 Ca; rewrite mulrCA -eZ; exact: scaleC.
  - by move=> v; have [b Cb] := total v; exists (b / s); rewrite mulrC divfK.
  - move=> a Ca; rewrite leNgt; apply/negP => a0; apply: out.
    have ia : 0 <= (- a)^-1 by rewrite invr_ge0 oppr_ge0 ltW.
    by have := scaleC _ _ ia Ca; rewrite eZ scaler0; congr (C (e _ _)); field; rewrite lt_eqF.
  exists (col_mx s^-1%:M (- f)) => [|v Cv].
    apply/negP => /eqP/(congr1 (fun l : 'cV_(1 + n) => usubmx l 0 0)); rewrite col_mxKu !mxE eqxx mulr1n => /eqP.
    by rewrite invr_eq0 (negPf s0).
  have -> : ((v : 'rV_(1 + n)) *m (col_mx s^-1%:M (- f) : 'cV_(1 + n))) 0 0 =
      lsubmx (v : 'rV_(1 + n)) 0 0 / s - (rsubmx (v : 'rV_(1 + n)) *m f) 0 0.
    by rewrite {1}(split_ v) /e mul_row_col mulmxN mxE -scalar_mxM mxE eqxx mulr1n [X in _ + X]mxE.
  by rewrite subr_ge0; apply: fE; rewrite mulrC divfK // -(split_ v).
case: (decide (C (e 1 0))) => [up|out]; last by apply: (one_side (- 1)); rewrite ?oppr_eq0 ?oner_eq0 ?opprK.
case: (decide (C (e (- 1) 0))) => [down|out]; last by apply: (one_side 1); rewrite ?oner_eq0.
case: nC; rewrite (split_ v0); set a := lsubmx (v0 : 'rV_(1 + n)) 0 0; set w := rsubmx (v0 : 'rV_(1 + n)); have [b Cb] := total w.
have -> : e a w = e b w + `|a - b| *: e (Num.sg (a - b)) 0.
  by rewrite eZ scaler0 eD addr0 mulrC -numEsg addrC subrK.
apply: addC => //; apply: scaleC; first exact: normr_ge0.
by case: sgrP; rewrite ?e0.
Qed.
End Complete.
