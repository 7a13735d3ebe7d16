(* sparse_dims.selection: which states every optimal assignment touches, and that with as many target modes as states every
   edit is an assignment. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import zify.
From Ssmproof.sparse_dims Require Import minimal_adjustment partitions.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

Section Truth.
Variables (F : fieldType) (N M : nat) (a r : 'I_N -> F) (lam rs : 'I_M -> F).
Implicit Types p : {ffun 'I_M -> 'I_N}.
Let cost p := assignment_cost a r p lam rs.
(* An optimal assignment, and whether it touches state n. *)
Definition optimal p := injectiveb p /\ forall q : {ffun 'I_M -> 'I_N}, injectiveb q -> (cost p <= cost q)%N.
Definition touches p n : bool := (new_mode a p lam n != a n) || (new_residue p rs n != r n).

(* The forced problem: assignments that treat n as p0 does cost K more, K prohibitive. *)
Definition forced K p0 n p : nat := (cost p + (if touches p n == touches p0 n then K else 0))%N.

(* All optimal assignments touch the same states iff no forced problem has the optimum as its least cost: one more assignment
   for each of the N states decides. *)
Theorem truth_decided K p0 : optimal p0 -> (cost p0 < K)%N ->
  (forall p, optimal p -> touches p =1 touches p0) <->
  forall n p, injectiveb p -> (cost p0 < forced K p0 n p)%N.
Proof.
move=> [inj0 opt0] big; split=> [same n p inj|strict p [inj opt] n].
  rewrite /forced; case: eqP => [_|ne]; first exact: leq_trans big (leq_addl _ _).
  rewrite addn0 ltn_neqAle opt0 // andbT; apply/eqP => e; case: ne; apply: same; split=> // q iq.
  by rewrite -e; exact: opt0.
apply/eqP/negPn/negP => /negPf ne; have := strict n p inj; rewrite /forced ne addn0 ltnNge; case/negP; exact: opt.
Qed.

(* N target modes: every edit that gives the target's function is an assignment's. *)
Hypotheses (injl : injective lam) (rs0 : forall m, rs m != 0).
Theorem every_edit_is_assignment a' r' : N = M -> right lam rs a' r' ->
  exists2 p : 'I_M -> 'I_N, injective p & forall n, a' n = new_mode a p lam n /\ r' n = new_residue p rs n.
Proof.
move=> NM ok.
have hit m : exists n, a' n = lam m.
  have [/existsP[n /eqP]|/existsPn none] := boolP [exists n, a' n == lam m]; first by exists n.
  have := ok (lam m); rewrite target_lam // big_pred0 => [z|n]; last exact/negbTE/none.
  by have := rs0 m; rewrite -z eqxx.
have [p pE] := fin_all_exists hit; have inj : injective p by move=> k l e; apply: injl; rewrite -!pE e.
have onto n : exists m, n = p m.
  have /codomP[m ->] : n \in codom p by apply: (inj_card_onto inj); rewrite !card_ord NM.
  by exists m.
have inja : injective a' by move=> x y; have [[k ->] [l ->]] := (onto x, onto y); rewrite !pE => /injl ->.
exists p => // n; have [m ->] := onto n; rewrite /new_mode /new_residue !matched_pi // pE; split=> //.
have := ok (lam m); rewrite target_lam // (eq_bigl (pred1 (p m))) ?big_pred1_eq // => k.
by rewrite /= -pE (inj_eq inja).
Qed.
End Truth.
