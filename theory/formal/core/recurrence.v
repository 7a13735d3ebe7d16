(* A system stepped as (h', y) = F h x: the outputs along a sequence of inputs, and the state it leaves. *)
From mathcomp Require Import all_ssreflect.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.

Section Recurrence.
Variables (S X Y : Type) (F : S -> X -> S * Y).

(* The state after the inputs s, from h. *)
Definition state_after (h : S) (s : seq X) : S := foldl (fun h x => (F h x).1) h s.

(* The outputs y_1 .. y_L along the inputs s, from h. *)
Fixpoint outputs (h : S) (s : seq X) : seq Y :=
  if s is x :: s' then (F h x).2 :: outputs (F h x).1 s' else [::].

Lemma state_after_cat h p s : state_after h (p ++ s) = state_after (state_after h p) s.
Proof. exact: foldl_cat. Qed.

Lemma state_after_rcons h s x : state_after h (rcons s x) = (F (state_after h s) x).1.
Proof. by rewrite -cats1 state_after_cat. Qed.

Lemma size_outputs h s : size (outputs h s) = size s.
Proof. by elim: s h => //= x s IH h; rewrite IH. Qed.

Lemma outputs_cat h p s : outputs h (p ++ s) = outputs h p ++ outputs (state_after h p) s.
Proof. by elim: p h => //= x p IH h; rewrite IH. Qed.
End Recurrence.
