(* prefix_state.input_independent: a wrong kernel leaves a floor that no prefix and no initial state lowers. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring zify.
From Ssmproof.core Require Import recurrence lti modes squares.
From Ssmproof.sparse_dims Require Import essential.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* A distribution on K outcomes with weights p; the inputs x w 0, x w 1, .. of outcome w. *)
Section Risk.
Variables (F : realFieldType) (K : nat) (p : 'I_K -> F) (x : 'I_K -> nat -> F) (mu s2 : F).
Definition expect (f : 'I_K -> F) : F := \sum_w p w * f w.
Hypotheses (weights : \sum_w p w = 1) (mean : forall t, expect (fun w => x w t) = mu).
Hypothesis uncorrelated : forall s t, expect (fun w => (x w s - mu) * (x w t - mu)) = if s == t then s2 else 0.

Lemma expectD f g : expect (fun w => f w + g w) = expect f + expect g.
Proof. by rewrite -big_split; apply: eq_bigr => w _; rewrite mulrDr. Qed.
Lemma expectZ k f : expect (fun w => k * f w) = k * expect f.
Proof. by rewrite mulr_sumr; apply: eq_bigr => w _; rewrite mulrCA. Qed.
Lemma expect_const k : expect (fun=> k) = k.
Proof. by rewrite /expect -mulr_suml weights mul1r. Qed.
Lemma expect_sum n (f : 'I_n -> 'I_K -> F) : expect (fun w => \sum_j f j w) = \sum_j expect (f j).
Proof. by rewrite /expect; under eq_bigr do rewrite mulr_sumr; rewrite exchange_big. Qed.
Lemma eq_expect f g : f =1 g -> expect f = expect g.
Proof. by move=> e; apply: eq_bigr => w _; rewrite e. Qed.

(* The second moment of a sum of uncorrelated terms plus a constant. *)
Lemma second_moment n (D : 'I_n -> F) (tau : 'I_n -> nat) o : injective tau ->
  expect (fun w => (\sum_j D j * x w (tau j) + o) ^+ 2) =
  s2 * (\sum_j D j ^+ 2) + (mu * (\sum_j D j) + o) ^+ 2.
Proof.
move=> inj; pose m := mu * (\sum_j D j) + o; pose v w := \sum_j D j * (x w (tau j) - mu).
have split_ w : \sum_j D j * x w (tau j) + o = v w + m.
  rewrite /v /m mulr_sumr addrA -big_split /=; congr (_ + _); by apply: eq_bigr => j _; ring.
under eq_expect => w do rewrite split_ sqrrD -mulrnAr -mulr_natr.
rewrite (eq_expect (g := fun w => v w ^+ 2 + ((m * 2%:R) * v w + m ^+ 2))); last by move=> w; ring.
rewrite !expectD expectZ expect_const.
have -> : expect v = 0.
  rewrite expect_sum big1 // => j _; rewrite expectZ.
  rewrite -[X in D j * X]/(expect (fun w => x w (tau j) + (- mu))) expectD mean expect_const subrr mulr0 //.
rewrite mulr0 add0r; congr (_ + _).
rewrite (eq_expect (g := fun w => \sum_i \sum_j D i * D j * ((x w (tau i) - mu) * (x w (tau j) - mu)))); last first.
  move=> w; rewrite expr2 mulr_suml; apply: eq_bigr => i _; rewrite mulr_sumr; apply: eq_bigr => j _; ring.
rewrite expect_sum mulr_sumr; apply: eq_bigr => i _; rewrite expect_sum (bigD1 i) //= expectZ uncorrelated eqxx.
rewrite big1 ?addr0 => [|j ne]; first by rewrite mulrC expr2.
by rewrite expectZ uncorrelated (inj_eq inj) eq_sym (negPf ne) mulr0.
Qed.

(* Student (from h0) against teacher (from rest). *)
Variables (N N' : nat) (a b c : 'I_N -> F) (d : F) (a' b' c' : 'I_N' -> F) (d' : F).
Let student w h0 t := nth 0 (outputs (lti_step a b c d) h0 (mkseq (x w) t.+1)) t.
Let teacher w t := nth 0 (outputs (lti_step a' b' c' d') 0 (mkseq (x w) t.+1)) t.
Definition gap (j : nat) : F := impulse a b c d j - impulse a' b' c' d' j.
Definition risk h0 t : F := expect (fun w => (student w h0 t - teacher w t) ^+ 2).
(* Output number t+1. *)
Definition floor (t : nat) : F := s2 * \sum_(j < t.+1) gap j ^+ 2.

Lemma student_output w h0 t : student w h0 t = free_response a c h0 t.+1 + \sum_(j < t.+1) impulse a b c d j * x w (t - j)%N.
Proof.
have -> : student w h0 t = free_response a c h0 t.+1 + nth 0 (outputs (lti_step a b c d) 0 (mkseq (x w) t.+1)) t.
  have f0 : free_response a c 0 t.+1 = 0 by rewrite /free_response big1 // => n _; rewrite mxE mulr0.
  by rewrite /student !lti_outputs_nth ?size_mkseq // f0 add0r addrA.
rewrite outputs_impulse ?size_mkseq //; congr (_ + _); apply: eq_bigr => j _.
by rewrite nth_mkseq // ltnS leq_subr.
Qed.

Theorem risk_formula h0 t :
  risk h0 t = floor t + (mu * (\sum_(j < t.+1) gap j) + free_response a c h0 t.+1) ^+ 2.
Proof.
rewrite /risk (eq_expect (g := fun w => (\sum_(j < t.+1) gap j * x w (t - j)%N + free_response a c h0 t.+1) ^+ 2)).
  apply: second_moment => i j e; apply: val_inj => /=.
  by have := ltn_ord i; have := ltn_ord j; move: e; lia.
move=> w; congr (_ ^+ 2); rewrite student_output /teacher outputs_impulse ?size_mkseq // [RHS]addrC -addrA; congr (_ + _).
rewrite -sumrB; apply: eq_bigr => j _; rewrite nth_mkseq ?ltnS ?leq_subr // /gap; ring.
Qed.

Theorem floor_is_a_floor h0 t : floor t <= risk h0 t.
Proof. by rewrite risk_formula ler_addl sqr_ge0. Qed.

(* mu = 0: the untuned student is at the floor, and a state that shows loses. *)
Theorem zero_mean h0 t : mu = 0 -> risk h0 t = floor t + free_response a c h0 t.+1 ^+ 2.
Proof. by move=> mu0; rewrite risk_formula mu0 mul0r add0r. Qed.
End Risk.

(* The least squares problem: v + S w is shortest at a solution of the normal equations, which exists. *)
Section Optimum.
Variables (F : realFieldType) (L n : nat) (S : 'M[F]_(L, n)) (v : 'cV[F]_L).
Let norm2 m (u : 'cV[F]_m) := (u^T *m u) 0 0.

Lemma gram_kernel (u : 'cV[F]_n) : S^T *m (S *m u) = 0 -> S *m u = 0.
Proof.
move=> z; apply/eqP; apply: contraT => /norm2_gt0.
by rewrite trmx_mul -mulmxA z mulmx0 mxE ltxx.
Qed.

Lemma normal_equations : exists w0 : 'cV[F]_n, S^T *m (v + S *m w0) = 0.
Proof.
have cap0 : (S^T :&: kermx S)%MS = 0.
  apply/eqP; rewrite -submx0; apply/rV_subP => r; rewrite sub_capmx => /andP[/submxP[y ->] /sub_kermxP e].
  have Sy : S *m y^T = 0 by apply: gram_kernel; have := congr1 trmx e; rewrite trmx_mul trmx_mul trmxK trmx0.
  by have := congr1 trmx Sy; rewrite trmx_mul trmxK trmx0 => ->; rewrite sub0mx.
have rk : \rank (S^T *m S) = \rank S by rewrite -(mxrank_tr S) -(mxrank_mul_ker S^T S) cap0 mxrank0 addn0.
have sup : (S <= S^T *m S)%MS by have [_ <-] := mxrank_leqif_sup (submxMl S^T S); rewrite rk.
have /submxP[y yE] := submx_trans (submxMl v^T S) sup.
exists (- y^T); rewrite mulmxDr !mulmxN; apply/eqP; rewrite subr_eq0; apply/eqP.
by apply: trmx_inj; rewrite !trmx_mul !trmxK yE mulmxA.
Qed.

Lemma pythagoras m (r q : 'cV[F]_m) : r^T *m q = 0 -> q^T *m r = 0 -> norm2 (r + q) = norm2 r + norm2 q.
Proof.
have tD : (r + q)^T = r^T + q^T by apply/matrixP => i j; rewrite !mxE.
by move=> rq qr; rewrite /norm2 tD mulmxDl !mulmxDr rq qr addr0 add0r mxE.
Qed.

(* The squared length is least at w0, and the excess of any other w is the squared length of S (w - w0). *)
Theorem optimum : exists w0 : 'cV[F]_n, forall w, norm2 (v + S *m w) = norm2 (v + S *m w0) + norm2 (S *m (w - w0)).
Proof.
have [w0 normal] := normal_equations; exists w0 => w.
have -> : v + S *m w = (v + S *m w0) + S *m (w - w0) by rewrite mulmxBr -addrA [S *m w0 + _]addrC subrK.
set r := v + S *m w0; set q := S *m (w - w0).
have rq : r^T *m q = 0 by rewrite /q mulmxA -[r^T *m S]trmxK trmx_mul trmxK normal trmx0 mul0mx.
have qr : q^T *m r = 0 by apply: trmx_inj; rewrite trmx_mul trmxK rq trmx0.
exact: pythagoras.
Qed.
End Optimum.
