(* Every symmetric real matrix has an orthogonal basis of eigenvectors; MathComp 1.15 has no spectral theorem. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import complex ring.
From Ssmproof.core Require Import squares.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Spectral.
Variable R : rcfType.

Lemma norm2_row n (x : 'rV[R]_n) : 0 <= (x *m x^T) 0 0 /\ ((x *m x^T) 0 0 = 0 -> x = 0).
Proof.
split; first by have := norm2_ge0 x^T; rewrite trmxK.
move=> z; apply/eqP/negPn/negP => nz; have nzT : x^T != 0 by apply: contra nz => /eqP e; rewrite -[x]trmxK e trmx0.
by have := norm2_gt0 nzT; rewrite trmxK z ltxx.
Qed.

(* A root of the characteristic polynomial over R[i] is real, and so is an eigenvector's real or imaginary part. *)
Lemma real_eigenvector n (S : 'M[R]_n.+1) : S^T = S -> exists lam (v : 'rV_n.+1), v != 0 /\ v *m S = lam *: v.
Proof.
move=> sym; pose SC := map_mx (real_complex R) S.
have /closed_rootP[a] : size (char_poly SC) != 1%N by rewrite size_char_poly.
rewrite -eigenvalue_root_char => /eigenvalueP[v vS v0].
pose x : 'rV[R]_n.+1 := \row_i complex.Re (v 0 i); pose y : 'rV[R]_n.+1 := \row_i complex.Im (v 0 i).
have part i : \sum_j v 0 j * (S j i)%:C%C = a * v 0 i.
  have /rowP/(_ i) := vS; rewrite !mxE => <-; by apply: eq_bigr => j _; rewrite mxE.
have xS : x *m S = complex.Re a *: x - complex.Im a *: y.
  apply/rowP => i; rewrite !mxE; have := congr1 (@complex.Re R) (part i); rewrite raddf_sum /= => e.
  transitivity (complex.Re (a * v 0 i)); last by case: (a) (v 0 i) => [a1 a2] [v1 v2].
  rewrite -e; apply: eq_bigr => j _; rewrite mxE; by case: (v 0 j) => v1 v2; rewrite /= mulr0 subr0.
have yS : y *m S = complex.Re a *: y + complex.Im a *: x.
  apply/rowP => i; rewrite !mxE; have := congr1 (@complex.Im R) (part i); rewrite raddf_sum /= => e.
  transitivity (complex.Im (a * v 0 i)); last by case: (a) (v 0 i) => [a1 a2] [v1 v2].
  rewrite -e; apply: eq_bigr => j _; rewrite mxE; by case: (v 0 j) => v1 v2; rewrite /= mulr0 add0r.
have pair : x *m S *m y^T = x *m (y *m S)^T by rewrite trmx_mul sym mulmxA.
have imag : complex.Im a * ((x *m x^T) 0 0 + (y *m y^T) 0 0) = 0.
  have lhs : (x *m S *m y^T) 0 0 = complex.Re a * (x *m y^T) 0 0 - complex.Im a * (y *m y^T) 0 0.
    by rewrite xS mulmxBl -!scalemxAl !mxE.
  have rhs : (x *m (y *m S)^T) 0 0 = complex.Re a * (x *m y^T) 0 0 + complex.Im a * (x *m x^T) 0 0.
    by rewrite yS linearD /= !linearZ /= mulmxDr -!scalemxAr !mxE.
  by move: lhs; rewrite pair rhs => /addrI/eqP; rewrite -subr_eq0 opprK -mulrDr => /eqP.
have [[x0 xz] [y0 yz]] := (norm2_row x, norm2_row y).
have b0 : complex.Im a = 0.
  move/eqP: imag; rewrite mulf_eq0 => /orP[/eqP //|]; rewrite paddr_eq0 // => /andP[/eqP/xz ex /eqP/yz ey].
  case/eqP: v0; apply/rowP => i; have /rowP/(_ i) := ex; have /rowP/(_ i) := ey; rewrite !mxE.
  by case: (v 0 i) => v1 v2 /= -> ->.
have [ex|nx] := eqVneq x 0; last by exists (complex.Re a), x; rewrite xS b0 scale0r subr0.
exists (complex.Re a), y; split; last by rewrite yS b0 scale0r addr0.
apply: contra v0 => /eqP ey; apply/eqP/rowP => i; have /rowP/(_ i) := ex; have /rowP/(_ i) := ey; rewrite !mxE.
by case: (v 0 i) => v1 v2 /= -> ->.
Qed.

(* A reflection that takes the first unit vector to a given one. *)
Lemma reflection n (u : 'rV[R]_n.+1) : (u *m u^T) 0 0 = 1 ->
  exists H : 'M[R]_n.+1, [/\ H *m H = 1%:M, H^T = H & delta_mx 0 0 *m H = u].
Proof.
move=> unit; pose e : 'rV[R]_n.+1 := delta_mx 0 0; pose w := u - e.
have eu (z : 'rV[R]_n.+1) : e *m z^T = (z 0 0)%:M.
  by rewrite -rowE; apply/matrixP => i j; rewrite !mxE !ord1 eqxx.
have ee : e *m e^T = 1%:M by rewrite eu mxE !eqxx.
have ue : u *m e^T = (u 0 0)%:M by rewrite -[LHS]trmxK trmx_mul trmxK eu tr_scalar_mx.
have uu : u *m u^T = 1%:M by apply/matrixP => i j; rewrite !ord1 unit mxE eqxx.
pose c := 1 - u 0 0; have ew : e *m w^T = (- c)%:M.
  by rewrite /w raddfB /= mulmxBr eu ee -raddfB /= opprB.
have ww : w *m w^T = (2%:R * c)%:M.
  rewrite {1}/w mulmxBl ew /w raddfB /= mulmxBr uu ue -!raddfB /=; congr _%:M; rewrite /c; ring.
have [c0|c0] := eqVneq c 0.
  exists 1%:M; split; [exact: mulmx1 | exact: tr_scalar_mx | rewrite mulmx1; apply/esym/eqP; rewrite -subr_eq0; apply/eqP].
  by apply: (norm2_row w).2; rewrite ww c0 mulr0 mxE mul0rn.
exists (1%:M - c^-1 *: (w^T *m w)); split.
- pose Q := w^T *m w; have QQ : Q *m Q = (2%:R * c) *: Q.
    by rewrite /Q mulmxA -[w^T *m w *m _]mulmxA ww mul_mx_scalar scalemxAl.
  rewrite -/Q mulmxBl mul1mx mulmxBr mulmx1 -scalemxAl -scalemxAr QQ !scalerA.
  rewrite (_ : c^-1 * c^-1 * (2%:R * c) = c^-1 + c^-1); last by field.
  by rewrite scalerDl opprB addrK subrK.
- by rewrite raddfB /= tr_scalar_mx linearZ /= trmx_mul trmxK.
rewrite mulmxBr mulmx1 -/e -scalemxAr mulmxA ew mul_scalar_mx scalerA mulrN mulVf // scaleN1r opprK /w.
by rewrite addrC subrK.
Qed.

Lemma orthogonal_eigen n (S : 'M[R]_n) : S^T = S -> exists (E : 'M[R]_n) (d : 'rV_n), E *m E^T = 1%:M /\ E *m S *m E^T = diag_mx d.
Proof.
elim: n S => [|n IH] S sym; first by exists 1%:M, 0; split; apply/matrixP => -[].
have [lam [v [v0 vS]]] := real_eigenvector sym.
have [s0 sz] := norm2_row v; pose s := (v *m v^T) 0 0.
have sp : 0 < s by rewrite lt_neqAle s0 andbT eq_sym; apply: contra v0 => /eqP/sz ->.
pose u := (Num.sqrt s)^-1 *: v.
have uS : u *m S = lam *: u by rewrite /u -scalemxAl vS !scalerA mulrC.
have uu : (u *m u^T) 0 0 = 1.
  rewrite /u linearZ /= -scalemxAl -scalemxAr scalerA mxE -/s -expr2 exprVn sqr_sqrtr ?mulVf ?lt0r_neq0 //; exact: ltW.
have [H [HH Hs eH]] := reflection uu; have [S1 S1E] : exists S1 : 'M[R]_(1 + n), S1 = H *m S *m H by exists (H *m S *m H).
have first : (delta_mx 0 0 : 'rV[R]_(1 + n)) *m S1 = lam *: delta_mx 0 0.
  by rewrite S1E !mulmxA eH uS -scalemxAl -eH -mulmxA HH mulmx1.
have sym1 : S1^T = S1 by rewrite S1E !trmx_mul Hs sym mulmxA.
have ur0 : ursubmx S1 = 0.
  apply/matrixP => i j; rewrite !mxE !ord1 (_ : lshift n 0 = 0); last exact: val_inj.
  have /rowP/(_ (rshift 1 j)) := first; rewrite -rowE mxE => ->.
  by rewrite !mxE [rshift 1 j == _](_ : _ = false) ?andbF ?mulr0 //; apply/eqP => /(congr1 val).
have dl0 : dlsubmx S1 = 0 by rewrite -[dlsubmx S1]trmxK trmx_dlsub sym1 ur0 trmx0.
have ul : ulsubmx S1 = lam%:M.
  apply/matrixP => i j; rewrite !mxE !ord1 (_ : lshift n 0 = 0); last exact: val_inj.
  by have /rowP/(_ 0) := first; rewrite -rowE mxE => ->; rewrite !mxE !eqxx mulr1.
have [|E' [d' [orth' diag']]] := IH (drsubmx S1); first by rewrite trmx_drsub sym1.
have blocks : S1 = block_mx lam%:M 0 0 (drsubmx S1) by rewrite -[LHS]submxK ul ur0 dl0.
pose B : 'M[R]_(1 + n) := block_mx 1%:M 0 0 E'; exists (B *m H), (row_mx lam%:M d').
have BT : B^T = block_mx 1%:M 0 0 E'^T by rewrite tr_block_mx tr_scalar_mx !trmx0.
have BB : B *m B^T = 1%:M.
  by rewrite BT /B mulmx_block !mulmx0 !mul0mx !addr0 !add0r mulmx1 orth' -scalar_mx_block.
have BSB : B *m S1 *m B^T = diag_mx (row_mx lam%:M d').
  rewrite BT blocks /B !mulmx_block !(mulmx0, mul0mx, addr0, add0r, mul1mx, mulmx1) diag' diag_mx_row; congr block_mx.
  by apply/matrixP => i j; rewrite !ord1 !mxE !eqxx !mulr1n.
split; rewrite trmx_mul Hs mulmxA.
  by rewrite -[B *m H *m H]mulmxA HH mulmx1; exact: BB.
by rewrite -[B *m H *m S]mulmxA -[B *m _ *m H]mulmxA -S1E; exact: BSB.
Qed.

(* Eigenvalues in decreasing order. *)
Theorem eigenbasis n (S : 'M[R]_n) : S^T = S -> exists (E : 'M[R]_n) (q : 'I_n -> R),
  [/\ E *m E^T = 1%:M, E *m S *m E^T = diag_mx (\row_i q i) & forall i j : 'I_n, (i <= j)%N -> q j <= q i].
Proof.
case/orthogonal_eigen => E [d [orth diag]].
pose above (i j : 'I_n) := d 0 j <= d 0 i; pose s := sort above (enum 'I_n).
have size_s : size s = n by rewrite size_sort size_enum_ord.
have uniq_s : uniq s by rewrite sort_uniq enum_uniq.
have sorted_s : sorted above s by apply: sort_sorted => i j; exact: le_total.
pose f (i : 'I_n) : 'I_n := nth i s i.
have fE i x0 : f i = nth x0 s i by apply: set_nth_default; rewrite size_s.
exists (rowsub f E), (fun i => d 0 (f i)).
have entry (A : 'M[R]_n) i j : (rowsub f E *m A *m (rowsub f E)^T) i j = (E *m A *m E^T) (f i) (f j).
  by rewrite !mxE; apply: eq_bigr => k _; rewrite !mxE; congr (_ * _); apply: eq_bigr => l _; rewrite !mxE.
have inj : injective f.
  move=> i j; rewrite (fE i i) (fE j i) => /eqP; rewrite nth_uniq ?size_s // => /eqP; exact: val_inj.
split.
- by apply/matrixP => i j; have := entry 1%:M i j; rewrite !mulmx1 => ->; rewrite orth !mxE (inj_eq inj).
- by apply/matrixP => i j; rewrite entry diag !mxE (inj_eq inj).
move=> i j le; rewrite (fE i i) (fE j i); apply: (sorted_leq_nth _ _ _ sorted_s); rewrite ?inE ?size_s //.
- by move=> x y z h1 h2; exact: le_trans h2 h1.
by move=> x; exact: lexx.
Qed.
End Spectral.
