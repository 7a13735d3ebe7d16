(* sparse_dims.minimal_adjustment, the true minimum: edits are partitions of the states among destinations, and from each
   partition an assignment that costs as little (generic), or little more (gap bounds). *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import zify.
From Ssmproof.core Require Import recurrence lti modes.
From Ssmproof.sparse_dims Require Import essential minimal_adjustment.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

(* A sum by values: f takes values in the list V. *)
Lemma sum_by_value (I : finType) (T : eqType) (f : I -> T) (V : seq T) (X : I -> nat) : uniq V -> (forall i, f i \in V) ->
  (\sum_(v <- V) \sum_(i | f i == v) X i = \sum_i X i)%N.
Proof.
move=> uV fV; under eq_bigr => v _ do rewrite big_mkcond /=.
rewrite exchange_big; apply: eq_bigr => i _; rewrite (bigD1_seq (f i)) //= eqxx big1 ?addn0 // => v ne.
by rewrite eq_sym (negPf ne).
Qed.

Lemma card_as_sum (I : finType) (P Q : pred I) : #|[set i | P i && Q i]| = (\sum_(i | P i) Q i)%N.
Proof. by rewrite -sum1_card big_mkcond [RHS]big_mkcond; apply: eq_bigr => i _; rewrite inE; case: (P i); case: (Q i). Qed.

Section Edits.
Variables (F : fieldType) (N M : nat) (a r : 'I_N -> F) (lam rs : 'I_M -> F).
(* The target in minimal form. *)
Hypotheses (injl : injective lam) (rs0 : forall m, rs m != 0).
Definition target (v : F) : F := \sum_(m | lam m == v) rs m.

Lemma target_lam m : target (lam m) = rs m.
Proof. by rewrite /target (eq_bigl (pred1 m)) ?big_pred1_eq // => k; rewrite /= (inj_eq injl). Qed.

(* New modes a' and residues r' that give the target's function, and how many scalars they change. *)
Definition right (a' r' : 'I_N -> F) := forall v, \sum_(n | a' n == v) r' n = target v.
Definition edit_cost (a' r' : 'I_N -> F) : nat := (#|[set n | a' n != a n]| + #|[set n | r' n != r n]|)%N.

Theorem right_iff_function a' r' d : right a' r' <->
  forall x, outputs (lti_step a' (fun=> 1) r' d) 0 x = outputs (lti_step lam (fun=> 1) rs d) 0 x.
Proof.
have res n (b c : 'I_n -> F) v : residue b (fun=> 1) c v = \sum_(k | b k == v) c k by apply: eq_bigr => k _; rewrite mulr1.
pose U := essential_union a' (fun=> 1) r' d lam (fun=> 1) rs d.
split=> [ok x|same v].
  have same : same_function a' (fun=> 1) r' d lam (fun=> 1) rs d (size x + size U).
    by apply/same_function_iff; [exact: leq_addl | move=> v; rewrite /essential !res ok].
  have := same (x ++ nseq (size U) 0); rewrite size_cat size_nseq !outputs_cat => /(_ erefl) /eqP.
  by rewrite eqseq_cat ?size_outputs // => /andP[/eqP].
have same_U : same_function a' (fun=> 1) r' d lam (fun=> 1) rs d (size U) by move=> x _; exact: same.
by have := (same_function_iff (leqnn (size U))).1 same_U v; rewrite /essential !res => /addIr.
Qed.

Lemma card_sum (P : pred 'I_N) : #|[set n | P n]| = (\sum_n P n)%N.
Proof. by rewrite -(card_as_sum xpredT); apply: eq_card => n; rewrite !inE. Qed.

Lemma edit_costE a' r' : edit_cost a' r' = (\sum_n ((a' n != a n) + (r' n != r n)))%N.
Proof. by rewrite /edit_cost !card_sum -big_split. Qed.

Definition destinations : seq F := undup ([seq a n | n <- enum 'I_N] ++ [seq lam m | m <- enum 'I_M]).
Lemma destinations_a n : a n \in destinations. Proof. by rewrite mem_undup mem_cat map_f ?mem_enum. Qed.
Lemma destinations_lam m : lam m \in destinations. Proof. by rewrite mem_undup mem_cat [X in _ || X]map_f ?mem_enum ?orbT. Qed.
Lemma destinations_uniq : uniq destinations. Proof. exact: undup_uniq. Qed.

(* A partition sends state n to f n. The group at v costs its moved members, and 1 if its residues do not sum to the target's. *)
Definition group (f : 'I_N -> F) v : {set 'I_N} := [set n | f n == v].
Definition group_cost v (S : {set 'I_N}) : nat := (#|[set n in S | a n != v]| + (\sum_(n in S) r n != target v)%R)%N.
Definition partition_cost f : nat := (\sum_(v <- destinations) group_cost v (group f v))%N.
Definition admissible (f : 'I_N -> F) := (forall n, f n \in destinations) /\ (forall m, exists n, f n = lam m).

Lemma sum_group f (P : pred 'I_N) : (forall n, f n \in destinations) ->
  (\sum_(v <- destinations) #|[set n in group f v | P n]| = #|[set n | P n]|)%N.
Proof.
move=> fV; rewrite -[RHS](eq_card (A := [set n | xpredT n && P n])) => [|n]; last by rewrite !inE.
rewrite card_as_sum -(sum_by_value (fun n => P n : nat) destinations_uniq fV); apply: eq_bigr => v _.
rewrite -card_as_sum; apply: eq_card => n; by rewrite !inE.
Qed.

Lemma sum_in_group f v (x : 'I_N -> F) : \sum_(n in group f v) x n = \sum_(n | f n == v) x n.
Proof. by apply: eq_bigl => n; rewrite inE. Qed.

(* No destination outside the frozen and the target's modes is needed. *)
Lemma send_back a' r' : right a' r' -> exists a2 r2, [/\ right a2 r2, (edit_cost a2 r2 <= edit_cost a' r')%N & forall n, a2 n \in destinations].
Proof.
move=> ok; pose inV n := a' n \in destinations.
exists (fun n => if inV n then a' n else a n), (fun n => if inV n then r' n else 0); split=> [v||n]; last by case: ifP => // _; exact: destinations_a.
  have [vV|nV] := boolP (v \in destinations).
    rewrite -ok big_mkcond [RHS]big_mkcond; apply: eq_bigr => n _; rewrite /inV.
    case: (boolP (a' n \in destinations)) => // nin; rewrite if_same; case: eqP => // e; by rewrite e vV in nin.
  rewrite big_pred0 => [|n]; last by apply/eqP => e; case/negP: nV; rewrite -e; case: ifP => // _; exact: destinations_a.
  by rewrite /target big_pred0 // => m; apply/eqP => e; case/negP: nV; rewrite -e destinations_lam.
rewrite !edit_costE; apply: leq_sum => n _; case: ifP => // nin; rewrite eqxx add0n.
by rewrite (_ : a' n != a n) ?leq_add2l; [case: (_ != _) | apply/eqP => e; rewrite /inV e destinations_a in nin].
Qed.

Lemma partition_costE f : (forall n, f n \in destinations) ->
  partition_cost f = (\sum_n (f n != a n) + \sum_(v <- destinations) (\sum_(n | f n == v) r n != target v)%R)%N.
Proof.
move=> fV; rewrite /partition_cost big_split /=; congr (_ + _)%N; last by apply: eq_bigr => v _; rewrite sum_in_group.
rewrite -(sum_by_value (fun n => (f n != a n) : nat) destinations_uniq fV); apply: eq_bigr => v _.
rewrite -card_as_sum; apply: eq_card => n; by rewrite !inE; case: eqP => //= ->; rewrite eq_sym.
Qed.

(* Every right edit costs at least the cost of an admissible partition, and each admissible partition has an edit of its cost. *)
Theorem exact_lower a' r' : right a' r' -> exists2 f, admissible f & (partition_cost f <= edit_cost a' r')%N.
Proof.
move=> /send_back[a2 [r2 [ok le aV]]]; exists a2.
  split=> // m; have [/existsP[n /eqP]|/existsPn none] := boolP [exists n, a2 n == lam m]; first by exists n.
  have := ok (lam m); rewrite target_lam big_pred0 => [z|n]; last exact/negbTE/none.
  by have := rs0 m; rewrite -z eqxx.
apply: leq_trans le; rewrite partition_costE // edit_costE big_split leq_add2l.
rewrite -(sum_by_value (fun n => (r2 n != r n) : nat) destinations_uniq aV); apply: leq_sum => v _.
case: eqP => //= wrong; rewrite lt0n sum_nat_eq0; apply/negP => /forall_inP zero; apply: wrong; rewrite -ok.
by apply: eq_bigr => n /zero; rewrite eqb0 negbK => /eqP.
Qed.

Theorem exact_upper f : admissible f -> exists2 r', right f r' & edit_cost f r' = partition_cost f.
Proof.
case=> fV hit; pose rep v := [pick n | f n == v].
pose gap v := target v - \sum_(n | f n == v) r n.
pose r' n := if rep (f n) == Some n then r n + gap (f n) else r n.
have repP n : exists2 k, rep (f n) = Some k & f k = f n.
  by rewrite /rep; case: pickP => [k /eqP|/(_ n)]; [exists k | rewrite eqxx].
have none_hit v : (forall n, (f n == v) = false) -> target v = 0.
  move=> none; rewrite /target big_pred0 // => m; apply/eqP => e.
  by have [n fn] := hit m; have := none n; rewrite fn e eqxx.
have others v k n : rep v = Some k -> f n == v -> n != k -> r' n = r n.
  by rewrite /r' => rk /eqP -> ne; rewrite rk; case: eqP => // -[e]; rewrite e eqxx in ne.
have own k v : f k = v -> rep v = Some k -> r' k = r k + gap v by rewrite /r' => -> ->; rewrite eqxx.
have ok : right f r'.
  move=> v; case: (pickP [pred n | f n == v]) => [n /eqP fn|none]; last by rewrite big_pred0 // none_hit.
  have [k rk fk] := repP n; rewrite fn in rk fk.
  rewrite (bigD1 k) ?fk //= (own k v) // (eq_bigr r) => [|j /andP[fj ne]]; last exact: others rk fj ne.
  have -> : gap v = target v - (r k + \sum_(i | (f i == v) && (i != k)) r i) by rewrite /gap (bigD1 k) ?fk.
  by rewrite addrAC addrC subrK.
exists r' => //; rewrite edit_costE partition_costE // big_split; congr (_ + _)%N.
rewrite -(sum_by_value (fun n => (r' n != r n) : nat) destinations_uniq fV); apply: eq_bigr => v _.
case: (pickP [pred n | f n == v]) => [n /eqP fn|none]; last by rewrite !big_pred0 // none_hit // eqxx.
have [k rk fk] := repP n; rewrite fn in rk fk.
rewrite (bigD1 k) ?fk //= (own k v) // big1 ?addn0 => [|j /andP[fj ne]]; last by rewrite (others v k) // eqxx.
by rewrite -subr_eq0 addrC addKr /gap subr_eq0 eq_sym.
Qed.

(* An assignment from a partition: target mode m is matched with a member u m of its group. *)
Section Assignment.
Variables (f : 'I_N -> F) (u : 'I_M -> 'I_N).
Hypotheses (fV : forall n, f n \in destinations) (uS : forall m, f (u m) = lam m).

Lemma u_inj : injective u. Proof. by move=> k l e; apply: injl; rewrite -!uS e. Qed.

Definition own_cost v (S : {set 'I_N}) (k : 'I_N) t : nat := ((a k != v) + (r k != t) + #|[set n in S | (n != k) && (r n != 0%R)]|)%N.

Lemma assignment_by_groups (g : nat -> nat) :
  (forall m, (own_cost (lam m) (group f (lam m)) (u m) (rs m) <= group_cost (lam m) (group f (lam m)) + g #|group f (lam m)|)%N) ->
  (forall v, target v = 0 -> (#|[set n in group f v | r n != 0%R]| <= group_cost v (group f v) + g #|group f v|)%N) ->
  (assignment_cost a r u lam rs <= partition_cost f + \sum_(v <- destinations) g #|group f v|)%N.
Proof.
move=> matched unmatched; rewrite /assignment_cost /partition_cost -big_split /=.
rewrite -(sum_by_value (fun m => (a (u m) != lam m) + (r (u m) != rs m))%N destinations_uniq destinations_lam).
rewrite -(sum_group (fun n => (n \notin [set u k | k in 'I_M]) && (r n != 0)) fV) -big_split; apply: leq_sum => v _.
case: (pickP [pred m | lam m == v]) => [m /eqP <-|none].
  rewrite (eq_bigl (pred1 m)) => [|k]; last by rewrite /= (inj_eq injl).
  rewrite big_pred1_eq; apply: leq_trans (matched m); rewrite leq_add2l; apply: subset_leq_card; apply/subsetP => n.
  rewrite !inE => /and3P[-> nin ->]; rewrite andbT; apply: contra nin => /eqP ->; exact: imset_f.
rewrite [X in (X + _ <= _)%N]big_pred0 // add0n; apply: leq_trans (unmatched v _); last by rewrite /target big_pred0.
by apply: subset_leq_card; apply/subsetP => n; rewrite !inE => /and3P[-> _ ->].
Qed.
End Assignment.
End Edits.
