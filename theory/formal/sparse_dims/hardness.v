(* sparse_dims.minimal_adjustment, hardness: subset-sum and 3-partition are special cases of the true minimum. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import zify.
From Ssmproof.sparse_dims Require Import partitions assignment_gaps.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* Distinct frozen modes, positive whole residues w, target modes outside the frozen ones with positive whole residues T. *)
Section Reduction.
Variables (F : numFieldType) (N M : nat) (a : 'I_N -> F) (lam : 'I_M -> F) (w : 'I_N -> nat) (T : 'I_M -> nat).
Hypotheses (inja : injective a) (injl : injective lam) (outside : forall m n, lam m != a n).
Hypotheses (w0 : forall n, (0 < w n)%N) (T0 : forall m, (0 < T m)%N).
Let r n : F := (w n)%:R.
Let rs m : F := (T m)%:R.
Let rs0 m : rs m != 0. Proof. by rewrite pnatr_eq0 -lt0n. Qed.
Let cost := @edit_cost F N a r.
Let ok := @right F N M lam rs.

(* A choice sends state n to target g n, or leaves it. *)
Definition reached (g : 'I_N -> option 'I_M) m : nat := (\sum_(n | g n == Some m) w n)%N.
Definition missed (g : 'I_N -> option 'I_M) : nat := (\sum_m (reached g m != T m))%N.
Definition hits (g : 'I_N -> option 'I_M) := forall m, exists n, g n = Some m.

Lemma target_a n : target lam rs (a n) = 0.
Proof. by rewrite /target big_pred0 // => m; apply/negbTE/outside. Qed.

