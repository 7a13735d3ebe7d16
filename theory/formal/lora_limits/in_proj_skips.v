(* lora_limits.in_proj_dominates with a skip of its own in every channel: the rows W_out diag(D_skip) join S. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence s6.
From Ssmproof.lora_limits Require Import selector_absorption in_proj_dominates.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

Section Block.
Variables (F : fieldType) (m D N : nat) (dtf : F -> F) (decayf : F -> 'I_N -> F) (skip : 'I_D -> F).
Variables (Win : 'M[F]_(D, m)) (WB WC : 'M[F]_(N, D)) (v : 'rV[F]_D) (Wout : 'M[F]_(m, D)).

Definition skips_step : 'M[F]_(D, N) -> 'cV[F]_m -> 'M[F]_(D, N) * 'cV[F]_D :=
  sel_step (fun u => Win *m u) (fun u => WB *m (Win *m u)) (fun u => WC *m (Win *m u))
    (fun u _ => dtf (block_clock Win v u)) (fun u => \matrix_(d, n) decayf (block_clock Win v u) n) skip.
Definition skips_outputs h (s : seq 'cV[F]_m) : seq 'cV[F]_m := map (mulmx Wout) (outputs skips_step h s).
Definition skips_rows : 'M[F]_(N + N + 1 + m + m, D) := col_mx (block_rows WB WC v Wout) (Wout *m diag_mx (\row_d skip d)).

Lemma skips_readout h u i :
  (Wout *m (skips_step h u).2) i 0 =
  \sum_n (Wout *m (skips_step h u).1) i n * (WC *m (Win *m u)) n 0 + (Wout *m diag_mx (\row_d skip d) *m (Win *m u)) i 0.
Proof.
rewrite mxE; under eq_bigr => d _ do rewrite [(skips_step h u).2 d 0]mxE mulrDr mulr_sumr.
rewrite big_split /= exchange_big /=; congr (_ + _).
  apply: eq_bigr => n _; rewrite [in RHS]mxE mulr_suml; apply: eq_bigr => d _; exact: mulrA.
rewrite -mulmxA [in RHS]mxE; apply: eq_bigr => d _; congr (_ * _).
by rewrite mul_diag_mx [in RHS]mxE [(\row__ _) _ _]mxE.
Qed.
End Block.

Section Construction.
Variables (F : fieldType) (m D N : nat) (dtf : F -> F) (decayf : F -> 'I_N -> F) (skip : 'I_D -> F).
Variables (Win Win' : 'M[F]_(D, m)) (WB WC WB' WC' : 'M[F]_(N, D)) (v v' : 'rV[F]_D) (Wout Wout' : 'M[F]_(m, D)).
Let block := @skips_outputs F m D N dtf decayf skip.
Let rows := skips_rows skip WB WC v Wout.
Let rows' := skips_rows skip WB' WC' v' Wout'.

Theorem skips_decide X : rows *m (Win + X) = rows' *m Win' ->
  forall s, block (Win + X) WB WC v Wout 0 s = block Win' WB' WC' v' Wout' 0 s.
Proof.
rewrite /rows /rows' /skips_rows !mul_col_mx => /eq_col_mx[/eq_col_mx[/eq_col_mx[/eq_col_mx[eB eC] ev] eO] eD] s.
have eBu u : WB *m ((Win + X) *m u) = WB' *m (Win' *m u) by rewrite !mulmxA eB.
have eCu u : WC *m ((Win + X) *m u) = WC' *m (Win' *m u) by rewrite !mulmxA eC.
have eOu u : Wout *m ((Win + X) *m u) = Wout' *m (Win' *m u) by rewrite !mulmxA eO.
have eDu u : Wout *m diag_mx (\row_d skip d) *m ((Win + X) *m u) = Wout' *m diag_mx (\row_d skip d) *m (Win' *m u).
  by rewrite [LHS]mulmxA [RHS]mulmxA eD.
have evu u : block_clock (Win + X) v u = block_clock Win' v' u by rewrite /block_clock !mulmxA ev.
suff H h h' : Wout *m h = Wout' *m h' -> block (Win + X) WB WC v Wout h s = block Win' WB' WC' v' Wout' h' s.
  by apply: H; rewrite !mulmx0.
rewrite /block; elim: s h h' => //= u s IH h h' eh.
have eh1 : Wout *m (skips_step dtf decayf skip (Win + X) WB WC v h u).1 =
           Wout' *m (skips_step dtf decayf skip Win' WB' WC' v' h' u).1.
  apply/matrixP => i n; have := out_state dtf decayf 0 (Win + X) WB WC v Wout h u i n.
  have := out_state dtf decayf 0 Win' WB' WC' v' Wout' h' u i n; rewrite /skips_step /block_step /= => -> ->.
  by rewrite evu eh eOu eBu.
rewrite /skips_outputs /=; congr (_ :: _); last exact: IH.
by apply/colP => i; rewrite !skips_readout eh1 eDu; under eq_bigr do rewrite eCu.
Qed.

Theorem skips_construction : row_free rows ->
  exists X, forall s, block (Win + X) WB WC v Wout 0 s = block Win' WB' WC' v' Wout' 0 s.
Proof. by move=> free; have [X XE] := full_row_rank_absorbs rows' Win Win' free; exists X; exact: (skips_decide XE). Qed.
End Construction.
