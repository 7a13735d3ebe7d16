(* lora_limits.in_proj_dominates: when in_proj alone does what selectors and out_proj do together. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence s6.
From Ssmproof.lora_limits Require Import selector_absorption.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

(* A block: in_proj, an S6 module whose channels share one decay row and one clock, out_proj. No convolution, no gate.
   The clock reads the row v of z: step size dtf(v z), decay of state n decayf(v z) n. *)
Section Block.
Variables (F : fieldType) (m D N : nat) (dtf : F -> F) (decayf : F -> 'I_N -> F) (delta : F).
Variables (Win : 'M[F]_(D, m)) (WB WC : 'M[F]_(N, D)) (v : 'rV[F]_D) (Wout : 'M[F]_(m, D)).

Definition block_clock (u : 'cV[F]_m) : F := (v *m (Win *m u)) 0 0.
Definition block_step : 'M[F]_(D, N) -> 'cV[F]_m -> 'M[F]_(D, N) * 'cV[F]_D :=
  sel_step (fun u => Win *m u) (fun u => WB *m (Win *m u)) (fun u => WC *m (Win *m u))
    (fun u _ => dtf (block_clock u)) (fun u => \matrix_(d, n) decayf (block_clock u) n) (fun=> delta).
Definition block_outputs h (s : seq 'cV[F]_m) : seq 'cV[F]_m := map (mulmx Wout) (outputs block_step h s).

(* All rows that a block reads of z: W_B, W_C, the clock's, W_out. *)
Definition block_rows : 'M[F]_(N + N + 1 + m, D) := col_mx (col_mx (col_mx WB WC) v) Wout.

Lemma out_state h u i n :
  (Wout *m (block_step h u).1) i n =
  decayf (block_clock u) n * (Wout *m h) i n +
  dtf (block_clock u) * (Wout *m (Win *m u)) i 0 * (WB *m (Win *m u)) n 0.
Proof.
rewrite mxE; under eq_bigr => d _ do rewrite [(block_step h u).1 d n]mxE [sel_token _ _ _ _ _ _]mxE
  [(\matrix_(_, _) _) _ _]mxE mulrDr.
rewrite big_split /=; congr (_ + _).
  by rewrite [(Wout *m h) i n]mxE mulr_sumr; apply: eq_bigr => d _; rewrite mulrCA.
rewrite [(Wout *m (_ *m _)) i 0]mxE mulr_sumr mulr_suml; apply: eq_bigr => d _.
by rewrite !mulrA [Wout i d * _]mulrC.
Qed.

Lemma out_readout h u i :
  (Wout *m (block_step h u).2) i 0 =
  \sum_n (Wout *m (block_step h u).1) i n * (WC *m (Win *m u)) n 0 + delta * (Wout *m (Win *m u)) i 0.
Proof.
rewrite mxE; under eq_bigr => d _ do rewrite [(block_step h u).2 d 0]mxE mulrDr mulr_sumr.
rewrite big_split /= exchange_big /=; congr (_ + _).
  apply: eq_bigr => n _; rewrite [in RHS]mxE mulr_suml; apply: eq_bigr => d _; exact: mulrA.
by rewrite [in RHS]mxE mulr_sumr; apply: eq_bigr => d _; rewrite mulrCA.
Qed.
End Block.

Section Construction.
Variables (F : fieldType) (m D N : nat) (dtf : F -> F) (decayf : F -> 'I_N -> F) (delta : F).
Variables (Win Win' : 'M[F]_(D, m)) (WB WC WB' WC' : 'M[F]_(N, D)) (v v' : 'rV[F]_D) (Wout Wout' : 'M[F]_(m, D)).
Let block := @block_outputs F m D N dtf decayf delta.
Let rows := block_rows WB WC v Wout.
Let rows' := block_rows WB' WC' v' Wout'.

(* The outputs depend on the rows S z only. *)
Theorem rows_decide X : rows *m (Win + X) = rows' *m Win' ->
  forall s, block (Win + X) WB WC v Wout 0 s = block Win' WB' WC' v' Wout' 0 s.
Proof.
rewrite /rows /rows' !mul_col_mx => /eq_col_mx[/eq_col_mx[/eq_col_mx[eB eC] ev] eO] s.
have eBu u : WB *m ((Win + X) *m u) = WB' *m (Win' *m u) by rewrite !mulmxA eB.
have eCu u : WC *m ((Win + X) *m u) = WC' *m (Win' *m u) by rewrite !mulmxA eC.
have eOu u : Wout *m ((Win + X) *m u) = Wout' *m (Win' *m u) by rewrite !mulmxA eO.
have evu u : block_clock (Win + X) v u = block_clock Win' v' u by rewrite /block_clock !mulmxA ev.
suff H h h' : Wout *m h = Wout' *m h' -> block (Win + X) WB WC v Wout h s = block Win' WB' WC' v' Wout' h' s.
  by apply: H; rewrite !mulmx0.
rewrite /block; elim: s h h' => //= u s IH h h' eh.
have eh1 : Wout *m (block_step dtf decayf delta (Win + X) WB WC v h u).1 =
           Wout' *m (block_step dtf decayf delta Win' WB' WC' v' h' u).1.
  by apply/matrixP => i n; rewrite !out_state evu eh eOu eBu.
rewrite /block_outputs /=; congr (_ :: _); last exact: IH.
by apply/colP => i; rewrite !out_readout eh1 eOu; under eq_bigr do rewrite eCu.
Qed.

(* Full row rank of S: some update of W_in alone reproduces any target. *)
Theorem construction : row_free rows ->
  exists X, forall s, block (Win + X) WB WC v Wout 0 s = block Win' WB' WC' v' Wout' 0 s.
Proof. by move=> free; have [X XE] := full_row_rank_absorbs rows' Win Win' free; exists X; exact: (rows_decide XE). Qed.

(* The least rank of an update that matches the rows is rank(S' W_in' - S W_in). *)
Theorem least_rank : row_free rows ->
  (exists2 X, rows *m (Win + X) = rows' *m Win' & \rank X = \rank (rows' *m Win' - rows *m Win)) /\
  (forall X, rows *m (Win + X) = rows' *m Win' -> (\rank (rows' *m Win' - rows *m Win)%R <= \rank X)%N).
Proof.
move=> free; split; last by move=> X; exact: least_rank_lower.
by apply: least_rank_attained; apply/(absorbable rows rows' Win Win'); exact: full_row_rank_absorbs.
Qed.
End Construction.

(* Conversely, with W_out frozen selectors choose a scalar only: they cannot turn the first output. *)
Section Converse.
Variables (F : fieldType) (m D N : nat) (dtf : F -> F) (decayf : F -> 'I_N -> F) (delta : F).
Variables (Win : 'M[F]_(D, m)) (Wout : 'M[F]_(m, D)).

Theorem first_output WB WC v u :
  block_outputs dtf decayf delta Win WB WC v Wout 0 [:: u] =
  [:: (dtf (block_clock Win v u) * (\sum_n (WC *m (Win *m u)) n 0 * (WB *m (Win *m u)) n 0) + delta) *:
      (Wout *m (Win *m u))].
Proof.
rewrite /block_outputs /=; congr [:: _]; apply/colP => i; rewrite out_readout [RHS]mxE mulrDl mulr_sumr mulr_suml.
congr (_ + _); apply: eq_bigr => n _; rewrite out_state mulmx0 [X in _ * X + _]mxE mulr0 add0r.
by rewrite -!mulrA; congr (_ * _); rewrite mulrC -mulrA mulrCA.
Qed.

(* A target whose first output on some u is not parallel to W_out W_in u is out of reach of all selectors. *)
Theorem selectors_cannot_turn (target : seq 'cV[F]_m -> seq 'cV[F]_m) u y :
  target [:: u] = [:: y] -> (forall k, y <> k *: (Wout *m (Win *m u))) ->
  forall WB WC v, ~ (forall s, block_outputs dtf decayf delta Win WB WC v Wout 0 s = target s).
Proof. by move=> ty off WB WC v /(_ [:: u]); rewrite first_output ty => -[]/esym; exact: off. Qed.
End Converse.
