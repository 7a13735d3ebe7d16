(* sparse_dims.essential with real inputs: channels over the complex numbers, and half storage, where E(s) is read off the closed
   channel. *)
From mathcomp Require Import all_ssreflect all_algebra complex.
From Ssmproof.core Require Import recurrence lti half.
From Ssmproof.sparse_dims Require Import essential.
From Ssmproof.prefix_state Require Import conjugate_pairs.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory.
Local Open Scope ring_scope.
Local Open Scope complex_scope.

(* Equal outputs on the unit impulse alone are equal outputs on all inputs of that length. *)
Section Impulse.
Variables (F : fieldType) (N1 N2 : nat) (a1 b1 c1 : 'I_N1 -> F) (d1 : F) (a2 b2 c2 : 'I_N2 -> F) (d2 : F).
Definition unit_impulse L : seq F := mkseq (fun j => (j == 0%N)%:R) L.

Lemma impulse_tells L :
  outputs (lti_step a1 b1 c1 d1) 0 (unit_impulse L) = outputs (lti_step a2 b2 c2 d2) 0 (unit_impulse L) ->
  same_function a1 b1 c1 d1 a2 b2 c2 d2 L.
Proof.
move=> same x sz; apply: (@eq_from_nth _ 0) => [|t]; rewrite !size_outputs // sz => ltL.
rewrite !outputs_impulse ?sz //; apply: eq_bigr => j _; congr (_ * _).
have ltj : (j < L)%N by apply: leq_ltn_trans ltL; rewrite -ltnS.
have := congr1 (nth 0 ^~ j) same; rewrite /= !outputs_impulse ?size_mkseq //.
have pick (f : nat -> F) : \sum_(i < j.+1) f i * nth 0 (unit_impulse L) (j - i) = f j.
  rewrite big_ord_recr /= subnn nth_mkseq ?(leq_ltn_trans _ ltj) // mulr1 big1 ?add0r // => i _.
  rewrite nth_mkseq ?(leq_ltn_trans (leq_subr _ _)) // (_ : (j - i == 0)%N = false) ?mulr0 //.
  by apply/negbTE; rewrite subn_eq0 -ltnNge.
by rewrite !pick.
Qed.
End Impulse.

(* Real inputs: both modes of each pair stored. *)
Section RealInputs.
Variables (R : rcfType) (N1 N2 : nat).
Let C := [fieldType of R[i]].
Variables (a1 b1 c1 : 'I_N1 -> C) (d1 : C) (a2 b2 c2 : 'I_N2 -> C) (d2 : C).

Theorem real_same_function_iff L : (size (essential_union a1 b1 c1 d1 a2 b2 c2 d2) <= L)%N ->
  (forall x : seq R, size x = L -> outputs (lti_step a1 b1 c1 d1) 0 [seq y%:C | y <- x] = outputs (lti_step a2 b2 c2 d2) 0 [seq y%:C | y <- x])
  <-> essential a1 b1 c1 d1 =1 essential a2 b2 c2 d2.
Proof.
move=> leL; rewrite -(same_function_iff leL); split=> [same|same x sz]; last by apply: same; rewrite size_map.
apply: impulse_tells; have := same (mkseq (fun j => (j == 0%N)%:R) L) (size_mkseq _ _).
rewrite (_ : [seq _ | y <- _] = unit_impulse C L) // /unit_impulse /mkseq -map_comp; apply: eq_map => j /=.
by case: (j == 0%N).
Qed.
End RealInputs.

(* Half storage. *)
Section Half.
Variables (R : rcfType) (N1 N2 : nat) (ar1 ai1 br1 bi1 cr1 ci1 : 'I_N1 -> R) (d1 : R) (ar2 ai2 br2 bi2 cr2 ci2 : 'I_N2 -> R) (d2 : R).

Theorem half_same_function_iff L :
  let a1 := both ar1 ai1 in let b1 := both br1 bi1 in let c1 := both cr1 ci1 in
  let a2 := both ar2 ai2 in let b2 := both br2 bi2 in let c2 := both cr2 ci2 in
  (size (essential_union (F := [fieldType of R[i]]) a1 b1 c1 d1%:C a2 b2 c2 d2%:C) <= L)%N ->
  (forall x, size x = L ->
    outputs (half_step ar1 ai1 br1 bi1 cr1 ci1 d1) (0, 0) x = outputs (half_step ar2 ai2 br2 bi2 cr2 ci2 d2) (0, 0) x) <->
  essential (F := [fieldType of R[i]]) a1 b1 c1 d1%:C =1 essential (F := [fieldType of R[i]]) a2 b2 c2 d2%:C.
Proof.
move=> a1 b1 c1 a2 b2 c2 leL; rewrite -(real_same_function_iff leL).
have inj : injective (fun x : R => x%:C) by exact: fmorph_inj.
split=> same x sz.
  by have := congr1 (map (fun y => y%:C)) (same x sz); rewrite !half_is_closed !closed_rest.
by apply: (inj_map inj); rewrite !half_is_closed !closed_rest; exact: same.
Qed.
End Half.

(* B is redundant given C, half storage: (a, b, c) and (a, b', c b / b') are one function. *)
Theorem half_B_redundant (R : rcfType) N (ar ai br bi br' bi' cr ci : 'I_N -> R) d x :
  let q n : R[i] := (cr n +i* ci n) * (br n +i* bi n) / (br' n +i* bi' n) in (forall n, (br' n +i* bi' n : R[i]) != 0) ->
  outputs (half_step ar ai br bi cr ci d) (0, 0) x =
  outputs (half_step ar ai br' bi' (fun n => complex.Re (q n)) (fun n => complex.Im (q n)) d) (0, 0) x.
Proof.
move=> q nz; have inj : injective (fun x : R => x%:C) by exact: fmorph_inj.
apply: (inj_map inj); rewrite !half_is_closed !closed_rest.
apply: (@eq_from_nth _ 0) => [|t]; rewrite !size_outputs // => lt; rewrite !outputs_impulse //.
apply: eq_bigr => j _; congr ((_ + _) * _); rewrite /kernel; apply: eq_bigr => k _; congr (_ * _).
rewrite -[k]splitK; case: (split k) => n /=; have [E1 E2] := lift_both cr ci n; have [E3 E4] := lift_both br bi n;
  have [E5 E6] := lift_both br' bi' n; have [E7 E8] := lift_both (fun n => complex.Re (q n)) (fun n => complex.Im (q n)) n.
  rewrite E1 E3 E5 E7; have -> : complex.Re (q n) +i* complex.Im (q n) = q n by case: (q n).
  by rewrite /q divfK.
rewrite E2 E4 E6 E8; have -> : complex.Re (q n) +i* complex.Im (q n) = q n by case: (q n).
by rewrite -[(br' n +i* bi' n)^*]/(conjc _) -!rmorphM /q divfK.
Qed.
