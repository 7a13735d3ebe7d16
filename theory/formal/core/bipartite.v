(* Koenig's theorem: in a finite set of pairs the largest matching has as many pairs as the smallest cover has lines. *)
From mathcomp Require Import all_ssreflect.
From mathcomp Require Import zify.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.

(* Rows A and columns B cover the pairs of E. *)
Definition covered (I J : finType) (E : I -> J -> bool) (A : {set I}) (B : {set J}) : bool :=
  [forall i, forall j, E i j ==> (i \in A) || (j \in B)].

Lemma coveredP (I J : finType) (E : I -> J -> bool) (A : {set I}) (B : {set J}) :
  reflect (forall i j, E i j -> (i \in A) || (j \in B)) (covered E A B).
Proof. by apply: (iffP forallP) => H i; [move=> j; move/forallP/(_ j)/implyP: (H i) | apply/forallP => j; apply/implyP/H]. Qed.

(* Two pairs of one row cannot both be needed: from covers of E without one and without the other, rows intersected with
   columns joined, and the other way round, one is too small (Lovasz). *)
Lemma needless_pair (I J : finType) (E : I -> J -> bool) t v x y A1 B1 A2 B2 :
  (forall A B, covered E A B -> t <= #|A| + #|B|) -> E v x -> E v y -> x != y ->
  covered (fun i j => E i j && ((i, j) != (v, x))) A1 B1 -> #|A1| + #|B1| < t ->
  covered (fun i j => E i j && ((i, j) != (v, y))) A2 B2 -> #|A2| + #|B2| < t -> False.
Proof.
move=> low Evx Evy xy /coveredP c1 lt1 /coveredP c2 lt2.
have out A B w : covered (fun i j => E i j && ((i, j) != (v, w))) A B -> #|A| + #|B| < t -> v \notin A.
  move=> /coveredP c; rewrite ltnNge; apply: contra => vA; apply: low; apply/coveredP => i j Eij.
  by case: (eqVneq (i, j) (v, w)) => [[-> _]|ne]; [rewrite vA | apply: c; rewrite Eij].
have /negPf v1 : v \notin A1 by apply: (out A1 B1 x) lt1; apply/coveredP.
have /negPf v2 : v \notin A2 by apply: (out A2 B2 y) lt2; apply/coveredP.
have y1 : y \in B1 by have := c1 v y; rewrite Evy v1 xpair_eqE eqxx eq_sym xy; apply.
have x2 : x \in B2 by have := c2 v x; rewrite Evx v2 xpair_eqE eqxx xy; apply.
have both i j : E i j -> (i, j) != (v, x) -> (i, j) != (v, y) -> ((i \in A1) || (j \in B1)) && ((i \in A2) || (j \in B2)).
  by move=> Eij nx ny; rewrite c1 ?Eij //= c2 ?Eij.
have h1 := low (A1 :&: A2) (B1 :|: B2) _; have h2 := low (v |: (A1 :|: A2)) (B1 :&: B2) _.
have {h1} : t <= #|A1 :&: A2| + #|B1 :|: B2|.
  apply: h1; apply/coveredP => i j Eij; rewrite !inE.
  case: (eqVneq (i, j) (v, x)) => [[_ ->]|nx]; first by rewrite x2 !orbT.
  case: (eqVneq (i, j) (v, y)) => [[_ ->]|ny]; first by rewrite y1 !orbT.
  by move: (both i j Eij nx ny); case: (i \in A1); case: (i \in A2); case: (j \in B1); case: (j \in B2).
have {h2} : t <= #|v |: (A1 :|: A2)| + #|B1 :&: B2|.
  apply: h2; apply/coveredP => i j Eij; rewrite !inE.
  case: (eqVneq (i, j) (v, x)) => [[-> _]|nx]; first by rewrite eqxx.
  case: (eqVneq (i, j) (v, y)) => [[-> _]|ny]; first by rewrite eqxx.
  by move: (both i j Eij nx ny); case: (i == v) (i \in A1) (i \in A2) (j \in B1) (j \in B2) => [] [] [] [] [].
have := cardsUI A1 A2; have := cardsUI B1 B2; rewrite cardsU1; case: (v \notin _) => /=; lia.
Qed.

Section Koenig.
Variables I J : finType.
Implicit Types (S M : {set I * J}) (A : {set I}) (B : {set J}).
Definition is_matching M : bool :=
  [forall p in M, forall q in M, ((p.1 == q.1) || (p.2 == q.2)) ==> (p == q)].

Lemma is_matchingP M :
  reflect (forall p q, p \in M -> q \in M -> p.1 = q.1 \/ p.2 = q.2 -> p = q) (is_matching M).
Proof.
apply: (iffP forall_inP) => H p; last first.
  move=> pM; apply/forall_inP => q qM; apply/implyP => e; apply/eqP; apply: H => //.
  by case/orP: e => /eqP; [left | right].
by move=> q pM qM e; have /forall_inP/(_ q qM)/implyP/(_ _)/eqP := H p pM; apply; case: e => ->; rewrite eqxx ?orbT.
Qed.

Definition pairs S (i : I) (j : J) : bool := (i, j) \in S.
(* The size of the largest matching inside S. *)
Definition term_rank S : nat := \max_(M : {set I * J} | (M \subset S) && is_matching M) #|M|.

Lemma term_rank_attained S : exists M : {set I * J}, [/\ M \subset S, is_matching M & #|M| = term_rank S].
Proof.
have ok : (set0 \subset S) && is_matching set0 by rewrite sub0set; apply/is_matchingP => p q; rewrite inE.
by rewrite /term_rank (bigmax_eq_arg set0) //; case: arg_maxnP => // M /andP[MS mM] _; exists M.
Qed.

Lemma matching_le_cover M A B : is_matching M -> covered (pairs M) A B -> #|M| <= #|A| + #|B|.
Proof.
move=> /is_matchingP mM /coveredP c.
have -> : M = [set p in M | p.1 \in A] :|: [set p in M | p.2 \in B].
  by apply/setP => p; rewrite !inE -andb_orr; case: (boolP (p \in M)) => //= pM; rewrite c // /pairs -surjective_pairing.
apply: leq_trans (leq_card_setU _ _) (leq_add _ _).
  rewrite -(card_in_imset (f := fst)) => [|p q]; last by rewrite !inE => /andP[pM _] /andP[qM _] e; apply: mM; auto.
  by apply: subset_leq_card; apply/subsetP => i /imsetP[p]; rewrite inE => /andP[_ pA] ->.
rewrite -(card_in_imset (f := snd)) => [|p q]; last by rewrite !inE => /andP[pM _] /andP[qM _] e; apply: mM; auto.
by apply: subset_leq_card; apply/subsetP => i /imsetP[p]; rewrite inE => /andP[_ pA] ->.
Qed.

Lemma large_matching t S : (forall A B, covered (pairs S) A B -> t <= #|A| + #|B|) -> t <= term_rank S.
Proof.
move: {2}#|S| (erefl #|S|) => n; elim: n S => [|n IH] S cS low.
  apply: leq_trans (low set0 set0 _) _; last by rewrite !cards0.
  by apply/coveredP => i j; rewrite /pairs (_ : S = set0) ?inE //; apply/eqP; rewrite -cards_eq0 cS.
have mono e : term_rank (S :\ e) <= term_rank S.
  have [M [MS mM <-]] := term_rank_attained (S :\ e).
  by apply: (leq_bigmax_cond (F := fun M : {set _} => #|M|)); rewrite mM (subset_trans MS) ?subD1set.
case: (pickP [pred e | (e \in S) && [forall A : {set I}, forall B : {set J}, covered (pairs (S :\ e)) A B ==> (t <= #|A| + #|B|)]]).
  move=> e /andP[eS /forallP all]; apply: leq_trans (mono e); apply: IH; first by move: cS; rewrite (cardsD1 e) eS => -[].
  by move=> A B c; have /forallP/(_ B)/implyP := all A; apply.
move=> none; have small e : e \in S -> exists A B, covered (fun i j => pairs S i j && ((i, j) != e)) A B /\ #|A| + #|B| < t.
  move=> eS; have := none e; rewrite /= eS /= => /negbT/forallPn[A /forallPn[B]]; rewrite negb_imply -ltnNge => /andP[c lt].
  by exists A, B; split=> //; apply/coveredP => i j ij; apply: (coveredP _ _ _ c); rewrite /pairs !inE andbC; exact: ij.
suff mS : is_matching S.
  apply: leq_trans (leq_bigmax_cond (F := fun M : {set _} => #|M|) S _); last by rewrite subxx mS.
  apply: leq_trans (low [set p.1 | p in S] set0 _) _; last by rewrite cards0 addn0 leq_imset_card.
  by apply/coveredP => i j ij; apply/orP; left; apply/imsetP; exists (i, j).
apply/is_matchingP => -[i j] [i' j'] pS qS; have [A1 [B1 [c1 lt1]]] := small _ pS; have [A2 [B2 [c2 lt2]]] := small _ qS.
case=> /= e; subst; apply/eqP/negPn/negP; rewrite xpair_eqE eqxx ?andbT => ne; first exact: needless_pair low pS qS ne c1 lt1 c2 lt2.
have flip w A B : covered (fun x y => pairs S x y && ((x, y) != (w, j'))) A B ->
    covered (fun y x => pairs S x y && ((y, x) != (j', w))) B A.
  by move/coveredP => c; apply/coveredP => y x; have := c x y; rewrite !xpair_eqE orbC [(y == j') && _]andbC; apply.
apply: (@needless_pair J I (fun y x => pairs S x y) t j' i i' B1 A1 B2 A2) => //; try exact: flip; rewrite 1?addnC //.
by move=> B A /coveredP c; rewrite addnC; apply: low; apply/coveredP => x y /c; rewrite orbC.
Qed.

Theorem koenig S : exists A B, covered (pairs S) A B /\ #|A| + #|B| = term_rank S.
Proof.
have le A B : covered (pairs S) A B -> term_rank S <= #|A| + #|B|.
  move=> /coveredP c; have [M [/subsetP MS mM <-]] := term_rank_attained S; apply: matching_le_cover => //.
  by apply/coveredP => i j ij; apply: c; apply: MS.
case: (pickP [pred AB : {set I} * {set J} | covered (pairs S) AB.1 AB.2 && (#|AB.1| + #|AB.2| <= term_rank S)]).
  by move=> [A B] /= /andP[c leAB]; exists A, B; split=> //; apply/eqP; rewrite eqn_leq leAB le.
move=> none; suff : term_rank S < term_rank S by rewrite ltnn.
apply: large_matching => A B c; rewrite ltnNge; apply/negP => leAB; by have := none (A, B); rewrite /= c leAB.
Qed.
End Koenig.
