(* A square submatrix with determinant not 0 bounds the rank from below. *)
From mathcomp Require Import all_ssreflect all_algebra.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

Section Minors.
Variables (F : fieldType) (m n k : nat).

Lemma minor_rank (M : 'M[F]_(m, n)) (f : 'I_k -> 'I_m) (g : 'I_k -> 'I_n) : \det (mxsub f g M) != 0 -> (k <= \rank M)%N.
Proof.
move=> nz; have unit : mxsub f g M \in unitmx by rewrite unitmxE unitfE.
rewrite -[X in (X <= _)%N](mxrank_unit unit).
have -> : mxsub f g M = (\matrix_(i, l) (f i == l)%:R) *m M *m (\matrix_(l, j) (l == g j)%:R).
  apply/matrixP => i j; rewrite [RHS]mxE (bigD1 (g j)) //= [X in _ * X]mxE eqxx mulr1 big1 ?addr0 => [|l ne]; last first.
    by rewrite [X in _ * X]mxE (negPf ne) mulr0.
  rewrite !mxE (bigD1 (f i)) //= mxE eqxx mul1r big1 ?addr0 // => l ne.
  by rewrite mxE eq_sym (negPf ne) mul0r.
exact: leq_trans (mxrankM_maxl _ _) (mxrankM_maxr _ _).
Qed.

(* LoRA of rank k holds M exactly iff the rank of M is at most k. *)
Lemma low_rank_factors (M : 'M[F]_(m, n)) :
  (exists (U : 'M[F]_(m, k)) (V : 'M[F]_(k, n)), U *m V = M) <-> (\rank M <= k)%N.
Proof.
split=> [[U [V <-]]|le]; first exact: leq_trans (mxrankM_maxl _ _) (rank_leq_col _).
exists (col_base M *m pid_mx (\rank M)), (pid_mx (\rank M) *m row_base M).
by rewrite mulmxA -[_ *m _ *m pid_mx _]mulmxA pid_mx_id // pid_mx_1 mulmx1 mulmx_base.
Qed.
End Minors.
