(* lora_limits.selector_absorption, gauge: for N = 1 the least rank of an update with the target's function is the minimum,
   over the gauge g, of the rank that matches the gauged rows; for every N it is at most that. *)
From mathcomp Require Import all_ssreflect all_algebra.
From Ssmproof.core Require Import recurrence s6.
From Ssmproof.lora_limits Require Import selector_absorption gauge_converse.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

Section Forms.
Variables (F : fieldType) (m : nat).
Definition form (a : 'rV[F]_m) (u : 'cV[F]_m) : F := (a *m u) 0 0.

Lemma form_neq0 a : a != 0 -> exists u, form a u != 0.
Proof.
move=> nz; have /existsP[i ai] : [exists i, a 0 i != 0].
  by apply: contraNT nz => /existsPn z; apply/eqP/rowP => i; rewrite [RHS]mxE; apply/eqP/negPn; exact: z.
by exists (delta_mx i 0); rewrite /form -colE mxE.
Qed.

Lemma formD a u v : form a (u + v) = form a u + form a v. Proof. by rewrite /form mulmxDr mxE. Qed.

Lemma formB a b u : form (a - b) u = form a u - form b u. Proof. by rewrite /form mulmxBl !mxE. Qed.

(* No space is the union of two hyperplanes. *)
Lemma two_forms a b : a != 0 -> b != 0 -> exists u, (form a u != 0) && (form b u != 0).
Proof.
move=> /form_neq0[u au] /form_neq0[v bv].
have [bu|bu] := eqVneq (form b u) 0; last by exists u; rewrite au.
have [av|av] := eqVneq (form a v) 0; last by exists v; rewrite av.
by exists (u + v); rewrite !formD av bu addr0 add0r au.
Qed.

Lemma form_inj a b : (forall u, form a u = form b u) -> a = b.
Proof. by move=> e; apply/rowP => i; have := e (delta_mx i 0); rewrite /form -!colE !mxE. Qed.

Lemma form_scale g a u : form (g *: a) u = g * form a u. Proof. by rewrite /form -scalemxAl mxE. Qed.

