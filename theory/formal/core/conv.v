(* A causal convolution of width K+1 in front of a system: the state is the pair (window, h). *)
From mathcomp Require Import all_ssreflect all_algebra.
From Ssmproof.core Require Import recurrence.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

Section Conv.
Variables (F : fieldType) (K : nat) (S Y : Type) (taps : 'I_K.+1 -> F) (G : S -> F -> S * Y).

(* The window lists the last K conv inputs, the oldest first; tap j multiplies the input of j steps ago. *)
Definition conv_out (w : seq F) (x : F) : F := \sum_(j < K.+1) taps j * nth 0 (x :: rev w) j.
Definition conv_step (wh : seq F * S) (x : F) : (seq F * S) * Y :=
  let r := G wh.2 (conv_out wh.1 x) in ((behead (rcons wh.1 x), r.1), r.2).

Lemma conv_window h p : (state_after conv_step (nseq K 0, h) p).1 = drop (size p) (nseq K 0 ++ p).
Proof.
elim/last_ind: p => [|p x IH]; first by rewrite cats0 drop0.
by rewrite state_after_rcons /= IH size_rcons -rcons_cat -drop1 -drop_rcons ?drop_drop ?add1n // size_cat size_nseq leq_addl.
Qed.
End Conv.
