(* lora_limits.rank_floor, dimension: the D x N matrices of rank at most r form a set of dimension r(D + N - r). *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import zify.
From Ssmproof.core Require Import minors polynomials dimension.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section LowRank.
Variables (F : numFieldType) (D N r : nat).
Hypotheses (rD : (r <= D)%N) (rN : (r <= N)%N).
Let J := [finType of 'I_D * 'I_N].
Definition mx_of (x : {ffun 'I_D * 'I_N -> F}) : 'M[F]_(D, N) := \matrix_(i, j) x (i, j).
Definition low_rank (x : {ffun 'I_D * 'I_N -> F}) : Prop := (\rank (mx_of x) <= r)%N.

(* Above: rows T, at most r of them, and the coefficients of all other rows are the parameters. *)
Section Above.
Variable T : {set 'I_D}.
Let inside := {i : 'I_D | i \in T}.
Let outside := {i : 'I_D | i \notin T}.
Definition row_params : finType := [finType of (inside * 'I_N) + (outside * inside)].
Definition from_rows (c : 'I_D * 'I_N) (p : {ffun row_params -> F}) : F :=
  if (insub c.1 : option inside) is Some s then p (inl (s, c.2))
  else if (insub c.1 : option outside) is Some o then \sum_(s : inside) p (inr (o, s)) * p (inl (s, c.2)) else 0.

Lemma from_rows_poly c : poly_fun (from_rows c).
Proof.
rewrite /from_rows; case: insub => [s|]; first exact: (PolyCoord F (inl (s, c.2) : row_params)).
case: insub => [o|]; last exact: PolyConst.
by apply: poly_sum => s; exact: (PolyMul (PolyCoord F (inr (o, s) : row_params)) (PolyCoord F (inl (s, c.2) : row_params))).
Qed.

Lemma card_row_params : (#|T| <= r)%N -> (#|row_params| <= r * (D + N - r))%N.
Proof.
move=> le; have eI : #|{: inside}| = #|T| by rewrite card_sig; apply: eq_card => i; rewrite !inE.
have eO : #|{: outside}| = #|~: T| by rewrite card_sig; apply: eq_card => i; rewrite !inE.
rewrite card_sum !card_prod eI eO card_ord; have := cardsC T; rewrite card_ord.
by move: le; move: #|T| #|~: T| => s c; nia.
Qed.
End Above.

Lemma low_rank_covered x : low_rank x -> exists (T : {set 'I_D}) (p : {ffun row_params T -> F}), (#|T| <= r)%N /\ x = [ffun c => from_rows c p].
Proof.
rewrite /low_rank; set M := mx_of x => le; pose f := maxrankfun M; pose T := [set f k | k : 'I_(\rank M)].
have [W WE] : exists W : 'M_(D, \rank M), M = W *m rowsub f M by apply/submxP; rewrite eq_maxrowsub.
have entry i j : M i j = \sum_k W i k * M (f k) j.
  have := congr1 (fun A : 'M_(D, N) => A i j) WE; rewrite [X in _ = X -> _]mxE => ->.
  by apply: eq_bigr => k _; congr (_ * _); rewrite mxE.
have fT k : f k \in T by exact: imset_f.
exists T, [ffun c => match c with
  | inl (s, j) => M (val s) j | inr (o, s) => \sum_(k | f k == val s) W (val o) k end]; split.
  by apply: leq_trans (leq_imset_card _ _) _; rewrite card_ord.
apply/ffunP => -[i j]; rewrite [RHS]ffunE /from_rows /=; case: insubP => [s _ e|nT]; first by rewrite ffunE e mxE.
case: insubP => [o _ e|]; last by rewrite nT.
under eq_bigr => s _ do rewrite !ffunE mulr_suml big_mkcond /=.
rewrite exchange_big /=; have -> : x (i, j) = M i j by rewrite mxE.
rewrite entry; apply: eq_bigr => k _; rewrite e (bigD1 (Sub (f k) (fT k))) //= eqxx big1 ?addr0 // => s ne.
by case: eqP => // es; case/eqP: ne; apply: val_inj.
Qed.

(* Below: the entries of the first r rows and columns can be given any values, if their r x r block is regular. *)
Let K : {set 'I_D * 'I_N} := [set c : 'I_D * 'I_N | (c.1 < r)%N || (c.2 < r)%N].

Lemma card_first n : (r <= n)%N -> #|[set i : 'I_n | (r <= i)%N]| = (n - r)%N.
Proof.
move=> le; have := cardsC [set i : 'I_n | (r <= i)%N]; rewrite card_ord.
rewrite (_ : #|~: _| = r); first by move=> e; rewrite -[X in (_ = X - _)%N]e addnK.
rewrite -[RHS]card_ord -(card_imset (mem 'I_r) (f := widen_ord le)); last by move=> i j /(congr1 val) /= e; apply: val_inj.
apply: eq_card => i; rewrite !inE -ltnNge; apply/idP/imsetP => [lt|[j _ ->]]; last exact: (ltn_ord j).
by exists (Ordinal lt) => //; apply: val_inj.
Qed.

Lemma card_K : #|K| = (r * (D + N - r))%N.
Proof.
have := cardsC K; rewrite (_ : ~: K = setX [set i : 'I_D | (r <= i)%N] [set j : 'I_N | (r <= j)%N]); last first.
  by apply/setP => -[i j]; rewrite !inE negb_or -!leqNgt.
by rewrite cardsX !card_first // card_prod !card_ord; nia.
Qed.

Definition corner (k : 'I_(r * (D + N - r))) : 'I_D * 'I_N := enum_val (cast_ord (esym card_K) k).
Lemma corner_inj : injective corner. Proof. by move=> k l /enum_val_inj/cast_ord_inj. Qed.
Lemma corner_in k : corner k \in K. Proof. exact: enum_valP. Qed.
Lemma corner_onto c : c \in K -> exists k, corner k = c.
Proof. by move=> cK; exists (cast_ord card_K (enum_rank_in cK c)); rewrite /corner cast_ordK enum_rankK_in. Qed.

(* The value that y gives to the entry c of the corner. *)
Definition given (c : 'I_D * 'I_N) (y : {ffun 'I_(r * (D + N - r)) -> F}) : F :=
  if [pick k | corner k == c] is Some k then y k else 0.

Lemma givenE k y : given (corner k) y = y k.
Proof. by rewrite /given; case: pickP => [l /eqP/corner_inj ->|/(_ k)]; rewrite ?eqxx. Qed.

Lemma given_poly c : poly_fun (given c).
Proof. by rewrite /given; case: pickP => [k _|_]; [exact: PolyCoord | exact: PolyConst]. Qed.

Definition block (y : {ffun 'I_(r * (D + N - r)) -> F}) : 'M[F]_r := \matrix_(i, j) given (widen_ord rD i, widen_ord rN j) y.

Lemma completion y : \det (block y) != 0 -> exists2 x, low_rank x & pick_coords corner x = y.
Proof.
move=> nz; have unit : block y \in unitmx by rewrite unitmxE unitfE.
pose C : 'M[F]_(D, r) := \matrix_(i, j) given (i, widen_ord rN j) y.
pose V : 'M[F]_(r, N) := \matrix_(i, j) given (widen_ord rD i, j) y.
pose M := C *m invmx (block y) *m V.
exists [ffun c => M c.1 c.2].
  rewrite /low_rank (_ : mx_of _ = M); last by apply/matrixP => i j; rewrite mxE ffunE.
  exact: leq_trans (mxrankM_maxr _ _) (rank_leq_row _).
apply/ffunP => k; rewrite !ffunE -givenE; have := corner_in k; case: (corner k) => i j; rewrite !inE /= orbC.
case: (ltnP j r) => [ltj _|_ /= lti].
  have -> : M i j = col j M i 0 by rewrite [RHS]mxE.
  rewrite colE /M -!mulmxA -colE; have -> : j = widen_ord rN (Ordinal ltj) by apply: val_inj.
  have -> : col (widen_ord rN (Ordinal ltj)) V = col (Ordinal ltj) (block y) by apply/colP => l; rewrite !mxE.
  by rewrite colE [invmx _ *m _]mulmxA mulVmx // mul1mx -colE !mxE.
have -> : M i j = row i M 0 j by rewrite [RHS]mxE.
rewrite /M !row_mul; have -> : i = widen_ord rD (Ordinal lti) by apply: val_inj.
have -> : row (widen_ord rD (Ordinal lti)) C = row (Ordinal lti) (block y) by apply/rowP => l; rewrite !mxE.
by rewrite -!row_mul mulmxV // mul1mx !mxE.
Qed.

Theorem low_rank_dimension : has_dim low_rank (r * (D + N - r)).
Proof.
split=> [|kap _].
  exists corner; first exact: corner_inj.
  move=> Q pQ zero y; apply/eqP/negPn/negP => nzQ.
  have pd : poly_fun (fun y => \det (block y)) by apply: poly_det => i j; apply: PolyExt (given_poly _) => z; rewrite mxE.
  pose one : {ffun 'I_(r * (D + N - r)) -> F} := [ffun k => ((corner k).1 == (corner k).2 :> nat)%:R].
  have [|z] := common_point (b := one) pQ pd nzQ _.
    rewrite (_ : block one = 1%:M) ?det1 ?oner_neq0 //; apply/matrixP => i j; rewrite !mxE.
    by have [|k e] := @corner_onto (widen_ord rD i, widen_ord rN j); rewrite ?inE /= ?ltn_ord // -e givenE ffunE e.
  by rewrite mulf_eq0 negb_or => /andP[nz /completion[x lx e]]; move: (zero x lx); rewrite e => z0; rewrite z0 eqxx in nz.
apply: (@images_related _ _ _ row_params (fun T c => @from_rows T c) (fun T : {set 'I_D} => (#|T| <= r)%N)).
- exact: from_rows_poly.
- exact: card_row_params.
exact: low_rank_covered.
Qed.
End LowRank.

(* LoRA of rank r on a D x N parameter: the updates U V. *)
Theorem lora_dimension (F : numFieldType) D N r : (r <= D)%N -> (r <= N)%N ->
  has_dim (fun x : {ffun 'I_D * 'I_N -> F} => exists (U : 'M_(D, r)) (V : 'M_(r, N)), U *m V = mx_of x) (r * (D + N - r)).
Proof.
move=> rD rN; have [[kap inj ind] rel] := low_rank_dimension F rD rN.
split; first by exists kap => // Q pQ zero; apply: ind pQ _ => x /low_rank_factors; exact: zero.
by move=> kap' inj'; have [Q [pQ nQ zQ]] := rel kap' inj'; exists Q; split=> // x /low_rank_factors; exact: zQ.
Qed.
