(* lora_limits.unreachable, complex A: a mode fixes its entry up to multiples of a period (2 pi i / dt), so the matched targets
   are countably many sets of the same dimension; and one rank-one LoRA on the phases comes as close to all of them as asked. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import fingroup perm ring zify.
From Ssmproof.core Require Import lti minors polynomials dimension.
From Ssmproof.sparse_dims Require Import essential.
From Ssmproof.lora_limits Require Import low_rank_dimension relabelled_targets.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Periods.
Variables (F : numFieldType) (D N r : nat) (A T : 'M[F]_(D, N)) (mode : 'I_D -> F -> F) (period : 'I_D -> F).
Hypothesis mode0 : forall d v, mode d v != 0.
(* Equal modes iff the entries differ by a multiple of the channel's period. *)
Hypothesis periodic : forall d v v', mode d v = mode d v' <-> exists k : int, v' = v + k%:~R * period d.
Variables (b' c' : 'I_D -> 'I_N -> F) (skip : 'I_D -> F).
Hypotheses (distinct : forall d, injective (fun n => mode d (T d n))) (shown : forall d n, c' d n * b' d n != 0).

Definition turns (k : {ffun 'I_D * 'I_N -> int}) : 'M[F]_(D, N) := \matrix_(d, n) ((k (d, n))%:~R * period d).

Theorem matched_up_to_turns L : (2 * N <= L)%N ->
  (exists (U : 'M_(D, r)) (V : 'M_(r, N)) b c, match_on mode L (A + U *m V) b c skip T b' c' skip) <->
  exists k p, (\rank (relabelled T p - (A + turns k))%R <= r)%N.
Proof.
move=> leL; split=> [[U [V [b [c same]]]]|[k [p /low_rank_factors[U [V UV]]]]].
  have one d n : exists m, mode d ((A + U *m V) d m) = mode d (T d n).
    have leL' : (2 * N + (skip d != skip d) <= L)%N by rewrite eqxx addn0.
    have [m mE] := modes_shared (fun n => mode0 d _) (fun n => mode0 d _) (@distinct d) (shown d) leL' (same d) n.
    by exists m.
  have [g gE] := fin_all_exists (fun d => fin_all_exists (one d)).
  have injg d : injective (g d) by move=> m n e; apply: (@distinct d); rewrite -!gE e.
  pose p : {ffun 'I_D -> {perm 'I_N}} := [ffun d => (perm (@injg d))^-1%g].
  have turn d n : exists k : int, T d (p d n) = (A + U *m V) d n + k%:~R * period d.
    by apply/periodic; rewrite -gE ffunE -[g d _](permE (@injg d)) permKV.
  have [k kE] := fin_all_exists (fun d => fin_all_exists (turn d)).
  exists [ffun c => k c.1 c.2], p; rewrite (_ : _ - _ = U *m V); first exact: leq_trans (mxrankM_maxl _ _) (rank_leq_col _).
  by apply/matrixP => d n; rewrite !mxE kE !ffunE !mxE /=; move: (_ * period d) (\sum_ _ _) => z y; ring.
exists U, V, (fun d n => b' d (p d n)), (fun d n => c' d (p d n)) => d x sz.
have eq_mode n : mode d ((A + U *m V) d n) = mode d (T d (p d n)).
  apply/periodic; exists (k (d, n)); by rewrite UV !mxE; move: (_ * period d) => z; ring.
apply: (@eq_from_nth _ 0) => [|t]; rewrite !recurrence.size_outputs // => lt; rewrite !outputs_impulse //.
apply: eq_bigr => j _; congr ((_ + _) * _); rewrite /kernel [RHS](reindex_inj (@perm_inj _ (p d))) /=.
by apply: eq_bigr => n _; rewrite eq_mode.
Qed.
End Periods.

(* Countably many sets, one for each k and p, each of dimension r(D + N - r) (relabelled_dimension with A + turns k), each in
   the zero set of a polynomial that is not 0. *)
Theorem countably_many_sets (F : numFieldType) D N r (A : 'M[F]_(D, N)) (period : 'I_D -> F) : (r < D)%N -> (r < N)%N ->
  forall k : [countType of {ffun 'I_D * 'I_N -> int}],
  (forall p, has_dim (fun x : {ffun 'I_D * 'I_N -> F} => (\rank (relabelled (mx_of x) p - (A + turns period k))%R <= r)%N) (r * (D + N - r))) /\
  exists Q : {ffun 'I_D * 'I_N -> F} -> F,
    [/\ poly_fun Q, exists x, Q x != 0 & forall x p, (\rank (relabelled (mx_of x) p - (A + turns period k))%R <= r)%N -> Q x = 0].
Proof. by move=> rD rN k; split=> [p|]; [exact: relabelled_dimension (ltnW rD) (ltnW rN) | exact: generic_missed]. Qed.

(* Phases in turns. *)
Section Phases.
Variable R : realFieldType.

Lemma nat_floor (x : R) m : 0 <= x < m%:R -> exists2 g, (g < m)%N & g%:R <= x < g.+1%:R.
Proof.
elim: m => [|m IH] /andP[x0 xm]; first by rewrite ltNge x0 in xm.
by case: (lerP m%:R x) => [le|lt]; [exists m => //; rewrite le | have [|g gm gx] := IH _; [rewrite x0 | exists g => //; exact: ltnW]].
Qed.

(* One number whose multiples by 1, m, m^2, .. have given phases up to 1/m: its digits in base m. *)
Lemma digits m (theta : nat -> R) D : (0 < m)%N -> (forall d, 0 <= theta d < 1) ->
  exists2 v : R, 0 <= v < 1 & forall d, (d < D)%N -> exists k : nat, `|m%:R ^+ d * v - k%:R - theta d| <= m%:R^-1.
Proof.
move=> m0; elim: D theta => [|D IH] theta th; first by exists 0; rewrite ?lexx ?ltr01.
have mR : 0 < m%:R :> R by rewrite ltr0n.
have S1 (n : nat) : n%:R + 1 = n.+1%:R :> R by rewrite -addn1 natrD.
have [v /andP[v0 v1] vP] := IH (fun d => theta d.+1) (fun d => th d.+1).
have [g gm /andP[g1 g2]] : exists2 g, (g < m)%N & g%:R <= m%:R * theta 0%N < g.+1%:R.
  by apply: nat_floor; have /andP[t0 t1] := th 0%N; rewrite pmulr_rge0 // t0 -[X in _ < X]mulr1 ltr_pmul2l.
exists ((g%:R + v) / m%:R).
  rewrite divr_ge0 ?addr_ge0 ?ler0n // ltr_pdivr_mulr // mul1r (@lt_le_trans _ _ (g%:R + 1)) ?ltr_add2l //.
  by rewrite S1 ler_nat.
case=> [|d] lt.
  exists 0%N; rewrite expr0 mul1r subr0 -(ler_pmul2l mR) mulfV ?lt0r_neq0 // -[X in X * _](gtr0_norm mR) -normrM mulrBr.
  rewrite mulrCA mulfV ?lt0r_neq0 // mulr1 ler_norml ler_subr_addr ler_subl_addr; apply/andP; split.
    by rewrite addrC (le_trans (ltW (_ : m%:R * theta 0%N - 1 < g%:R))) ?ler_addl // ltr_subl_addr S1.
  by rewrite addrC ler_add // ltW.
have [k kP] := vP d lt; exists (m ^ d * g + k)%N; rewrite natrD natrM natrX.
by rewrite (_ : _ - _ - _ = m%:R ^+ d * v - k%:R - theta d.+1) // exprSr; field; rewrite lt0r_neq0.
Qed.

(* Rank one, u_d = m^d: all phases up to 1/m and whole turns. *)
Theorem phases_approached D N m (theta : 'M[R]_(D, N)) : (0 < m)%N -> (forall d n, 0 <= theta d n < 1) ->
  exists (u : 'cV[R]_D) (v : 'rV[R]_N), forall d n, exists k : nat, `|(u *m v) d n - k%:R - theta d n| <= m%:R^-1.
Proof.
move=> m0 th; pose target n d := if insub d is Some i then theta (i : 'I_D) n else 0.
have in01 n d : 0 <= target n d < 1 by rewrite /target; case: insub => [i|]; [exact: th | rewrite lexx ltr01].
have one n : exists v : R, forall d : 'I_D, exists k : nat, `|m%:R ^+ d * v - k%:R - theta d n| <= m%:R^-1.
  have [v _ vP] := digits D m0 (in01 n); exists v => d; have [k] := vP d (ltn_ord d).
  by rewrite /target valK; exists k.
have [v vP] := fin_all_exists one.
exists (\col_d m%:R ^+ d), (\row_n v n) => d n; have [k kP] := vP n d; exists k.
by rewrite mxE big_ord1 !mxE.
Qed.

(* Exactly they are not reached: phases 1/2 on the diagonal and 0 beside it. *)
Theorem half_turns_missed (u : 'cV[R]_2) (v : 'rV[R]_2) (k : 'I_2 -> 'I_2 -> int) :
  ~ (forall d n, (u *m v) d n = (if d == n then 2%:R^-1 else 0) + (k d n)%:~R).
Proof.
move=> e; have h d n : u d 0 * v 0 n = (if d == n then 2%:R^-1 else 0) + (k d n)%:~R by rewrite -e mxE big_ord1.
have : (u 0 0 * v 0 0) * (u 1 0 * v 0 1) = (u 0 0 * v 0 1) * (u 1 0 * v 0 0) by ring.
rewrite !h /= !add0r => /(congr1 ( *%R 4%:R)) eq4.
have : ((1 + 2%:R * k 0 0) * (1 + 2%:R * k 1 1))%:~R = (4%:R * (k 0 1 * k 1 0))%:~R :> R.
  by rewrite !rmorphM !rmorphD !rmorphM /= !rmorphMn /= !rmorph1 -eq4; field.
move/intr_inj; lia.
Qed.
End Phases.
