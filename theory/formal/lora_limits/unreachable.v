(* lora_limits.unreachable: rank r < min(D, N) on A misses a target, however its states are labelled. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import perm zify.
From Ssmproof.core Require Import minors.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* Sums of distinct powers of 2 below 2^K are below 2^K. *)
Lemma sum_powers (I : finType) (f : I -> nat) (P : pred I) K : injective f -> (forall i, P i -> (f i < K)%N) ->
  (\sum_(i | P i) 2 ^ f i < 2 ^ K)%N.
Proof.
elim: K P => [|K IH] P inj lt.
  by rewrite big_pred0 // => i; apply/negP => /lt.
case: (pickP [pred i | P i && (f i == K)]) => [i /andP[Pi /eqP fi]|none].
  rewrite (bigD1 i) //= fi expnS mul2n -addnn ltn_add2l; apply: IH => // j /andP[Pj ne].
  have := lt j Pj; rewrite ltnS leq_eqVlt => /orP[/eqP e|//].
  by case/eqP: ne; apply: inj; rewrite e fi.
apply: leq_trans (IH P inj _) _ => [i Pi|]; last by rewrite leq_exp2l.
by have := lt i Pi; rewrite ltnS leq_eqVlt => /orP[e|//]; have := none i; rewrite /= Pi e.
Qed.

Section Minor.
Variable F : fieldType.

(* A matrix of polynomials t^(2^e) - c with distinct exponents: its determinant is not 0. *)
Definition curve n (e : 'I_n -> 'I_n -> nat) (c : 'I_n -> 'I_n -> F) : 'M[{poly F}]_n :=
  \matrix_(i, j) ('X^(2 ^ e i j) - (c i j)%:P).

Lemma size_entry n (e : 'I_n -> 'I_n -> nat) c i j : size (curve e c i j) = (2 ^ e i j).+1.
Proof.
rewrite mxE size_addl ?size_polyXn // size_opp (leq_ltn_trans (size_polyC_leq1 _)) // ltnS expn_gt0 //.
Qed.

Lemma det_curve n (e : 'I_n -> 'I_n -> nat) c : (forall i j i' j', e i j = e i' j' -> i = i' /\ j = j') ->
  \det (curve e c) != 0.
Proof.
elim: n e c => [|n IH] e c inj; first by rewrite det_mx00 oner_eq0.
(* (i0, j0): the largest exponent. *)
have [[i0 j0] /= top] : exists p : 'I_n.+1 * 'I_n.+1, forall q : 'I_n.+1 * 'I_n.+1, (e q.1 q.2 <= e p.1 p.2)%N.
  by case: (arg_maxnP (fun p : 'I_n.+1 * 'I_n.+1 => e p.1 p.2) (erefl : xpredT (ord0, ord0))) => p _ H; exists p => q; exact: H.
pose K := e i0 j0.
have below i j : (i, j) != (i0, j0) -> (e i j < K)%N.
  move=> ne; rewrite ltn_neqAle (top (i, j)) andbT; apply: contra ne => /eqP/inj[-> ->]; exact: eqxx.
rewrite (expand_det_row _ i0) (bigD1 j0) //=; set rest := \sum_(_ | _) _.
have cof0 : cofactor (curve e c) i0 j0 != 0.
  rewrite /cofactor mulf_eq0 signr_eq0 /=.
  have -> : row' i0 (col' j0 (curve e c)) = curve (fun i j => e (lift i0 i) (lift j0 j)) (fun i j => c (lift i0 i) (lift j0 j)).
    by apply/matrixP => i j; rewrite !mxE.
  by apply: IH => i j i' j' /inj[/lift_inj -> /lift_inj ->].
have size_big : (2 ^ K < size (curve e c i0 j0 * cofactor (curve e c) i0 j0)%R)%N.
  have s0 := size_entry e c i0 j0; rewrite -/K in s0.
  have nz : curve e c i0 j0 != 0 by rewrite -size_poly_gt0 s0.
  by rewrite size_mul // s0 addSn /= -[X in (X < _)%N]addn0 ltn_add2l size_poly_gt0.
have size_rest : (size rest <= 2 ^ K)%N.
  pose M0 : 'M[{poly F}]_n.+1 := \matrix_(i, j) (if (i == i0) && (j == j0) then 0 else curve e c i j).
  have -> : rest = \det M0.
    rewrite (expand_det_row _ i0) (bigD1 j0) //= [X in X * _ + _]mxE !eqxx mul0r add0r; apply: eq_bigr => j ne.
    rewrite [X in _ = X * _]mxE eqxx (negPf ne) /=; congr (_ * _); rewrite /cofactor; congr (_ * \det _).
    by apply/matrixP => k l; rewrite !mxE eq_sym (negPf (neq_lift _ _)).
  apply: leq_trans (size_sum _ _ _) _; apply/bigmax_leqP => s _; rewrite size_Msign.
  have [sj|sj] := eqVneq (s i0) j0.
    by rewrite (bigD1 i0) //= mxE sj !eqxx mul0r size_poly0.
  have pw : (\sum_i 2 ^ e i (s i) < 2 ^ K)%N.
    apply: (@sum_powers _ (fun i => e i (s i)) xpredT) => [i k /inj[]//|i _]; apply: below.
    by apply: contra sj => /eqP[-> ->].
  apply: leq_trans (size_prod_leq _ _) _.
  have le : (\sum_i size (M0 i (s i)) <= \sum_i (2 ^ e i (s i)).+1)%N.
    by apply: leq_sum => i _; rewrite mxE; case: ifP => _; rewrite ?size_poly0 // size_entry.
  have e1 : (\sum_i (2 ^ e i (s i)).+1 = \sum_i 2 ^ e i (s i) + n.+1)%N.
    by under eq_bigr do rewrite -addn1; rewrite big_split /= sum_nat_const card_ord muln1.
  rewrite card_ord subSS leq_subLR; apply: leq_trans le _; rewrite e1 addnS -addSn addnC leq_add2l; exact: pw.
apply/eqP => z; have := congr1 (fun p : {poly F} => size p) z.
by rewrite size_addl ?size_poly0 => [e0|]; [rewrite e0 in size_big | exact: leq_ltn_trans size_rest size_big].
Qed.
End Minor.

(* Every relabelling of the states within their channels: p d is a permutation of channel d's states. For each rank
   r < min(D, N) there is a target A' that differs from A by more than rank r under all of them. *)
Theorem all_relabellings_miss (F : numFieldType) D N r (A : 'M[F]_(D, N)) : (r < D)%N -> (r < N)%N ->
  exists A' : 'M[F]_(D, N), forall p : {ffun 'I_D -> {perm 'I_N}},
    (r < \rank ((\matrix_(d, n) A' d (p d n)) - A)%R)%N.
Proof.
move=> rD rN; pose code (d : 'I_D) (n : 'I_N) := (d * N + n)%N.
have code_inj d n d' n' : code d n = code d' n' -> d = d' /\ n = n'.
  move=> e; have N0 : (0 < N)%N := leq_ltn_trans (leq0n n) (ltn_ord n).
  have ed : d = d' by apply: val_inj; have := congr1 (divn^~ N) e; rewrite /code !divnMDl // !divn_small ?ltn_ord // !addn0.
  by split=> //; apply: val_inj; move: e; rewrite /code ed => /addnI.
pose f := widen_ord rD; pose g := widen_ord rN.
pose minor (p : {ffun 'I_D -> {perm 'I_N}}) : 'M[{poly F}]_r.+1 :=
  curve (fun i j => code (f i) (p (f i) (g j))) (fun i j => A (f i) (g j)).
pose all_minors := \prod_p \det (minor p).
have nz : all_minors != 0.
  apply/prodf_neq0 => p _; apply: det_curve => i j i' j' /code_inj[ei ej].
  have ii : i = i' by apply: val_inj; exact: (congr1 val ei).
  by split=> //; move: ej; rewrite ii => /perm_inj ej; apply: val_inj; exact: (congr1 val ej).
have [t tP] : exists t : F, ~~ root all_minors t.
  pose s := [seq (k%:R : F) | k <- iota 0 (size all_minors)].
  case: (boolP (all (root all_minors) s)) => [al|/allPn[t _ rt]]; last by exists t.
  case/negP: nz; apply/eqP; apply: (roots_geq_poly_eq0 al); last by rewrite size_map size_iota.
  by rewrite map_inj_uniq ?iota_uniq // => k l /eqP; rewrite eqr_nat => /eqP.
exists (\matrix_(d, n) t ^+ (2 ^ code d n)) => p.
apply: (@minor_rank _ _ _ _ _ f g); apply: contra tP => /eqP z.
rewrite /root /all_minors horner_prod (bigD1 p) //= mulf_eq0; apply/orP; left.
rewrite -horner_evalE -det_map_mx; apply/eqP; rewrite -[RHS]z; congr (\det _); apply/matrixP => i j.
by rewrite !mxE /= horner_evalE hornerD hornerN hornerXn hornerC.
Qed.
