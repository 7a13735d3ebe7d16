(* prefix_state.input_independent: a wrong kernel leaves a floor that no prefix and no initial state lowers. *)
From mathcomp Require Import all_ssreflect all_algebra complex.
From mathcomp Require Import ring zify.
From Ssmproof.core Require Import recurrence lti vandermonde modes squares half real_channel.
From Ssmproof.prefix_state Require Import equivalent conjugate_pairs half_length full_storage.
From Ssmproof.sparse_dims Require Import essential.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* A distribution: which functions of the outcome have an expectation, and which. Only linearity and E 1 = 1 are used.
   For a probability measure `mean f v` says that f is integrable with integral v; any measure and any outcomes will do. *)
Record distribution (F : realFieldType) (T : Type) := Distribution {
  mean : (T -> F) -> F -> Prop;
  mean_const : forall k, mean (fun=> k) k;
  mean_linear : forall k f g u v, mean f u -> mean g v -> mean (fun w => k * f w + g w) (k * u + v);
  mean_ext : forall f g u, f =1 g -> mean f u -> mean g u;
  mean_unique : forall f u v, mean f u -> mean f v -> u = v }.

(* Weights p on K outcomes, for example. *)
Definition finite_distribution (F : realFieldType) K (p : 'I_K -> F) (weights : \sum_w p w = 1) : distribution F 'I_K.
Proof.
exists (fun f v => \sum_w p w * f w = v) => [k|k f g u v <- <-|f g u e <-|f u v <- <- //].
- by rewrite -mulr_suml weights mul1r.
- by rewrite mulr_sumr -big_split; apply: eq_bigr => w _; rewrite mulrDr mulrCA.
- by apply: eq_bigr => w _; rewrite e.
Defined.

(* Outputs y t at t + 1 that depend on the inputs x 0, x 1, .. through an impulse response, plus what an initial state adds. *)
Definition affine_outputs (F : fieldType) (y : (nat -> F) -> nat -> F) (impulse o : nat -> F) :=
  forall x t, y x t = o t + \sum_(j < t.+1) impulse j * x (t - j)%N.

Section Risk.
Variables (F : realFieldType) (T : Type) (E : distribution F T) (x : T -> nat -> F) (mu s2 : F) (L : nat).
(* The first L inputs have one mean and variance and are uncorrelated: a finite distribution can be such. *)
Hypothesis common_mean : forall t, (t < L)%N -> mean E (fun w => x w t) mu.
Hypothesis uncorrelated : forall s t, (s < L)%N -> (t < L)%N -> mean E (fun w => (x w s - mu) * (x w t - mu)) (if s == t then s2 else 0).

Lemma mean_sum n (f : 'I_n -> T -> F) u : (forall j, mean E (f j) (u j)) -> mean E (fun w => \sum_j f j w) (\sum_j u j).
Proof.
elim: n f u => [|n IH] f u each.
  by rewrite big_ord0; apply: mean_ext (mean_const E 0) => w; rewrite big_ord0.
rewrite big_ord_recl -[u _]mul1r; apply: mean_ext (mean_linear 1 (each ord0) (IH _ _ (fun j => each (lift ord0 j)))) => w.
by rewrite mul1r big_ord_recl.
Qed.

Lemma mean_scale k f u : mean E f u -> mean E (fun w => k * f w) (k * u).
Proof. by move=> m; rewrite -[_ * u]addr0; apply: mean_ext (mean_linear k m (mean_const E 0)) => w; rewrite addr0. Qed.

(* The second moment of a sum of uncorrelated terms plus a constant. *)
Lemma second_moment n (D : 'I_n -> F) (tau : 'I_n -> nat) o : injective tau -> (forall j, (tau j < L)%N) ->
  mean E (fun w => (\sum_j D j * x w (tau j) + o) ^+ 2) (s2 * (\sum_j D j ^+ 2) + (mu * (\sum_j D j) + o) ^+ 2).
Proof.
move=> inj inL; pose m := mu * (\sum_j D j) + o; pose v w := \sum_j D j * (x w (tau j) - mu).
have split_ w : \sum_j D j * x w (tau j) + o = v w + m.
  rewrite /v /m mulr_sumr addrA -big_split /=; congr (_ + _); by apply: eq_bigr => j _; ring.
have mean_v : mean E v 0.
  have -> : 0 = \sum_(j < n) D j * 0 by rewrite big1 // => j _; rewrite mulr0.
  apply: mean_sum => j; apply: mean_scale; rewrite -(subrr mu) -[X in X - _]mul1r.
  by apply: mean_ext (mean_linear 1 (common_mean (inL j)) (mean_const E (- mu))) => w; rewrite mul1r.
have mean_v2 : mean E (fun w => v w ^+ 2) (s2 * (\sum_j D j ^+ 2)).
  have -> : s2 * (\sum_j D j ^+ 2) = \sum_i \sum_j D i * D j * (if tau i == tau j then s2 else 0).
    rewrite mulr_sumr; apply: eq_bigr => i _; rewrite (bigD1 i) //= eqxx big1 ?addr0 => [|j ne]; first by rewrite mulrC expr2.
    by rewrite (inj_eq inj) eq_sym (negPf ne) mulr0.
  apply: mean_ext (mean_sum (fun i => mean_sum (fun j => mean_scale (D i * D j) (uncorrelated (inL i) (inL j))))) => w.
  by rewrite expr2 mulr_suml; apply: eq_bigr => i _; rewrite mulr_sumr; apply: eq_bigr => j _; ring.
rewrite -/m; have -> : s2 * (\sum_j D j ^+ 2) + m ^+ 2 = 1 * (s2 * (\sum_j D j ^+ 2)) + (2%:R * m * 0 + m ^+ 2) by ring.
apply: mean_ext (mean_linear 1 mean_v2 (mean_linear (2%:R * m) mean_v (mean_const E (m ^+ 2)))) => w.
by rewrite split_; ring.
Qed.

(* Student (impulse response k, from a state that adds o) against teacher (k', from rest). *)
Variables (student teacher : (nat -> F) -> nat -> F) (k k' o : nat -> F).
Hypotheses (student_is : affine_outputs student k o) (teacher_is : affine_outputs teacher k' (fun=> 0)).
Definition floor (t : nat) : F := s2 * \sum_(j < t.+1) (k j - k' j) ^+ 2.
Definition shift (t : nat) : F := mu * \sum_(j < t.+1) (k j - k' j).

(* The risk of output number t + 1: the floor, which no state enters, plus a square. *)
Theorem risk_formula t : (t < L)%N -> mean E (fun w => (student (x w) t - teacher (x w) t) ^+ 2) (floor t + (shift t + o t) ^+ 2).
Proof.
move=> ltL; apply: mean_ext (second_moment (fun j : 'I_t.+1 => k j - k' j) (tau := fun j => (t - j)%N) (o t) _ _) => [w|i j e|j]; last first.
- exact: leq_ltn_trans (leq_subr _ _) ltL.
- by apply: val_inj => /=; have := ltn_ord i; have := ltn_ord j; move: e; lia.
congr (_ ^+ 2); rewrite student_is teacher_is add0r -addrA addrC; congr (_ + _).
by rewrite -sumrB; apply: eq_bigr => j _; ring.
Qed.

(* Mean 0: the risk over L outputs is the floor plus the squares of what the state shows, so the untuned student (o = 0) is best. *)
Theorem zero_mean n : mu = 0 -> \sum_(t < n) (floor t + (shift t + o t) ^+ 2) = \sum_(t < n) floor t + \sum_(t < n) o t ^+ 2.
Proof. by move=> mu0; rewrite -big_split; apply: eq_bigr => t _; rewrite /shift mu0 mul0r add0r. Qed.

Theorem floor_is_a_floor t : floor t <= floor t + (shift t + o t) ^+ 2.
Proof. by rewrite ler_addl sqr_ge0. Qed.
End Risk.

(* Channels whose outputs are of that kind: over any field, *)
Theorem lti_affine (F : fieldType) N (a b c : 'I_N -> F) d h :
  affine_outputs (fun x t => nth 0 (outputs (lti_step a b c d) h (mkseq x t.+1)) t) (impulse a b c d)
    (fun t => free_response a c h t.+1).
Proof.
move=> x t; have -> : nth 0 (outputs (lti_step a b c d) h (mkseq x t.+1)) t =
    free_response a c h t.+1 + nth 0 (outputs (lti_step a b c d) 0 (mkseq x t.+1)) t.
  have f0 : free_response a c 0 t.+1 = 0 by rewrite /free_response big1 // => n _; rewrite mxE mulr0.
  by rewrite !lti_outputs_nth ?size_mkseq // f0 add0r addrA.
rewrite outputs_impulse ?size_mkseq //; congr (_ + _); apply: eq_bigr => j _.
by rewrite nth_mkseq // ltnS leq_subr.
Qed.

(* with both modes of each conjugate pair stored (the outputs are real: their real parts), *)
Theorem full_affine (R : rcfType) N (a b c : 'I_N -> R[i]) d h :
  affine_outputs (fun x t => complex.Re (nth 0 (outputs (lti_step a b c d) h (real_tokens (mkseq x t.+1))) t))
    (fun j => complex.Re (impulse a b c d j)) (fun t => complex.Re (free_response a c h t.+1)).
Proof.
move=> x t; have := lti_affine a b c d h (fun s => (x s)%:C%C) t; rewrite /real_tokens /mkseq -map_comp => ->.
rewrite (raddfD [additive of @complex.Re R]); congr (_ + _); rewrite (raddf_sum [additive of @complex.Re R]); apply: eq_bigr => j _.
by case: (impulse _ _ _ _ _) => u v /=; rewrite mulr0 subr0.
Qed.

(* and with half storage. *)
Theorem half_affine (R : rcfType) N (ar ai br bi cr ci : 'I_N -> R) d h :
  affine_outputs (fun x t => nth 0 (outputs (half_step ar ai br bi cr ci d) h (mkseq x t.+1)) t)
    (fun j => half_kernel ar ai br bi cr ci j + (if j == 0%N then d else 0)) (half_response ar ai br bi cr ci d h).
Proof.
move=> x t; apply: (@fmorph_inj _ _ [rmorphism of real_complex R]).
have -> : [rmorphism of real_complex R] (nth 0 (outputs (half_step ar ai br bi cr ci d) h (mkseq x t.+1)) t) =
    nth 0 [seq y%:C%C | y <- outputs (half_step ar ai br bi cr ci d) h (mkseq x t.+1)] t.
  by rewrite (nth_map 0) // size_outputs size_mkseq.
rewrite half_is_closed -map_comp.
have /= -> := lti_affine (both ar ai) (both br bi) (both cr ci) d%:C%C (closed_state h) (fun s => (x s)%:C%C) t.
rewrite rmorphD rmorph_sum -(half_response_closed ar ai br bi cr ci d); congr (_ + _); apply: eq_bigr => j _.
by rewrite rmorphM rmorphD /= half_kernelC /impulse; case: eqP.
Qed.

(* The least squares problem: v + S w is shortest at a solution of the normal equations, which exists. *)
Definition norm2 (F : realFieldType) m (u : 'cV[F]_m) : F := (u^T *m u) 0 0.

Section Optimum.
Variables (F : realFieldType) (L n : nat) (S : 'M[F]_(L, n)) (v : 'cV[F]_L).

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

(* delta is the squared distance of v to the range of S. *)
Definition squared_distance (F : realFieldType) L n (v : 'cV[F]_L) (S : 'M[F]_(L, n)) (delta : F) :=
  (exists w, norm2 (v - S *m w) = delta) /\ forall w, delta <= norm2 (v - S *m w).

(* The risk over L outputs, as in risk_formula, for choices h (states, or prefixes) that add o h: where these are the range of S,
   the least risk is the floor plus the squared distance of v to that range, and some h attains it. *)
Definition total_risk (F : realFieldType) L (floor v o : nat -> F) : F := \sum_(t < L) (floor t + (v t + o t) ^+ 2).
Definition least_risk (F : realFieldType) L n (H : Type) (ok : H -> Prop) (o : H -> nat -> F) (S : 'M[F]_(L, n)) :=
  forall floor v : nat -> F, exists delta, [/\ squared_distance (\col_t v t) S delta,
    exists2 h, ok h & total_risk L floor v (o h) = \sum_(t < L) floor t + delta &
    forall h, ok h -> \sum_(t < L) floor t + delta <= total_risk L floor v (o h)].

Lemma range_least_risk (F : realFieldType) L n (H : Type) (ok : H -> Prop) (o : H -> nat -> F) (S : 'M[F]_(L, n)) :
  (forall h, ok h -> exists w : 'cV_n, forall t : 'I_L, o h t = (S *m w) t 0) ->
  (forall w : 'cV_n, exists2 h, ok h & forall t : 'I_L, o h t = (S *m w) t 0) -> least_risk ok o S.
Proof.
move=> into onto floor v; pose col_v : 'cV[F]_L := \col_t v t; have [w0 best] := optimum S col_v.
have riskE h w : (forall t : 'I_L, o h t = (S *m w) t 0) -> total_risk L floor v (o h) = \sum_(t < L) floor t + norm2 (col_v + S *m w).
  move=> oE; rewrite /total_risk big_split /=; congr (_ + _); rewrite /norm2 mxE; apply: eq_bigr => t _.
  by rewrite oE [_^T _ _]mxE [_ t 0 in RHS]mxE [col_v _ _]mxE expr2.
have norm2_pos m (u : 'cV[F]_m) : 0 <= norm2 u by exact: norm2_ge0.
exists (norm2 (col_v + S *m w0)); split.
- split; first by exists (- w0); rewrite mulmxN opprK.
  by move=> w; rewrite -mulmxN [X in _ <= X]best ler_addl.
- by have [h okh oE] := onto w0; exists h; rewrite ?(riskE h w0).
by move=> h okh; have [w oE] := into h okh; rewrite (riskE h w) // ler_add2l [X in _ <= X]best ler_addl.
Qed.

Lemma obs_function (F : fieldType) N (a c : 'I_N -> F) (w : 'I_(n_obs a c) -> F) : exists k : F -> F, forall i, k (obs_mode i) = w i.
Proof.
exists (fun l => if insub (index l (obs_modes a c)) is Some i then w i else 0) => i.
by rewrite /obs_mode index_uniq ?obs_modes_uniq // valK.
Qed.

(* Over initial states: the range of (l^t) over the observable modes l, t = 1 .. L. *)
Section States.
Variables (F : realFieldType) (N : nat) (a c : 'I_N -> F) (L : nat).
Definition mode_powers : 'M[F]_(L, n_obs a c) := \matrix_(t, i) obs_mode i ^+ t.+1.

Theorem optimum_states : least_risk (fun=> True) (fun h t => free_response a c h t.+1) mode_powers.
Proof.
apply: range_least_risk => [h _|w].
  exists (\col_i kappa a c h (obs_mode i)) => t; rewrite free_response_modes big_obs mxE.
  by apply: eq_bigr => i _; rewrite !mxE mulrC.
have [k kE] := obs_function (fun i => w i 0); have [h hE] := kappa_onto a c k; exists h => // t.
rewrite free_response_modes big_obs mxE; apply: eq_bigr => i _.
by rewrite hE ?obs_mode_mem // kE !mxE mulrC.
Qed.
End States.

(* A conjugate pair spans Re l^t and Im l^t. *)
Section RealStates.
Variables (R : rcfType) (N : nat) (a b c : 'I_N -> R[i]) (L : nat).
Let n := n_obs a c.
Definition mode_parts : 'M[R]_(L, n + n) :=
  row_mx (\matrix_(t, i) complex.Re ((obs_mode i : R[i]) ^+ t.+1)) (\matrix_(t, i) complex.Im ((obs_mode i : R[i]) ^+ t.+1)).

Lemma parts_into h : exists w : 'cV_(n + n), forall t : 'I_L, complex.Re (free_response a c h t.+1) = (mode_parts *m w) t 0.
Proof.
exists (col_mx (\col_i complex.Re (kappa a c h (obs_mode i))) (\col_i - complex.Im (kappa a c h (obs_mode i)))) => t.
rewrite mul_row_col [RHS]mxE ![(_ *m _) _ _]mxE -big_split free_response_modes big_obs Re_sum; apply: eq_bigr => i _; rewrite !mxE.
by case: (kappa _ _ _ _) => x y; case: (_ ^+ _) => u v /=; ring.
Qed.

Lemma parts_onto (w : 'cV_(n + n)) : exists h, forall t : 'I_L, complex.Re (free_response a c h t.+1) = (mode_parts *m w) t 0.
Proof.
have [k kE] := obs_function (fun i : 'I_n => usubmx w i 0 +i* - dsubmx w i 0)%C; have [h hE] := kappa_onto a c k; exists h => t.
rewrite -[w]vsubmxK mul_row_col [RHS]mxE ![(_ *m _) _ _]mxE -big_split free_response_modes big_obs Re_sum; apply: eq_bigr => i _.
by rewrite hE ?obs_mode_mem // kE !mxE; case: (_ ^+ _) => u v /=; ring.
Qed.

(* Both modes of each pair stored; states with real outputs. *)
Theorem full_optimum_states : real_channel a b c ->
  least_risk (real_state a c) (fun h t => complex.Re (free_response a c h t.+1)) mode_parts.
Proof.
move=> real; apply: range_least_risk => [h _|w]; first exact: parts_into.
have [h hE] := parts_onto w; have [h' h'E] := real_part_state real h; exists h' => [t|t]; first by rewrite h'E.
by rewrite h'E -hE.
Qed.
End RealStates.

Section HalfStates.
Variables (R : rcfType) (N : nat) (ar ai br bi cr ci : 'I_N -> R) (d : R) (L M : nat).

Theorem half_optimum_states :
  least_risk (fun=> True) (half_response ar ai br bi cr ci d) (mode_parts (both ar ai) (both cr ci) L).
Proof.
have Re_response h t : half_response ar ai br bi cr ci d h t = complex.Re (free_response (both ar ai) (both cr ci) (closed_state h) t.+1).
  by rewrite -(half_response_closed ar ai br bi cr ci d).
apply: range_least_risk => [h _|w].
  by have [w wE] := parts_into (both ar ai) (both cr ci) L (closed_state h); exists w => t; rewrite Re_response.
have [h hE] := @parts_onto _ _ _ _ L w; have real := @closed_real_channel _ _ ar ai br bi cr ci.
have [h' h'E] := real_part_state real h; have [|h'' same] := @real_state_stored _ _ ar ai cr ci h'; first by move=> t; rewrite h'E.
by exists h'' => // t; rewrite Re_response same h'E -hE.
Qed.

(* Over prefixes of M tokens: the range of the Hankel matrix k_{t+m}, t = 1 .. L, m = 0 .. M-1. *)
Theorem half_optimum_prefixes : least_risk (fun s => size s = M)
  (fun s t => half_response ar ai br bi cr ci d (state_after (half_step ar ai br bi cr ci d) (0, 0) s) t)
  (half_hankel ar ai br bi cr ci L M)^T.
Proof.
apply: range_least_risk => [s sz|w].
  exists (\col_m nth 0 (rev s) m) => t; rewrite (half_prefix _ _ _ _ _ _ d t sz) !mxE; apply: eq_bigr => m _.
  by rewrite !mxE mulrC.
pose s := rev [seq w m 0 | m <- enum 'I_M]; have sz : size s = M by rewrite size_rev size_map size_enum_ord.
exists s => // t; rewrite (half_prefix _ _ _ _ _ _ d t sz) !mxE; apply: eq_bigr => m _.
by rewrite !mxE revK (nth_map m) ?size_enum_ord // nth_ord_enum mulrC.
Qed.
End HalfStates.

Theorem optimum_prefixes (F : realFieldType) N (a b c : 'I_N -> F) d L M :
  least_risk (fun s => size s = M) (fun s t => free_response a c (state_after (lti_step a b c d) 0 s) t.+1) (hankel a b c L M).
Proof.
apply: range_least_risk => [s sz|w].
  exists (\col_m nth 0 (rev s) m) => t; rewrite (response_prefix a b c d t sz) !mxE; apply: eq_bigr => m _.
  by rewrite !mxE mulrC.
pose s := rev [seq w m 0 | m <- enum 'I_M]; have sz : size s = M by rewrite size_rev size_map size_enum_ord.
exists s => // t; rewrite (response_prefix a b c d t sz) !mxE; apply: eq_bigr => m _.
by rewrite !mxE revK (nth_map m) ?size_enum_ord // nth_ord_enum mulrC.
Qed.

Theorem full_optimum_prefixes (R : rcfType) N (a b c : 'I_N -> R[i]) d L M :
  least_risk (fun s => size s = M)
    (fun s t => complex.Re (free_response a c (state_after (lti_step a b c d) 0 (real_tokens s)) t.+1))
    (\matrix_(t < L, m < M) complex.Re (kernel a b c (t.+1 + m))).
Proof.
have shows s t : size s = M -> complex.Re (free_response a c (state_after (lti_step a b c d) 0 (real_tokens s)) t.+1) =
    \sum_(m < M) nth 0 (rev s) m * complex.Re (kernel a b c (t.+1 + m)).
  move=> sz; have sz' : size (real_tokens s) = M by rewrite size_map.
  rewrite (response_prefix a b c d (Ordinal (ltnSn t)) sz') mxE Re_sum; apply: eq_bigr => m _; rewrite !mxE.
  by rewrite /real_tokens -map_rev (nth_map 0) ?size_rev ?sz //; case: (kernel _ _ _ _) => u v /=; rewrite mul0r subr0.
apply: range_least_risk => [s sz|w].
  by exists (\col_m nth 0 (rev s) m) => t; rewrite shows // mxE; apply: eq_bigr => m _; rewrite !mxE mulrC.
pose s := rev [seq w m 0 | m <- enum 'I_M]; have sz : size s = M by rewrite size_rev size_map size_enum_ord.
exists s => // t; rewrite shows // mxE; apply: eq_bigr => m _.
by rewrite mxE revK (nth_map m) ?size_enum_ord // nth_ord_enum mulrC.
Qed.
