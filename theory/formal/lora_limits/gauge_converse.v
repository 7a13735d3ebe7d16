(* lora_limits.selector_absorption, converse for N = 1: the function fixes the clock's decay and B, C up to a gauge. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence s6.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

(* One channel, one state; values x and step sizes dt are shared by both modules where the decays agree. *)
Section Converse.
Variables (F : fieldType) (T : Type) (x : T -> F) (delta : F).
Record scalar_module := ScalarModule { decay : T -> F; step_size : T -> F; selB : T -> F; selC : T -> F }.
Definition scalar_step (m : scalar_module) (h : F) (u : T) : F * F :=
  let h' := decay m u * h + step_size m u * x u * selB m u in (h', selC m u * h' + delta * x u).

Lemma scalar_is_s6 m h u :
  sel_step (D := 1) (N := 1) (fun u => const_mx (x u)) (fun u => const_mx (selB m u)) (fun u => const_mx (selC m u))
    (fun u _ => step_size m u) (fun u => const_mx (decay m u)) (fun=> delta) (const_mx h) u =
  (const_mx (scalar_step m h u).1, const_mx (scalar_step m h u).2).
Proof.
have e : sel_state (fun u => const_mx (x u) : 'cV_1) (fun u => const_mx (selB m u) : 'cV_1) (fun u _ => step_size m u)
    (fun u => const_mx (decay m u)) (const_mx h) u = const_mx (scalar_step m h u).1 :> 'M_(1, 1).
  by apply/matrixP => i j; rewrite !mxE.
rewrite /sel_step e; congr pair; apply/matrixP => i j.
by rewrite !mxE big_ord1 !mxE mulrC.
Qed.

Variables m m' : scalar_module.
Hypothesis same : forall s, (size s <= 3)%N -> outputs (scalar_step m) 0 s = outputs (scalar_step m') 0 s.
(* What the first token adds to the second output. *)
Let F2 (k : scalar_module) u w := selC k w * decay k w * (step_size k u * x u * selB k u).

Lemma second_output k u w : outputs (scalar_step k) 0 [:: u; w] =
  [:: (scalar_step k 0 u).2; (scalar_step k 0 w).2 + F2 k u w].
Proof. by rewrite /=; congr [:: _; _]; rewrite /F2; ring. Qed.

Lemma same_F2 u w : F2 m u w = F2 m' u w.
Proof.
have := @same [:: u; w] isT; rewrite !second_output => -[_ e].
by have := @same [:: w] isT; rewrite /= => -[e1]; move: e; rewrite /= e1 => /addrI.
Qed.

(* A token in between multiplies by its decay: where F2 is not zero somewhere, the decays of all tokens agree. *)
Theorem same_decay u w : F2 m u w != 0 -> decay m =1 decay m'.
Proof.
move=> nz z; have third k : outputs (scalar_step k) 0 [:: u; z; w] =
    [:: (scalar_step k 0 u).2; (scalar_step k 0 z).2 + F2 k u z; (scalar_step k 0 w).2 + F2 k z w + decay k z * F2 k u w].
  by rewrite /=; congr [:: _; _; _]; rewrite /F2; ring.
have := @same [:: u; z; w] isT; rewrite !third => -[_ _].
have [e1] : [:: (scalar_step m 0 w).2] = [:: (scalar_step m' 0 w).2] by exact: (@same [:: w] isT).
by rewrite e1 !same_F2 => /addrI; rewrite -same_F2 => /(mulIf nz).
Qed.

(* Hence B and C are determined up to one factor, where the step sizes agree and no decay is 0. *)
Theorem gauge_converse u w : F2 m u w != 0 -> step_size m =1 step_size m' -> (forall z, decay m z != 0) ->
  exists g, g != 0 /\ (forall z, selC m z = selC m' z / g) /\
            (forall z, step_size m z * x z * selB m z = g * (step_size m' z * x z * selB m' z)).
Proof.
move=> nz _ d0; have ed := same_decay nz.
pose p k z := step_size k z * x z * selB k z.
have cp v z : selC m z * p m v = selC m' z * p m' v.
  have := same_F2 v z; rewrite /F2 -/(p m v) -/(p m' v) ed -![selC _ _ * _ * _]mulrA ![decay m' z * _]mulrC !mulrA.
  by apply: mulIf; rewrite -ed.
have [cw pu] : selC m w != 0 /\ p m u != 0.
  by move: nz; rewrite /F2 -/(p m u) !mulf_eq0 !negb_or => /andP[/andP[-> _] ->].
have nz' : selC m' w * p m' u != 0 by rewrite -cp mulf_neq0.
have [cw' pu'] : selC m' w != 0 /\ p m' u != 0 by move: nz'; rewrite mulf_eq0 negb_or => /andP[].
exists (p m u / p m' u); split; first by rewrite mulf_neq0 ?invr_eq0.
split=> z; last first.
  apply: (mulfI cw); rewrite -/(p m z) -/(p m' z) cp.
  have -> : selC m w = selC m' w * p m' u / p m u by rewrite -cp mulfK.
  by field; rewrite pu pu'.
have := cp u z => e; apply: (mulIf pu); rewrite e; by field; rewrite pu pu'.
Qed.
End Converse.
