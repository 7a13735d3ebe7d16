(* lora_limits.selector_absorption: when in_proj does what changed selectors would do, and at which rank. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence s6.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

(* Selectors S read W_in u; the target's selectors S' read W_in' u. An update X of W_in is sought. *)
Section Maps.
Variables (F : fieldType) (p d m : nat) (S S' : 'M[F]_(p, d)) (W W' : 'M[F]_(d, m)).
Let gap := S' *m W' - S *m W.

Lemma solves_gap X : S *m (W + X) = S' *m W' <-> S *m X = gap.
Proof.
rewrite mulmxDr /gap; split=> [<-|->]; first by rewrite addrC addKr.
by rewrite addrC subrK.
Qed.

(* Column spaces are row spaces of the transposed matrices. *)
Theorem absorbable : (exists X, S *m (W + X) = S' *m W') <-> ((S' *m W')^T <= S^T)%MS.
Proof.
split=> [[X <-]|/submxP[Y e]]; first by rewrite trmx_mul submxMl.
exists (Y^T - W); rewrite addrC subrK -[RHS]trmxK e trmx_mul trmxK //.
Qed.

Theorem full_row_rank_absorbs : row_free S -> exists X, S *m (W + X) = S' *m W'.
Proof. by case/row_freeP => B SB; exists (B *m (S' *m W') - W); rewrite addrC subrK mulmxA SB mul1mx. Qed.

(* Every solution has at least the rank of the gap, and one has exactly that rank. *)
Theorem least_rank_lower X : S *m (W + X) = S' *m W' -> (\rank gap <= \rank X)%N.
Proof. by move/solves_gap <-; exact: mxrankM_maxr. Qed.

Theorem least_rank_attained : ((S' *m W')^T <= S^T)%MS ->
  exists2 X, S *m (W + X) = S' *m W' & \rank X = \rank gap.
Proof.
case/absorbable => X0 /solves_gap X0E; have /row_freeP[B BE] : row_free (row_base gap) by exact: row_base_free.
have colE : gap *m B = col_base gap by have := congr1 (mulmx^~ B) (mulmx_base gap); rewrite -mulmxA BE mulmx1.
have sol : S *m (X0 *m B *m row_base gap) = gap by rewrite mulmxA [S *m _]mulmxA X0E colE mulmx_base.
exists (X0 *m B *m row_base gap); first exact/solves_gap.
apply/eqP; rewrite eqn_leq (leq_trans (mxrankM_maxr _ _)) ?rank_leq_row //=.
by rewrite -[X in (\rank X <= _)%N]sol mxrankM_maxr.
Qed.
End Maps.

(* The gauge: B_n -> g_n B_n, C_n -> C_n / g_n leaves every output as it is, whatever the clock and the values. *)
Section Gauge.
Variables (F : fieldType) (T : Type) (D N : nat) (x : T -> 'cV[F]_D) (B C : T -> 'cV[F]_N).
Variables (dt : T -> 'I_D -> F) (E : T -> 'M[F]_(D, N)) (skip : 'I_D -> F) (g : 'I_N -> F).

Theorem gauge s : (forall n, g n != 0) ->
  outputs (sel_step x (fun z => \col_n (g n * B z n 0)) (fun z => \col_n (C z n 0 / g n)) dt E skip) 0 s =
  outputs (sel_step x B C dt E skip) 0 s.
Proof.
move=> g0; pose sc (h : 'M[F]_(D, N)) : 'M[F]_(D, N) := \matrix_(d, n) (g n * h d n).
have sc0 : sc 0 = 0 by apply/matrixP => d n; rewrite !mxE mulr0.
rewrite -{1}sc0; move: (0 : 'M_(D, N)) => h; elim: s h => //= z s IH h.
have -> : sel_state x (fun z => \col_n (g n * B z n 0)) dt E (sc h) z = sc (sel_state x B dt E h z).
  by apply/matrixP => d n; rewrite !mxE; ring.
congr (_ :: _); last exact: IH.
apply/colP => d; rewrite !mxE; congr (_ + _); apply: eq_bigr => n _; rewrite ![(\col__ _) _ _]mxE mxE.
by rewrite mulrC mulrA divfK // mulrC.
Qed.
End Gauge.
