(* prefix_state.contained, dropping the window: an LTI channel can make up for it, S6 in general cannot. *)
From mathcomp Require Import all_ssreflect all_algebra complex.
From mathcomp Require Import ring zify.
From Ssmproof.core Require Import recurrence lti s6 half conv.
From Ssmproof.prefix_state Require Import conjugate_pairs.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

Section Refit.
Variables (F : fieldType) (N K : nat) (a b c : 'I_N -> F) (d : F) (taps : 'I_K.+1 -> F) (bias : F).
Let step := conv_step (one_channel taps) bias (lti_step a b c d).

(* What the conv input at step t lacks where the window w is emptied: the sum of w_j x_{t-j} over j >= t, x_0 the last of w. *)
Definition missing (w : seq F) (t : nat) : F := \sum_(j < K.+1 | (t <= j)%N) taps j * nth 0 (rev w) (j - t).

Lemma missing_late w t : (K < t)%N -> missing w t = 0.
Proof. by move=> lt; rewrite /missing big_pred0 // => j; apply/negbTE; rewrite -ltnNge (leq_ltn_trans _ lt) // -ltnS. Qed.

Lemma conv_lacks w x t : size w = K -> (t < size x)%N ->
  nth 0 (conv_run (one_channel taps) bias w x) t = nth 0 (conv_run (one_channel taps) bias (nseq K 0) x) t + missing w t.+1.
Proof.
move=> sw ltx; rewrite !conv_run_nth ?size_nseq // -addrA; congr (_ + _).
rewrite /missing [X in _ = _ + X]big_mkcond -big_split; apply: eq_bigr => j _; rewrite /one_channel !rev_cat !nth_cat size_rev size_takel //.
case: (ltnP j t.+1) => le /=; first by rewrite addr0.
by rewrite rev_nseq nth_nseq if_same mulr0 add0r.
Qed.

