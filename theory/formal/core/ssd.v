(* Mamba-2. The states of the heads of one group are stacked to R rows (R = heads x head dimension). Row r has the step size
   and the decay of its head; a single head has the same for all rows. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

Section SSD.
Variables (F : fieldType) (R D N : nat).
Variables (dt decay : 'cV[F]_D -> 'I_R -> F) (* the clock: any function of the token *).
Variables (Wx : 'M[F]_(R, D)) (WB WC : 'M[F]_(N, D)) (skip : 'I_R -> F).

(* What one token adds: dt_r (W_x u)_r (W_B u)_n. *)
Definition ssd_token (u : 'cV[F]_D) : 'M[F]_(R, N) := (\col_r (dt u r * (Wx *m u) r 0)) *m (WB *m u)^T.
Definition ssd_state (h : 'M[F]_(R, N)) u : 'M[F]_(R, N) := diag_mx (\row_r decay u r) *m h + ssd_token u.
Definition ssd_readout h (u : 'cV[F]_D) : 'cV[F]_R := h *m (WC *m u) + \col_r (skip r * (Wx *m u) r 0).
Definition ssd_step h u : 'M[F]_(R, N) * 'cV[F]_R := (ssd_state h u, ssd_readout (ssd_state h u) u).

Lemma ssd_tokenE u r n : ssd_token u r n = dt u r * (Wx *m u) r 0 * (WB *m u) n 0.
Proof. by rewrite mxE big_ord1 [X in X * _]mxE [X in _ * X]mxE. Qed.

Lemma ssd_stateE h u r n : ssd_state h u r n = decay u r * h r n + ssd_token u r n.
Proof. by rewrite mxE mul_diag_mx !mxE. Qed.

Lemma ssd_state_after h s r n :
  state_after ssd_step h s r n =
  (\prod_(u <- s) decay u r) * h r n +
  \sum_(i < size s) (\prod_(u <- drop i.+1 s) decay u r) * ssd_token (nth 0 s i) r n.
Proof.
elim/last_ind: s => [|s z IH]; first by rewrite /= big_nil big_ord0 mul1r addr0.
rewrite state_after_rcons size_rcons ssd_stateE IH big_ord_recr /= nth_rcons ltnn eqxx drop_oversize ?size_rcons //.
rewrite big_nil mul1r mulrDr addrA -cats1 big_cat big_seq1 /= mulrA [decay z r * _]mulrC; congr (_ + _ + _).
rewrite mulr_sumr; apply: eq_bigr => i _; rewrite drop_cat nth_cat ltn_ord.
case: (ltngtP i.+1 (size s)) => [lt|gt|e]; [|by rewrite ltnNge ltn_ord in gt|]; first by rewrite big_cat big_seq1 /=; ring.
by rewrite e subnn drop0 drop_oversize ?e // big_seq1 big_nil mul1r.
Qed.

Lemma ssd_prefix_state s :
  state_after ssd_step 0 s =
  \sum_(i < size s) \matrix_(r, n)
    ((\prod_(u <- drop i.+1 s) decay u r) * (dt (nth 0 s i) r * (Wx *m nth 0 s i) r 0 * (WB *m nth 0 s i) n 0)).
Proof.
apply/matrixP => r n; rewrite ssd_state_after mxE mulr0 add0r summxE.
by apply: eq_bigr => i _; rewrite ssd_tokenE [RHS]mxE.
Qed.
End SSD.