Lemma form_row D (M : 'M[F]_(D, m)) d u : form (row d M) u = (M *m u) d 0. Proof. by rewrite /form -row_mul mxE. Qed.
End Forms.

(* The module reads its token u through B u, C u and the r rows K of the clock, s = W_up K u + beta; step sizes tau_d(s_d),
   decays kappa_dn(s_d), values X u. *)
Section Module.
Variables (F : fieldType) (D N r m : nat) (tau : 'I_D -> F -> F) (kappa : 'I_D -> 'I_N -> F -> F).
Variables (X : 'M[F]_(D, m)) (Wup : 'M[F]_(D, r)) (beta skip : 'I_D -> F).
Definition clock_arg (K : 'M[F]_(r, m)) (u : 'cV[F]_m) d : F := (Wup *m (K *m u)) d 0 + beta d.
Definition module_step (B C : 'M[F]_(N, m)) (K : 'M[F]_(r, m)) :=
  sel_step (mulmx X) (mulmx B) (mulmx C) (fun u d => tau d (clock_arg K u d))
    (fun u => \matrix_(d, n) kappa d n (clock_arg K u d)) skip.
Definition same_module B C K B' C' K' := forall s, (size s <= 3)%N ->
  outputs (module_step B C K) 0 s = outputs (module_step B' C' K') 0 s.

Lemma gauge_rows B C K (g : 'I_N -> F) s : (forall n, g n != 0) ->
  outputs (module_step (diag_mx (\row_n g n) *m B) (diag_mx (\row_n (g n)^-1) *m C) K) 0 s = outputs (module_step B C K) 0 s.
Proof.
move=> g0; rewrite /module_step -[RHS](@gauge _ _ _ _ _ _ _ _ _ _ g s g0); move: (0 : 'M_(D, N)) => h.
elim: s h => //= u s IH h.
have eB : diag_mx (\row_n g n) *m B *m u = \col_n (g n * (B *m u) n 0).
  by apply/colP => n; rewrite -mulmxA mul_diag_mx !mxE.
have eC : diag_mx (\row_n (g n)^-1) *m C *m u = \col_n ((C *m u) n 0 / g n).
  by apply/colP => n; rewrite -mulmxA mul_diag_mx !mxE mulrC.
rewrite /sel_readout /sel_state /sel_token eB eC; congr (_ :: _); exact: IH.
Qed.

(* Selectors S = [W_B; W_C; W_dn] behind in_proj W; the target's rows, gauged by g. *)
Variables (p : nat) (S S' : 'M[F]_(N + N + r, p)) (W W' : 'M[F]_(p, m)).
Definition rowsB (Z : 'M[F]_(N + N + r, m)) := usubmx (usubmx Z).
Definition rowsC (Z : 'M[F]_(N + N + r, m)) := dsubmx (usubmx Z).
Definition rowsK (Z : 'M[F]_(N + N + r, m)) := dsubmx Z.
Definition same_rows Z Z' := same_module (rowsB Z) (rowsC Z) (rowsK Z) (rowsB Z') (rowsC Z') (rowsK Z').
Definition gauge_row (g : 'I_N -> F) : 'rV[F]_(N + N + r) :=
  row_mx (row_mx (\row_n g n) (\row_n (g n)^-1)) (const_mx 1).
Definition gauged g := diag_mx (gauge_row g) *m S'.

Lemma gauged_rows g Z : let GZ := diag_mx (gauge_row g) *m Z in
  [/\ rowsB GZ = diag_mx (\row_n g n) *m rowsB Z, rowsC GZ = diag_mx (\row_n (g n)^-1) *m rowsC Z & rowsK GZ = rowsK Z].
Proof.
have [dB dC dK] : [/\ forall n, gauge_row g 0 (lshift r (lshift N n)) = g n,
    forall n, gauge_row g 0 (lshift r (rshift N n)) = (g n)^-1 & forall k, gauge_row g 0 (rshift (N + N) k) = 1].
  by split=> k; rewrite /gauge_row ?row_mxEl ?row_mxEr ?row_mxEl ?row_mxEr mxE.
move: (gauge_row g) dB dC dK => d dB dC dK; split; apply/matrixP => i j; rewrite !mul_diag_mx !mxE.
- by rewrite dB.
- by rewrite dC.
- by rewrite dK mul1r.
Qed.

(* Every gauge gives an update with the target's function, of that gauge's rank. *)
Theorem gauge_upper g : row_free S -> (forall n, g n != 0) ->
  exists2 X, same_rows (S *m (W + X)) (S' *m W') & \rank X = \rank (gauged g *m W' - S *m W).
Proof.
move=> free g0; have [|Y YE <-] := @least_rank_attained _ _ _ _ S (gauged g) W W'.
  by apply/(absorbable S (gauged g) W W'); exact: full_row_rank_absorbs.
exists Y => // s _; rewrite YE /gauged -mulmxA; have [-> -> ->] := gauged_rows g (S' *m W'); exact: gauge_rows.
Qed.
End Module.

(* N = 1: the function determines the rows up to the gauge. *)
Section OneState.
Variables (F : fieldType) (D r m : nat) (tau kappa : 'I_D -> F -> F).
Variables (X : 'M[F]_(D, m)) (Wup : 'M[F]_(D, r)) (beta skip : 'I_D -> F).
Let step := @module_step F D 1 r m tau (fun d _ => kappa d) X Wup beta skip.
Let same := @same_module F D 1 r m tau (fun d _ => kappa d) X Wup beta skip.
Hypotheses (tau0 : forall d s, tau d s != 0) (kappa0 : forall d s, kappa d s != 0) (one_to_one : forall d, injective (kappa d)).
Hypotheses (fullW : row_full Wup) (D0 : (0 < D)%N) (X0 : forall d, row d X != 0).

Definition channel_module d (b c : 'rV[F]_m) (K : 'M[F]_(r, m)) : scalar_module F 'cV[F]_m :=
  ScalarModule (fun u => kappa d (clock_arg Wup beta K u d)) (fun u => tau d (clock_arg Wup beta K u d)) (form b) (form c).

Lemma channel_outputs d b c K s :
  [seq (y : 'cV[F]_D) d 0 | y <- outputs (step b c K) 0 s] =
  outputs (scalar_step (form (row d X)) (skip d) (channel_module d b c K)) 0 s.
Proof.
rewrite (_ : outputs (scalar_step _ _ _) 0 s = outputs (scalar_step (form (row d X)) (skip d) (channel_module d b c K)) ((0 : 'M[F]_(D, 1)) d 0) s).
  move: (0 : 'M_(D, 1)) => h; elim: s h => //= u s IH h; rewrite IH.
  have hE : sel_state (mulmx X) (mulmx b) (fun v e => tau e (clock_arg Wup beta K v e))
    (fun v => \matrix_(e, n) kappa e (clock_arg Wup beta K v e)) h u d 0 = (scalar_step (form (row d X)) (skip d) (channel_module d b c K) (h d 0) u).1.
    by rewrite mxE [X in X * _ + _]mxE [X in _ + X]mxE /= form_row.
  by rewrite hE mxE big_ord1 hE -(form_row X) mulrC.
by rewrite mxE.
Qed.

Theorem function_fixes_rows b c K b' c' K' : b' != 0 -> c' != 0 -> same b c K b' c' K' ->
  exists g, [/\ g != 0, b = g *: b', c = g^-1 *: c' & K = K'].
Proof.
move=> b0 c0 eq_out.
have eq_ch d s : (size s <= 3)%N -> outputs (scalar_step (form (row d X)) (skip d) (channel_module d b' c' K')) 0 s =
    outputs (scalar_step (form (row d X)) (skip d) (channel_module d b c K)) 0 s.
  by move=> le; rewrite -!channel_outputs /step eq_out.
have [w cw] := form_neq0 c0.
have shows d : exists u, form c' w * kappa d (clock_arg Wup beta K' w d) *
    (tau d (clock_arg Wup beta K' u d) * form (row d X) u * form b' u) != 0.
  by have [u /andP[xu bu]] := two_forms (X0 d) b0; exists u; rewrite !mulf_neq0.
have eK : K = K'.
  have [V VW] := row_fullP fullW; rewrite -[K]mul1mx -[K']mul1mx -VW -!mulmxA; congr (_ *m _).
  apply/row_matrixP => d; apply: form_inj => u; have [v nz] := shows d.
  have := same_decay (eq_ch d) nz u; rewrite /= => /(@one_to_one d)/addIr e.
  by rewrite !form_row -!mulmxA e.
pose d := Ordinal D0; have [v nz] := shows d.
have eS : step_size (channel_module d b' c' K') =1 step_size (channel_module d b c K) by move=> u; rewrite /= eK.
have [g [g0 [eC eB]]] := gauge_converse (eq_ch d) nz eS (fun z => kappa0 d _).
exists g^-1; split; rewrite ?invr_eq0 // ?invrK.
- apply/eqP; rewrite -subr_eq0; apply/negPn/negP => ne.
  have [u /andP[xu]] := two_forms (X0 d) ne; rewrite formB form_scale subr_eq0; case/eqP.
  have := eB u; rewrite /= eK -!mulrA [RHS]mulrCA => /(mulfI (tau0 d _)); rewrite [RHS]mulrCA => /(mulfI xu) ->.
  by rewrite mulKf.
- by apply: form_inj => u; rewrite form_scale; have := eC u; rewrite /= => ->; rewrite mulrC divfK.
Qed.

(* Hence the least rank is the minimum over the gauge. *)
Variables (p : nat) (S S' : 'M[F]_(1 + 1 + r, p)) (W W' : 'M[F]_(p, m)).
Let same_rows := @same_rows F D 1 r m tau (fun d _ => kappa d) X Wup beta skip.

Theorem least_gauge_rank Y : rowsB (S' *m W') != 0 -> rowsC (S' *m W') != 0 -> same_rows (S *m (W + Y)) (S' *m W') ->
  exists2 g : 'I_1 -> F, (forall n, g n != 0) & (\rank (gauged S' g *m W' - S *m W)%R <= \rank Y)%N.
Proof.
move=> b0 c0 /function_fixes_rows[] // g [g0 eB eC eK]; exists (fun=> g) => //.
apply: (@least_rank_lower _ _ _ _ S (gauged S' (fun=> g)) W W'); rewrite /gauged -mulmxA.
have [hB hC hK] := gauged_rows (fun=> g) (S' *m W').
have scal (k : F) (M : 'rV[F]_m) : diag_mx (\row_(n < 1) k) *m M = k *: M.
  by apply/matrixP => i j; rewrite mul_diag_mx !mxE.
set L := S *m (W + Y) in eB eC eK *; set Q := diag_mx _ *m _ in hB hC hK *.
rewrite -[L]vsubmxK -[usubmx L]vsubmxK -[Q]vsubmxK -[usubmx Q]vsubmxK.
by move: hB hC hK eB eC eK; rewrite /rowsB /rowsC /rowsK !scal => -> -> -> -> -> ->.
Qed.
End OneState.
