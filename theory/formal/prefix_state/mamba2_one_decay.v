(* prefix_state.mamba2 (d): heads of one decay value reach every state iff the rows of [X; W_B] are independent. *)
From mathcomp Require Import all_ssreflect all_algebra.
From Ssmproof.core Require Import recurrence vandermonde ssd.
From Ssmproof.prefix_state Require Import mamba2.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section OneDecay.
Variables (F : realFieldType) (R D N : nat) (dt : 'I_R -> F) (g : F).
Variables (Wx : 'M[F]_(R, D)) (WB WC : 'M[F]_(N, D)) (skip : 'I_R -> F).
Let state s := state_after (ssd_step (fun=> dt) (fun=> fun=> g) Wx WB WC skip) 0 s.
(* X stacks the heads' W_x, each scaled by its step size. *)
Let X : 'M[F]_(R, D) := diag_mx (\row_r dt r) *m Wx.

Theorem every_state_one_decay : (0 < R)%N -> (0 < N)%N -> 0 < g -> (forall r, dt r != 0) ->
  (forall h, exists s, state s = h) <-> row_free (col_mx X WB).
Proof.
move=> R0 N0 g0 dt0; split=> [all|free h]; first exact: (every_state_only_if R0 N0 (ltW g0) all).
have free' : row_free (col_mx Wx WB).
  have e : col_mx X WB = block_mx (diag_mx (\row_r dt r)) 0 0 1%:M *m col_mx Wx WB.
    by rewrite mul_block_col !mul0mx addr0 add0r mul1mx.
  rewrite /row_free eqn_leq rank_leq_row /= -[X in (X <= _)%N](eqP free) e; exact: mxrankM_maxr.
have [||_ H] := witness (dt := dt) (decay := fun=> g) WC skip free' _ _ (\rank h) h => //.
  by move=> r; rewrite gt_eqF.
by have [s _ sE] := H (leqnn _); exists s.
Qed.
End OneDecay.
