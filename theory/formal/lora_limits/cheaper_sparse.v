(* lora_limits.cheaper_sparse: sparse against low rank, in stored numbers and degrees of freedom. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import zify.
From Ssmproof.core Require Import bipartite minors.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory.
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

(* Any support S: the least cover has term_rank S lines (Koenig), so the three counts hold with the term rank. *)
Section Support.
Variables (D N : nat) (S : {set 'I_D * 'I_N}).
Notation tau := (term_rank S).

Lemma least_cover : exists (A : {set 'I_D}) (B : {set 'I_N}),
  (forall p, p \in S -> (p.1 \in A) || (p.2 \in B)) /\ (#|A| + #|B| = tau)%N.
Proof.
have [A [B [/coveredP c e]]] := koenig S; exists A, B; split=> // p pS.
by apply: c; rewrite /pairs -surjective_pairing.
Qed.

Lemma term_rank_le_lines (A : {set 'I_D}) (B : {set 'I_N}) :
  (forall p, p \in S -> (p.1 \in A) || (p.2 \in B)) -> (tau <= #|A| + #|B|)%N.
Proof.
move=> c; have [M [/subsetP MS mM <-]] := term_rank_attained S; apply: matching_le_cover mM _.
by apply/coveredP => i j /MS/c.
Qed.

Lemma term_rank_le : (tau <= D)%N /\ (tau <= N)%N.
Proof.
split; [have := @term_rank_le_lines setT set0 _ | have := @term_rank_le_lines set0 setT _].
  by rewrite cardsT cards0 card_ord addn0; apply=> p _; rewrite inE.
by rewrite cardsT cards0 card_ord add0n; apply=> p _; rewrite !inE orbT.
Qed.

Theorem term_rank_gt0 : S != set0 -> (0 < tau)%N.
Proof.
case/set0Pn => p pS; have [A [B [c <-]]] := least_cover; rewrite addn_gt0 !card_gt0 -negb_and.
apply/negP => /andP[/eqP A0 /eqP B0]; by have := c p pS; rewrite A0 B0 !inE.
Qed.

Theorem stores_less : S != set0 -> (#|S| < tau * (D + N))%N.
Proof.
move=> S0; have := term_rank_gt0 S0; have [leD _] := term_rank_le; have [A [B [c e]]] := least_cover.
by move: leD; rewrite -e => leD pos; apply: sparse_stores_less.
Qed.

Theorem fewer_degrees : (#|S| <= tau * (D + N - tau))%N.
Proof.
have [leD leN] := term_rank_le; have [A [B [c e]]] := least_cover; move: leD leN; rewrite -e => leD leN.
exact: sparse_degrees.
Qed.

(* Equality only for the full parameter. *)
Theorem equal_degrees : S != set0 -> (#|S| == tau * (D + N - tau))%N = (S == setT).
Proof.
move=> S0; have pos := term_rank_gt0 S0; have [leD leN] := term_rank_le; apply/eqP/eqP => [eqS|full].
  apply/eqP; rewrite eqEcard subsetT cardsT card_prod !card_ord /=.
  have [A [B [c e]]] := least_cover; move: pos leD leN eqS; rewrite -e => pos leD leN eqS.
  by rewrite (sparse_degrees_equal c pos leD leN eqS).
have [A [B [c e]]] := least_cover.
have {c} allA : A = setT \/ B = setT.
  case: (eqVneq A setT) => [->|/eqP nA]; [by left | right; apply/setP => j; rewrite inE].
  case: (pickP [pred i | i \notin A]) => [i /= /negPf iA|none]; last by case: nA; apply/setP => i; rewrite inE; apply/negPn/negbT; exact: none.
  by have := c (i, j); rewrite full inE /= iA; apply.
have le : (D <= tau)%N \/ (N <= tau)%N.
  by rewrite -e; case: allA => ->; rewrite cardsT card_ord; [left; exact: leq_addr | right; exact: leq_addl].
have -> : #|S| = (D * N)%N by rewrite full cardsT card_prod !card_ord.
by move: le leD leN; move: (term_rank S) => t; nia.
Qed.
End Support.

(* k channels and the same s states. *)
Theorem block_rank D N (X : {set 'I_D}) (Y : {set 'I_N}) : term_rank (setX X Y) = minn #|X| #|Y|.
Proof.
apply/eqP; rewrite eqn_leq leq_min; apply/andP; split.
  apply/andP; split; [have := @term_rank_le_lines _ _ (setX X Y) X set0 _ | have := @term_rank_le_lines _ _ (setX X Y) set0 Y _].
    by rewrite cards0 addn0; apply=> -[i j]; rewrite !inE => /andP[-> _].
  by rewrite cards0 add0n; apply=> -[i j]; rewrite !inE => /andP[_ ->].
have [A [B [c <-]]] := least_cover (setX X Y); rewrite geq_min.
case: (boolP (X \subset A)) => [/subset_leq_card XA|/subsetPn[i iX /negPf iA]]; first by rewrite (leq_trans XA) ?leq_addr.
suff /subset_leq_card YB : Y \subset B by rewrite (leq_trans YB) ?leq_addl ?orbT.
by apply/subsetP => j jY; have := c (i, j); rewrite !inE iX jY iA; apply.
Qed.

(* Values on the support S: the rank is at most the term rank, and equal to it wherever one minor, a polynomial in the
   values, is not 0. That minor is not the zero polynomial. *)
Section Generic.
Variables (F : fieldType) (D N : nat) (S : {set 'I_D * 'I_N}).
Notation tau := (term_rank S).
Definition supported (M : 'M[F]_(D, N)) := forall i j, M i j != 0 -> (i, j) \in S.

Theorem rank_le_term_rank M : supported M -> (\rank M <= tau)%N.
Proof.
move=> sup; have [A [B [c e]]] := least_cover S; rewrite -e; apply: cover_bounds_rank => i j /sup.
exact: (c (i, j)).
Qed.

Lemma matching_lines : exists (f : 'I_tau -> 'I_D) (g : 'I_tau -> 'I_N),
  [/\ injective f, injective g & forall k, (f k, g k) \in S].
Proof.
have [M [/subsetP MS /is_matchingP mM e]] := term_rank_attained S; pose p (k : 'I_tau) := tnth (enum_tuple M) (cast_ord (esym e) k).
have pM k : p k \in M by rewrite -mem_enum mem_tnth.
have injp : injective p by move=> k l /(tuple_uniqP _ (enum_uniq M))/cast_ord_inj.
exists (fun k => (p k).1), (fun k => (p k).2); split=> [k l ekl|k l ekl|k]; [apply: injp; apply: mM; auto | apply: injp; apply: mM; auto |].
by have := MS _ (pM k); case: (p k).

Qed.

Theorem generic_rank : exists (f : 'I_tau -> 'I_D) (g : 'I_tau -> 'I_N),
  (forall M, supported M -> \det (mxsub f g M) != 0 -> \rank M = tau) /\ exists2 M, supported M & \det (mxsub f g M) != 0.
Proof.
have [f [g [injf injg inS]]] := matching_lines; exists f, g; split=> [M sup /minor_rank ge|].
  by apply/eqP; rewrite eqn_leq rank_le_term_rank.
exists (\matrix_(i, j) [exists k, (i == f k) && (j == g k)]%:R) => [i j|].
  by rewrite mxE; case: existsP => [[k /andP[/eqP-> /eqP->]]|]; rewrite ?inS ?eqxx.
rewrite (_ : mxsub _ _ _ = 1%:M) ?det1 ?oner_eq0 //; apply/matrixP => k l; rewrite !mxE; congr (nat_of_bool _)%:R.
apply/existsP/eqP => [[q /andP[/eqP/injf-> /eqP/injg->]]//|->]; by exists l; rewrite !eqxx.
Qed.
End Generic.

(* In characteristic 0 there are such values, none of which is 0. *)
Theorem generic_values (F : numFieldType) D N (S : {set 'I_D * 'I_N}) :
  exists2 M : 'M[F]_(D, N), forall i j, (M i j != 0) = ((i, j) \in S) & \rank M = term_rank S.
Proof.
have [f [g [injf injg inS]]] := matching_lines S.
pose on i j := [exists k, (i == f k) && (j == g k)].
pose value (s : F) : 'M[F]_(D, N) := \matrix_(i, j) (if (i, j) \in S then s *+ on i j + 1 else 0).
pose J : 'M[F]_(term_rank S) := mxsub f g (value 0).
have minorE s : \det (mxsub f g (value s)) = (char_poly (- J)).[s].
  rewrite /char_poly -horner_evalE -det_map_mx; congr (\det _); apply/matrixP => k l.
  rewrite !mxE /= horner_evalE hornerD hornerN hornerC opprK hornerMn hornerX mul0rn add0r.
  have -> : on (f k) (g l) = (k == l).
    by apply/existsP/eqP => [[q /andP[/eqP/injf-> /eqP/injg->]]//|->]; exists l; rewrite !eqxx.
  by case: eqP => [->|_]; rewrite ?inS ?mulr0n ?add0r.
have [s sP] : exists s : F, (0 <= s) && ~~ root (char_poly (- J)) s.
  pose w := [seq (k%:R : F) | k <- iota 0 (size (char_poly (- J)))].
  case: (boolP (all (root (char_poly (- J))) w)) => [al|/allPn[t /mapP[k _ ->] rt]]; last by exists k%:R; rewrite ler0n.
  case/negP: (monic_neq0 (char_poly_monic (- J))); apply/eqP; apply: (roots_geq_poly_eq0 al); last by rewrite size_map size_iota.
  by rewrite map_inj_uniq ?iota_uniq // => k l /eqP; rewrite eqr_nat => /eqP.
case/andP: sP => s0 rs; exists (value s) => [i j|].
  rewrite mxE; case: ifP => [_|]; last by rewrite eqxx.
  by rewrite lt0r_neq0 // ltr_paddl ?ltr01 //; apply: mulrn_wge0.
apply/eqP; rewrite eqn_leq rank_le_term_rank => [/=|i j]; last by rewrite mxE; case: ifP => //; rewrite eqxx.
by apply: (@minor_rank _ _ _ _ _ f g); rewrite minorE.
Qed.
