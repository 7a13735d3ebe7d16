(* Symmetric positive semidefinite matrices: P x = 0 where x^T P x = 0, and P = B B^T with as many columns as its rank. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import squares.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* The row space of B lies in that of A if B x = 0 wherever A x = 0. *)
Lemma kernel_submx (F : fieldType) m k n (A : 'M[F]_(m, n)) (B : 'M[F]_(k, n)) :
  (forall x : 'cV_n, A *m x = 0 -> B *m x = 0) -> (B <= A)%MS.
Proof.
move=> ker; rewrite submxE; apply/eqP/matrixP => i j.
have /colP/(_ i) : col j (B *m cokermx A) = 0.
  by rewrite colE -mulmxA ker // mulmxA mulmx_coker mul0mx.
by rewrite [LHS]mxE => ->; rewrite !mxE.
Qed.

Definition psd (F : realFieldType) n (P : 'M[F]_n) := P^T = P /\ forall x : 'cV_n, 0 <= (x^T *m P *m x) 0 0.

Section Psd.
Variable F : realFieldType.
Implicit Type n : nat.

Lemma form_sym n (P : 'M[F]_n) (x y : 'cV_n) : P^T = P -> (x^T *m P *m y) 0 0 = (y^T *m P *m x) 0 0.
Proof.
move=> sym; have -> : y^T *m P *m x = (x^T *m P *m y)^T by rewrite !trmx_mul trmxK sym mulmxA.
by rewrite [RHS]mxE.
Qed.

Lemma form_sub n (P : 'M[F]_n) (x y : 'cV_n) t : P^T = P ->
  ((y - t *: x)^T *m P *m (y - t *: x)) 0 0 =
  (y^T *m P *m y) 0 0 - 2%:R * t * (x^T *m P *m y) 0 0 + t ^+ 2 * (x^T *m P *m x) 0 0.
Proof.
move=> sym; have -> : (y - t *: x)^T = y^T - t *: x^T by apply/matrixP => i j; rewrite !mxE.
have sub1 (A B : 'M[F]_1) : (A - B) 0 0 = A 0 0 - B 0 0 by rewrite !mxE.
have scale1 k (A : 'M[F]_1) : (k *: A) 0 0 = k * A 0 0 by rewrite mxE.
rewrite !mulmxBl !mulmxBr -!scalemxAl -!scalemxAr !sub1 !scale1 (form_sym y x sym).
by move: (_ 0 0) (_ 0 0) (_ 0 0) => p q r; ring.
Qed.

Lemma psd_kernel n (P : 'M[F]_n) (x : 'cV_n) : psd P -> (x^T *m P *m x) 0 0 = 0 -> P *m x = 0.
Proof.
case=> sym pos x0; apply/eqP; apply: contraT => Px0; pose y := P *m x.
have u0 : 0 < (y^T *m y) 0 0 by exact: norm2_gt0.
have yPx : (x^T *m P *m y) 0 0 = (y^T *m y) 0 0 by rewrite /y trmx_mul sym.
have v0 := pos y; set v := (y^T *m P *m y) 0 0 in v0; set u := (y^T *m y) 0 0 in u0 yPx.
have := pos (y - ((v + 1) / u) *: x); rewrite form_sub // x0 mulr0 addr0 yPx -/v -mulrA divfK ?gt_eqF //.
rewrite subr_ge0 leNgt => /negP[]; apply: (@lt_le_trans _ _ (v + 1)); first by rewrite ltr_addl ltr01.
by rewrite mulr_natl mulr2n ler_addl addr_ge0 ?ler01.
Qed.

(* The congruence X P X^T. *)
Lemma psd_congr m n (X : 'M[F]_(m, n)) (P : 'M[F]_n) : psd P -> psd (X *m P *m X^T).
Proof.
case=> sym pos; split=> [|x]; first by rewrite !trmx_mul trmxK sym mulmxA.
by have := pos (X^T *m x); rewrite trmx_mul trmxK !mulmxA.
Qed.

Lemma psd_congr_kernel m n (X : 'M[F]_(m, n)) (P : 'M[F]_n) (y : 'cV_m) : psd P -> X *m P *m X^T *m y = 0 -> P *m X^T *m y = 0.
Proof.
move=> pP e; rewrite -mulmxA; apply: psd_kernel => //.
have -> : (X^T *m y)^T *m P *m (X^T *m y) = y^T *m (X *m P *m X^T *m y) by rewrite trmx_mul trmxK !mulmxA.
by rewrite e mulmx0 mxE.
Qed.

Lemma psd_gram m n (B : 'M[F]_(m, n)) : psd (B *m B^T).
Proof.
split=> [|x]; first by rewrite trmx_mul trmxK.
have -> : x^T *m (B *m B^T) *m x = (B^T *m x)^T *m (B^T *m x) by rewrite trmx_mul trmxK !mulmxA.
exact: norm2_ge0.
Qed.

Lemma psdD n (P Q : 'M[F]_n) : psd P -> psd Q -> psd (P + Q).
Proof.
case=> sP pP [sQ pQ]; split=> [|x]; first by rewrite linearD /= sP sQ.
by rewrite mulmxDr mulmxDl mxE addr_ge0.
Qed.
End Psd.

(* Square roots are needed here. *)
Theorem psd_factor (R : rcfType) n r (P : 'M[R]_n) : psd P -> \rank P = r -> exists B : 'M_(n, r), P = B *m B^T.
Proof.
elim: r P => [|r IH] P pP rk.
  by exists 0; rewrite mul0mx; apply/eqP; rewrite -mxrank_eq0 rk.
have [sym pos] := pP.
have [x x0] : exists x : 'cV_n, (x^T *m P *m x) 0 0 != 0.
  have /existsP[i] : [exists i, P *m (delta_mx i 0 : 'cV_n) != 0].
    apply: contraT => /existsPn zero; suff P0 : P = 0 by rewrite P0 mxrank0 in rk.
    by apply/matrixP => k i; have := zero i; rewrite negbK => /eqP/colP/(_ k); rewrite -colE !mxE.
  by move=> Pi; exists (delta_mx i 0); apply: contraNneq Pi => /(psd_kernel pP) ->.
pose c := (x^T *m P *m x) 0 0; have c0 : 0 < c by rewrite lt_neqAle eq_sym x0 pos.
pose y := P *m x; pose Q := P - c^-1 *: (y *m y^T).
have yT : y^T = x^T *m P by rewrite trmx_mul sym.
have cE : x^T *m y = c%:M by rewrite [x^T *m y]mx11_scalar mulmxA.
have Qx : Q *m x = 0 by rewrite mulmxBl -scalemxAl -mulmxA yT -mulmxA cE mul_mx_scalar scalerA mulVf ?gt_eqF // scale1r subrr.
have pQ : psd Q.
  split=> [|z]; first by rewrite linearB linearZ /= trmx_mul trmxK sym.
  have := pos (z - ((x^T *m P *m z) 0 0 / c) *: x); rewrite form_sub // -/c mulmxBr mulmxBl -scalemxAr -scalemxAl [X in _ -> 0 <= X]mxE.
  have -> : z^T *m (y *m y^T) *m z = ((x^T *m P *m z) 0 0 ^+ 2)%:M.
    rewrite [LHS]mx11_scalar mulmxA -mulmxA mxE big_ord1 expr2 yT; congr (_ * _)%:M.
    by rewrite /y mulmxA form_sym.
  set k := (x^T *m P *m z) 0 0; rewrite !mxE eqxx mulr1n; set l := (z^T *m P *m z) 0 0 => le0.
  by apply: le_trans le0 _; rewrite le_eqVlt; apply/orP; left; apply/eqP; field; rewrite gt_eqF.
have QP : (Q <= P)%MS.
  by rewrite /Q -[P in P - _]mul1mx yT !mulmxA scalemxAl -mulmxBl submxMl.
have rkQ : \rank Q = r.
  apply/eqP; rewrite eqn_leq; apply/andP; split.
    rewrite -ltnS -rk ltn_neqAle mxrankS // andbT; apply/negP => eq_rk.
    have [_ eqE] := mxrank_leqif_eq QP; move: eq_rk; rewrite eqE => /andP[_ /submxP[Y PY]].
    by move: x0; rewrite -mulmxA PY -mulmxA Qx mulmx0 mulmx0 mxE eqxx.
  have : (\rank P <= \rank Q + \rank (c^-1 *: (y *m y^T)))%N.
    by rewrite -{1}[P](subrK (c^-1 *: (y *m y^T))); exact: mxrank_add.
  rewrite rk => le; rewrite -(leq_add2r 1) addn1; apply: leq_trans le _; rewrite leq_add2l.
  by rewrite (leq_trans (mxrank_scale _ _)) // (leq_trans (mxrankM_maxl _ _)) // rank_leq_col.
have [B QB] := IH Q pQ rkQ; exists (row_mx (Num.sqrt c^-1 *: y) B : 'M_(n, 1 + r)).
have := mul_row_col (Num.sqrt c^-1 *: y) B (Num.sqrt c^-1 *: y)^T B^T; rewrite -tr_row_mx => E; apply: etrans (esym E).
rewrite -QB linearZ /= -scalemxAl -scalemxAr scalerA -expr2 sqr_sqrtr ?invr_ge0 ?ltW //.
by rewrite /Q addrC subrK.
Qed.
