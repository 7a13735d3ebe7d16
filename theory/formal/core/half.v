(* Half storage (S4D): one mode of each conjugate pair is stored, and y = 2 Re(c . h) + d x.
   Real and imaginary parts are kept apart, so the definition needs no complex numbers and computes over any field. *)
From mathcomp Require Import all_ssreflect all_algebra.
From Ssmproof.core Require Import recurrence.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

Section Half.
Variables (F : fieldType) (N : nat) (ar ai br bi cr ci : 'I_N -> F) (d : F).

(* (a_r + i a_i)(h_r + i h_i) + (b_r + i b_i) x, entrywise. *)
Definition half_state (h : 'rV[F]_N * 'rV[F]_N) (x : F) : 'rV[F]_N * 'rV[F]_N :=
  (\row_n (ar n * h.1 0 n - ai n * h.2 0 n + br n * x), \row_n (ar n * h.2 0 n + ai n * h.1 0 n + bi n * x)).
Definition half_readout (h : 'rV[F]_N * 'rV[F]_N) : F := 2%:R * \sum_n (cr n * h.1 0 n - ci n * h.2 0 n).
Definition half_step h x := (half_state h x, half_readout (half_state h x) + d * x).
End Half.
