(* lora_limits.unreachable as functions: a rank-r LoRA on A, with all B and C free, matches the target iff some relabelling of
   states within channels leaves a difference of rank at most r; these targets are finitely many sets of dimension r(D + N - r). *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import fingroup perm zify.
From Ssmproof.core Require Import recurrence lti modes minors polynomials dimension.
From Ssmproof.sparse_dims Require Import essential.
From Ssmproof.lora_limits Require Import low_rank_dimension.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* One channel: equal outputs give every mode of the target to the student. *)
Section Channel.
Variables (F : fieldType) (N : nat) (a b c a' b' c' : 'I_N -> F) (d d' : F).

Lemma skip_apart x t : (t < size x)%N ->
  nth 0 (outputs (lti_step a b c d) 0 x) t = nth 0 (outputs (lti_step a b c 0) 0 x) t + d * nth 0 x t.
Proof. by move=> lt; rewrite !lti_outputs_nth // mul0r addr0. Qed.

Hypotheses (a0 : forall n, a n != 0) (a0' : forall n, a' n != 0) (distinct : injective a') (shown : forall n, c' n * b' n != 0).

Lemma essential_target n e : essential a' b' c' e (a' n) = c' n * b' n.
Proof.
rewrite /essential (negPf (a0' n)) addr0 /residue (eq_bigl (pred1 n)) ?big_pred1_eq // => k.
by rewrite /= (inj_eq distinct).
Qed.

Lemma mode_has_state e l : l != 0 -> essential a b c e l != 0 -> exists m, a m = l.
Proof.
move=> l0; rewrite /essential (negPf l0) addr0 => nz; case: (pickP [pred m | a m == l]) => [m /eqP|none]; first by exists m.
by rewrite /residue big_pred0 ?eqxx // in nz.
Qed.

(* Modes not 0, N in each channel: 2N outputs tell, one more where the skips differ. *)
Lemma modes_shared L : (2 * N + (d != d') <= L)%N -> same_function a b c d a' b' c' d' L -> forall n, exists m, a m = a' n.
Proof.
move=> leL same.
suff [e [e' ee]] : exists e e', essential a b c e =1 essential a' b' c' e'.
  by move=> n; apply: (@mode_has_state e _ (a0' n)); rewrite ee essential_target.
have small e e' : (size (essential_union a b c e a' b' c' e') <= (2 * N).+1)%N.
  apply: leq_trans (size_undup _) _; rewrite size_filter (leq_trans (count_size _ _)) // -cat1s !size_cat !(size_enum_ord, size_map) /=; lia.
case: (eqVneq d d') leL same => [<-|ne] leL same; last first.
  by exists d, d'; rewrite addn1 in leL; exact: (same_function_iff (leq_trans (small d d') leL)).1 same.
exists 0, 0; have same0 : same_function a b c 0 a' b' c' 0 L.
  move=> x sz; have := same x sz => e; apply: (@eq_from_nth _ 0) => [|t]; rewrite !size_outputs // => lt.
  have := congr1 (nth 0 ^~ t) e; rewrite !lti_outputs_nth // => /addIr; by rewrite mul0r !addr0.
suff le : (size (essential_union a b c 0 a' b' c' 0) <= L)%N by exact: (same_function_iff le).1 same0.
rewrite addn0 in leL; apply: leq_trans leL.
apply: (@leq_trans (size ([seq a n | n <- enum 'I_N] ++ [seq a' n | n <- enum 'I_N]))); last first.
  by rewrite size_cat !(size_enum_ord, size_map) mul2n addnn.
apply: uniq_leq_size; first exact: undup_uniq.
move=> l; rewrite mem_undup mem_filter in_cons => /andP[nz /orP[/eqP l0|//]].
by move: nz; rewrite l0 /essential eqxx !addr0 /residue !big1 ?eqxx // => n; rewrite ?(negPf (a0 n)) ?(negPf (a0' n)).
Qed.
End Channel.

Section Targets.
Variables (F : numFieldType) (D N r : nat) (A : 'M[F]_(D, N)) (mode : 'I_D -> F -> F).
(* The entry A_dn gives the mode, exp(dt_d A_dn), or exp(- dt_d exp(A_dn)) for log A: one-to-one and not 0. *)
Hypotheses (mode_inj : forall d, injective (mode d)) (mode0 : forall d v, mode d v != 0).

(* Student channels with entries S against target channels with entries T, on inputs of length L. *)
Definition match_on L (S : 'M[F]_(D, N)) (b c : 'I_D -> 'I_N -> F) (skip : 'I_D -> F)
    (T : 'M[F]_(D, N)) (b' c' : 'I_D -> 'I_N -> F) (skip' : 'I_D -> F) :=
  forall d, same_function (fun n => mode d (S d n)) (b d) (c d) (skip d) (fun n => mode d (T d n)) (b' d) (c' d) (skip' d) L.

Definition relabelled (T : 'M[F]_(D, N)) (p : {ffun 'I_D -> {perm 'I_N}}) : 'M[F]_(D, N) := \matrix_(d, n) T d (p d n).

Variables (T : 'M[F]_(D, N)) (b' c' : 'I_D -> 'I_N -> F) (skip' : 'I_D -> F).
(* Target modes distinct in each channel, target residues not 0. *)
Hypotheses (injT : forall d, injective (T d)) (shown : forall d n, c' d n * b' d n != 0).

Lemma match_relabels L (U : 'M_(D, r)) (V : 'M_(r, N)) b c skip : (forall d, (2 * N + (skip d != skip' d) <= L)%N) ->
  match_on L (A + U *m V) b c skip T b' c' skip' -> exists p, (\rank (relabelled T p - A)%R <= r)%N.
Proof.
move=> leL same.
have one d n : exists m, (A + U *m V) d m = T d n.
  have [m /mode_inj e] := modes_shared (fun n => mode0 d _) (fun n => mode0 d _) (inj_comp (@mode_inj d) (@injT d)) (shown d) (leL d) (same d) n.
  by exists m.
have [g gE] := fin_all_exists (fun d => fin_all_exists (one d)).
have injg d : injective (g d) by move=> k l e; apply: (@injT d); rewrite -!gE e.
exists [ffun d => (perm (@injg d))^-1%g].
rewrite (_ : _ - A = U *m V); first exact: leq_trans (mxrankM_maxl _ _) (rank_leq_col _).
apply/matrixP => d n; rewrite !mxE ffunE -gE -[g d _](permE (@injg d)) permKV mxE addrC addKr; exact: mxE.
Qed.

Lemma relabelled_match L p : (\rank (relabelled T p - A)%R <= r)%N ->
  exists (U : 'M_(D, r)) (V : 'M_(r, N)) b c, match_on L (A + U *m V) b c skip' T b' c' skip'.
Proof.
case/low_rank_factors => U [V UV]; exists U, V, (fun d n => b' d (p d n)), (fun d n => c' d (p d n)) => d x sz.
apply: (@eq_from_nth _ 0) => [|t]; rewrite !size_outputs // => lt; rewrite !outputs_impulse //.
apply: eq_bigr => j _; congr ((_ + _) * _); rewrite /kernel [RHS](reindex_inj (@perm_inj _ (p d))) /=.
by apply: eq_bigr => n _; rewrite UV addrC subrK mxE.
Qed.

(* With the skips shared 2N outputs decide; with free skips 2N + 1 do. *)
Theorem matched_iff L : (2 * N <= L)%N ->
  (exists (U : 'M_(D, r)) (V : 'M_(r, N)) b c, match_on L (A + U *m V) b c skip' T b' c' skip') <->
  exists p, (\rank (relabelled T p - A)%R <= r)%N.
Proof.
move=> leL; split=> [[U [V [b [c same]]]]|[p /relabelled_match]]; last exact.
by apply: match_relabels same => d; rewrite eqxx addn0.
Qed.

Theorem matched_free_skip L : (2 * N < L)%N ->
  (exists (U : 'M_(D, r)) (V : 'M_(r, N)) b c skip, match_on L (A + U *m V) b c skip T b' c' skip') <->
  exists p, (\rank (relabelled T p - A)%R <= r)%N.
Proof.
move=> leL; split=> [[U [V [b [c [skip same]]]]]|[p /(relabelled_match L)[U [V [b [c same]]]]]]; last by exists U, V, b, c, skip'.
by apply: match_relabels same => d; apply: leq_trans leL; rewrite -[(2 * N).+1]addn1 leq_add2l leq_b1.
Qed.
End Targets.

Section Sets.
Variables (F : numFieldType) (D N r : nat) (A : 'M[F]_(D, N)).

(* For each relabelling the matched targets have dimension r(D + N - r), which is D N - (D - r)(N - r). *)
Theorem relabelled_dimension p : (r <= D)%N -> (r <= N)%N ->
  has_dim (fun x : {ffun 'I_D * 'I_N -> F} => (\rank (relabelled (mx_of x) p - A)%R <= r)%N) (r * (D + N - r)).
Proof.
move=> rD rN.
have inj : injective (fun c : 'I_D * 'I_N => (c.1, p c.1 c.2)).
  by move=> [d n] [d' n'] /= [-> /perm_inj->].
have [ind rel] := dim_moved (perm inj) (fun c => A c.1 c.2) (low_rank_dimension F rD rN).
have same (x : {ffun 'I_D * 'I_N -> F}) : low_rank r [ffun c => x (perm inj c) - A c.1 c.2] = ((\rank (relabelled (mx_of x) p - A)%R <= r)%N : Prop).
  by rewrite /low_rank; congr (\rank _ <= r)%N; apply/matrixP => d n; rewrite !mxE ffunE permE.
split; [have [kap i1 i2] := ind | move=> kap i1; have [Q [pQ nQ zQ]] := rel kap i1].
  by exists kap => // Q pQ zQ; apply: i2 pQ _ => x; rewrite same; exact: zQ.
by exists Q; split=> // x; rewrite -same; exact: zQ.
Qed.

Lemma codimension : (r <= D)%N -> (r <= N)%N -> (r * (D + N - r) + (D - r) * (N - r) = D * N)%N.
Proof. nia. Qed.

(* Hence a generic target is missed: some polynomial that is not 0 vanishes on all matched targets. *)
Theorem generic_missed : (r < D)%N -> (r < N)%N -> exists Q : {ffun 'I_D * 'I_N -> F} -> F,
  [/\ poly_fun Q, exists x, Q x != 0 & forall x p, (\rank (relabelled (mx_of x) p - A)%R <= r)%N -> Q x = 0].
Proof.
move=> rD rN; pose k := (r * (D + N - r))%N.
have lt : (k.+1 <= #|[finType of 'I_D * 'I_N]|)%N.
  by rewrite card_prod !card_ord -(codimension (ltnW rD) (ltnW rN)) -/k -[k.+1]addn1 leq_add2l muln_gt0 !subn_gt0 rD.
pose kap (i : 'I_k.+1) := enum_val (widen_ord lt i).
have inj : injective kap by move=> i j /enum_val_inj/(congr1 val) /= e; apply: val_inj.
have [Q QP] := fin_all_exists (fun p => (relabelled_dimension p (ltnW rD) (ltnW rN)).2 kap inj).
exists (fun x => \prod_p Q p (pick_coords kap x)); split.
- apply: poly_prod => p; case: (QP p) => pQ _ _; apply: (poly_comp pQ) => i; exact: PolyCoord.
- have [p|y yP] := @common_points F _ _ (index_enum _) Q (fun p => let: And3 h _ _ := QP p in h) _; first by case: (QP p).
  exists [ffun c => if [pick i | kap i == c] is Some i then y i else 0].
  rewrite (_ : pick_coords kap _ = y) //; apply/ffunP => i; rewrite !ffunE.
  by case: pickP => [j /eqP/inj ->|/(_ i)]; rewrite ?eqxx.
move=> x p le; rewrite (bigD1 p) //= [X in X * _](_ : _ = 0) ?mul0r //.
by case: (QP p) => _ _; apply.
Qed.
End Sets.
