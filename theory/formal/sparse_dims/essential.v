(* sparse_dims.essential: which numbers of a channel its function determines. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence lti vandermonde modes.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

Section OneChannel.
Variables (F : fieldType) (N : nat) (a b c : 'I_N -> F) (d : F).

(* The residue of a mode; mode 0 carries the skip as well: delta = d + r_0. *)
Definition essential (l : F) : F := residue a b c l + (if l == 0 then d else 0).
Definition impulse (j : nat) : F := kernel a b c j + (if j == 0%N then d else 0).

(* Over any list of distinct numbers that has every l with essential l != 0. *)
Lemma impulse_modes (U : seq F) j : uniq U -> (forall l, essential l != 0 -> l \in U) ->
  impulse j = \sum_(l <- U) essential l * l ^+ j.
Proof.
move=> uU all; pose A := undup (0 :: [seq a n | n <- enum 'I_N]).
have uA : uniq A by exact: undup_uniq.
have inA n : a n \in A by rewrite mem_undup inE map_f ?orbT // mem_enum.
have A0 : 0 \in A by rewrite mem_undup inE eqxx.
have outA l : l \notin A -> essential l = 0.
  move=> nA; rewrite /essential /residue big1 => [|n /eqP e]; last by rewrite -e inA in nA.
  by case: eqP => [e|]; rewrite ?addr0 //; rewrite e A0 in nA.
have nonzero_only (V : seq F) : uniq V -> \sum_(l <- V) essential l * l ^+ j =
    \sum_(l <- V | essential l != 0) essential l * l ^+ j.
  by move=> _; rewrite [RHS]big_mkcond; apply: eq_bigr => l _; case: eqP => //= ->; rewrite mul0r.
have -> : \sum_(l <- U) essential l * l ^+ j = \sum_(l <- A) essential l * l ^+ j.
  rewrite (nonzero_only U) // (nonzero_only A) // -[LHS]big_filter -[RHS]big_filter; apply: perm_big; apply: uniq_perm; rewrite ?filter_uniq // => l.
  rewrite !mem_filter; case: (boolP (essential l != 0)) => //= nz; rewrite all //.
  by case: (boolP (l \in A)) => // /outA e; rewrite e eqxx in nz.
rewrite /impulse /kernel.
have -> : \sum_(l <- A) essential l * l ^+ j = \sum_(l <- A) residue a b c l * l ^+ j + (if j == 0%N then d else 0).
  under eq_bigr => l _ do rewrite mulrDl.
  rewrite big_split /=; congr (_ + _); rewrite (bigD1_seq 0) //= eqxx big1 ?addr0 => [|l /negPf ->]; last by rewrite mul0r.
  by case: (j) => [|k]; rewrite ?mulr1 // exprS mul0r mulr0.
congr (_ + _); under [RHS]eq_bigr => l _ do rewrite mulr_suml big_mkcond /=.
rewrite exchange_big /=; apply: eq_bigr => n _; rewrite (bigD1_seq (a n)) //= eqxx big1 ?addr0 // => l ne.
by rewrite eq_sym (negPf ne).
Qed.

Lemma outputs_impulse x t : (t < size x)%N ->
  nth 0 (outputs (lti_step a b c d) 0 x) t = \sum_(j < t.+1) impulse j * nth 0 x (t - j).
Proof.
move=> ltt; rewrite lti_outputs_nth // /free_response big1 ?add0r => [|n _]; last by rewrite mxE mulr0.
under [RHS]eq_bigr => j _ do rewrite mulrDl.
rewrite big_split /=; congr (_ + _); rewrite big_ord_recl /= subn0 big1 ?addr0 // => j _.
by rewrite mul0r.
Qed.
End OneChannel.

Section TwoChannels.
Variables (F : fieldType) (N1 N2 : nat) (a1 b1 c1 : 'I_N1 -> F) (d1 : F) (a2 b2 c2 : 'I_N2 -> F) (d2 : F).
Let e1 := essential a1 b1 c1 d1.
Let e2 := essential a2 b2 c2 d2.

(* U: the modes of both essential sets, and 0 if one of the two delta is not 0. *)
Definition essential_union : seq F :=
  undup [seq l <- 0 :: [seq a1 n | n <- enum 'I_N1] ++ [seq a2 n | n <- enum 'I_N2] | (e1 l != 0) || (e2 l != 0)].

Lemma in_union l : (e1 l != 0) || (e2 l != 0) -> l \in essential_union.
Proof.
move=> nz; rewrite mem_undup mem_filter nz /=; apply: contraLR nz; rewrite inE mem_cat !negb_or => /and3P[l0 n1 n2].
rewrite /e1 /e2 /essential (negPf l0) !addr0 /residue !big1 ?eqxx // => n /eqP e.
  by rewrite -e map_f ?mem_enum in n2.
by rewrite -e map_f ?mem_enum in n1.
Qed.

(* Equal outputs for all inputs of length L, from rest. *)
Definition same_function L :=
  forall x, size x = L -> outputs (lti_step a1 b1 c1 d1) 0 x = outputs (lti_step a2 b2 c2 d2) 0 x.

Theorem same_function_iff L : (size essential_union <= L)%N -> same_function L <-> e1 =1 e2.
Proof.
move=> leL; have uU : uniq essential_union by exact: undup_uniq.
have mU1 l : e1 l != 0 -> l \in essential_union by move=> nz; apply: in_union; rewrite nz.
have mU2 l : e2 l != 0 -> l \in essential_union by move=> nz; apply: in_union; rewrite nz orbT.
split=> [same l|e x sz]; last first.
  apply: (@eq_from_nth _ 0) => [|t]; rewrite !size_outputs // sz => ltL.
  rewrite !outputs_impulse ?sz //; apply: eq_bigr => j _; congr (_ * _).
  rewrite (impulse_modes _ uU mU1) (impulse_modes _ uU mU2); apply: eq_bigr => l _; by rewrite -/(e1 l) e.
have imp j : (j < size essential_union)%N -> impulse a1 b1 c1 d1 j = impulse a2 b2 c2 d2 j.
  move=> ltj; have ltL := leq_trans ltj leL.
  have := congr1 (nth 0 ^~ j) (same (1 :: nseq L.-1 0) _); rewrite !outputs_impulse /= ?size_nseq ?prednK ?(leq_ltn_trans _ ltL) //.
  have pick (f : nat -> F) : \sum_(i < j.+1) f i * nth 0 (1 :: nseq L.-1 0) (j - i) = f j.
    rewrite big_ord_recr /= subnn mulr1 big1 ?add0r // => i _.
    have : (0 < j - i)%N by rewrite subn_gt0.
    by case: (j - i)%N => //= k _; rewrite nth_nseq if_same mulr0.
  by rewrite !pick => ->.
case: (boolP (l \in essential_union)) => [lU|nU]; last first.
  have /negPn/eqP-> : ~~ (e1 l != 0) by apply: contra nU; exact: mU1.
  by have /negPn/eqP-> : ~~ (e2 l != 0) by apply: contra nU; exact: mU2.
pose mode (i : 'I_(size essential_union)) := nth 0 essential_union i.
have inj : injective mode by move=> i j /eqP; rewrite nth_uniq // => /eqP; exact: val_inj.
have := @modes_independent _ _ mode (fun i => e1 (mode i) - e2 (mode i)) inj.
have lt : (index l essential_union < size essential_union)%N by rewrite index_mem.
move=> /(_ _ (Ordinal lt)); rewrite /mode /= nth_index // => H; apply/eqP; rewrite -subr_eq0; apply/eqP; apply: H => j ltj.
have := imp j ltj; rewrite (impulse_modes _ uU mU1) (impulse_modes _ uU mU2) -/e1 -/e2 => /eqP; rewrite -subr_eq0 -sumrB => /eqP e.
by rewrite -[RHS]e (big_nth 0) big_mkord; apply: eq_bigr => i _; rewrite mulrBl.
Qed.
End TwoChannels.

(* B is redundant given C: (a, b, c) and (a, b', c b / b') are one function. *)
Theorem B_redundant (F : fieldType) N (a b b' c : 'I_N -> F) d x : (forall n, b' n != 0) ->
  outputs (lti_step a b c d) 0 x = outputs (lti_step a b' (fun n => c n * b n / b' n) d) 0 x.
Proof.
move=> b0; apply: (@eq_from_nth _ 0) => [|t]; rewrite !size_outputs // => ltx; rewrite !outputs_impulse //.
apply: eq_bigr => j _; congr ((_ + _) * _); apply: eq_bigr => n _; by rewrite divfK.
Qed.
