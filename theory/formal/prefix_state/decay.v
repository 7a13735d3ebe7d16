(* prefix_state.decay: what an initial state adds to the outputs dies out at the rate of the slowest visible mode. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence lti vandermonde modes squares s6.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* Real or complex channels. *)
Section Bound.
Variables (F : numFieldType) (N : nat) (a c : 'I_N -> F) (h : 'rV[F]_N) (rho : F).

Theorem lti_bound t : (forall n, c n * h 0 n != 0 -> `|a n| <= rho) ->
  `|free_response a c h t| <= (\sum_n `|c n * h 0 n|) * rho ^+ t.
Proof.
move=> visible; rewrite mulr_suml; apply: le_trans (ler_norm_sum _ _ _) _; apply: ler_sum => n _.
rewrite mulrAC normrM normrX; have [-> |nz] := eqVneq (c n * h 0 n) 0; first by rewrite normr0 !mul0r.
apply: (ler_wpmul2l (normr_ge0 (c n * h 0 n))); rewrite ler_expn2r ?nnegrE ?visible //.
by apply: le_trans (visible n nz).
Qed.

(* Half storage adds o_t plus its conjugate: the factor 2. *)
Theorem lti_bound_half (conj : F -> F) t : (forall x, `|conj x| = `|x|) -> (forall n, c n * h 0 n != 0 -> `|a n| <= rho) ->
  `|free_response a c h t + conj (free_response a c h t)| <= 2%:R * (\sum_n `|c n * h 0 n|) * rho ^+ t.
Proof.
move=> isom visible; apply: le_trans (ler_norm_add _ _) _; rewrite isom -mulrA mulr_natl mulr2n.
by apply: ler_add; exact: lti_bound.
Qed.

