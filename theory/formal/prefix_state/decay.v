(* prefix_state.decay: what an initial state adds to the outputs dies out at the rate of the slowest visible mode. *)
From mathcomp Require Import all_ssreflect all_algebra complex.
From mathcomp Require Import ring zify.
From Ssmproof.core Require Import recurrence lti vandermonde modes squares s6 half real_channel exponential.
From Ssmproof.prefix_state Require Import equivalent conjugate_pairs half_length.
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

(* Visible modes: not 0, and kappa != 0. States that are not on them do not count. *)
Definition visible (l : F) : bool := (l != 0) && (kappa a c h l != 0).

Lemma visible_obs l : visible l -> l \in obs_modes a c.
Proof.
case/andP=> l0 kl; apply/obs_modesP; split=> //; have /existsP[n /andP[/eqP an cn]] : [exists n, (a n == l) && (c n != 0)].
  apply: contraNT kl => /existsPn none; apply/eqP; rewrite /kappa big1 // => n an.
  by have := none n; rewrite an /= => /negPn/eqP ->; rewrite mul0r.
by exists n.
Qed.

Theorem lti_bound_visible t : (forall n, visible (a n) -> `|a n| <= rho) ->
  `|free_response a c h t.+1| <= (\sum_(n | visible (a n)) `|c n * h 0 n|) * rho ^+ t.+1.
Proof.
move=> slow; rewrite free_response_modes mulr_suml; apply: le_trans (ler_norm_sum _ _ _) _.
have -> : \sum_(n | visible (a n)) `|c n * h 0 n| * rho ^+ t.+1 =
    \sum_(l <- obs_modes a c) \sum_(n | (a n == l) && visible l) `|c n * h 0 n| * rho ^+ t.+1.
  under [RHS]eq_bigr => l _ do rewrite big_mkcond.
  rewrite exchange_big /= big_mkcond; apply: eq_bigr => n _; case: ifP => vis; last first.
    by rewrite big1 // => l _; case: eqP => [<-|]; rewrite ?vis.
  by rewrite (bigD1_seq (a n)) ?obs_modes_uniq ?visible_obs //= eqxx vis big1 ?addr0 // => l ne; rewrite eq_sym (negPf ne).
rewrite !big_seq; apply: ler_sum => l obs; rewrite normrM normrX.
have [-> |nz] := eqVneq (kappa a c h l) 0; first by rewrite normr0 mul0r; apply: sumr_ge0 => n /andP[/eqP <- /slow r];
  rewrite mulr_ge0 // exprn_ge0 // (le_trans _ r).
have [l0 [m am _]] := obs_modesP _ _ _ obs; have vis : visible l by rewrite /visible l0.
apply: (@le_trans _ _ (`|kappa a c h l| * rho ^+ t.+1)).
  have r := slow m; rewrite am in r; have lr := r vis.
  by apply: (ler_wpmul2l (normr_ge0 _)); rewrite ler_expn2r ?nnegrE // (le_trans _ lr).
have r0 : 0 <= rho by have r := slow m; rewrite am in r; rewrite (le_trans _ (r vis)).
rewrite -mulr_suml; apply: ler_wpmul2r; first exact: exprn_ge0.
apply: le_trans (ler_norm_sum _ _ _) _; rewrite [X in _ <= X](eq_bigl (fun n => a n == l)) // => n.
by rewrite vis andbT.
Qed.
End Bound.

(* The rate, real or complex channels: if one mode l1 with kappa != 0 alone has the largest modulus, |o_t| is at least a constant times |l1|^t
   from some t on, so no smaller rate will do. *)
Section Rate.
Variables (F : numFieldType) (N : nat) (a c : 'I_N -> F) (h : 'rV[F]_N).
Hypothesis archi : Num.archimedean_axiom F.

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
have [T ltT] := archi (e^-1 / x); exists T => t leT.
rewrite -[q]invrK exprVn -[e]invrK ltf_pinv ?posrE ?invr_gt0 ?exprn_gt0 ?invr_gt0 //.
apply: lt_le_trans (bern t); apply: (@lt_trans _ _ (x *+ t)); last by rewrite ltr_addr ltr01.
rewrite -mulr_natl -ltr_pdivr_mulr //; apply: le_lt_trans (lt_le_trans ltT _); last by rewrite ler_nat.
by rewrite ger0_norm // divr_ge0 ?invr_ge0 ?(ltW e0) ?(ltW x0).
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

