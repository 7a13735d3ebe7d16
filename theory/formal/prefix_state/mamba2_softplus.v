(* prefix_state.mamba2 (c): one head whose clock reads any row of the token, softplus for example. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence ssd exponential.
From Ssmproof.prefix_state Require Import mamba2.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section AnyRow.
Variables (F : rcfType) (P D N : nat) (Wx : 'M[F]_(P, D)) (WB WC : 'M[F]_(N, D)) (skip : 'I_P -> F).
(* Step size and decay as functions of w u: positive, and the step size does not fall. *)
Variables (dt decay : F -> F) (w : 'rV[F]_D).
Hypotheses (rows : row_free (col_mx Wx WB)) (dt0 : forall x, 0 < dt x) (dt_le : forall x y, x <= y -> dt x <= dt y).
Hypothesis decay0 : forall x, decay x != 0.
Let step := ssd_step (fun u _ => dt ((w *m u) 0 0)) (fun u _ => decay ((w *m u) 0 0)) Wx WB WC skip.
Let state s := state_after step 0 s.

(* p + q = s and p q = k, where s^2 >= 4 k. *)
Lemma sum_and_product (s k : F) : 4%:R * k <= s ^+ 2 -> exists p q, p + q = s /\ p * q = k.
Proof.
move=> le; pose r := Num.sqrt (s ^+ 2 - 4%:R * k); have r2 : r ^+ 2 = s ^+ 2 - 4%:R * k by rewrite sqr_sqrtr // subr_ge0.
have two : (2%:R : F) != 0 by rewrite pnatr_eq0.
exists ((s + r) / 2%:R), ((s - r) / 2%:R); split; first by field.
have four : (4%:R : F) != 0 by rewrite pnatr_eq0.
apply: (mulfI four); have -> : 4%:R * ((s + r) / 2%:R * ((s - r) / 2%:R)) = s ^+ 2 - r ^+ 2 by field.
by rewrite r2; ring.
Qed.

(* Sizes c and t with c t dt(c x + t y) = 1: choose c x + t y first. *)
Lemma token_size x y : exists c t, c * t * dt (c * x + t * y) = 1.
Proof.
have [->|x0] := eqVneq x 0.
  by exists (dt y)^-1, 1; rewrite mulr0 add0r mul1r mulr1 mulVf // gt_eqF.
have [->|y0] := eqVneq y 0.
  by exists 1, (dt x)^-1; rewrite mulr0 addr0 !mul1r mulVf // gt_eqF.
pose k := 4%:R * (x * y / dt 0); pose s := if k <= 0 then 0 else 1 + k.
have [p [q [sum prod]]] : exists p q, p + q = s /\ p * q = x * y / dt s.
  apply: sum_and_product; rewrite /s; case: ifP => [le|/negbT]; first by rewrite expr0n.
  rewrite -ltNge => k0; have xy0 : 0 < x * y.
    by move: k0; rewrite /k pmulr_rgt0 ?ltr0n // pmulr_lgt0 // invr_gt0.
  have big : x * y / dt (1 + k) <= x * y / dt 0.
    by rewrite ler_pmul2l // lef_pinv ?posrE ?dt_le // addr_ge0 ?ler01 ?ltW.
  apply: (@le_trans _ _ k); first by rewrite /k ler_pmul2l ?ltr0n.
  have -> : (1 + k) ^+ 2 = k + (1 + k + k ^+ 2) by ring.
  by rewrite ler_addl addr_ge0 ?sqr_ge0 // addr_ge0 ?ler01 // ltW.
exists (p / x), (q / y); rewrite !divfK // sum.
have -> : p / x * (q / y) = p * q / (x * y) by field; rewrite x0 y0.
by rewrite prod; field; rewrite y0 x0 gt_eqF.
Qed.

Lemma rank_one_token (g : 'cV[F]_P) (e : 'rV[F]_N) : exists u, ssd_token (fun u _ => dt ((w *m u) 0 0)) Wx WB u = g *m e.
Proof.
have [u uE] := free_rows (col_mx g (0 : 'cV_N)) rows; have [v vE] := free_rows (col_mx (0 : 'cV_P) e^T) rows.
move: uE vE; rewrite !mul_col_mx => /eq_col_mx[ug u0] /eq_col_mx[v0 ve].
have [c [t ct]] := token_size ((w *m u) 0 0) ((w *m v) 0 0); exists (c *: u + t *: v).
have arg : (w *m (c *: u + t *: v)) 0 0 = c * (w *m u) 0 0 + t * (w *m v) 0 0.
  have add1 (A B : 'M[F]_1) : (A + B) 0 0 = A 0 0 + B 0 0 by rewrite mxE.
  have scale1 k (A : 'M[F]_1) : (k *: A) 0 0 = k * A 0 0 by rewrite mxE.
  by rewrite mulmxDr -!scalemxAr add1 !scale1.
apply/matrixP => i j; rewrite ssd_tokenE arg !mulmxDr -!scalemxAr ug u0 v0 ve !scaler0 addr0 add0r.
rewrite [(c *: g) i 0]mxE [(t *: e^T) j 0]mxE [e^T j 0]mxE.
rewrite [RHS]mxE big_ord1; set d := dt _ in ct *.
have -> : d * (c * g i 0) * (t * e 0 j) = c * t * d * (g i 0 * e 0 j) by ring.
by rewrite ct mul1r.
Qed.

Lemma sum_of_any_tokens m (g : 'I_m -> 'cV[F]_P) (e : 'I_m -> 'rV[F]_N) : exists2 s, size s = m & state s = \sum_k g k *m e k.
Proof.
elim: m g e => [|m IH] g e; first by exists [::]; rewrite ?big_ord0.
have [u uE] := rank_one_token (g ord_max) (e ord_max).
have [s sz sE] := IH (fun k => (decay ((w *m u) 0 0))^-1 *: g (widen_ord (leqnSn m) k)) (fun k => e (widen_ord (leqnSn m) k)).
exists (rcons s u); first by rewrite size_rcons sz.
rewrite /state state_after_rcons -/(state s) /= /ssd_state uE sE big_ord_recr /=; congr (_ + _).
rewrite mulmx_sumr; apply: eq_bigr => k _; apply/matrixP => i j; rewrite mul_diag_mx !mxE big_ord1 big_ord1 !mxE.
by rewrite mulrA [decay _ * _]mulrA mulfV ?mul1r.
Qed.

Theorem witness_any_row m h : (exists2 s, size s = m & state s = h) <-> (\rank h <= m)%N.
Proof.
split=> [[s <- <-]|le]; first exact: rank_limit.
have [s sz sE] := sum_of_any_tokens (fun k => col k (col_base h)) (fun k => row k (row_base h)).
exists (nseq (m - \rank h) 0 ++ s); first by rewrite size_cat size_nseq sz subnK.
have := @state_zero_tokens F P D N Wx WB WC skip (fun x _ => dt x) (fun x _ => decay x) w (m - \rank h) s.
rewrite -/step -/(state _) -/(state s) => ->; rewrite sE -[RHS]mulmx_base; apply/matrixP => i j; rewrite summxE mxE.
by apply: eq_bigr => k _; rewrite !mxE big_ord1 !mxE.
Qed.
End AnyRow.

(* dt = softplus(w u + beta), decay = exp(dt A): M tokens leave the states of rank at most M, whatever w is. *)
Theorem witness_softplus (F : rcfType) (e : exponential F) P D N (Wx : 'M[F]_(P, D)) (WB WC : 'M[F]_(N, D)) skip (w : 'rV_D) beta A :
  row_free (col_mx Wx WB) ->
  let dt u := softplus e ((w *m u) 0 0 + beta) in
  forall m h, (exists2 s, size s = m &
    state_after (ssd_step (fun u (_ : 'I_P) => dt u) (fun u _ => expo e (dt u * A)) Wx WB WC skip) 0 s = h) <-> (\rank h <= m)%N.
Proof.
move=> rows dt m h; apply: (witness_any_row WC skip (dt := fun x => softplus e (x + beta))
  (decay := fun x => expo e (softplus e (x + beta) * A)) w rows) => [x|x y le|x].
- exact: softplus_gt0.
- by apply: softplus_le; rewrite ler_add2r.
- by rewrite gt_eqF // expo_gt0.
Qed.