(* The re-fitted state. *)
Definition refitted (w : seq F) (h : 'rV[F]_N) : 'rV[F]_N :=
  \row_n (h 0 n + \sum_(s < K) a n ^- s.+1 * b n * missing w s.+1).

Lemma step_difference w h h' x t : size w = K -> (t < size x)%N ->
  nth 0 (outputs step (w, h) x) t = nth 0 (outputs step (nseq K 0, h') x) t
    + (free_response a c h t.+1 - free_response a c h' t.+1) + \sum_(j < t.+1) kernel a b c j * missing w (t - j).+1
    + d * missing w t.+1.
Proof.
move=> sw ltx; rewrite /step !conv_outputs !lti_outputs_nth ?size_outputs // conv_lacks //.
under eq_bigr => j _ do rewrite conv_lacks ?(leq_ltn_trans (leq_subr _ _)) // mulrDr.
by rewrite big_split /=; ring.
Qed.

(* All a_n != 0: behind an empty window the re-fitted state gives every output from step K on (K + 1 taps), except that at step K
   a skip lacks d m_K. Steps are counted from 1: step t.+1 is number t of the list. *)
Theorem refit w h x t : (forall n, a n != 0) -> size w = K -> (t < size x)%N -> (K <= t.+1)%N ->
  nth 0 (outputs step (w, h) x) t = nth 0 (outputs step (nseq K 0, refitted w h) x) t + d * missing w t.+1.
Proof.
move=> a0 sw ltx leK; rewrite (step_difference h (refitted w h) sw ltx); congr (_ + _); rewrite -[RHS]addr0 -addrA; congr (_ + _).
have -> : \sum_(j < t.+1) kernel a b c j * missing w (t - j).+1 = \sum_(s < K) kernel a b c (t - s) * missing w s.+1.
  rewrite (reindex_inj rev_ord_inj) /= (big_ord_widen _ (fun s => kernel a b c (t - s) * missing w s.+1) leK) [RHS]big_mkcond.
  apply: eq_bigr => s _; have lts := ltn_ord s; rewrite subSS subKn; last by rewrite -ltnS.
  by case: ltnP => // le; rewrite missing_late ?mulr0.
rewrite /free_response -sumrB -[RHS](subrr (\sum_(s < K) kernel a b c (t - s) * missing w s.+1)) addrC; congr (_ + _).
rewrite -sumrN; under [RHS]eq_bigr => s _ do rewrite mulr_suml -sumrN.
rewrite exchange_big; apply: eq_bigr => n _; rewrite mxE mulrDr opprD addrA subrr add0r mulr_sumr -sumrN.
apply: eq_bigr => s _; congr (- _); rewrite !mulrA; congr (_ * _).
have -> : t.+1 = ((t - s) + s.+1)%N by have := ltn_ord s; lia.
by rewrite exprD; field; rewrite expf_neq0.
Qed.

(* Without a skip it is exact from step K on, with one from step K + 1 on. *)
Theorem refit_exact w h x t : (forall n, a n != 0) -> size w = K -> (t < size x)%N -> (if d == 0 then (K <= t.+1)%N else (K < t.+1)%N) ->
  nth 0 (outputs step (w, h) x) t = nth 0 (outputs step (nseq K 0, refitted w h) x) t.
Proof.
move=> a0 sw ltx; case: eqP => [d0 le|_ lt]; first by rewrite (refit h a0 sw ltx le) d0 mul0r addr0.
by rewrite (refit h a0 sw ltx (ltnW lt)) missing_late // mulr0 addr0.
Qed.

(* Keeping h and emptying the window moves the first output by (c . b + d) m_1. *)
Theorem emptied_window w h x s : size w = K ->
  nth 0 (outputs step (w, h) (x :: s)) 0 = nth 0 (outputs step (nseq K 0, h) (x :: s)) 0 + (\sum_n c n * b n + d) * missing w 1.
Proof.
move=> sw; rewrite (step_difference h h sw) // subrr addr0 big_ord1 subn0 -addrA -mulrDl; congr (_ + (_ + _) * _).
by rewrite /kernel; apply: eq_bigr => n _; rewrite expr0 mulr1.
Qed.
End Refit.

(* Half storage: the same in complex arithmetic on the stored modes, with real conv inputs. *)
Section HalfRefit.
Variables (R : rcfType) (N K : nat) (ar ai br bi cr ci : 'I_N -> R) (d : R) (taps : 'I_K.+1 -> R) (bias : R).
Let C := R[i].
Let step := conv_step (one_channel taps) bias (half_step ar ai br bi cr ci d).
Let a n : C := (ar n +i* ai n)%C.
Let b n : C := (br n +i* bi n)%C.

Definition half_refitted (w : seq R) (h : 'rV[R]_N * 'rV[R]_N) : 'rV[R]_N * 'rV[R]_N :=
  let h' n := (h.1 0 n +i* h.2 0 n)%C + \sum_(s < K) a n ^- s.+1 * b n * (missing taps w s.+1)%:C%C in
  (\row_n complex.Re (h' n), \row_n complex.Im (h' n)).

Lemma closed_outputs w h x :
  [seq y%:C%C | y <- outputs step (w, h) x] =
  outputs (conv_step (one_channel (fun j => (taps j)%:C%C)) bias%:C%C (lti_step (both ar ai) (both br bi) (both cr ci) d%:C%C))
    ([seq y%:C%C | y <- w], closed_state h) [seq y%:C%C | y <- x].
Proof.
rewrite /step !conv_outputs half_is_closed; congr outputs; elim: x w => //= y x IH w; rewrite IH -behead_map map_rcons; congr (_ :: _).
rewrite /conv_out rmorphD rmorph_sum; congr (_ + _); apply: eq_bigr => j _; rewrite /one_channel rmorphM; congr (_ * _).
rewrite -map_rev -[y%:C%C :: _]/(map (fun y => y%:C%C) (y :: rev w)).
by case: (ltnP j (size (y :: rev w))) => le; [rewrite (nth_map 0) | rewrite !nth_default ?size_map].
Qed.

Lemma closed_missing w t : missing (fun j => (taps j)%:C%C) [seq y%:C%C | y <- w] t = (missing taps w t)%:C%C.
Proof.
rewrite /missing rmorph_sum; apply: eq_bigr => j _; rewrite rmorphM -map_rev; congr (_ * _).
by case: (ltnP (j - t) (size (rev w))) => le; [rewrite (nth_map 0) | rewrite !nth_default ?size_map].
Qed.

Lemma closed_refitted w h : closed_state (half_refitted w h) =
  refitted (both ar ai) (both br bi) (fun j => (taps j)%:C%C) [seq y%:C%C | y <- w] (closed_state h).
Proof.
apply/rowP => k; rewrite !mxE; under eq_bigr do rewrite closed_missing.
rewrite -[k]splitK; case: (split k) => n /=.
  have [-> _] := lift_both ar ai n; have [-> _] := lift_both br bi n; have [-> _] := lift_both (h.1 0) (h.2 0) n.
  set f := (half_refitted w h).1 0; set g := (half_refitted w h).2 0; have [-> _] := lift_both f g n.
  by rewrite /f /g !mxE -/(a n) -/(b n); case: (_ + _).
have [_ ->] := lift_both ar ai n; have [_ ->] := lift_both br bi n; have [_ ->] := lift_both (h.1 0) (h.2 0) n.
set f := (half_refitted w h).1 0; set g := (half_refitted w h).2 0; have [_ ->] := lift_both f g n.
rewrite /f /g !mxE -/(a n) -/(b n); set z := _ + _.
have -> : (complex.Re z +i* complex.Im z)%C = z by case: z.
rewrite /z rmorphD rmorph_sum; congr (_ + _); apply: eq_bigr => s _.
rewrite !rmorphM fmorphV rmorphX /=; congr (_ * _).
by apply/eqP; rewrite eq_complex /= oppr0 !eqxx.
Qed.

Theorem half_refit w h x t : (forall n, (ar n +i* ai n)%C != 0) -> size w = K -> (t < size x)%N -> (K <= t.+1)%N ->
  nth 0 (outputs step (w, h) x) t = nth 0 (outputs step (nseq K 0, half_refitted w h) x) t + d * missing taps w t.+1.
Proof.
move=> a0 sw ltx leK; have inj : injective (fun y : R => y%:C%C) by exact: fmorph_inj.
have E v g : (nth 0 (outputs step (v, g) x) t)%:C%C = nth 0 (outputs (conv_step (one_channel (fun j => (taps j)%:C%C)) bias%:C%C
    (lti_step (both ar ai) (both br bi) (both cr ci) d%:C%C)) ([seq y%:C%C | y <- v], closed_state g) [seq y%:C%C | y <- x]) t.
  by rewrite -closed_outputs (nth_map 0) // size_outputs.
apply: inj; rewrite E refit ?size_map //; last first.
  by move=> k; rewrite /both; case: (split k) => n; have := a0 n; rewrite !eq_complex /= ?oppr_eq0.
have <- : [seq y%:C%C | y <- nseq K (0 : R)] = nseq K 0 by rewrite map_nseq.
by rewrite closed_missing -closed_refitted -E -rmorphM -rmorphD.
Qed.
End HalfRefit.

(* S6 with D = N = 1, two taps, a constant clock, nothing 0: no single h' serves the later inputs 1 and -1. *)
Section NoRefit.
Variables (F : fieldType) (e dt wb wc skip bias x0 h : F) (taps : 'M[F]_(1, 2)).
Let one (x : F) : 'M[F]_1 := const_mx x.
Let step := conv_step (channels taps) (one bias)
  (s6_step (D := 1) (N := 1) (fun=> fun=> dt) (fun=> one e) (one wb) (one wc) (fun=> skip)).
Let w0 := taps 0 0.
Let w1 := taps 0 1.
(* The state after one step whose conv input is z. *)
Let next (g z : F) : F := e * g + dt * z * (wb * z).

Lemma scalar_step g z : s6_step (D := 1) (N := 1) (fun=> fun=> dt) (fun=> one e) (one wb) (one wc) (fun=> skip) (one g) (one z) =
  (one (next g z), one (next g z * (wc * z) + skip * z)).
Proof. by congr pair; apply/matrixP => i j; rewrite !ord1 !mxE !big_ord1 !mxE ?big_ord1 ?mxE. Qed.

Lemma scalar_conv x x' : conv_out (channels taps) (one bias) [:: one x'] (one x) = one (bias + w0 * x + w1 * x').
Proof.
apply/matrixP => i j; rewrite !ord1 !mxE summxE big_ord_recl big_ord1 !mxE addrA; congr (_ + _ * _ + _ * _).
by rewrite /w1; congr (taps _ _); apply: val_inj.
Qed.

Lemma two_outputs x g y z : outputs step ([:: one x], one g) [:: one y; one z] =
  let u := bias + w0 * y + w1 * x in let v := bias + w0 * z + w1 * y in
  [:: one (next g u * (wc * u) + skip * u); one (next (next g u) v * (wc * v) + skip * v)].
Proof.
have cons (S X Y : Type) (G : S -> X -> S * Y) s t xs : outputs G s (t :: xs) = (G s t).2 :: outputs G (G s t).1 xs by [].
rewrite /step conv_outputs; set z1 := conv_run _ _ _ _.
have -> : z1 = [:: one (bias + w0 * y + w1 * x); one (bias + w0 * z + w1 * y)] by rewrite /z1 /conv_run /= !scalar_conv.
by rewrite !cons !scalar_step.
Qed.

Theorem no_single_refit : 2%:R != 0 :> F -> w0 != 0 -> w1 != 0 -> x0 != 0 -> wb != 0 -> wc != 0 -> dt != 0 -> e != 0 ->
  ~ (exists h', forall y z, y = 1 \/ y = -1 ->
       outputs step ([:: one x0], one h) [:: one y; one z] = outputs step (nseq 1 0, h') [:: one y; one z]).
Proof.
move=> two n0 n1 nx nb nc nd ne [h' same].
have h'E : h' = one (h' 0 0) by apply/matrixP => i j; rewrite !ord1 mxE.
have zero : nseq 1 0 = [:: one 0] by congr (_ :: _); apply/matrixP => i j; rewrite !mxE.
have first y : y = 1 \/ y = -1 -> next h (bias + w0 * y + w1 * x0) = next (h' 0 0) (bias + w0 * y).
  move=> y1; pose z := (1 - bias - w1 * y) / w0; have := same y z y1; rewrite h'E zero !two_outputs mulr0 addr0 mxE.
  have -> : bias + w0 * z + w1 * y = 1 by rewrite /z; field.
  case=> _ /matrixP/(_ 0 0); rewrite !mxE => /addIr; rewrite !mulr1 => /(mulIf nc) /addIr; exact: mulfI.
have e1 := first 1 (or_introl erefl); have e2 := first (-1) (or_intror erefl).
have : 2%:R * 2%:R * (w0 * w1 * x0 * wb * dt) = 0.
  have -> : 2%:R * 2%:R * (w0 * w1 * x0 * wb * dt) =
      (next h (bias + w0 * 1 + w1 * x0) - next (h' 0 0) (bias + w0 * 1)) -
      (next h (bias + w0 * -1 + w1 * x0) - next (h' 0 0) (bias + w0 * -1)) by rewrite /next; ring.
  by rewrite e1 e2 !subrr.
by move/eqP; rewrite !mulf_eq0 (negPf two) (negPf n0) (negPf n1) (negPf nx) (negPf nb) (negPf nd).
Qed.
End NoRefit.