(* Over modes with kappa != 0: states on one mode that cancel do not count. *)
Theorem lti_bound_modes t : (forall l, l \in obs_modes a c -> kappa a c h l != 0 -> `|l| <= rho) ->
  `|free_response a c h t.+1| <= (\sum_(l <- obs_modes a c) `|kappa a c h l|) * rho ^+ t.+1.
Proof.
move=> visible; rewrite free_response_modes mulr_suml; apply: le_trans (ler_norm_sum _ _ _) _.
rewrite !big_seq; apply: ler_sum => l obs; rewrite normrM normrX.
have [-> |nz] := eqVneq (kappa a c h l) 0; first by rewrite normr0 !mul0r.
apply: (ler_wpmul2l (normr_ge0 _)); rewrite ler_expn2r ?nnegrE ?visible //.
by apply: le_trans (visible l obs nz).
Qed.
End Bound.

(* The rate: if one mode l1 with kappa != 0 alone has the largest modulus, |o_t| is at least a constant times |l1|^t
   from some t on, so no smaller rate will do. *)
Section Rate.
Variables (F : archiFieldType) (N : nat) (a c : 'I_N -> F) (h : 'rV[F]_N).

Lemma powers_vanish (q e : F) : 0 <= q -> q < 1 -> 0 < e -> exists T, forall t, (T <= t)%N -> q ^+ t < e.
Proof.
move=> q0 q1 e0; have [->|qn0] := eqVneq q 0.
  by exists 1%N => -[//|t] _; rewrite exprS mul0r.
have qp : 0 < q by rewrite lt_neqAle eq_sym qn0.
pose x := q^-1 - 1; have x0 : 0 < x by rewrite subr_gt0 invf_gt1.
have bern t : 1 + x *+ t <= q^-1 ^+ t.
  elim: t => [|t IH]; first by rewrite mulr0n addr0 expr0.
  have qx : q^-1 = 1 + x by rewrite /x; ring.
  rewrite exprS qx in IH *; have x1 : 0 <= 1 + x by rewrite addr_ge0 ?ler01 ?(ltW x0).
  apply: le_trans (ler_wpmul2l x1 IH).
  have -> : (1 + x) * (1 + x *+ t) = 1 + x *+ t.+1 + x * (x *+ t).
    by rewrite mulrS; set y := x *+ t; ring.
  by rewrite ler_addl mulr_ge0 ?mulrn_wge0 ?(ltW x0).
pose T := Num.bound (e^-1 / x); exists T => t leT.
rewrite -[q]invrK exprVn -[e]invrK ltf_pinv ?posrE ?invr_gt0 ?exprn_gt0 ?invr_gt0 //.
apply: lt_le_trans (bern t); apply: (@lt_trans _ _ (x *+ t)); last by rewrite ltr_addr ltr01.
rewrite -mulr_natl -ltr_pdivr_mulr //; apply: lt_le_trans (archi_boundP _) _; first by rewrite divr_ge0 ?invr_ge0 ?(ltW e0) ?(ltW x0).
by rewrite ler_nat.
Qed.

Theorem rate_attained l1 : l1 \in obs_modes a c -> kappa a c h l1 != 0 ->
  (forall l, l \in obs_modes a c -> l != l1 -> kappa a c h l != 0 -> `|l| < `|l1|) ->
  exists k T, 0 < k /\ forall t, (T <= t)%N -> k * `|l1| ^+ t.+1 <= `|free_response a c h t.+1|.
Proof.
move=> obs1 k1 dominant; pose K := `|kappa a c h l1|; have K0 : 0 < K by rewrite normr_gt0.
have l10 : 0 < `|l1| by rewrite normr_gt0; case/obs_modesP: obs1.
pose others := [seq l <- obs_modes a c | (l != l1) && (kappa a c h l != 0)].
have [T small] : exists T, forall t, (T <= t)%N -> \sum_(l <- others) `|kappa a c h l| * (`|l| / `|l1|) ^+ t < K / 2%:R.
  have : all (fun l => `|l| < `|l1|) others.
    by apply/allP => l; rewrite mem_filter => /andP[/andP[ne nz] obs]; exact: dominant.
  suff H (e : F) (s : seq F) : 0 < e -> all (fun l => `|l| < `|l1|) s ->
      exists T, forall t, (T <= t)%N -> \sum_(l <- s) `|kappa a c h l| * (`|l| / `|l1|) ^+ t < e.
    by move=> al; apply: H => //; rewrite divr_gt0 ?ltr0Sn.
  elim: s e => [|l s IH] e e0; first by exists 0%N => t _; rewrite big_nil.
  move=> /= /andP[lt al]; have e2 : 0 < e / 2%:R by rewrite divr_gt0 ?ltr0Sn.
  have [T1 H1] := IH _ e2 al.
  have [T2 H2] : exists T, forall t, (T <= t)%N -> (`|l| / `|l1|) ^+ t < e / 2%:R / (`|kappa a c h l| + 1).
    apply: powers_vanish; first by rewrite divr_ge0.
      by rewrite ltr_pdivr_mulr // mul1r.
    by rewrite divr_gt0 // ltr_paddl.
  exists (maxn T1 T2) => t; rewrite geq_max => /andP[le1 le2]; rewrite big_cons [e]splitr; apply: ltr_le_add.
    have := H2 t le2; rewrite ltr_pdivl_mulr ?ltr_paddl // => lt2; apply: le_lt_trans lt2.
    by rewrite mulrC ler_wpmul2l ?ler_addl // exprn_ge0 // divr_ge0.
  exact: ltW (H1 t le1).
exists (K / 2%:R), T; split=> [|t leT]; first by rewrite divr_gt0 ?ltr0Sn.
rewrite free_response_modes (bigD1_seq l1) ?obs_modes_uniq //=.
set rest := \sum_(_ <- _ | _) _.
have rest_le : `|rest| <= K / 2%:R * `|l1| ^+ t.+1.
  have -> : rest = \sum_(l <- others) kappa a c h l * l ^+ t.+1.
    rewrite /rest /others big_filter big_mkcond [RHS]big_mkcond; apply: eq_bigr => l _.
    by case: (l != l1) => //=; case: eqP => //= ->; rewrite mul0r.
  apply: le_trans (ler_norm_sum _ _ _) _; rewrite -ler_pdivr_mulr ?exprn_gt0 // mulr_suml.
  apply: le_trans (ltW (small t.+1 (leqW leT))); apply: ler_sum => l _.
  by rewrite normrM normrX expr_div_n mulrA.
apply: le_trans (ler_sub_norm_add _ _); rewrite normrM normrX -/K ler_subr_addr.
by apply: le_trans (ler_add (lexx _) rest_le) _; rewrite -mulrDl -splitr.
Qed.
End Rate.

(* S6, any clock: the squared bound. Two runs see the same tokens, one from h, one from rest. *)
Section S6Bound.
Variables (F : realFieldType) (T : Type) (D N : nat) (x : T -> 'cV[F]_D) (B C : T -> 'cV[F]_N).
Variables (dt : T -> 'I_D -> F) (E : T -> 'M[F]_(D, N)) (skip : 'I_D -> F).
Let step := sel_step x B C dt E skip.

Lemma state_difference h s d n :
  state_after step h s d n - state_after step 0 s d n = (\prod_(z <- s) E z d n) * h d n.
Proof.
elim/last_ind: s => [|s z IH]; first by rewrite /= big_nil mul1r mxE subr0.
by rewrite !state_after_rcons -cats1 big_cat big_seq1 /= !mxE opprD addrACA subrr addr0 -mulrBr IH mulrCA mulrA.
Qed.

Theorem s6_bound (h : 'M[F]_(D, N)) s z d e : 0 <= e ->
  (forall n, h d n != 0 -> `|\prod_(w <- rcons s z) E w d n| <= e) ->
  ((step (state_after step h s) z).2 d 0 - (step (state_after step 0 s) z).2 d 0) ^+ 2 <=
  (\sum_n C z n 0 ^+ 2) * (\sum_n h d n ^+ 2) * e ^+ 2.
Proof.
move=> e0 slow.
have -> : (step (state_after step h s) z).2 d 0 - (step (state_after step 0 s) z).2 d 0 =
    \sum_n C z n 0 * ((\prod_(w <- rcons s z) E w d n) * h d n).
  rewrite ![(step _ _).2 d 0]mxE opprD addrACA subrr addr0 -sumrB; apply: eq_bigr => n _.
  rewrite -mulrBl mulrC; congr (_ * _).
  by rewrite -state_difference !state_after_rcons.
apply: le_trans (cauchy_schwarz _ _) _; rewrite -mulrA ler_wpmul2l ?sumr_ge0 // => [n _|]; first exact: sqr_ge0.
rewrite mulr_suml; apply: ler_sum => n _; rewrite exprMn mulrC.
have [-> |nz] := eqVneq (h d n) 0; first by rewrite expr0n /= !mul0r.
rewrite ler_wpmul2l ?sqr_ge0 // -[X in X <= _](real_normK (num_real _)) ler_expn2r ?nnegrE ?slow //.
Qed.

End S6Bound.
