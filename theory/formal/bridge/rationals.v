(* The rationals as a field in which Rocq can compute: Coq's canonical fractions Qc with MathComp's field structure.
   The generated goals of the bridge are about the definitions of core/ at this field. *)
From Coq Require Import ZArith QArith Qcanon.
From mathcomp Require Import all_ssreflect all_algebra.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.

Definition Qc_eqb (x y : Qc) : bool := Qeq_bool x y.
Lemma Qc_eqP : Equality.axiom Qc_eqb.
Proof. by move=> x y; apply: (iffP idP) => [/Qeq_bool_iff/Qc_is_canon|->]; last exact/Qeq_bool_iff. Qed.
Canonical Qc_eqType := Eval hnf in EqType Qc (EqMixin Qc_eqP).

Definition Qc_code (x : Qc) : bool * nat * nat := (Z.leb 0 (Qnum x), Z.abs_nat (Qnum x), Pos.to_nat (Qden x)).
Definition Qc_decode (c : bool * nat * nat) : option Qc :=
  let: (s, n, d) := c in Some (Q2Qc (Qmake (if s then Z.of_nat n else Z.opp (Z.of_nat n)) (Pos.of_nat d))).
Lemma Qc_codeK : pcancel Qc_code Qc_decode.
Proof.
move=> x; rewrite /Qc_decode /Qc_code Pos2Nat.id; congr Some.
suff -> : Qmake (if Z.leb 0 (Qnum x) then Z.of_nat (Z.abs_nat (Qnum x)) else Z.opp (Z.of_nat (Z.abs_nat (Qnum x)))) (Qden x) = x.
  by apply: Qc_is_canon; exact: Qred_correct.
case: (this x) => n d /=; congr Qmake; rewrite Zabs2Nat.id_abs.
case: (Z.leb_spec 0 n) => h; first by rewrite Z.abs_eq.
by rewrite Z.abs_neq ?Z.opp_involutive //; apply: Z.lt_le_incl.
Qed.
Canonical Qc_choiceType := Eval hnf in ChoiceType Qc (PcanChoiceMixin Qc_codeK).

Lemma Qcplus_opp_l x : Qcplus (Qcopp x) x = 0%Qc. Proof. by rewrite Qcplus_comm Qcplus_opp_r. Qed.
Canonical Qc_zmodType := Eval hnf in ZmodType Qc (ZmodMixin Qcplus_assoc Qcplus_comm Qcplus_0_l Qcplus_opp_l).

Lemma Qc_mulDl : left_distributive Qcmult Qcplus. Proof. by move=> x y z; rewrite Qcmult_plus_distr_l. Qed.
Lemma Qc_1_neq0 : 1%Qc != 0%Qc. Proof. by []. Qed.
Canonical Qc_ringType := Eval hnf in RingType Qc (ComRingMixin Qcmult_assoc Qcmult_comm Qcmult_1_l Qc_mulDl Qc_1_neq0).
Canonical Qc_comRingType := Eval hnf in ComRingType Qc Qcmult_comm.

Lemma Qc_mulV (x : Qc) : x != 0%Qc -> Qcmult (Qcinv x) x = 1%Qc. Proof. by move/eqP => x0; exact: Qcmult_inv_l. Qed.
Lemma Qc_inv0 : Qcinv 0%Qc = 0%Qc. Proof. exact: Qc_is_canon. Qed.
Canonical Qc_unitRingType := Eval hnf in UnitRingType Qc (FieldUnitMixin Qc_mulV Qc_inv0).
Canonical Qc_comUnitRingType := Eval hnf in [comUnitRingType of Qc].
Lemma Qc_field : GRing.Field.mixin_of Qc_unitRingType. Proof. by []. Qed.
Canonical Qc_idomainType := Eval hnf in IdomainType Qc (FieldIdomainMixin Qc_field).
Canonical Qc_fieldType := Eval hnf in FieldType Qc Qc_field.

Definition frac (n : Z) (d : positive) : Qc := Q2Qc (Qmake n d).
Arguments frac : simpl never.
Local Open Scope ring_scope.

(* Vectors and matrices from lists. *)
Definition vec n (s : seq Qc) : 'I_n -> Qc := fun i => nth 0 s i.
Definition row_of n (s : seq Qc) : 'rV[Qc]_n := \row_i nth 0 s i.
Definition col_of n (s : seq Qc) : 'cV[Qc]_n := \col_i nth 0 s i.
Definition mat_of m n (s : seq (seq Qc)) : 'M[Qc]_(m, n) := \matrix_(i, j) nth 0 (nth [::] s i) j.
Arguments vec : clear implicits.
Arguments row_of : clear implicits.
Arguments col_of : clear implicits.
Arguments mat_of : clear implicits.

(* Unfold sums and entries, then compute both sides. *)
Ltac unfold_sums := rewrite ?(mxE, big_ord_recl, big_ord0).
Ltac compute_scalar := unfold_sums; apply/eqP; vm_compute; reflexivity.
(* `done` on the equation itself would compute lazily, hence the detour over False. *)
Ltac split_index i := let lt := fresh "lt" in case: i => [[|[|[|[|i]]]] lt]; try by exfalso; move: lt.
Ltac compute_matrix := let i := fresh "i" in let j := fresh "j" in
  apply/matrixP => i j; split_index i; split_index j; compute_scalar.
