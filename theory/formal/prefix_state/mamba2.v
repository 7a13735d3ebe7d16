(* prefix_state.mamba2: a prefix of M tokens leaves Mamba-2 a state of rank at most M. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence vandermonde squares ssd.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Rank.
Variables (F : fieldType) (R D N : nat) (dt decay : 'cV[F]_D -> 'I_R -> F).
Variables (Wx : 'M[F]_(R, D)) (WB WC : 'M[F]_(N, D)) (skip : 'I_R -> F).
Let state s := state_after (ssd_step dt decay Wx WB WC skip) 0 s.

(* (a) whatever the clocks and projections; one head or a group. *)
Theorem rank_limit s : (\rank (state s) <= size s)%N.
Proof.
elim/last_ind: s => [|s u IH]; first by rewrite /state /= mxrank0.
rewrite /state state_after_rcons size_rcons /= /ssd_state -[(size s).+1]addn1.
apply: leq_trans (mxrank_add _ _) (leq_add (leq_trans (mxrankM_maxr _ _) IH) _).
exact: leq_trans (mxrankM_maxl _ _) (rank_leq_col _).
Qed.
End Rank.

Section Reach.
Variables (F : fieldType) (R D N : nat).
Variables (Wx : 'M[F]_(R, D)) (WB WC : 'M[F]_(N, D)) (skip : 'I_R -> F).

(* A clock that reads one row w of the token; w = 0 is the constant clock. *)
Variables (dtf decayf : F -> 'I_R -> F) (w : 'rV[F]_D).
Let dt (u : 'cV[F]_D) := dtf ((w *m u) 0 0).
Let decay (u : 'cV[F]_D) := decayf ((w *m u) 0 0).
Let state s := state_after (ssd_step dt decay Wx WB WC skip) 0 s.

(* Tokens can be asked for any x and B together, without moving the clock. *)
Definition free_tokens := forall (x : 'cV[F]_R) (e : 'cV[F]_N),
  exists u, [/\ Wx *m u = x, WB *m u = e & w *m u = 0].

Hypotheses (free : free_tokens) (dt0 : forall r, dtf 0 r != 0) (decay0 : forall r, decayf 0 r != 0).

Lemma sum_of_tokens m (g : 'I_m -> 'cV[F]_R) (e : 'I_m -> 'rV[F]_N) :
  exists2 s, size s = m & state s = \sum_k g k *m e k.
Proof.
elim: m g e => [|m IH] g e; first by exists [::]; rewrite ?big_ord0.
pose inv := diag_mx (\row_r (decayf 0 r)^-1).
have [s sz sE] := IH (fun k => inv *m g (widen_ord (leqnSn m) k)) (fun k => e (widen_ord (leqnSn m) k)).
have [u [ux ub uw]] := free (\col_r (g ord_max r 0 / dtf 0 r)) (e ord_max)^T.
exists (rcons s u); first by rewrite size_rcons sz.
rewrite /state state_after_rcons -/(state s) /= /ssd_state sE big_ord_recr /= /dt /decay uw mxE; congr (_ + _).
  rewrite mulmx_sumr; apply: eq_bigr => k _; rewrite !mulmxA; congr (_ *m _).
  by apply/matrixP => i j; rewrite -mulmxA !mul_diag_mx !mxE mulrA mulfV ?mul1r.
rewrite /ssd_token ux ub trmxK uw mxE; congr (_ *m _).
by apply/matrixP => i j; rewrite !mxE mulrC divfK // ord1.
Qed.

Lemma state_zero_tokens m s : state (nseq m 0 ++ s) = state s.
Proof.
rewrite /state state_after_cat; congr state_after.
have step0 : (ssd_step dt decay Wx WB WC skip 0 0).1 = 0.
  by rewrite /= /ssd_state /ssd_token !mulmx0 trmx0 mulmx0 addr0.
by elim: m => //= m IH; rewrite /state_after /= -[ssd_state _ _ _ _ _ _]/((ssd_step dt decay Wx WB WC skip 0 0).1) step0.
Qed.

(* (b) a state of rank k is left by the prefixes of length k, and by longer ones, and by no shorter. *)
Theorem rank_is_length h m : (exists2 s, size s = m & state s = h) <-> (\rank h <= m)%N.
Proof.
split=> [[s <- <-]|le]; first exact: rank_limit.
have [s sz sE] := sum_of_tokens (fun k => col k (col_base h)) (fun k => row k (row_base h)).
exists (nseq (m - \rank h) 0 ++ s); first by rewrite size_cat size_nseq sz subnK.
rewrite state_zero_tokens sE -[RHS]mulmx_base; apply/matrixP => i j; rewrite summxE mxE.
by apply: eq_bigr => k _; rewrite !mxE big_ord1 !mxE.
Qed.

Theorem every_state m : (forall h, exists2 s, size s = m & state s = h) <-> (minn R N <= m)%N.
Proof.
split=> [all|le h]; last first.
  by apply/rank_is_length; apply: leq_trans le; rewrite leq_min rank_leq_row rank_leq_col.
have /rank_is_length : exists2 s, size s = m & state s = pid_mx (minn R N) by exact: all.
by rewrite rank_pid_mx ?geq_minl ?geq_minr.
Qed.
End Reach.

Section Rows.
Variables (F : fieldType) (R D N : nat) (Wx : 'M[F]_(R, D)) (WB : 'M[F]_(N, D)).

Lemma free_rows p (A : 'M[F]_(p, D)) (y : 'cV[F]_p) : row_free A -> exists u, A *m u = y.
Proof. by case/row_freeP => B AB; exists (B *m y); rewrite mulmxA AB mul1mx. Qed.

(* Independent rows, constant clock. *)
Lemma independent_rows : row_free (col_mx Wx WB) -> free_tokens Wx WB 0.
Proof.
move=> free x e; have [u uE] := free_rows (col_mx x e) free.
by exists u; move: uE; rewrite mul_col_mx => /eq_col_mx[-> ->]; rewrite mul0mx.
Qed.

(* One further independent row for the clock. *)
Lemma independent_clock (w : 'rV[F]_D) : row_free (col_mx (col_mx Wx WB) w) -> free_tokens Wx WB w.
Proof.
move=> free x e; have [u uE] := free_rows (col_mx (col_mx x e) 0) free.
by exists u; move: uE; rewrite !mul_col_mx => /eq_col_mx[/eq_col_mx[-> ->] ->].
Qed.

(* (b) as stated: constant step sizes and decays, independent rows of [W_x; W_B]. *)
Theorem witness (dt decay : 'I_R -> F) WC skip :
  row_free (col_mx Wx WB) -> (forall r, dt r != 0) -> (forall r, decay r != 0) ->
  forall m h, (exists2 s, size s = m & state_after (ssd_step (fun=> dt) (fun=> decay) Wx WB WC skip) 0 s = h) <->
              (\rank h <= m)%N.
Proof.
move=> free dt0 decay0 m h.
exact: (@rank_is_length _ _ _ _ Wx WB WC skip (fun=> dt) (fun=> decay) 0 (independent_rows free)).
Qed.

Theorem witness_clock (dtf decayf : F -> 'I_R -> F) (w : 'rV[F]_D) WC skip :
  row_free (col_mx (col_mx Wx WB) w) -> (forall r, dtf 0 r != 0) -> (forall r, decayf 0 r != 0) ->
  forall m h, (exists2 s, size s = m &
     state_after (ssd_step (fun u => dtf ((w *m u) 0 0)) (fun u => decayf ((w *m u) 0 0)) Wx WB WC skip) 0 s = h) <->
     (\rank h <= m)%N.
Proof. by move=> free dt0 decay0 m h; apply: rank_is_length => //; exact: independent_clock. Qed.

(* (b), (d): independent rows are all that is needed, and M >= min(R, N) tokens then reach every state. *)
Theorem every_state_rows (dt decay : 'I_R -> F) WC skip :
  row_free (col_mx Wx WB) -> (forall r, dt r != 0) -> (forall r, decay r != 0) ->
  forall m, (forall h, exists2 s, size s = m & state_after (ssd_step (fun=> dt) (fun=> decay) Wx WB WC skip) 0 s = h) <->
            (minn R N <= m)%N.
Proof.
move=> free dt0 decay0 m.
exact: (@every_state _ _ _ _ Wx WB WC skip (fun=> dt) (fun=> decay) 0 (independent_rows free)).
Qed.
End Rows.

(* (e) W_C of full row rank: the outputs that follow determine the state. In general two states act alike iff h W_C = h' W_C. *)
Section Functions.
Variables (F : fieldType) (R D N : nat) (dt decay : 'cV[F]_D -> 'I_R -> F).
Variables (Wx : 'M[F]_(R, D)) (WB WC : 'M[F]_(N, D)) (skip : 'I_R -> F).
Hypothesis decay0 : forall u r, decay u r != 0.
Let step := ssd_step dt decay Wx WB WC skip.

Lemma eq_cols m n (A B : 'M[F]_(m, n)) : (forall j, col j A = col j B) -> A = B.
Proof. by move=> e; apply/matrixP => i j; have /colP/(_ i) := e j; rewrite !mxE. Qed.

Theorem same_function h h' : (forall s, outputs step h s = outputs step h' s) <-> h *m WC = h' *m WC.
Proof.
split=> [same|eqW s].
  apply: eq_cols => j; pose u : 'cV[F]_D := delta_mx j 0.
  have [] : outputs step h [:: u] = outputs step h' [:: u] by [].
  rewrite /ssd_readout /ssd_state !mulmxDl => /addIr/addIr; rewrite -!mulmxA.
  by move/(can_inj (mulKmx (unit_diag (decay0 u)))); rewrite !mulmxA -!colE.
elim: s h h' eqW => //= u s IH h h' eqW.
have eqW' : ssd_state dt decay Wx WB h u *m WC = ssd_state dt decay Wx WB h' u *m WC.
  by rewrite /ssd_state !mulmxDl -!mulmxA eqW.
congr (_ :: _); last exact: IH.
by rewrite /ssd_readout !mulmxA eqW'.
Qed.

Theorem outputs_determine_state h h' : row_free WC ->
  (forall s, outputs step h s = outputs step h' s) -> h = h'.
Proof. by case/row_freeP => B WB' /same_function eqW; rewrite -[h]mulmx1 -[h']mulmx1 -WB' !mulmxA eqW. Qed.
End Functions.

(* (d), one decay: dependent rows of [X; W_B], X = diag(dt) W_x, leave some state out of reach at every length. *)
Section Dependent.
Variables (F : realFieldType) (R D N : nat) (dt : 'I_R -> F) (g : F).
Variables (Wx : 'M[F]_(R, D)) (WB WC : 'M[F]_(N, D)) (skip : 'I_R -> F).
Let X : 'M[F]_(R, D) := diag_mx (\row_r dt r) *m Wx.
Let state s := state_after (ssd_step (fun=> dt) (fun=> fun=> g) Wx WB WC skip) 0 s.

Lemma state_rcons s u : state (rcons s u) = g *: state s + X *m u *m (WB *m u)^T.
Proof.
rewrite /state state_after_rcons -/(state s) /= /ssd_state.
have -> : diag_mx (\row_r g) = g%:M :> 'M[F]_R by apply/matrixP => i j; rewrite !mxE.
rewrite mul_scalar_mx; congr (_ + _ *m _); apply/matrixP => i j.
by rewrite !ord1 [LHS]mxE -mulmxA mul_diag_mx !mxE.
Qed.

Lemma pairing_reached (p : 'rV[F]_R) (q : 'cV[F]_N) s : 0 <= g -> p *m X + (q^T *m WB) = 0 ->
  (p *m state s *m q) 0 0 <= 0.
Proof.
move=> g0 dep; elim/last_ind: s => [|s u IH]; first by rewrite /state /= mulmx0 mul0mx mxE.
rewrite state_rcons mulmxDr mulmxDl -scalemxAr -scalemxAl mxE [X in X + _]mxE.
rewrite -[X in _ <= X]addr0 ler_add ?mulr_ge0_le0 //.
have pX : p *m X = - (q^T *m WB) by apply/eqP; rewrite -addr_eq0 dep.
rewrite 2!mulmxA pX !mulNmx mxE oppr_le0 -mulmxA.
have -> : (WB *m u)^T *m q = (q^T *m WB *m u)^T by rewrite !trmx_mul trmxK mulmxA.
by rewrite mxE big_ord1 [X in _ * X]mxE -expr2 sqr_ge0.
Qed.

Lemma left_zero (p : 'rV[F]_R) s : p *m X = 0 -> p *m state s = 0.
Proof.
move=> pX; elim/last_ind: s => [|s u IH]; first by rewrite /state /= mulmx0.
by rewrite state_rcons mulmxDr -scalemxAr IH scaler0 2!mulmxA pX !mul0mx addr0.
Qed.

Lemma right_zero (q : 'cV[F]_N) s : q^T *m WB = 0 -> state s *m q = 0.
Proof.
move=> qB; elim/last_ind: s => [|s u IH]; first by rewrite /state /= mul0mx.
have -> : state (rcons s u) *m q = g *: (state s *m q) + X *m u *m (q^T *m WB *m u)^T.
  by rewrite state_rcons mulmxDl -scalemxAl !trmx_mul trmxK !mulmxA.
by rewrite IH qB mul0mx trmx0 mulmx0 scaler0 addr0.
Qed.

Theorem every_state_only_if : (0 < R)%N -> (0 < N)%N -> 0 <= g ->
  (forall h, exists s, state s = h) -> row_free (col_mx X WB).
Proof.
move=> R0 N0 g0 all; apply: inj_row_free => v v0.
pose p := lsubmx v; pose q := (rsubmx v)^T.
have dep : p *m X + q^T *m WB = 0 by rewrite trmxK -mul_row_col hsubmxK.
suff [p0 q0] : p = 0 /\ q = 0.
  by rewrite -[v]hsubmxK -/p p0 -[rsubmx v]trmxK -/q q0 trmx0 row_mx0.
have row_pos n (x : 'rV[F]_n) : x != 0 -> 0 < (x *m x^T) 0 0.
  by move=> x0; have := @norm2_gt0 F n x^T; rewrite trmxK trmx_eq0 => /(_ x0).
have pair_pos : p != 0 -> q != 0 -> False.
  move=> p0 q0; have [s sE] := all (p^T *m q^T); have := pairing_reached s g0 dep.
  rewrite sE !mulmxA -[_ *m q^T *m q]mulmxA mxE big_ord1 leNgt mulr_gt0 //.
    exact: row_pos.
  exact: norm2_gt0.
have [p0|p0] := eqVneq p 0; have [q0|q0] := eqVneq q 0; try by split.
- pose e : 'cV[F]_R := delta_mx (Ordinal R0) 0; have [s sE] := all (e *m q^T).
  have qB : q^T *m WB = 0 by rewrite -dep p0 mul0mx add0r.
  have := right_zero s qB; rewrite sE -mulmxA => /matrixP/(_ (Ordinal R0) 0)/eqP.
  by rewrite mxE big_ord1 [X in X * _]mxE !eqxx mul1r [X in _ == X]mxE gt_eqF // norm2_gt0.
- pose e : 'rV[F]_N := delta_mx 0 (Ordinal N0); have [s sE] := all (p^T *m e).
  have pX : p *m X = 0 by move: dep; rewrite q0 trmx0 mul0mx addr0.
  have := left_zero s pX; rewrite sE mulmxA => /matrixP/(_ 0 (Ordinal N0))/eqP.
  by rewrite mxE big_ord1 [X in _ * X]mxE !eqxx mulr1 [X in _ == X]mxE gt_eqF // row_pos.
- by case: (pair_pos p0 q0).
Qed.
End Dependent.
