(* lora_limits.spectrum_frozen, S6: the log-decays of channel d are a multiple of the frozen row A[d, :], whatever the
   projections and the clock; channels that share the row (-1, -2) do not get other ratios by their number either. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence s6 vandermonde exponential.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Direction.
Variables (R : realFieldType) (e : exponential R) (T : Type) (D N : nat) (A : 'M[R]_(D, N)).
Variables (x : T -> 'cV[R]_D) (B C : T -> 'cV[R]_N) (dt : T -> 'I_D -> R) (skip : 'I_D -> R).
(* The decays of S6: exp(dt_d A_dn). *)
Definition decays (z : T) : 'M[R]_(D, N) := \matrix_(d, n) expo e (dt z d * A d n).
Let step := sel_step x B C dt decays skip.
(* What is left of the state 1 after the tokens s. *)
Definition kept s d n : R := state_after step (const_mx 1) s d n - state_after step 0 s d n.

Theorem log_decay_direction s d n : loga e (kept s d n) = (\sum_(z <- s) dt z d) * A d n.
Proof.
have -> : kept s d n = \prod_(z <- s) expo e (dt z d * A d n).
  rewrite /kept; case: s => [|z0 s]; first by rewrite /= !mxE big_nil subr0.
  rewrite !(sel_state_after _ _ _ _ _ _ z0) [(0 : 'M_(D, N)) d n]mxE mulr0 add0r addrK [const_mx _ _ _]mxE mulr1.
  by apply: eq_bigr => z _; rewrite mxE.
rewrite -[LHS]opprK -(expoK e (_ * _)) opprK; congr (loga e _); rewrite mulr_suml.
elim: s => [|z s IH]; first by rewrite !big_nil expo0.
by rewrite !big_cons expoD IH.
Qed.
End Direction.

(* Channels with constant clocks, bases p_d > 0 (decays p_d and p_d^2 of the states of the row (-1, -2)) and weights g_d:
   the two states' kernels are no invertible mixture T of q^j and q^(3j), so a target of ratio 1 : 3 is out of reach. *)
Section SeveralChannels.
Variables (R : realFieldType) (D : nat) (p g : 'I_D -> R) (q : R) (T : 'M[R]_2).
Hypotheses (p0 : forall d, 0 < p d) (q0 : 0 < q) (q1 : q != 1).

(* A sum of powers that vanishes for all j has weight 0 on every value. *)
Lemma grouped (I : finType) (w z : I -> R) : (forall j, \sum_i w i * z i ^+ j = 0) -> forall v, \sum_(i | z i == v) w i = 0.
Proof.
move=> zero v; pose U := undup [seq z i | i <- enum I].
have inU i : z i \in U by rewrite mem_undup map_f ?mem_enum.
case: (boolP (v \in U)) => [vU|nU]; last by rewrite big1 // => i /eqP e; rewrite -e inU in nU.
pose mode (k : 'I_(size U)) := nth 0 U k.
have inj : injective mode by move=> k l /eqP; rewrite nth_uniq ?undup_uniq // => /eqP; exact: val_inj.
have := @modes_independent _ _ mode (fun k => \sum_(i | z i == mode k) w i) inj.
have lt : (index v U < size U)%N by rewrite index_mem.
move=> H; have := H _ (Ordinal lt); rewrite /mode /= nth_index //; apply=> j _; rewrite -[RHS](zero j).
under eq_bigr => k _ do rewrite mulr_suml big_mkcond /=.
rewrite exchange_big; apply: eq_bigr => i _; have lti : (index (z i) U < size U)%N by rewrite index_mem.
rewrite (bigD1 (Ordinal lti)) //= /mode /= nth_index // eqxx big1 ?addr0 // => k ne.
case: eqP => // e; case/eqP: ne; apply: val_inj => /=.
by rewrite e index_uniq ?undup_uniq.
Qed.

Theorem several_channels : T \in unitmx ->
  ~ (forall j, \sum_d g d * p d ^+ j = T 0 0 * q ^+ j + T 0 1 * (q ^+ 3) ^+ j /\
               \sum_d g d * (p d ^+ 2) ^+ j = T 1 0 * q ^+ j + T 1 1 * (q ^+ 3) ^+ j).
Proof.
move=> unitT same.
(* Weights outside q and q^3 vanish. *)
have off (z : 'I_D -> R) a b : (forall j, \sum_d g d * z d ^+ j = a * q ^+ j + b * (q ^+ 3) ^+ j) ->
    forall v, v != q -> v != q ^+ 3 -> \sum_(d | z d == v) g d = 0.
  move=> eqz v vq vq3.
  pose w (i : 'I_D + bool) := match i with inl d => g d | inr true => - a | inr false => - b end.
  pose y (i : 'I_D + bool) := match i with inl d => z d | inr true => q | inr false => q ^+ 3 end.
  have := @grouped _ w y _ v; rewrite big_sumType /= [X in _ + X]big1 ?addr0; last first.
    by case=> /eqP e; rewrite -?e eqxx in vq vq3.
  apply=> j; rewrite big_sumType /= big_bool /= eqz; ring.
have g1 v : v != q -> v != q ^+ 3 -> \sum_(d | p d == v) g d = 0 by apply: (off p (T 0 0) (T 0 1)) => j; case: (same j).
have g2 v : 0 < v -> v ^+ 2 != q -> v ^+ 2 != q ^+ 3 -> \sum_(d | p d == v) g d = 0.
  move=> v0 n1 n2; rewrite -[RHS](off (fun d => p d ^+ 2) (T 1 0) (T 1 1) _ _ n1 n2) => [|j]; last by case: (same j).
  by apply: eq_bigl => d; rewrite eqr_expn2 ?ltW.
have pow i k : (i < k)%N -> q ^+ k != q ^+ i.
  move=> lt; apply: contra q1 => /eqP e; have qi : q ^+ i != 0 by rewrite expf_neq0 // lt0r_neq0.
  have /eqP : q ^+ (k - i) = 1 by apply: (mulIf qi); rewrite -exprD subnK ?mul1r // ltnW.
  by rewrite pexprn_eq1 ?ltW // subn_eq0 leqNgt lt.
have g0 v : \sum_(d | p d == v) g d = 0.
  case: (ltrP 0 v) => [v0|le]; last by rewrite big1 // => d /eqP e; have := p0 d; rewrite e ltNge le.
  have [->|vq] := eqVneq v q.
    by apply: g2 => //; [have := pow 1%N 2%N; rewrite expr1; apply | rewrite eq_sym; apply: pow].
  have [->|vq3] := eqVneq v (q ^+ 3); last exact: g1.
  by apply: g2; rewrite ?exprn_gt0 // -exprM; [have := pow 1%N 6%N; rewrite expr1; apply | apply: pow].
have f0 j : T 0 0 * q ^+ j + T 0 1 * (q ^+ 3) ^+ j = 0.
  case: (same j) => <- _; pose U := undup [seq p d | d <- enum 'I_D].
  have -> : \sum_d g d * p d ^+ j = \sum_(v <- U) (\sum_(d | p d == v) g d) * v ^+ j.
    under [RHS]eq_bigr => v _ do rewrite mulr_suml big_mkcond.
    rewrite exchange_big; apply: eq_bigr => d _; have dU : p d \in U by rewrite mem_undup map_f ?mem_enum.
    rewrite (bigD1_seq (p d)) ?undup_uniq //= eqxx big1 ?addr0 // => v ne; by rewrite eq_sym (negPf ne).
  by apply: big1 => v _; rewrite g0 mul0r.
have := f0 0%N; have := f0 1%N; rewrite !expr0 !expr1 !mulr1 => e1 /eqP; rewrite addr_eq0 => /eqP e0.
have t1 : T 0 1 = 0.
  have /eqP : T 0 1 * (q ^+ 3 - q ^+ 1) = 0 by rewrite -e1 e0 expr1; ring.
  by rewrite mulf_eq0 subr_eq0 (negPf (pow 1%N 3%N isT)) orbF => /eqP.
have row0 : row 0 T = 0.
  apply/rowP => k; rewrite !mxE; case: k => -[|[|//]] lt; [rewrite (_ : Ordinal lt = 0) | rewrite (_ : Ordinal lt = 1)];
    try exact: val_inj; by rewrite ?e0 t1 ?oppr0.
have : \det T = 0 by rewrite (expand_det_row _ 0) big1 // => k _; have /rowP/(_ k) := row0; rewrite !mxE => ->; rewrite mul0r.
by move=> d0; move: unitT; rewrite unitmxE d0 unitr0.
Qed.
End SeveralChannels.
