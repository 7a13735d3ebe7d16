(* sparse_dims.minimal_adjustment: the assignment is exact when the frozen channel is generic, and its gap is at most N in
   general and at most N/2 for distinct frozen modes; both bounds are attained. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import zify.
From Ssmproof.sparse_dims Require Import minimal_adjustment partitions.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* One group S sent to v, where the residues should sum to t. *)
Section Group.
Variables (F : fieldType) (N : nat) (a r : 'I_N -> F) (v t : F) (S : {set 'I_N}).
Let moved := #|[set n in S | a n != v]|.
Let wrong : nat := (\sum_(n in S) r n != t).
Let own k : nat := ((a k != v) + (r k != t) + #|[set n in S | (n != k) && (r n != 0%R)]|)%N.
Let nonzero := #|[set n in S | r n != 0%R]|.

Lemma others_le k : k \in S -> (#|[set n in S | (n != k) && (r n != 0%R)]| <= #|S|.-1)%N.
Proof.
move=> kS; rewrite (cardsD1 k S) kS; apply: subset_leq_card; apply/subsetP => n.
by rewrite !inE => /and3P[-> ->].
Qed.

Lemma nonzero_le : (nonzero <= #|S|)%N.
Proof. by apply: subset_leq_card; apply/subsetP => n; rewrite inE => /andP[]. Qed.

Lemma all_moved : (forall n, n \in S -> a n != v) -> moved = #|S|.
Proof. by move=> al; apply: eq_card => n; rewrite !inE andb_idr // => /al. Qed.

Lemma movedE : moved = (\sum_(n in S) (a n != v))%N. Proof. exact: (card_as_sum (mem S)). Qed.
Lemma nonzeroE : nonzero = (\sum_(n in S) (r n != 0%R))%N. Proof. exact: (card_as_sum (mem S)). Qed.

Lemma one_own k : S = [set k] -> own k = (moved + wrong)%N.
Proof.
move=> SE; rewrite movedE /wrong SE !big_set1 /own (eq_card0 (A := [set n in S | _])) ?addn0 // => n.
by rewrite !inE SE inE; case: eqP.
Qed.

Lemma small_group : (#|S| <= 1)%N -> S = set0 \/ exists k, S = [set k].
Proof.
rewrite leq_eqVlt ltnS leqn0 cards_eq0 => /orP[/cards1P|/eqP]; [by right | by left].
Qed.

(* Members that have not moved: at most one if the frozen modes are distinct. *)
Lemma one_stays : {in S &, injective a} -> (#|S| <= moved.+1)%N.
Proof.
move=> inj; rewrite -add1n -(cardsID [set n | a n == v] S); apply: leq_add; last first.
  by apply: subset_leq_card; apply/subsetP => n; rewrite !inE andbC.
apply/card_le1_eqP => x y; rewrite !inE => /andP[xS /eqP ax] /andP[yS /eqP ay].
by apply: inj => //; rewrite ax.
Qed.

(* A match with a member that stays, or with any member. *)
Lemma own_le : S != set0 -> exists2 k, k \in S & (own k <= #|S|)%N \/ (own k <= #|S|.+1)%N /\ moved = #|S|.
Proof.
move=> S0; have pos : (0 < #|S|)%N by rewrite card_gt0.
case: (pickP [pred k | (k \in S) && (a k == v)]) => [k /andP[kS /eqP ak]|none].
  exists k => //; left; rewrite /own ak eqxx add0n -[X in (_ <= X)%N](prednK pos) -add1n.
  by apply: leq_add; [case: (r k != t) | exact: others_le].
have [k kS] := set0Pn _ S0; exists k => //; right; split.
  rewrite /own -[X in (_ <= X.+1)%N](prednK pos) -(add2n #|S|.-1); apply: leq_add; last exact: others_le.
  by case: (a k != v); case: (r k != t).
apply: eq_card => n; rewrite !inE andb_idr // => nS; by have := none n; rewrite /= nS => /negbT.
Qed.

(* Any residues and modes: the gap of a group is at most its size, and 0 for one state. *)
Lemma own_any : S != set0 -> exists2 k, k \in S & (own k <= moved + wrong + (if (#|S| <= 1)%N then 0 else #|S|))%N.
Proof.
move=> S0; case: ifP => [/small_group[e|[k SE]]|big]; first by rewrite e eqxx in S0.
  by exists k; [rewrite SE set11 | rewrite (one_own SE) addn0].
have [k kS [le|[le mv]]] := own_le S0; exists k => //; first exact: leq_trans le (leq_addl _ _).
by rewrite mv; apply: leq_trans le _; move: big; move: #|S| wrong => s w; lia.
Qed.

Lemma rest_any : t = 0 -> (nonzero <= moved + wrong + (if (#|S| <= 1)%N then 0 else #|S|))%N.
Proof.
move=> t0; case: ifP => [/small_group[e|[k SE]]|_]; last exact: leq_trans nonzero_le (leq_addl _ _).
  by rewrite nonzeroE e big_set0.
by rewrite nonzeroE /wrong SE !big_set1 t0 addn0 leq_addl.
Qed.

(* Distinct modes: at most one, and 0 for one state. *)
Lemma own_distinct : {in S &, injective a} -> S != set0 -> exists2 k, k \in S & (own k <= moved + wrong + #|S|./2)%N.
Proof.
move=> inj S0; have [le1|big] := leqP #|S| 1.
  case: (small_group le1) => [e|[k SE]]; first by rewrite e eqxx in S0.
  by exists k; [rewrite SE set11 | rewrite (one_own SE) leq_addr].
have [k kS le] := own_le S0; exists k => //; have := one_stays inj; have h := half_leq big.
by case: le => [le|[le ->]]; move: le h; move: #|S| => s; lia.
Qed.

Lemma rest_distinct : {in S &, injective a} -> t = 0 -> (nonzero <= moved + wrong + #|S|./2)%N.
Proof.
move=> inj t0; have [le1|big] := leqP #|S| 1.
  have := rest_any t0; rewrite le1 addn0 => /leq_trans; apply; exact: leq_addr.
by have := one_stays inj; have := nonzero_le; have := half_leq big; move: #|S| nonzero => s z; lia.
Qed.

(* Generic: distinct modes, and no two or more nonzero residues of the group sum to 0 or to t. *)
Hypotheses (distinct : {in S &, injective a})
  (generic : forall Z : {set 'I_N}, Z \subset S -> (1 < #|Z|)%N -> (forall n, n \in Z -> r n != 0) -> \sum_(n in Z) r n != 0 /\ \sum_(n in Z) r n != t).
Let Z := [set n in S | r n != 0].

Lemma sum_nonzero : \sum_(n in S) r n = \sum_(n in Z) r n.
Proof.
rewrite big_mkcond [RHS]big_mkcond; apply: eq_bigr => n _; rewrite inE; case: (n \in S) => //=.
by case: eqP.
Qed.

Lemma few_nonzero : \sum_(n in S) r n = 0 \/ \sum_(n in S) r n = t -> (#|Z| <= 1)%N.
Proof.
move=> sum; rewrite leqNgt; apply/negP => big; have [|n|n1 n2] := generic _ big.
- by apply/subsetP => n; rewrite inE => /andP[].
- by rewrite inE => /andP[].
by case: sum; rewrite sum_nonzero => e; [rewrite e eqxx in n1 | rewrite e eqxx in n2].
Qed.

Lemma own_generic : t != 0 -> S != set0 -> exists2 k, k \in S & (own k <= moved + wrong)%N.
Proof.
move=> t0 S0; have [ok|bad] := eqVneq (\sum_(n in S) r n) t.
  have few := few_nonzero (or_intror ok); have Z0 : Z != set0.
    by apply: contra t0 => /eqP Z0; rewrite -ok sum_nonzero Z0 big_set0.
  have [k ZE] : exists k, Z = [set k] by apply/cards1P; rewrite eqn_leq few card_gt0.
  have kZ : k \in Z by rewrite ZE set11.
  have kS : k \in S by move: kZ; rewrite inE => /andP[].
  have rk : r k = t by rewrite -ok sum_nonzero ZE big_set1.
  exists k => //; rewrite /own rk eqxx addn0 (eq_card0 (A := [set n in S | _])) => [|n]; last first.
    rewrite !inE; apply/negP => /and3P[nS ne rn]; have : n \in Z by rewrite inE nS.
    by rewrite ZE inE (negPf ne).
  rewrite addn0 (leq_trans _ (leq_addr _ _)) // movedE (bigD1 k) //=; exact: leq_addr.
have w1 : wrong = 1%N by rewrite /wrong bad.
have [k kS le] := own_le S0; exists k => //; rewrite w1 addn1.
by case: le => [le|[le ->]] //; exact: leq_trans le (one_stays distinct).
Qed.

Lemma rest_generic : t = 0 -> (nonzero <= moved + wrong)%N.
Proof.
move=> t0; have [ok|bad] := eqVneq (\sum_(n in S) r n) t; last first.
  by rewrite {1}/wrong bad addn1; exact: leq_trans nonzero_le (one_stays distinct).
have few := few_nonzero (or_intror ok); rewrite /nonzero -/Z; move: few; rewrite leq_eqVlt => /orP[/cards1P[k ZE]|].
  have := sum_nonzero; rewrite ok t0 ZE big_set1 => rk; have : k \in Z by rewrite ZE set11.
  by rewrite inE -rk eqxx andbF.
by rewrite ltnS leqn0 => /eqP ->.
Qed.
End Group.

Section Channel.
Variables (F : fieldType) (N M : nat) (a r : 'I_N -> F) (lam rs : 'I_M -> F).
Hypotheses (injl : injective lam) (rs0 : forall m, rs m != 0).
Let cost := @edit_cost F N a r.
Let ok := @right F N M lam rs.

Lemma assignment_from (g : nat -> nat) f : admissible a lam f ->
  (forall m, exists2 k, k \in group f (lam m) &
    (own_cost a r (lam m) (group f (lam m)) k (rs m) <= group_cost a r lam rs (lam m) (group f (lam m)) + g #|group f (lam m)|)%N) ->
  (forall v, target lam rs v = 0 ->
    (#|[set n in group f v | r n != 0%R]| <= group_cost a r lam rs v (group f v) + g #|group f v|)%N) ->
  exists2 pi : 'I_M -> 'I_N, injective pi &
    (assignment_cost a r pi lam rs <= partition_cost a r lam rs f + \sum_(v <- destinations a lam) g #|group f v|)%N.
Proof.
move=> [fV _] own rest.
have one m : exists k, f k = lam m /\ (own_cost a r (lam m) (group f (lam m)) k (rs m) <= group_cost a r lam rs (lam m) (group f (lam m)) + g #|group f (lam m)|)%N.
  by have [k kS le] := own m; exists k; split=> //; move: kS; rewrite inE => /eqP.
have [u uP] := fin_all_exists one; have uS m : f (u m) = lam m by case: (uP m).
exists u; first exact: (u_inj injl uS).
by apply: assignment_by_groups => // m; case: (uP m).
Qed.

Lemma group_neq0 f m : admissible a lam f -> group f (lam m) != set0.
Proof. by case=> _ /(_ m)[n fn]; apply/set0Pn; exists n; rewrite inE fn. Qed.

Lemma group_sizes (f : 'I_N -> F) : (forall n, f n \in destinations a lam) -> (\sum_(v <- destinations a lam) #|group f v| = N)%N.
Proof.
move=> fV; rewrite -[RHS]card_ord -sum1_card -(sum_by_value (fun=> 1%N) (destinations_uniq a lam) fV).
by apply: eq_bigr => v _; rewrite -sum1_card; apply: eq_bigl => n; rewrite inE.
Qed.

(* Exact when generic. *)
Theorem exact_when_generic : injective a ->
  (forall Z : {set 'I_N}, (1 < #|Z|)%N -> (forall n, n \in Z -> r n != 0) ->
    \sum_(n in Z) r n != 0 /\ forall m, \sum_(n in Z) r n != rs m) ->
  forall a' r', ok a' r' -> exists2 pi : 'I_M -> 'I_N, injective pi & (assignment_cost a r pi lam rs <= cost a' r')%N.
Proof.
move=> inj gen a' r' /(exact_lower a r injl rs0)[f adm le].
have [m|v t0|pi injpi le2] := @assignment_from (fun=> 0%N) f adm.
- rewrite addn0 /group_cost target_lam //; apply: own_generic (rs0 m) (group_neq0 m adm); first by move=> x y _ _; exact: inj.
  by move=> Z _ big nz; have [z0 zm] := gen Z big nz; split.
- rewrite addn0 /group_cost t0; apply: rest_generic => [x y _ _|Z _ big nz|//]; first exact: inj.
  by have [z0 _] := gen Z big nz; split.
exists pi => //; apply: leq_trans le2 _; rewrite big1 // addn0; exact: le.
Qed.

(* In general the assignment overpays by at most N, and not at all for N = 1. *)
Theorem gap_general a' r' : ok a' r' ->
  exists2 pi : 'I_M -> 'I_N, injective pi & (assignment_cost a r pi lam rs <= cost a' r' + (if (N <= 1)%N then 0 else N))%N.
Proof.
move=> /(exact_lower a r injl rs0)[f adm le].
have [m|v t0|pi injpi le2] := @assignment_from (fun k => if (k <= 1)%N then 0%N else k) f adm.
- by rewrite /group_cost target_lam //; apply: own_any (group_neq0 m adm).
- by rewrite /group_cost t0; apply: rest_any.
exists pi => //; apply: leq_trans le2 (leq_add le _); have [fV _] := adm.
case: ifP => N1; last by rewrite -[X in (_ <= X)%N](group_sizes fV); apply: leq_sum => v _; case: ifP.
by rewrite big1 // => v _; rewrite (leq_trans (max_card _)) // card_ord.
Qed.

(* Distinct frozen modes: at most half of N, rounded down. *)
Theorem gap_distinct a' r' : injective a -> ok a' r' ->
  exists2 pi : 'I_M -> 'I_N, injective pi & (assignment_cost a r pi lam rs <= cost a' r' + N./2)%N.
Proof.
move=> inj /(exact_lower a r injl rs0)[f adm le].
have injS (S : {set 'I_N}) : {in S &, injective a} by move=> x y _ _; exact: inj.
have [m|v t0|pi injpi le2] := @assignment_from half f adm.
- by rewrite /group_cost target_lam //; apply: own_distinct (injS _) (group_neq0 m adm).
- by rewrite /group_cost t0; apply: rest_distinct (injS _) _.
exists pi => //; apply: leq_trans le2 (leq_add le _); have [fV _] := adm.
rewrite -[X in (_ <= X./2)%N](group_sizes fV); elim: (destinations a lam) => [|v V IH]; first by rewrite big_nil.
by rewrite !big_cons (leq_trans (leq_add (leqnn _) IH)) // halfD leq_addl.
Qed.
End Channel.

(* Both bounds are attained. N equal modes with residues 1, the target the same mode with residue N: N against 0. *)
Theorem gap_general_attained (F : numFieldType) N (v : F) : (1 < N)%N ->
  right (fun _ : 'I_1 => v) (fun=> N%:R) (fun _ : 'I_N => v) (fun=> 1) /\
  forall pi : 'I_1 -> 'I_N, assignment_cost (fun _ : 'I_N => v) (fun=> 1) pi (fun=> v) (fun=> N%:R) = N.
Proof.
move=> N1; split=> [z|pi].
  rewrite /target [RHS]big_mkcond big_ord1; case: eqP => _; last by rewrite big_pred0.
  by rewrite sumr_const card_ord.
rewrite /assignment_cost big_ord1 eqxx add0n.
have -> : (1 != N%:R :> F) by rewrite -[1]/(1%:R) eqr_nat neq_ltn N1.
rewrite (eq_card (B := [set~ pi ord0])) ?cardsC1 ?card_ord ?add1n ?prednK ?(ltnW N1) // => n.
rewrite !inE oner_neq0 andbT; congr (~~ _); apply/imsetP/eqP => [[k _ ->]|->]; last by exists ord0.
by congr pi; apply: val_inj; case: k => -[].
Qed.

(* k pairs of distinct modes with residues 1 and at most one further state with residue 0; the target keeps one mode of each
   pair with residue 2. The edit moves the partners, k changes; every assignment changes N/2 more, rounded down. *)
Section Pairs.
Variables (F : numFieldType) (k e : nat) (a : 'I_(k + k + e) -> F).
Hypothesis inj : injective a.
Let lam i := a (lshift e (lshift k i)).
Definition pair_residue (n : 'I_(k + k + e)) : F := if split n is inl _ then 1 else 0.
Definition pair_mode (n : 'I_(k + k + e)) : F := if split n is inl m then (if split m is inr i then lam i else a n) else a n.

Lemma split_l m n (i : 'I_m) : split (lshift n i) = inl i. Proof. exact: (unsplitK (inl i)). Qed.
Lemma split_r m n (i : 'I_n) : split (rshift m i) = inr i. Proof. exact: (unsplitK (inr i)). Qed.

Lemma pairs_right : right lam (fun=> 2%:R) pair_mode pair_residue.
Proof.
move=> v; rewrite /target [LHS]big_mkcond !big_split_ord /= [RHS]big_mkcond.
have z (i : 'I_e) : (if pair_mode (rshift (k + k) i) == v then pair_residue (rshift (k + k) i) else 0) = 0.
  by rewrite /pair_residue split_r if_same.
rewrite (eq_bigr _ (fun i _ => z i)) big1_eq addr0 -big_split /=; apply: eq_bigr => i _.
by rewrite /pair_mode /pair_residue !split_l !split_r -/(lam i); case: eqP => _; rewrite ?addr0.
Qed.

Lemma pairs_cost : edit_cost a pair_residue pair_mode pair_residue = k.
Proof.
rewrite edit_costE !big_split_ord /=.
rewrite [X in (X + _ + _)%N]big1 => [|i _]; last by rewrite /pair_mode !split_l !eqxx.
rewrite [X in (_ + X)%N]big1 => [|i _]; last by rewrite /pair_mode split_r !eqxx.
rewrite add0n addn0 -[RHS]card_ord -sum1_card; apply: eq_bigr => i _.
by rewrite /pair_mode split_l split_r eqxx addn0 (inj_eq inj) (inj_eq (@lshift_inj _ _)) eq_lrshift.
Qed.

Lemma pairs_assignment (pi : 'I_k -> 'I_(k + k + e)) : injective pi ->
  (k + k <= assignment_cost a pair_residue pi lam (fun=> 2%:R)%R)%N.
Proof.
move=> injpi; rewrite /assignment_cost; apply: leq_add.
  rewrite -[X in (X <= _)%N]card_ord -sum1_card; apply: leq_sum => i _; apply: leq_trans (leq_addl _ _).
  by rewrite /pair_residue; case: (split _) => _; rewrite ?(eqr_nat _ 1 2) // eq_sym pnatr_eq0.
set B := [set pi i | i in 'I_k]; pose A := [set lshift e i | i : 'I_(k + k)].
have cA : #|A| = (k + k)%N by rewrite card_imset ?card_ord //; exact: lshift_inj.
have cB : (#|A :&: B| <= k)%N by rewrite (leq_trans (subset_leq_card (subsetIr _ _))) // card_imset // card_ord.
apply: (@leq_trans #|A :\: B|).
  by rewrite -(leq_add2l #|A :&: B|) cardsID cA leq_add2r.
apply: subset_leq_card; apply/subsetP => n; rewrite !inE => /andP[-> /imsetP[i _ ->]].
by rewrite /pair_residue split_l oner_neq0.
Qed.
Theorem gap_distinct_attained : (e <= 1)%N -> [/\ right lam (fun=> 2%:R) pair_mode pair_residue,
  edit_cost a pair_residue pair_mode pair_residue = k &
  forall pi : 'I_k -> 'I_(k + k + e), injective pi -> (k + (k + k + e)./2 <= assignment_cost a pair_residue pi lam (fun=> 2%:R)%R)%N].
Proof.
move=> e1; split; [exact: pairs_right | exact: pairs_cost | move=> pi /pairs_assignment; congr (_ + _ <= _)%N].
by rewrite halfD addnn odd_double add0n doubleK; case: e e1 => [|[]] // _; rewrite addn0.
Qed.
End Pairs.
