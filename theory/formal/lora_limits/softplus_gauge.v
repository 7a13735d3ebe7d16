(* lora_limits.selector_absorption, gauge: softplus clocks are clocks of the kind that the converse asks for. *)
From mathcomp Require Import all_ssreflect all_algebra.
From Ssmproof.core Require Import exponential.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* Step size tau and decay kappa of each channel: both are not 0, and the decay tells the clock's argument. *)
Theorem softplus_fits (R : realFieldType) (e : exponential R) D (A : 'I_D -> R) : (forall d, A d != 0) ->
  [/\ forall (d : 'I_D) s, softplus e s != 0, forall d s, expo e (softplus e s * A d) != 0 &
      forall d, injective (fun s => expo e (softplus e s * A d))].
Proof.
move=> A0; split=> [d s|d s|d s t /(congr1 (loga e))]; first by rewrite gt_eqF ?softplus_gt0.
  by rewrite gt_eqF ?expo_gt0.
rewrite !expoK => /(mulIf (A0 d))/(congr1 (expo e)); rewrite !logaK ?softplus_arg // => /addrI/(congr1 (loga e)).
by rewrite !expoK.
Qed.