Lemma wrongE (S : {set 'I_N}) m : (\sum_(n in S) r n != target lam rs (lam m)) = ((\sum_(n in S) w n)%N != T m).
Proof. by rewrite target_lam // -natr_sum eqr_nat. Qed.

Lemma wrong_frozen n (S : {set 'I_N}) : S != set0 -> \sum_(k in S) r k != target lam rs (a n).
Proof.
case/set0Pn => k kS; rewrite target_a -natr_sum pnatr_eq0 -lt0n (bigD1 k) //= addn_gt0 w0 //.
Qed.

Lemma frozen_group f n : (#|group f (a n)| <= group_cost a r lam rs (a n) (group f (a n)))%N.
Proof.
have [->|S0] := eqVneq (group f (a n)) set0; first by rewrite cards0.
rewrite /group_cost wrong_frozen // addn1; apply: one_stays => x y _ _; exact: inja.
Qed.

Lemma target_group f m : group_cost a r lam rs (lam m) (group f (lam m)) =
  (#|group f (lam m)| + ((\sum_(n | f n == lam m) w n)%N != T m))%N.
Proof.
rewrite /group_cost wrongE (all_moved (v := lam m)) => [|n _]; last by rewrite eq_sym outside.
by congr (_ + (_ != _))%N; apply: eq_bigl => n; rewrite inE.
Qed.

Lemma by_targets (X : 'I_M -> nat) : (\sum_(v <- destinations a lam) \sum_(m | lam m == v) X m = \sum_m X m)%N.
Proof. exact: (sum_by_value X (destinations_uniq a lam) (destinations_lam a lam)). Qed.

Lemma in_destinations v : v \in destinations a lam -> (exists n, v = a n) \/ exists m, v = lam m.
Proof. by rewrite mem_undup mem_cat => /orP[/mapP[n _ ->]|/mapP[m _ ->]]; [left; exists n | right; exists m]. Qed.

Lemma over_lam (X : 'I_M -> nat) m : (\sum_(k | lam k == lam m) X k = X m)%N.
Proof. by rewrite (eq_bigl (pred1 m)) ?big_pred1_eq // => k; rewrite /= (inj_eq injl). Qed.

Lemma over_frozen (X : 'I_M -> nat) n : (\sum_(k | lam k == a n) X k = 0)%N.
Proof. by rewrite big_pred0 // => m; apply/negbTE/outside. Qed.

(* No edit costs less than N plus the number of targets that its choice misses. *)
Theorem hard_lower a' r' : ok a' r' -> exists2 g, hits g & (N + missed g <= cost a' r')%N.
Proof.
case/(exact_lower a r injl rs0) => f [fV hit] le; pose g n := [pick m | f n == lam m].
have gE n m : (g n == Some m) = (f n == lam m).
  rewrite /g; case: pickP => [k /eqP ->|/(_ m) ->//]; by rewrite (inj_eq injl); apply/eqP/eqP => [[]|->].
exists g; first by move=> m; have [n fn] := hit m; exists n; apply/eqP; rewrite gE fn.
apply: leq_trans le; rewrite -[X in (X + _ <= _)%N](group_sizes fV) /missed /partition_cost -by_targets -big_split /= big_seq [X in (_ <= X)%N]big_seq.
apply: leq_sum => v /in_destinations[[n ->]|[m ->]].
  by rewrite over_frozen addn0; exact: frozen_group.
rewrite over_lam target_group leq_add2l /reached; rewrite (eq_bigl (fun n => f n == lam m)) // => n; exact: gE.
Qed.

(* Each choice that hits all targets is an edit of that cost. *)
Theorem hard_upper g : hits g -> exists a' r', ok a' r' /\ (cost a' r' <= N + missed g)%N.
Proof.
move=> hit; pose f n := if g n is Some m then lam m else a n.
have fE n m : (f n == lam m) = (g n == Some m).
  rewrite /f; case: (g n) => [k|]; first by rewrite (inj_eq injl); apply/eqP/eqP => [->|[]].
  by rewrite eq_sym (negPf (outside m n)).
have fV n : f n \in destinations a lam by rewrite /f; case: (g n) => [m|]; [exact: destinations_lam | exact: destinations_a].
have adm : admissible a lam f by split=> // m; have [n gn] := hit m; exists n; rewrite /f gn.
have [r' okr' costE] := exact_upper r rs adm.
exists f, r'; split=> //; rewrite /cost costE.
rewrite -[X in (_ <= X + _)%N](group_sizes fV) /missed /partition_cost -by_targets -big_split /= big_seq [X in (_ <= X)%N]big_seq.
apply: leq_sum => v /in_destinations[[n ->]|[m ->]].
  rewrite over_frozen addn0 /group_cost (eq_card0 (A := [set k in group f (a n) | _])) => [|k]; last first.
    rewrite !inE /f; case: (g k) => [m|]; first by rewrite (negPf (outside m n)).
    by case: eqP.
  rewrite add0n; have [->|S0] := eqVneq (group f (a n)) set0; first by rewrite big_set0 target_a eqxx.
  by apply: leq_trans (leq_b1 _) _; rewrite card_gt0.
rewrite over_lam target_group leq_add2l /reached; rewrite (eq_bigl (fun n => g n == Some m)) // => n; exact: fE.
Qed.
End Reduction.

(* One target: N if a subset sums to T, else N + 1. *)
Theorem subset_sum (F : numFieldType) N (a : 'I_N -> F) (l : F) (w : 'I_N -> nat) T : injective a -> (forall n, l != a n) ->
  (forall n, (0 < w n)%N) -> (0 < T)%N -> (0 < N)%N ->
  let ok := right (fun _ : 'I_1 => l) (fun=> T%:R) in let cost := edit_cost a (fun n => (w n)%:R) in
  [/\ forall a' r', ok a' r' -> (N <= cost a' r')%N,
      (exists a' r', ok a' r' /\ (cost a' r' <= N)%N) <-> exists S : {set 'I_N}, (\sum_(n in S) w n)%N = T &
      exists a' r', ok a' r' /\ (cost a' r' <= N.+1)%N].
Proof.
move=> inja out w0 T0 N0 ok cost; have injl : injective (fun _ : 'I_1 => l) by move=> i j _; rewrite !ord1.
have out1 (m : 'I_1) n : l != a n := out n.
have low := hard_lower (w := w) (T := fun _ : 'I_1 => T) inja injl out1 w0 (fun=> T0).
have up := @hard_upper F N 1 a _ w (fun _ : 'I_1 => T) injl out1.
split=> [a' r' /low[g _]||]; first exact: leq_trans (leq_addr _ _).
  split=> [[a' [r' [okr le]]]|[S sumS]].
    have [g _ le2] := low a' r' okr; exists [set n | g n == Some ord0].
    have : missed w (fun _ : 'I_1 => T) g = 0%N by apply/eqP; move: (leq_trans le2 le); rewrite -[X in (_ <= X)%N]addn0 leq_add2l leqn0.
    rewrite /missed big_ord1; case: eqP => // e _; rewrite -e; by apply: eq_bigl => n; rewrite inE.
  have [|a' [r' [okr le]]] := up (fun n => if n \in S then Some ord0 else None).
    move=> m; have [n nS] : exists n, n \in S.
      by apply/set0Pn; apply: contraTneq T0 => S0; rewrite -sumS S0 big_set0.
    by exists n; rewrite nS [m]ord1.
  exists a', r'; split=> //; apply: leq_trans le _; rewrite /missed big_ord1 /reached (eq_bigl (mem S)) ?sumS ?eqxx ?addn0 // => n.
  by rewrite /=; case: (n \in S).
have [|a' [r' [okr le]]] := up (fun n => if n == Ordinal N0 then Some ord0 else None).
  by move=> m; exists (Ordinal N0); rewrite eqxx [m]ord1.
exists a', r'; split=> //; apply: leq_trans le _; rewrite -[N.+1]addn1 leq_add2l /missed big_ord1; exact: leq_b1.
Qed.

(* M targets T with T/4 < w_n < T/2 and sum M T: N iff the weights split into triples of sum T. *)
Theorem three_partition (F : numFieldType) N M (a : 'I_N -> F) (lam : 'I_M -> F) (w : 'I_N -> nat) T : injective a -> injective lam ->
  (forall m n, lam m != a n) -> (0 < T)%N -> (forall n, T < 4 * w n)%N -> (forall n, 2 * w n < T)%N ->
  (\sum_n w n = M * T)%N ->
  (exists a' r', right lam (fun=> T%:R) a' r' /\ (edit_cost a (fun n => (w n)%:R) a' r' <= N)%N) <->
  exists g : 'I_N -> 'I_M, forall m, #|[set n | g n == m]| = 3%N /\ (\sum_(n | g n == m) w n)%N = T.
Proof.
move=> inja injl out T0 small big total.
have w0 n : (0 < w n)%N by have := small n; case: (w n) => //; rewrite muln0.
have three (S : {set 'I_N}) : (\sum_(n in S) w n)%N = T -> #|S| = 3%N.
  move=> sumS; have S0 : S != set0 by apply: contraTneq T0 => S0; rewrite -sumS S0 big_set0.
  have [n0 n0S] := set0Pn _ S0.
  have lo : (#|S| * T < 4 * T)%N.
    rewrite -[X in (_ < _ * X)%N]sumS -sum_nat_const big_distrr /= (bigD1 n0) //= [X in (_ < X)%N](bigD1 n0) //=.
    by rewrite -addSn leq_add //; apply: leq_sum => n _; exact: ltnW.
  have hi : (2 * T < #|S| * T)%N.
    rewrite -[X in (_ * X < _)%N]sumS -sum_nat_const big_distrr /= (bigD1 n0) //= [X in (_ < X)%N](bigD1 n0) //=.
    by rewrite -addSn leq_add //; apply: leq_sum => n _; exact: ltnW.
  by move: lo hi; rewrite !ltn_pmul2r //; case: #|S| => [|[|[|[|s]]]].
split=> [[a' [r' [okr le]]]|[g gP]].
  have [g _ le2] := hard_lower (w := w) (T := fun=> T) inja injl out w0 (fun=> T0) okr.
  have : missed w (fun=> T) g = 0%N by apply/eqP; move: (leq_trans le2 le); rewrite -[X in (_ <= X)%N]addn0 leq_add2l leqn0.
  move/eqP; rewrite /missed sum_nat_eq0 => /forallP miss.
  have reach m : reached w g m = T by have := miss m; rewrite /= eqb0 negbK => /eqP.
  (* The weights that reach targets sum to all, so no state stays. *)
  have all n : exists m, g n = Some m.
    have [e|/eqP] := boolP (g n == None); last by case: (g n) => // m _; exists m.
    have split : (\sum_n w n = \sum_m \sum_(n | g n == Some m) w n + \sum_(n | g n == None) w n)%N.
      rewrite (bigID (fun n => g n == None)) /= addnC; congr (_ + _)%N.
      under [RHS]eq_bigr => m _ do rewrite big_mkcond /=.
      rewrite [RHS]exchange_big [LHS]big_mkcond /=; apply: eq_bigr => k _; case: (g k) => [m|]; last by rewrite big1.
      by rewrite (bigD1 m) //= eqxx big1 ?addn0 // => j ne; case: eqP => // -[ej]; rewrite ej eqxx in ne.
    have : (\sum_(n | g n == None) w n = 0)%N.
      move: split; rewrite [X in (_ = X + _)%N -> _](eq_bigr (fun=> T)) => [|m _]; last exact: reach.
      rewrite sum_nat_const card_ord total => /eqP; rewrite -[X in X == _]addn0 eqn_add2l eq_sym => /eqP //.
    by move/eqP; rewrite sum_nat_eq0 => /forall_inP/(_ n e); rewrite eqn0Ngt w0.
  have [h hP] := fin_all_exists all; exists h => m.
  have sumh : (\sum_(n | h n == m) w n)%N = T.
    by rewrite -(reach m); apply: eq_bigl => n; rewrite hP; apply/eqP/eqP => [->|[]].
  by split=> //; apply: three; rewrite -[RHS]sumh; apply: eq_bigl => n; rewrite inE.
have [|a' [r' [okr le]]] := @hard_upper F N M a lam w (fun=> T) injl out (fun n => Some (g n)).
  move=> m; have [card3 _] := gP m; have /set0Pn[n] : [set n | g n == m] != set0 by rewrite -card_gt0 card3.
  by rewrite inE => /eqP <-; exists n.
exists a', r'; split=> //; apply: leq_trans le _; rewrite /missed big1 ?addn0 // => m _.
by have [_ sm] := gP m; rewrite /reached -[X in _ != X]sm eqxx.
Qed.
