(* lora_limits.rank_floor, floor: the least squared error of rank r is the sum of the trailing squared singular values. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring zify.
From Ssmproof.core Require Import squares eigenbasis.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Frobenius.
Variable F : realFieldType.

(* The squared Frobenius norm. *)
Definition frob2 m n (A : 'M[F]_(m, n)) : F := \sum_i \sum_j A i j ^+ 2.

Lemma frob2E m n (A : 'M[F]_(m, n)) : frob2 A = \tr (A *m A^T).
Proof. by apply: eq_bigr => i _; rewrite mxE; apply: eq_bigr => j _; rewrite mxE expr2. Qed.

Lemma frob2_ge0 m n (A : 'M[F]_(m, n)) : 0 <= frob2 A.
Proof. by apply: sumr_ge0 => i _; apply: sumr_ge0 => j _; exact: sqr_ge0. Qed.

(* A projector splits the squared norm. *)
Lemma frob2_split m n (A : 'M[F]_(m, n)) (P : 'M[F]_n) : P^T = P -> P *m P = P ->
  frob2 A = frob2 (A *m P) + frob2 (A *m (1%:M - P)).
Proof.
move=> sym idem; have symQ : (1%:M - P)^T = 1%:M - P by rewrite raddfB /= tr_scalar_mx sym.
have idemQ : (1%:M - P) *m (1%:M - P) = 1%:M - P by rewrite mulmxBl mul1mx mulmxBr mulmx1 idem subrr subr0.
rewrite !frob2E !trmx_mul sym symQ !mulmxA -[A *m P *m P]mulmxA idem -[A *m (1%:M - P) *m _]mulmxA idemQ.
by rewrite -raddfD -mulmxDl -mulmxDr addrC subrK mulmx1.
Qed.

(* The projector onto the row space of V. *)
Variables (k n : nat) (V : 'M[F]_(k, n)).
Hypothesis free : row_free V.
Definition row_projector : 'M[F]_n := V^T *m invmx (V *m V^T) *m V.

Lemma gram_unit : V *m V^T \in unitmx.
Proof.
rewrite -row_free_unit; apply: inj_row_free => v v0.
have z : v *m V = 0.
  apply/eqP/negPn/negP => nz; have nzT : (v *m V)^T != 0 by apply: contra nz => /eqP e; rewrite -[v *m V]trmxK e trmx0.
  have := norm2_gt0 nzT; rewrite trmxK trmx_mul mulmxA -[v *m V *m _]mulmxA v0 mul0mx mxE ltxx //.
by apply: (row_free_inj free); rewrite z mul0mx.
Qed.

Lemma row_projector_sym : row_projector^T = row_projector.
Proof. by rewrite /row_projector !trmx_mul trmxK trmx_inv trmx_mul trmxK mulmxA. Qed.

Lemma row_projector_fixes : V *m row_projector = V.
Proof. by rewrite /row_projector !mulmxA mulmxV ?gram_unit // mul1mx. Qed.

Lemma row_projector_idem : row_projector *m row_projector = row_projector.
Proof. by rewrite {1}/row_projector -!mulmxA row_projector_fixes mulmxA. Qed.

Lemma row_projector_trace : \tr row_projector = k%:R.
Proof. by rewrite /row_projector mxtrace_mulC mulmxA mulmxV ?gram_unit // mxtrace1. Qed.
End Frobenius.

(* An orthogonal basis E of eigenvectors of Delta^T Delta with eigenvalues q_i, the squared singular values, decreasing. *)
Section Floor.
Variables (F : realFieldType) (D N r : nat) (Delta : 'M[F]_(D, N)) (E : 'M[F]_N) (q : 'I_N -> F).
Hypotheses (orth : E *m E^T = 1%:M) (eigen : E *m (Delta^T *m Delta) *m E^T = diag_mx (\row_i q i)).
Hypotheses (dec : forall i j : 'I_N, (i <= j)%N -> q j <= q i) (rN : (r <= N)%N).

Lemma orthT : E^T *m E = 1%:M. Proof. exact: mulmx1C. Qed.

Lemma gram_eigen : Delta^T *m Delta = E^T *m diag_mx (\row_i q i) *m E.
Proof. by rewrite -eigen !mulmxA orthT mul1mx -mulmxA orthT mulmx1. Qed.

(* What a projector P leaves of Delta: the eigenvalues weighted by the diagonal of P in the eigenbasis. *)
Definition weight (P : 'M[F]_N) i : F := (E *m P *m E^T) i i.

Lemma frob2_weight P : P^T = P -> P *m P = P -> frob2 (Delta *m P) = \sum_i q i * weight P i.
Proof.
move=> sym idem; rewrite frob2E trmx_mul sym !mulmxA -[Delta *m P *m P]mulmxA idem mxtrace_mulC mulmxA gram_eigen.
rewrite -!mulmxA mxtrace_mulC -mulmxA; apply: eq_bigr => i _; by rewrite mul_diag_mx mxE [X in X * _]mxE.
Qed.

Lemma weight01 P i : P^T = P -> P *m P = P -> 0 <= weight P i <= 1.
Proof.
have ge0 (Q : 'M[F]_N) : Q^T = Q -> Q *m Q = Q -> 0 <= weight Q i.
  move=> sym idem; rewrite /weight -idem mulmxA -[_ *m Q *m E^T]mulmxA -{2}sym -trmx_mul mxE.
  by apply: sumr_ge0 => j _; rewrite [X in _ * X]mxE -expr2 sqr_ge0.
move=> sym idem; rewrite ge0 //=; have symQ : (1%:M - P)^T = 1%:M - P by rewrite raddfB /= tr_scalar_mx sym.
have idemQ : (1%:M - P) *m (1%:M - P) = 1%:M - P by rewrite mulmxBl mul1mx mulmxBr mulmx1 idem subrr subr0.
have := ge0 _ symQ idemQ; rewrite /weight mulmxBr mulmxBl mulmx1 orth mxE [X in _ + X]mxE [1%:M i i]mxE eqxx.
by rewrite subr_ge0.
Qed.

Lemma weight_sum P : \sum_i weight P i = \tr P.
Proof. by rewrite -[RHS]/(\tr P) -[P in RHS]mul1mx -orthT -mulmxA mxtrace_mulC. Qed.

Lemma eigenvalue_ge0 i : 0 <= q i.
Proof.
have -> : q i = (diag_mx (\row_j q j)) i i by rewrite !mxE eqxx mulr1n.
rewrite -eigen mulmxA -mulmxA -[Delta *m E^T]trmxK trmx_mul trmxK mxE.
by apply: sumr_ge0 => j _; rewrite [X in _ * X]mxE -expr2 sqr_ge0.
Qed.

(* Weights in [0, 1] with sum at least N - r carry at least the trailing eigenvalues. *)
Lemma trailing_least (p : 'I_N -> F) : (forall i, 0 <= p i <= 1) -> (N - r)%:R <= \sum_i p i ->
  \sum_(i < N | (r <= i)%N) q i <= \sum_i q i * p i.
Proof.
move=> p01 ge; case: (leqP N r) => [le|lt].
  rewrite [X in X <= _]big_pred0 => [|i]; last by rewrite leqNgt (leq_trans (ltn_ord i)).
  by apply: sumr_ge0 => i _; case/andP: (p01 i) => p0 _; rewrite mulr_ge0 ?eigenvalue_ge0.
pose t := q (Ordinal lt).
have cut : \sum_(i < N | (r <= i)%N) (1 : F) = (N - r)%:R.
  rewrite sumr_const; congr (_ *+ _); have := cardC [pred i : 'I_N | (i < r)%N]; rewrite card_ord.
  rewrite (_ : #|[pred i : 'I_N | (i < r)%N]| = r); last first.
    rewrite -[RHS]card_ord -(card_imset (mem 'I_r) (f := widen_ord rN)); last by move=> i j /(congr1 val) /= e; apply: val_inj.
    apply: eq_card => i; rewrite !inE; apply/idP/imsetP => [lti|[j _ ->]]; last exact: (ltn_ord j).
    by exists (Ordinal lti) => //; apply: val_inj.
  move=> e; rewrite (_ : (N - r)%N = #|[predC [pred i : 'I_N | (i < r)%N]]|); last by rewrite -[X in (X - _)%N]e addKn.
  by apply: eq_card => i; rewrite !inE -leqNgt.
rewrite -subr_ge0 (_ : _ - _ = \sum_(i < N) (if (r <= i)%N then (t - q i) * (1 - p i) else (q i - t) * p i) + t * (\sum_i p i - (N - r)%:R)).
  rewrite addr_ge0 ?mulr_ge0 ?eigenvalue_ge0 ?subr_ge0 //; apply: sumr_ge0 => i _; have /andP[p0 p1] := p01 i.
  by case: leqP => c; rewrite mulr_ge0 ?subr_ge0 // dec //= ltnW.
rewrite -cut [\sum_(i < N | _) q i]big_mkcond [\sum_(i < N | _) 1]big_mkcond -!sumrB mulr_sumr -big_split /=.
by apply: eq_bigr => i _; case: leqP => _; ring.
Qed.

Theorem floor_bound (X : 'M[F]_(D, N)) : (\rank X <= r)%N -> \sum_(i < N | (r <= i)%N) q i <= frob2 (Delta - X).
Proof.
move=> le; pose V := row_base X; have free : row_free V by exact: row_base_free.
pose P := 1%:M - row_projector V.
have sym : P^T = P by rewrite /P raddfB /= tr_scalar_mx row_projector_sym.
have idem : P *m P = P by rewrite /P mulmxBl mul1mx mulmxBr mulmx1 row_projector_idem // subrr subr0.
have XP : X *m P = 0.
  by rewrite -(mulmx_base X) -mulmxA /P mulmxBr mulmx1 row_projector_fixes // subrr mulmx0.
rewrite (frob2_split _ sym idem) -[X in X <= _]addr0 ler_add ?frob2_ge0 // mulmxBl XP subr0 frob2_weight //.
apply: trailing_least => [i|]; first exact: weight01.
rewrite weight_sum /P raddfB /= mxtrace1 row_projector_trace // -natrB; last exact: rank_leq_col.
by rewrite ler_nat leq_sub2l.
Qed.

(* The truncated factorisation: Delta times the projector onto the first r eigenvectors. *)
Definition truncated : 'M[F]_(D, N) := Delta *m (E^T *m diag_mx (\row_i (i < r)%N%:R) *m E).

Theorem floor_attained : (\rank truncated <= r)%N /\ frob2 (Delta - truncated) = \sum_(i < N | (r <= i)%N) q i.
Proof.
pose J : 'M[F]_N := diag_mx (\row_i (i < r)%N%:R); pose P := E^T *m (1%:M - J) *m E.
have JJ : (1%:M - J) *m (1%:M - J) = 1%:M - J.
  apply/matrixP => i j; rewrite mulmxBl mul1mx mulmxBr mulmx1 /J mul_diag_mx !mxE.
  by case: (i < r)%N; case: (i == j); rewrite ?mulr1n ?mulr0n ?mul1r ?mul0r; ring.
have JT : (1%:M - J)^T = 1%:M - J by rewrite raddfB /= tr_scalar_mx tr_diag_mx.
have sym : P^T = P by rewrite /P !trmx_mul trmxK JT mulmxA.
have idem : P *m P = P by rewrite /P -!mulmxA [E *m (E^T *m _)]mulmxA orth mul1mx [(1%:M - J) *m (_ *m E)]mulmxA JJ.
split.
  apply: leq_trans (mxrankM_maxr _ _) _; apply: leq_trans (mxrankM_maxl _ _) _; apply: leq_trans (mxrankM_maxr _ _) _.
  rewrite (_ : diag_mx (\row_(i < N) (i < r)%N%:R) = pid_mx r :> 'M[F]_N) ?rank_pid_mx //.
  by apply/matrixP => i j; rewrite !mxE; case: (i < r)%N; rewrite ?andbT ?andbF // mul0rn.
have -> : Delta - truncated = Delta *m P.
  by rewrite /truncated -/J /P mulmxBr mulmx1 mulmxBl orthT mulmxBr mulmx1.
rewrite frob2_weight // [RHS]big_mkcond /=; apply: eq_bigr => i _.
rewrite /weight /P !mulmxA orth mul1mx -mulmxA orth mulmx1 !mxE eqxx mulr1n.
by case: leqP => _; rewrite ?subr0 ?mulr1 // subrr mulr0.
Qed.
End Floor.

(* Over the reals every update has such a basis, so for every r the least squared error is the trailing sum. *)
Theorem least_error (R : rcfType) D N (Delta : 'M[R]_(D, N)) : exists (E : 'M[R]_N) (q : 'I_N -> R),
  [/\ E *m E^T = 1%:M, E *m (Delta^T *m Delta) *m E^T = diag_mx (\row_i q i),
      forall i j : 'I_N, (i <= j)%N -> q j <= q i &
      forall r, (forall X : 'M[R]_(D, N), (\rank X <= r)%N -> \sum_(i < N | (r <= i)%N) q i <= frob2 (Delta - X)) /\
                exists2 X : 'M[R]_(D, N), (\rank X <= r)%N & frob2 (Delta - X) = \sum_(i < N | (r <= i)%N) q i].
Proof.
have [|E [q [orth eigen dec]]] := @eigenbasis R N (Delta^T *m Delta); first by rewrite trmx_mul trmxK.
exists E, q; split=> // r; have [rN|lt] := leqP r N.
  split=> [X|]; first exact: (floor_bound orth eigen dec rN).
  by have [le eq] := floor_attained orth eigen rN; exists (truncated r Delta E).
have none : \sum_(i < N | (r <= i)%N) q i = 0.
  by rewrite big_pred0 // => i; rewrite leqNgt (ltn_trans (ltn_ord i) lt).
split=> [X _|]; first by rewrite none frob2_ge0.
exists Delta; first by rewrite (leq_trans (rank_leq_col _)) // ltnW.
by rewrite none subrr /frob2 big1 // => i _; rewrite big1 // => j _; rewrite mxE expr0n.
Qed.
