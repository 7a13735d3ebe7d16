(* lora_limits.cheaper_sparse: sparse against low rank, in stored numbers and degrees of freedom. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import zify.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

(* A support covered by a set A of channels (rows) and a set B of states (columns). *)
Section Cover.
Variables (D N : nat) (S : {set 'I_D * 'I_N}) (A : {set 'I_D}) (B : {set 'I_N}).
Hypothesis covers : forall p, p \in S -> (p.1 \in A) || (p.2 \in B).
Let a := #|A|.
Let b := #|B|.

Theorem entries_of_cover : (#|S| <= a * N + (D - a) * b)%N.
Proof.
have le : (#|S| <= #|setX A [set: 'I_N] :|: setX (~: A) B|)%N.
  apply: subset_leq_card; apply/subsetP => p /covers; rewrite !inE andbT.
  by case: (p.1 \in A).
apply: leq_trans le _; apply: leq_trans (leq_card_setU _ _) _.
have cA : #|~: A| = (D - a)%N by rewrite cardsCs setCK card_ord.
by rewrite !cardsX cardsT card_ord cA.
Qed.

(* Fewer entries than a LoRA of rank a + b stores, and at most its degrees of freedom. *)
Theorem sparse_stores_less : (0 < a + b)%N -> (a + b <= D)%N -> (#|S| < (a + b) * (D + N))%N.
Proof.
have bN : (b <= N)%N by rewrite -[X in (_ <= X)%N]card_ord max_card.
move: entries_of_cover bN; rewrite -/a -/b; move: #|S| a b => s x y le yN xy leD.
have [k Dk] : exists k, D = (x + y + k)%N by exists (D - (x + y))%N; lia.
have e : (D - x = y + k)%N by lia.
have pos2 : (0 < x * x + y * N)%N by rewrite addn_gt0 !muln_gt0; lia.
by move: le; rewrite e Dk; have := leq0n (x * y); have := leq0n (x * k); lia.
Qed.

Theorem sparse_degrees : (a + b <= D)%N -> (a + b <= N)%N -> (#|S| <= (a + b) * (D + N - (a + b)))%N.
Proof.
move: entries_of_cover; rewrite -/a -/b; move: #|S| a b => s x y le leD leN.
have [k Dk] : exists k, D = (x + y + k)%N by exists (D - (x + y))%N; lia.
have [l Nl] : exists l, N = (x + y + l)%N by exists (N - (x + y))%N; lia.
have e : (D - x = y + k)%N by lia.
have e2 : (D + N - (x + y) = x + y + k + l)%N by lia.
by move: le; rewrite e e2 Nl; have := leq0n (x * k); have := leq0n (x * y); have := leq0n (y * l); lia.
Qed.

(* Equality holds only for the full parameter. *)
Theorem sparse_degrees_equal : (0 < a + b)%N -> (a + b <= D)%N -> (a + b <= N)%N ->
  #|S| = ((a + b) * (D + N - (a + b)))%N -> #|S| = (D * N)%N.
Proof.
move: entries_of_cover; rewrite -/a -/b; move: #|S| a b => s x y le pos leD leN eqs.
have [k Dk] : exists k, D = (x + y + k)%N by exists (D - (x + y))%N; lia.
have [l Nl] : exists l, N = (x + y + l)%N by exists (N - (x + y))%N; lia.
have e : (D - x = y + k)%N by lia.
have e2 : (D + N - (x + y) = x + y + k + l)%N by lia.
have zero : (x * k + y * (x + l) = 0)%N by move: le; rewrite eqs e e2 Nl; lia.
have : (x * k = 0 /\ y * (x + l) = 0)%N by lia.
rewrite eqs e2 Dk Nl => -[/eqP]; rewrite muln_eq0 => xk /eqP; rewrite muln_eq0 addn_eq0 => yl.
by case/orP: xk => /eqP e3; case/orP: yl => [/eqP e4|/andP[/eqP e4 /eqP e5]]; rewrite ?e3 ?e4 ?e5; lia.
Qed.
End Cover.

(* A dense change of rank rho is cheaper as LoRA iff rho (D + N) < D N: by definition of the two counts. *)

Section Rank.
Variables (F : fieldType) (D N : nat).

Lemma mxrank_sum (I : Type) (r : seq I) (P : pred I) (f : I -> 'M[F]_(D, N)) :
  (\rank (\sum_(i <- r | P i) f i)%R <= \sum_(i <- r | P i) \rank (f i))%N.
Proof.
apply: (big_ind2 (fun (m : 'M[F]_(D, N)) k => (\rank m <= k)%N)) => [|m1 k1 m2 k2 h1 h2|//]; first by rewrite mxrank0.
exact: leq_trans (mxrank_add _ _) (leq_add h1 h2).
Qed.

(* Covered values have rank at most a + b, whatever they are. *)
Theorem cover_bounds_rank (M : 'M[F]_(D, N)) (A : {set 'I_D}) (B : {set 'I_N}) :
  (forall i j, M i j != 0 -> (i \in A) || (j \in B)) -> (\rank M <= #|A| + #|B|)%N.
Proof.
move=> cov.
have -> : M = (\sum_(i in A) delta_mx i 0 *m row i M) +
    \sum_(j in B) (\col_i (if i \in A then 0 else M i j)) *m (delta_mx 0 j : 'rV_N).
  apply/matrixP => i j; rewrite mxE !summxE.
  have eA : \sum_(k in A) (delta_mx k 0 *m row k M) i j = if i \in A then M i j else 0.
    case: (boolP (i \in A)) => iA.
      rewrite (bigD1 i) //= mxE big_ord1 !mxE !eqxx mul1r big1 ?addr0 // => k /andP[_ ne].
      by rewrite mxE big_ord1 !mxE eq_sym (negPf ne) mul0r.
    rewrite big1 // => k kA; rewrite mxE big_ord1 !mxE; case: eqP => [e|]; last by rewrite mul0r.
    by rewrite e kA in iA.
  have eB : \sum_(k in B) ((\col_i0 (if i0 \in A then 0 else M i0 k)) *m (delta_mx 0 k : 'rV_N)) i j =
      if j \in B then (if i \in A then 0 else M i j) else 0.
    case: (boolP (j \in B)) => jB.
      rewrite (bigD1 j) //= mxE big_ord1 !mxE !eqxx mulr1 big1 ?addr0 // => k /andP[_ ne].
      by rewrite mxE big_ord1 !mxE /= [j == k]eq_sym (negPf ne) mulr0.
    rewrite big1 // => k kB; rewrite mxE big_ord1 !mxE /=; case: eqP => [e|]; last by rewrite mulr0.
    by rewrite e kB in jB.
  rewrite eA eB; case: (boolP (i \in A)) => iA; first by rewrite if_same addr0.
  case: (boolP (j \in B)) => jB; first by rewrite add0r.
  by have [->|/cov] := eqVneq (M i j) 0; rewrite ?addr0 // (negPf iA) (negPf jB).
apply: leq_trans (mxrank_add _ _) (leq_add _ _).
  apply: leq_trans (mxrank_sum _ _ _) _; rewrite -sum1_card; apply: leq_sum => i _.
  exact: leq_trans (mxrankM_maxl _ _) (rank_leq_col _).
apply: leq_trans (mxrank_sum _ _ _) _; rewrite -sum1_card; apply: leq_sum => i _.
exact: leq_trans (mxrankM_maxl _ _) (rank_leq_col _).
Qed.

(* Some values on a matching of size t have rank t. *)
Theorem matching_has_rank t (row : 'I_t -> 'I_D) (col : 'I_t -> 'I_N) : injective row -> injective col ->
  exists M : 'M[F]_(D, N), (forall i j, M i j != 0 -> exists k, (i, j) = (row k, col k)) /\ \rank M = t.
Proof.
move=> injr injc; pose P : 'M[F]_(D, t) := \matrix_(i, k) (i == row k)%:R.
pose Q : 'M[F]_(t, N) := \matrix_(k, j) (j == col k)%:R.
have PP : P^T *m P = 1%:M.
  apply/matrixP => k l; rewrite !mxE (bigD1 (row k)) //= !mxE eqxx mul1r (inj_eq injr) big1 ?addr0 // => i ne.
  by rewrite !mxE (negPf ne) mul0r.
have QQ : Q *m Q^T = 1%:M.
  apply/matrixP => k l; rewrite !mxE (bigD1 (col k)) //= !mxE eqxx mul1r (inj_eq injc) big1 ?addr0 // => i ne.
  by rewrite !mxE (negPf ne) mul0r.
exists (P *m Q); split=> [i j|].
  rewrite mxE => nz; have /existsP[k /andP[/eqP -> /eqP ->]] : [exists k, (i == row k) && (j == col k)].
    apply: contraNT nz => /existsPn none; rewrite big1 // => k _; have := none k; rewrite !mxE.
    by case: (i == row k) => //=; rewrite ?mul0r // mul1r => /negPf ->.
  by exists k.
apply/eqP; rewrite eqn_leq (leq_trans (mxrankM_maxl _ _) (rank_leq_col _)) /=.
have e : P^T *m (P *m Q) *m Q^T = 1%:M by rewrite mulmxA PP mul1mx QQ.
by rewrite -[X in (X <= _)%N](mxrank1 F t) -e; exact: leq_trans (mxrankM_maxl _ _) (mxrankM_maxr _ _).
Qed.
End Rank.
