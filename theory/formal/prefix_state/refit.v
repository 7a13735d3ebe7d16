(* prefix_state.contained, dropping the window: for S6 no single state makes up for it. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence s6.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

(* S6 with D = N = 1, K = 2 taps, W_B = W_C = 1, dt = 1, decay e: no single h' serves two later inputs. *)
Section NoRefit.
Variables (F : fieldType) (e w0 w1 x0 h : F).
(* The state after one step whose conv input is z: e h + z^2. *)
Definition one_step (g z : F) : F := e * g + z ^+ 2.
Lemma one_step_is_s6 g z :
  (s6_step (D := 1) (N := 1) (fun=> fun=> 1) (fun=> const_mx e) 1%:M 1%:M (fun=> 0) (const_mx g) (const_mx z)).1 =
  const_mx (one_step g z).
Proof. by apply/matrixP => i j; rewrite !ord1 !mxE big_ord1 !mxE eqxx !mul1r /one_step expr2. Qed.

Theorem no_single_refit : 2%:R != 0 :> F -> w0 != 0 -> w1 != 0 -> x0 != 0 ->
  ~ (exists h', forall x1, one_step h' (w0 * x1) = one_step h (w0 * x1 + w1 * x0)).
Proof.
move=> two n0 n1 nx [h' same]; have e1 := same 1; have e2 := same (-1).
have : 4%:R * (w0 * w1 * x0) = 0.
  have -> : 4%:R * (w0 * w1 * x0) = one_step h (w0 * 1 + w1 * x0) - one_step h (w0 * -1 + w1 * x0) by rewrite /one_step; ring.
  by rewrite -e1 -e2 /one_step; ring.
have -> : 4%:R = 2%:R * 2%:R :> F by ring.
by move/eqP; rewrite !mulf_eq0 (negPf two) (negPf n0) (negPf n1) (negPf nx).
Qed.
End NoRefit.