(* Half storage, in the modes of the closed channel: the factor 2 in front of the sum over the stored states, and the rate. *)
Section Half.
Variables (R : rcfType) (N : nat) (ar ai br bi cr ci : 'I_N -> R) (d : R) (h : 'rV[R]_N * 'rV[R]_N).
Let C := R[i].
Let a := both ar ai.
Let c := both cr ci.
Let response t := half_response ar ai br bi cr ci d h t.
Let seen := visible a c (closed_state h).

Theorem half_bound_visible (rho : C) t : (forall n, seen (ar n +i* ai n)%C -> `|(ar n +i* ai n)%C| <= rho) ->
  `|(response t)%:C%C| <= 2%:R * (\sum_(n | seen (ar n +i* ai n)%C) `|(cr n +i* ci n)%C * (h.1 0 n +i* h.2 0 n)%C|) * rho ^+ t.+1.
Proof.
have seen_conj l : seen (conjc l) = seen l by rewrite /seen /visible kappa_conj !conjc_eq0.
have norm_conj (z : C) : `|conjc z| = `|z| by exact: norm_conjC.
move=> slow; rewrite half_response_closed; apply: le_trans (lti_bound_visible (rho := rho) _ _) _.
  move=> k; rewrite /a -[k]splitK; case: (split k) => n /=.
    by have [-> _] := lift_both ar ai n; exact: slow.
  by have [_ ->] := lift_both ar ai n; rewrite -/seen seen_conj norm_conj; exact: slow.
rewrite big_mkcond sum_both [in X in _ <= X]big_mkcond mulr_sumr le_eqVlt; apply/orP; left; apply/eqP; congr (_ * _).
apply: eq_bigr => n _; rewrite !mxE /a /c; have [-> ->] := lift_both ar ai n; have [-> ->] := lift_both cr ci n.
have [-> ->] := lift_both (h.1 0) (h.2 0) n; rewrite -/seen seen_conj -conjCM norm_conj.
by case: ifP => _; rewrite ?mulr_natl ?mulr2n ?addr0 ?mulr0.
Qed.

Lemma complex_archi : Num.archimedean_axiom R -> Num.archimedean_axiom [numDomainType of C].
Proof.
move=> archi z; have [n lt] := archi (complex.Re `|z|); exists n.
have := normr_ge0 z; case: `|z| lt => x y /= lt; rewrite lecE /= => /andP[/eqP -> x0].
rewrite -[n%:R](rmorph_nat [rmorphism of real_complex R]) /= ltcR.
by rewrite ger0_norm in lt.
Qed.

Theorem half_rate_attained l1 : Num.archimedean_axiom R -> seen l1 ->
  (forall l, seen l -> l != l1 -> `|l| < `|l1|) ->
  exists k T, 0 < k /\ forall t, (T <= t)%N -> k * `|l1| ^+ t.+1 <= `|(response t)%:C%C|.
Proof.
move=> /complex_archi archi vis dominant; have /andP[_ k1] := vis.
have [l obs ne kl|k [T [k0 low]]] := rate_attained archi (visible_obs vis) k1.
  by apply: dominant => //; rewrite /seen /visible kl andbT; case/obs_modesP: obs.
by exists k, T; split=> // t leT; rewrite half_response_closed; exact: low.
Qed.
End Half.

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

(* S6 with decays exp(dt A). *)
Section Exponential.
Variables (R : rcfType) (e : exponential R).
Let exp := expo e.
Variables (T : Type) (D N : nat) (x : T -> 'cV[R]_D) (B C : T -> 'cV[R]_N) (dt : T -> 'I_D -> R) (A : 'M[R]_(D, N)).
Variable skip : 'I_D -> R.
Let step := sel_step x B C dt (fun z => \matrix_(d, n) exp (dt z d * A d n)) skip.
(* The difference that the state h makes to the output of channel d at the token z, after the tokens s. *)
Let moved h s z d := (step (state_after step h s) z).2 d 0 - (step (state_after step 0 s) z).2 d 0.

Let exp_ge0 y : 0 <= exp y. Proof. exact: ltW (expo_gt0 e y). Qed.

Lemma prod_decays s d n :
  \prod_(w <- s) (\matrix_(d, n) exp (dt w d * A d n) : 'M_(D, N)) d n = exp (A d n * \sum_(w <- s) dt w d).
Proof.
elim: s => [|w s IH]; first by rewrite !big_nil mulr0 /exp expo0.
by rewrite !big_cons IH mxE mulrDr /exp expoD [dt w d * _]mulrC.
Qed.

(* Step sizes are not negative, A is not positive; alpha bounds |A[d,n]| from below over the states with h[d,n] != 0. *)
Theorem s6_bound_exp (h : 'M[R]_(D, N)) s z d alpha : (forall w, 0 <= dt w d) -> (forall n, A d n <= 0) ->
  (forall n, h d n != 0 -> alpha <= `|A d n|) ->
  `|moved h s z d| <= Num.sqrt (\sum_n C z n 0 ^+ 2) * Num.sqrt (\sum_n h d n ^+ 2) *
    exp (- (alpha * \sum_(w <- rcons s z) dt w d)).
Proof.
move=> dt0 A0 slow; set S := \sum_(w <- rcons s z) _; set q := exp _.
have S0 : 0 <= S by apply: sumr_ge0 => w _; exact: dt0.
have sumsq (f : 'I_N -> R) : 0 <= \sum_n f n ^+ 2 by apply: sumr_ge0 => n _; exact: sqr_ge0.
have -> : q = Num.sqrt (q ^+ 2) by rewrite sqrtr_sqr ger0_norm ?exp_ge0.
rewrite -sqrtr_sqr -!sqrtrM ?mulr_ge0 //; apply: ler_wsqrtr; apply: s6_bound => [|n hn]; first exact: exp_ge0.
rewrite prod_decays ger0_norm ?exp_ge0 //; apply: expo_le; rewrite -mulNr; apply: ler_wpmul2r => //.
by rewrite ler_oppr; have := slow n hn; rewrite ler0_norm.
Qed.

(* N = 1: an equality. *)
Theorem s6_equality (n : 'I_N) (h : 'M[R]_(D, N)) s z d : N = 1%N -> (forall n, A d n <= 0) ->
  `|moved h s z d| = `|C z n 0| * `|h d n| * exp (- (`|A d n| * \sum_(w <- rcons s z) dt w d)).
Proof.
move=> N1 A0; have one (f : 'I_N -> R) : \sum_k f k = f n.
  by rewrite (bigD1 n) //= big1 ?addr0 // => k ne; exfalso; move: ne (ltn_ord k) (ltn_ord n); rewrite -val_eqE /=; lia.
rewrite /moved ![(step _ _).2 d 0]mxE opprD addrACA subrr addr0 !one -mulrBl.
have := state_difference x B C dt (fun z => \matrix_(d, n) exp (dt z d * A d n)) skip h (rcons s z) d n.
rewrite !state_after_rcons /= prod_decays => ->; rewrite !normrM [X in X * _ * _]ger0_norm ?exp_ge0 //.
by rewrite [`|A d n|]ler0_norm // mulNr opprK mulrC [exp _ * _]mulrC mulrA.
Qed.

(* The half-life of a mode, in tokens: |a|^t = exp(t dt A) is 1/2 at t = ln 2 / (|A| dt). *)
Theorem half_life r tau : r < 0 -> 0 < tau -> exp (loga e 2%:R / (`|r| * tau) * (tau * r)) = 2%:R^-1.
Proof.
move=> r0 tau0; have -> : loga e 2%:R / (`|r| * tau) * (tau * r) = - loga e 2%:R.
  have r1 : r != 0 by rewrite lt_eqF.
  have tau1 : tau != 0 by rewrite gt_eqF.
  by rewrite ltr0_norm //; field; rewrite r1 tau1.
by rewrite /exp expoN logaK ?ltr0n.
Qed.
End Exponential.
