(* prefix_state.mamba2 (d): heads of one decay value, any rows: which states are reached, and by how many tokens. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence squares psd ssd.
From Ssmproof.prefix_state Require Import mamba2.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* Matrices alone: h = X S W^T. *)
Section Completion.
Variables (F : rcfType) (R D N : nat) (X : 'M[F]_(R, D)) (WB : 'M[F]_(N, D)).

(* h = X S W_B^T with S positive semidefinite: as many columns as the rank of h do. *)
Lemma thin S h : psd S -> h = X *m S *m WB^T -> exists U : 'M_(D, \rank h), h = X *m U *m (WB *m U)^T.
Proof.
move=> pS hE; pose A := X *m S *m X^T; have [symS posS] := pS; have pA : psd A by exact: psd_congr.
have SXK (y : 'cV_R) : A *m y = 0 -> S *m X^T *m y = 0 by move=> e; exact: (psd_congr_kernel pS e).
have /submxP[K' hK] : (h^T <= A)%MS.
  by apply: kernel_submx => y /SXK e; rewrite hE !trmx_mul trmxK symS -mulmxA e mulmx0.
pose K := K'^T; have hAK : h = A *m K by rewrite -[h]trmxK hK trmx_mul; case: pA => -> _.
pose P := K^T *m h; have PE : P = K^T *m A *m K by rewrite /P hAK mulmxA.
have pP : psd P by rewrite PE -{2}[K]trmxK; exact: psd_congr.
have kerP (y : 'cV_N) : P *m y = 0 -> S *m X^T *m (K *m y) = 0.
  move=> Py; apply: SXK; apply: (psd_kernel pA).
  have -> : (K *m y)^T *m A *m (K *m y) = y^T *m (P *m y) by rewrite PE trmx_mul !mulmxA.
  by rewrite Py mulmx0 mxE.
have hX (y : 'cV_N) : h *m y = X *m (S *m X^T *m (K *m y)) by rewrite hAK /A !mulmxA.
have rkP : \rank P = \rank h.
  apply/eqP; rewrite eqn_leq mxrankM_maxr mxrankS //.
  by apply: kernel_submx => y /kerP e; rewrite hX e mulmx0.
have [B PB] := psd_factor pP rkP.
have /row_freeP[Br BBr] : row_free B^T.
  rewrite /row_free eqn_leq rank_leq_row /= mxrank_tr -[X in (X <= _)%N]rkP PB; exact: mxrankM_maxl.
have ZB : (S *m X^T *m K <= B^T)%MS.
  apply: submx_trans (_ : (_ <= P)%MS) _; last by rewrite PB submxMl.
  by apply: kernel_submx => y /kerP; rewrite mulmxA.
have [U ZE] := submxP ZB; exists U.
have XUB : X *m U *m B^T = h by rewrite -mulmxA -ZE hAK /A !mulmxA.
suff -> : (WB *m U)^T = B^T by rewrite XUB.
have BU : B *m U^T = K^T *m (X *m S) by rewrite -{1}[B]trmxK -trmx_mul -ZE !trmx_mul !trmxK symS.
have e : B *m (WB *m U)^T = B *m B^T by rewrite trmx_mul mulmxA BU -PB /P hE !mulmxA.
have left : Br^T *m B = 1%:M by rewrite -[B]trmxK -trmx_mul BBr trmx1.
by rewrite -[LHS]mul1mx -left -mulmxA e mulmxA left mul1mx.
Qed.

(* The test by one block: the rows of C span the common rows of X and W_B. *)
Lemma completion q (C : 'M[F]_(q, D)) h : (C :=: X :&: WB)%MS ->
  (exists2 S, psd S & h = X *m S *m WB^T) <->
  (exists S, [/\ S^T = S, h = X *m S *m WB^T, psd (C *m S *m C^T) &
    forall y : 'cV_q, C *m S *m C^T *m y = 0 -> X *m S *m C^T *m y = 0 /\ WB *m S *m C^T *m y = 0]).
Proof.
move=> CE; split=> [[S pS hE]|[S [symS hE pC ker]]].
  exists S; have [symS _] := pS; split=> //; first exact: psd_congr.
  by move=> y /(psd_congr_kernel pS) e; split; rewrite -!mulmxA [S *m _]mulmxA e mulmx0.
have [B PB] := psd_factor pC (erefl _); set k := \rank _ in B PB.
have /row_freeP[Br BBr] : row_free B^T.
  by rewrite /row_free eqn_leq rank_leq_row /= mxrank_tr /k {1}PB mxrankM_maxl.
pose U := S *m C^T *m Br.
have through m (Y : 'M[F]_(m, D)) : (forall y : 'cV_q, C *m S *m C^T *m y = 0 -> Y *m S *m C^T *m y = 0) -> Y *m U *m B^T = Y *m S *m C^T.
  move=> kerY; have /submxP[H HE] : (Y *m S *m C^T <= B^T)%MS.
    by apply: submx_trans (kernel_submx kerY) _; rewrite PB submxMl.
  by rewrite /U !mulmxA HE -[H *m B^T *m Br]mulmxA BBr mulmx1.
have XU := through _ X (fun y e => (ker y e).1); have WU := through _ WB (fun y e => (ker y e).2).
have CU : C *m U = B by rewrite /U !mulmxA PB -mulmxA BBr mulmx1.
pose S' := S - U *m U^T; pose E := X *m S' *m WB^T.
have symS' : S'^T = S' by rewrite linearB /= symS trmx_mul trmxK.
have XC : X *m S' *m C^T = 0.
  by rewrite mulmxBr mulmxBl -XU mulmxA -[X *m U *m U^T *m C^T]mulmxA -trmx_mul CU subrr.
have CW : C *m S' *m WB^T = 0.
  have WC0 : WB *m S' *m C^T = 0.
    by rewrite mulmxBr mulmxBl -WU mulmxA -[WB *m U *m U^T *m C^T]mulmxA -trmx_mul CU subrr.
  by apply: trmx_inj; rewrite trmx0 -WC0 !trmx_mul trmxK symS' mulmxA.
have hUE : h = X *m U *m (WB *m U)^T + E by rewrite /E mulmxBr mulmxBl hE trmx_mul !mulmxA addrC subrK.
pose G := col_base E; pose H := row_base E; have GH : G *m H = E by exact: mulmx_base.
have [V [XV WV]] : exists V, X *m V = G /\ WB *m V = H^T.
  suff /submxP[V' VE] : ((col_mx G H^T)^T <= (col_mx X WB)^T)%MS.
    exists V'^T; have : col_mx X WB *m V'^T = col_mx G H^T by apply: trmx_inj; rewrite trmx_mul trmxK -VE.
    by rewrite mul_col_mx => /eq_col_mx[-> ->].
  apply: kernel_submx => z; have -> : z = (row_mx (usubmx z)^T (dsubmx z)^T)^T by rewrite tr_row_mx !trmxK vsubmxK.
  move: (usubmx z)^T (dsubmx z)^T => p r; rewrite -!trmx_mul !mul_row_col => /(congr1 trmx); rewrite trmxK trmx0 => dep.
  suff -> : p *m G + r *m H^T = 0 by rewrite trmx0.
  have pX : p *m X = - (r *m WB) by apply/eqP; rewrite -addr_eq0 dep.
  have /submxP[y yE] : (p *m X <= C)%MS by rewrite CE sub_capmx submxMl pX -mulNmx submxMl.
  have pG : p *m G = 0.
    have [Hr HHr] : exists Hr, H *m Hr = 1%:M by apply/row_freeP; exact: row_base_free.
    have pE : p *m E = 0 by rewrite /E !mulmxA yE -!mulmxA [C *m _]mulmxA CW mulmx0.
    by rewrite -[p *m G]mulmx1 -HHr mulmxA -[p *m G *m H]mulmxA GH pE mul0mx.
  have Hr0 : H *m r^T = 0.
    have [Gl GGl] : exists Gl, Gl *m G = 1%:M by apply/row_fullP; exact: col_base_full.
    have Er : E *m r^T = 0.
      have -> : E *m r^T = X *m S' *m (r *m WB)^T by rewrite /E trmx_mul !mulmxA.
      by rewrite -[r *m WB]opprK -pX yE linearN /= trmx_mul mulmxN mulmxA XC mul0mx oppr0.
    by rewrite -[H *m _]mul1mx -GGl -mulmxA [G *m (H *m _)]mulmxA GH Er mulmx0.
  by rewrite pG add0r -[r]trmxK -trmx_mul Hr0 trmx0.
exists (row_mx U V *m (row_mx U V)^T); first exact: psd_gram.
have -> : X *m (row_mx U V *m (row_mx U V)^T) *m WB^T = X *m U *m (WB *m U)^T + X *m V *m (WB *m V)^T.
  by rewrite tr_row_mx mul_row_col mulmxDr mulmxDl !trmx_mul !mulmxA.
by rewrite hUE XV WV trmxK GH.
Qed.
End Completion.

Section Dependent.
Variables (F : rcfType) (R D N : nat) (dt : 'I_R -> F) (g : F).
Variables (Wx : 'M[F]_(R, D)) (WB WC : 'M[F]_(N, D)) (skip : 'I_R -> F).
Let state s := state_after (ssd_step (fun=> dt) (fun=> fun=> g) Wx WB WC skip) 0 s.
(* X stacks the heads' W_x, each scaled by its step size. *)
Let X : 'M[F]_(R, D) := diag_mx (\row_r dt r) *m Wx.
Hypothesis g0 : 0 < g.

(* Tokens are the columns of U, the last token first, scaled against the decay. *)
Lemma columns_state k (U : 'M[F]_(D, k)) : exists2 s, size s = k & state s = X *m U *m (WB *m U)^T.
Proof.
elim: k U => [|k IH] U.
  by exists [::] => //; apply/matrixP => i j; rewrite [RHS]mxE big_ord0 mxE.
pose u := lsubmx (U : 'M_(D, 1 + k)); pose V := rsubmx (U : 'M_(D, 1 + k)); pose q := Num.sqrt g.
have q0 : q != 0 by rewrite gt_eqF // sqrtr_gt0.
have [s sz sE] := IH (q^-1 *: V); exists (rcons s u); first by rewrite size_rcons sz.
have : X *m row_mx u V *m (WB *m row_mx u V)^T = X *m u *m (WB *m u)^T + X *m V *m (WB *m V)^T.
  by rewrite !mul_mx_row tr_row_mx mul_row_col.
rewrite /u /V hsubmxK -/u -/V => ->.
rewrite /state state_rcons -/(state s) sE addrC; congr (_ + _).
rewrite -!scalemxAr linearZ /= -scalemxAl -scalemxAr !scalerA.
have e : g * (q^-1 * q^-1) = 1 by rewrite -invfM -expr2 sqr_sqrtr ?ltW // mulfV // gt_eqF.
by rewrite -?mulrA e scale1r.
Qed.

Lemma state_gram s : exists2 S, psd S & state s = X *m S *m WB^T.
Proof.
elim/last_ind: s => [|s u [S pS sE]].
  by exists 0; rewrite ?mulmx0 ?mul0mx //; split=> [|x]; rewrite ?trmx0 ?mulmx0 ?mul0mx ?mxE.
exists (g *: S + u *m u^T).
  apply: psdD; last exact: psd_gram.
  case: pS => sym pos; split=> [|x]; first by rewrite linearZ /= sym.
  by rewrite -scalemxAr -scalemxAl mxE mulr_ge0 // ltW.
rewrite /state state_rcons -/(state s) sE mulmxDr mulmxDl -scalemxAr -scalemxAl; congr (_ + _).
by rewrite trmx_mul !mulmxA.
Qed.

(* A state of rank k is reached iff it is X S W_B^T for some S >= 0, and then by k tokens, and by no fewer. *)
Theorem reached_iff h : (exists s, state s = h) <-> (exists2 S, psd S & h = X *m S *m WB^T).
Proof.
split=> [[s <-]|[S pS hE]]; first exact: state_gram.
have [U UE] := thin pS hE; have [s _ sE] := columns_state U; by exists s; rewrite sE.
Qed.

Theorem reached_length h m : (exists s, state s = h) -> (exists2 s, size s = m & state s = h) <-> (\rank h <= m)%N.
Proof.
move=> /reached_iff[S pS hE]; split=> [[s <- <-]|le]; first exact: rank_limit.
have [U UE] := thin pS hE; have [s sz sE] := columns_state U; exists (nseq (m - \rank h) 0 ++ s).
  by rewrite size_cat size_nseq sz subnK.
have := @state_zero_tokens F R D N Wx WB WC skip (fun=> dt) (fun=> fun=> g) 0 (m - \rank h) s.
by rewrite -/(state _) -/(state s) sE -UE.
Qed.

(* The test by one block: the rows of C span the common rows of X and W_B. *)
Theorem reached_block q (C : 'M[F]_(q, D)) h : (C :=: X :&: WB)%MS ->
  (exists s, state s = h) <->
  (exists S, [/\ S^T = S, h = X *m S *m WB^T, psd (C *m S *m C^T) &
    forall y : 'cV_q, C *m S *m C^T *m y = 0 -> X *m S *m C^T *m y = 0 /\ WB *m S *m C^T *m y = 0]).
Proof. by move=> CE; rewrite reached_iff; exact: completion. Qed.
End Dependent.
