(* sparse_dims.exact_match, counts are upper bounds: column scales, hidden permutations and ReLU scales change parameters and
   no output, so a target may need fewer changes than its layers, compared one by one, suggest. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring perm.
From Ssmproof.core Require Import recurrence lti.
From Ssmproof.sparse_dims Require Import essential minimal_adjustment exact_match depth_sharing.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Lemma nth_scale (F : fieldType) (s : F) xs t : nth 0 [seq s * x | x <- xs] t = s * nth 0 xs t.
Proof.
by case: (ltnP t (size xs)) => lt; [rewrite (nth_map 0) | rewrite !nth_default ?size_map ?mulr0].
Qed.

Section Scales.
Variables (F : fieldType) (D : nat) (phi : F -> F).

(* A channel at rest is linear: scaled residues and skip, or a scaled input, scale its outputs. *)
Lemma scaled_channel N (a b c : 'I_N -> F) d s x :
  outputs (lti_step a b (fun n => s * c n) (s * d)) 0 x = [seq s * y | y <- outputs (lti_step a b c d) 0 x].
Proof.
apply: (@eq_from_nth _ 0) => [|t]; rewrite !(size_map, size_outputs) // => lt; rewrite nth_scale !outputs_impulse // mulr_sumr.
apply: eq_bigr => j _; rewrite mulrA; congr (_ * _); rewrite /impulse mulrDr; congr (_ + _); last by case: ifP; rewrite ?mulr0.
by rewrite /kernel mulr_sumr; apply: eq_bigr => n _; rewrite !mulrA.
Qed.

Lemma scaled_input N (a b c : 'I_N -> F) d s x :
  outputs (lti_step a b c d) 0 [seq s * y | y <- x] = [seq s * y | y <- outputs (lti_step a b c d) 0 x].
Proof.
apply: (@eq_from_nth _ 0) => [|t]; rewrite !(size_map, size_outputs) // => lt.
rewrite nth_scale !outputs_impulse ?size_map // mulr_sumr; apply: eq_bigr => j _; by rewrite nth_scale mulrCA.
Qed.

(* A direct term other than the frozen skip d is one more state, of mode 0. *)
Theorem direct_term_is_mode N (a c : 'I_N -> F) d d' x :
  outputs (lti_step (fun n => oapp a 0 (unlift ord0 n)) (fun=> 1) (fun n => oapp c (d' - d) (unlift ord0 n)) d) 0 x =
  outputs (lti_step a (fun=> 1) c d') 0 x.
Proof.
apply: (@eq_from_nth _ 0) => [|t]; rewrite !size_outputs // => lt; rewrite !outputs_impulse //; apply: eq_bigr => j _; congr (_ * _).
rewrite /impulse /kernel big_ord_recl unlift_none /= mulr1; under eq_bigr => n _ do rewrite liftK /=.
by case: (j : nat) => [|k] /=; rewrite ?exprS ?expr0 ?mul0r ?mulr0 ?add0r ?mulr1 //; ring.
Qed.

(* Or u_d takes it, where column d of W has no entry off the diagonal. *)
Definition with_direct (l : layer F D) k (s : F) : layer F D :=
  Layer (fun j x => if j == k then [seq z.1 + s * z.2 | z <- zip (channel l j x) x] else channel l j x) (proj l) (direct l) (bias l).
Definition with_skip (l : layer F D) k (s : F) : layer F D :=
  Layer (channel l) (proj l) (fun i => direct l i + (if i == k then proj l k k * s else 0)) (bias l).

Theorem skip_takes_direct l k s x : (forall j y, size (channel l j y) = size y) -> (forall i, i != k -> proj l i k = 0) ->
  run_layer phi (with_direct l k s) x = run_layer phi (with_skip l k s) x.
Proof.
move=> sz off; apply: (@eq_from_nth _ 0) => [|t]; rewrite !size_mkseq // => lt; rewrite !nth_mkseq //.
apply/colP => i; rewrite !mxE; congr (phi (_ + _)).
have -> : \sum_j proj l i j * nth 0 (channel (with_direct l k s) j [seq (z : 'cV[F]_D) j 0 | z <- x]) t =
    \sum_j proj l i j * nth 0 (channel l j [seq (z : 'cV[F]_D) j 0 | z <- x]) t + proj l i k * (s * nth 0 x t k 0).
  rewrite (bigD1 k) //= [in RHS](bigD1 k) //= eqxx addrAC; congr (_ + _); last first.
    by apply: eq_bigr => j ne; rewrite (negPf ne).
  rewrite (nth_map (0, 0)) ?size_zip ?sz ?size_map ?minnn // nth_zip ?sz ?size_map //= mulrDr (nth_map 0) //.
by rewrite /=; case: (eqVneq i k) => [->|/off ->]; ring.
Qed.

(* Column scales: channels times s, columns of W divided by s. *)
Definition column_scaled (l : layer F D) (s : 'I_D -> F) : layer F D :=
  Layer (fun k x => [seq s k * y | y <- channel l k x]) (\matrix_(i, k) (proj l i k / s k)) (direct l) (bias l).

Theorem column_scales l s x : (forall k, s k != 0) -> run_layer phi (column_scaled l s) x = run_layer phi l x.
Proof.
move=> s0; apply: (@eq_from_nth _ 0) => [|t]; rewrite !size_mkseq // => lt; rewrite !nth_mkseq //.
apply/colP => i; rewrite !mxE; congr (phi (_ + _ + _)); apply: eq_bigr => k _.
by rewrite nth_scale mxE mulrA divfK.
Qed.

(* Hidden permutations, where u = 0: rows of one layer, channels and columns of the next. *)
Definition permuted_rows (l : layer F D) (p : 'S_D) : layer F D :=
  Layer (channel l) (\matrix_(i, k) proj l (p i) k) (fun i => direct l (p i)) (fun i => bias l (p i)).
Definition permuted_channels (l : layer F D) (p : 'S_D) : layer F D :=
  Layer (fun k => channel l (p k)) (\matrix_(i, k) proj l i (p k)) (direct l) (bias l).

Theorem hidden_permutations l1 l2 p x : (forall i, direct l1 i = 0) -> (forall i, direct l2 i = 0) ->
  run_network phi [:: permuted_rows l1 p; permuted_channels l2 p] x = run_network phi [:: l1; l2] x.
Proof.
move=> u1 u2; rewrite /run_network /=; set y := run_layer phi l1 x; set y' := run_layer phi (permuted_rows l1 p) x.
have szy : size y' = size y by rewrite !size_mkseq.
have yE t i : nth 0 y' t i 0 = nth 0 y t (p i) 0.
  case: (ltnP t (size x)) => lt; last by rewrite !nth_default ?size_mkseq // !mxE.
  rewrite !nth_mkseq // !mxE /= u1 !mul0r; congr (phi (_ + _ + _)).
  by apply: eq_bigr => k _; rewrite mxE.
move: y y' szy yE => y y' szy yE.
have colE k : [seq (z : 'cV[F]_D) k 0 | z <- y'] = [seq (z : 'cV[F]_D) (p k) 0 | z <- y].
  apply: (@eq_from_nth _ 0) => [|t]; rewrite !size_map ?szy // => lt.
  by rewrite !(nth_map 0) ?szy // yE.
apply: (@eq_from_nth _ 0) => [|t]; rewrite !size_mkseq ?szy // => lt; rewrite !nth_mkseq ?szy //.
apply/colP => i; rewrite !mxE /= u2 !mul0r; congr (phi (_ + _ + _)).
rewrite [RHS](reindex_inj (@perm_inj _ p)); apply: eq_bigr => k _; by rewrite mxE colE.
Qed.
End Scales.

(* ReLU scales: a positive scale on a hidden output moves on to the next layer. *)
Section Relu.
Variables (F : realFieldType) (D : nat).
Lemma relu_scale (c v : F) : 0 < c -> relu (c * v) = c * relu v.
Proof. by move=> c0; rewrite /relu pmulr_rge0 //; case: ifP; rewrite ?mulr0. Qed.

Definition scaled_rows (l : layer F D) (c : 'I_D -> F) : layer F D :=
  Layer (channel l) (\matrix_(i, k) (c i * proj l i k)) (fun i => c i * direct l i) (fun i => c i * bias l i).
Definition unscaled_columns (l : layer F D) (c : 'I_D -> F) : layer F D :=
  Layer (channel l) (\matrix_(i, k) (proj l i k / c k)) (fun i => direct l i / c i) (bias l).

Theorem relu_scales (l1 l2 : layer F D) (c : 'I_D -> F) x : (forall i, 0 < c i) ->
  (forall k s y, channel l2 k [seq s * z | z <- y] = [seq s * z | z <- channel l2 k y]) ->
  run_network (@relu F) [:: scaled_rows l1 c; unscaled_columns l2 c] x = run_network (@relu F) [:: l1; l2] x.
Proof.
move=> c0 lin; rewrite /run_network /=; set y := run_layer (@relu F) l1 x; set y' := run_layer (@relu F) (scaled_rows l1 c) x.
have nz i : c i != 0 by rewrite lt0r_neq0.
have szy : size y' = size y by rewrite !size_mkseq.
have yE t i : nth 0 y' t i 0 = c i * nth 0 y t i 0.
  case: (ltnP t (size x)) => lt; last by rewrite !nth_default ?size_mkseq // !mxE mulr0.
  rewrite !nth_mkseq // !mxE -relu_scale //=; congr (@relu F); rewrite !mulrDr mulrA; congr (_ + _ + _).
  by rewrite mulr_sumr; apply: eq_bigr => k _; rewrite mxE mulrA.
move: y y' szy yE => y y' szy yE.
have colE k : [seq (z : 'cV[F]_D) k 0 | z <- y'] = [seq c k * z | z <- [seq (z : 'cV[F]_D) k 0 | z <- y]].
  apply: (@eq_from_nth _ 0) => [|t]; rewrite !size_map ?szy // => lt.
  by rewrite nth_scale !(nth_map 0) ?szy // yE.
apply: (@eq_from_nth _ 0) => [|t]; rewrite !size_mkseq ?szy // => lt; rewrite !nth_mkseq ?szy //.
apply/colP => i; rewrite !mxE /= yE mulrA divfK //; congr (@relu F (_ + _ + _)).
by apply: eq_bigr => k _; rewrite mxE colE lin nth_scale mulrA divfK.
Qed.
End Relu.

(* The smallest example: D = 1, modes a, residues (1, 2) and W = 4 against (2, 4) and W* = 2. Layer by layer every assignment
   changes two scalars or more and W needs rank 1; as functions the two are equal, with nothing changed. *)
Section Example.
Variables (F : numFieldType) (a : 'I_2 -> F) (phi : F -> F).
Hypothesis distinct : injective a.
Let r (n : 'I_2) : F := n.+1%:R.
Let r' (n : 'I_2) : F := 2%:R * r n.
Definition example (res : 'I_2 -> F) (w : F) : layer F 1 :=
  Layer (fun _ x => outputs (lti_step a (fun=> 1) res 0) 0 x) (w%:M) (fun=> 0) (fun=> 0).

Theorem column_scale_lowers :
  [/\ forall pi : 'I_2 -> 'I_2, injective pi -> (2 <= assignment_cost a r pi a r')%N,
      \rank (proj (example r' 2%:R) - proj (example r 4%:R)) = 1%N &
      forall x, run_layer phi (example r 4%:R) x = run_layer phi (example r' 2%:R) x].
Proof.
split=> [pi inj||x].
- apply: leq_trans (leq_addr _ _); rewrite big_ord_recl big_ord1.
  have ne k : (1 <= (a (pi k) != a k) + (r (pi k) != r' k))%N.
    have [e|//] := eqVneq (a (pi k)) (a k); rewrite (distinct e) /r' -[X in X != _]mul1r (inj_eq (mulIf _)) ?pnatr_eq0 //.
    by rewrite -[1]/(1%:R) eqr_nat.
  exact: leq_add (ne _) (ne _).
- by rewrite /= -raddfB mxrank_unit // unitmxE det_scalar1 unitfE subr_eq0 eqr_nat.
have out y : outputs (lti_step a (fun=> 1) r' 0) 0 y = [seq 2%:R * z | z <- outputs (lti_step a (fun=> 1) r 0) 0 y].
  by rewrite -scaled_channel mulr0.
apply: (@eq_from_nth _ 0) => [|t]; rewrite !size_mkseq // => lt; rewrite !nth_mkseq //.
apply/colP => i; rewrite !mxE !big_ord1 /= out nth_scale; congr (phi (_ + _ + _)).
by rewrite ![_%:M _ _]mxE; case: eqP => _; rewrite ?mulr1n ?mulr0n ?mul0r // mulrA -natrM.
Qed.
End Example.
