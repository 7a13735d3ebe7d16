(* sparse_dims.exact_match: permutations and scales of hidden channels make two networks equal whose W differ, so that the rank of
   W* - W counts an update that is not needed. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import fingroup perm.
From Ssmproof.sparse_dims Require Import exact_match depth_sharing lowered_counts.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Theorem hidden_permutations_lower (F : fieldType) D (phi : F -> F) (l1 l2 : layer F D) (p : 'S_D) i k :
  (forall i, direct l1 i = 0) -> (forall i, direct l2 i = 0) -> proj l1 (p i) k != proj l1 i k ->
  (0 < \rank (proj (permuted_rows l1 p) - proj l1)%R)%N /\
  forall x, run_network phi [:: permuted_rows l1 p; permuted_channels l2 p] x = run_network phi [:: l1; l2] x.
Proof.
move=> u1 u2 ne; split=> [|x]; last exact: hidden_permutations.
rewrite lt0n mxrank_eq0; apply: contra ne => /eqP/matrixP/(_ i k); rewrite !mxE => /eqP; by rewrite subr_eq0.
Qed.

Theorem relu_scales_lower (F : realFieldType) D (l1 l2 : layer F D) (c : 'I_D -> F) i k :
  (forall i, 0 < c i) -> (forall k s y, channel l2 k [seq s * z | z <- y] = [seq s * z | z <- channel l2 k y]) ->
  c i != 1 -> proj l1 i k != 0 ->
  (0 < \rank (proj (scaled_rows l1 c) - proj l1)%R)%N /\
  forall x, run_network (@relu F) [:: scaled_rows l1 c; unscaled_columns l2 c] x = run_network (@relu F) [:: l1; l2] x.
Proof.
move=> c0 hom c1 w0; split=> [|x]; last exact: relu_scales.
rewrite lt0n mxrank_eq0; apply/negP => /eqP/matrixP/(_ i k); rewrite !mxE -{2}[proj l1 i k]mul1r -mulrBl => /eqP.
by rewrite mulf_eq0 (negPf w0) orbF subr_eq0 (negPf c1).
Qed.
