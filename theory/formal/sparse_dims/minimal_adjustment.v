(* sparse_dims.minimal_adjustment, upper bound: an assignment of the target's modes to states gives the target's function. *)
From mathcomp Require Import all_ssreflect all_algebra.
From Ssmproof.core Require Import recurrence lti modes.
From Ssmproof.sparse_dims Require Import essential.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

(* An injection pi of the target's m modes into the N states. Matched states take the target's mode and residue, the others
   keep their mode and get residue 0. *)
Section Assignment.
Variables (F : fieldType) (N m : nat) (a r : 'I_N -> F) (pi : 'I_m -> 'I_N) (a' r' : 'I_m -> F) (d : F).
Hypothesis inj : injective pi.
Let image : {set 'I_N} := [set pi k | k in 'I_m].

Definition matched (n : 'I_N) : option 'I_m := [pick k | pi k == n].
Definition new_mode (n : 'I_N) : F := if matched n is Some k then a' k else a n.
Definition new_residue (n : 'I_N) : F := if matched n is Some k then r' k else 0.

Lemma matched_pi k : matched (pi k) = Some k.
Proof. by rewrite /matched; case: pickP => [j /eqP/inj ->|/(_ k)]; rewrite ?eqxx. Qed.

Lemma matched_none n : n \notin image -> matched n = None.
Proof. by rewrite /matched; case: pickP => // j /eqP <-; rewrite imset_f. Qed.

(* The adjusted channel is the target, output by output. *)
Theorem adjusted_is_target x :
  outputs (lti_step new_mode (fun=> 1) new_residue d) 0 x = outputs (lti_step a' (fun=> 1) r' d) 0 x.
Proof.
apply: (@eq_from_nth _ 0) => [|t]; rewrite !size_outputs // => ltx; rewrite !outputs_impulse //.
apply: eq_bigr => j _; congr ((_ + _) * _); rewrite /kernel (bigID (mem image)) /= addrC big1 ?add0r.
  rewrite big_imset /=; last by move=> k l _ _; exact: inj.
  by apply: eq_bigr => k _; rewrite /new_residue /new_mode matched_pi.
by move=> n nin; rewrite /new_residue matched_none ?mul0r.
Qed.

(* What it changes: at most the modes and residues of matched states that differ, and the unmatched residues that are not 0. *)
Theorem changed_entries n :
  (new_mode n != a n -> exists2 k, n = pi k & a (pi k) != a' k) /\
  (new_residue n != r n -> (exists2 k, n = pi k & r (pi k) != r' k) \/ (n \notin image /\ r n != 0)).
Proof.
have [/imsetP[k _ ->]|nin] := boolP (n \in image).
  rewrite /new_mode /new_residue matched_pi; split=> ne; [|left]; exists k => //; by rewrite eq_sym.
rewrite /new_mode /new_residue matched_none //; split; first by rewrite eqxx.
by right; split=> //; rewrite eq_sym.
Qed.

(* The number of changed scalars is the assignment's cost. *)
Definition changed : nat := (#|[set n | new_mode n != a n]| + #|[set n | new_residue n != r n]|)%N.
Definition assignment_cost : nat :=
  (\sum_k ((a (pi k) != a' k) + (r (pi k) != r' k)) + #|[set n | (n \notin image) && (r n != 0%R)]|)%N.

Lemma count_by_image (f : pred 'I_N) :
  #|[set n | f n]| = (\sum_k f (pi k) + #|[set n | (n \notin image) && f n]|)%N.
Proof.
rewrite -(cardsID image [set n | f n]); congr (_ + _)%N; last by apply: eq_card => n; rewrite !inE.
rewrite -sum1_card (eq_bigl (fun n => (n \in image) && f n)) => [|n]; last by rewrite !inE andbC.
rewrite big_mkcondr /= big_imset /=; last by move=> k l _ _; exact: inj.
by apply: eq_bigr => k _; case: (f _).
Qed.

Theorem changed_is_cost : changed = assignment_cost.
Proof.
rewrite /changed /assignment_cost (count_by_image (fun n => new_mode n != a n)) (count_by_image (fun n => new_residue n != r n)).
have -> : #|[set n | (n \notin image) && (new_mode n != a n)]| = 0%N.
  by apply: eq_card0 => n; rewrite !inE; apply/negP => /andP[nin]; rewrite /new_mode matched_none ?eqxx.
rewrite addn0 addnA -big_split /=; congr (_ + _)%N.
  by apply: eq_bigr => k _; rewrite /new_mode /new_residue matched_pi [a' k == _]eq_sym [r' k == _]eq_sym.
apply: eq_card => n; rewrite !inE; case: (boolP (n \in image)) => //= nin.
by rewrite /new_residue matched_none // eq_sym.
Qed.
End Assignment.
