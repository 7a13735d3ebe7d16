(* The selective module S6 of Mamba-1: D channels, N states per channel. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

(* Values x, selectors B and C, step size dt and decay E are any functions of the token. *)
Section Selective.
Variables (F : fieldType) (T : Type) (D N : nat).
Variables (x : T -> 'cV[F]_D) (B C : T -> 'cV[F]_N) (dt : T -> 'I_D -> F) (E : T -> 'M[F]_(D, N)) (skip : 'I_D -> F).

(* What one token adds to the state: dt_d x_d B_n. *)
Definition sel_token (z : T) : 'M[F]_(D, N) := \matrix_(d, n) (dt z d * x z d 0 * B z n 0).
Definition sel_state (h : 'M[F]_(D, N)) z : 'M[F]_(D, N) := \matrix_(d, n) (E z d n * h d n + sel_token z d n).
Definition sel_readout (h : 'M[F]_(D, N)) z : 'cV[F]_D := \col_d (\sum_n h d n * C z n 0 + skip d * x z d 0).
Definition sel_step h z : 'M[F]_(D, N) * 'cV[F]_D := (sel_state h z, sel_readout (sel_state h z) z).

Variable z0 : T.
Lemma sel_state_after h s d n :
  state_after sel_step h s d n =
  (\prod_(z <- s) E z d n) * h d n +
  \sum_(i < size s) (\prod_(z <- drop i.+1 s) E z d n) * sel_token (nth z0 s i) d n.
Proof.
elim/last_ind: s => [|s z IH]; first by rewrite /= big_nil big_ord0 mul1r addr0.
rewrite state_after_rcons size_rcons [LHS]mxE IH big_ord_recr /= nth_rcons ltnn eqxx drop_oversize ?size_rcons //.
rewrite big_nil mul1r mulrDr addrA -cats1 big_cat big_seq1 /= mulrA [E z d n * _]mulrC; congr (_ + _ + _).
rewrite mulr_sumr; apply: eq_bigr => i _; rewrite drop_cat nth_cat ltn_ord.
case: (ltngtP i.+1 (size s)) => [lt|gt|e]; [|by rewrite ltnNge ltn_ord in gt|]; first by rewrite big_cat big_seq1 /=; ring.
by rewrite e subnn drop0 drop_oversize ?e // big_seq1 big_nil mul1r.
Qed.

Lemma sel_prefix_state s :
  state_after sel_step 0 s = \sum_(i < size s)
    \matrix_(d, n) ((\prod_(z <- drop i.+1 s) E z d n) * (dt (nth z0 s i) d * x (nth z0 s i) d 0 * B (nth z0 s i) n 0)).
Proof.
apply/matrixP => d n; rewrite sel_state_after mxE mulr0 add0r summxE.
by apply: eq_bigr => i _; rewrite [sel_token _ _ _]mxE [RHS]mxE.
Qed.
End Selective.

(* S6: tokens are module inputs z in F^D, which are the values too; B = W_B z, C = W_C z; any clock z |-> (dt, E). *)
Section S6.
Variables (F : fieldType) (D N : nat) (dt : 'cV[F]_D -> 'I_D -> F) (E : 'cV[F]_D -> 'M[F]_(D, N)).
Variables (WB WC : 'M[F]_(N, D)) (skip : 'I_D -> F).
Definition s6_token : 'cV[F]_D -> 'M[F]_(D, N) := sel_token id (mulmx WB) dt.
Definition s6_state : 'M[F]_(D, N) -> 'cV[F]_D -> 'M[F]_(D, N) := sel_state id (mulmx WB) dt E.
Definition s6_step : 'M[F]_(D, N) -> 'cV[F]_D -> 'M[F]_(D, N) * 'cV[F]_D :=
  sel_step id (mulmx WB) (mulmx WC) dt E skip.
End S6.
