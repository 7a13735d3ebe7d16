(* lora_limits.spectrum_frozen, S4 horizon: a tuned skip beside a frozen mode 0 is the same direct term, not a second one. *)
From mathcomp Require Import all_ssreflect all_algebra.
From Ssmproof.lora_limits Require Import spectrum_frozen.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

Section Zero.
Variables (F : fieldType) (n : nat) (lam : 'I_n -> F) (z : 'I_n).
Hypotheses (distinct : injective lam) (mode0 : lam z = 0).

Lemma entry_mode0 r direct j : entry lam r direct j = \sum_i (r i + (i == z)%:R * direct) * lam i ^+ j.
Proof.
rewrite /entry; under [RHS]eq_bigr => i _ do rewrite mulrDl.
rewrite big_split /=; congr (_ + _); rewrite (bigD1 z) //= eqxx mul1r mode0 big1 => [|i /negPf ->]; last by rewrite !mul0r.
by rewrite addr0 expr0n; case: (j == 0%N); rewrite ?mulr1 ?mulr0.
Qed.

(* n counts the mode 0: n + 1 lags refute a pole outside, whatever the skip is tuned to, *)
Theorem outside_pole_zero r rs direct directs s mu : (forall i, lam i != mu) -> s != 0 ->
  ~ (forall j, (j < n.+1)%N -> entry lam r direct j = entry lam rs directs j + s * mu ^+ j).
Proof. by move=> out nz same; apply: (outside_pole distinct out nz) => j /same; rewrite !entry_mode0; exact. Qed.

(* and n lags are matched. *)
Theorem short_horizon_zero (y : nat -> F) : exists r direct, forall j, (j < n)%N -> entry lam r direct j = y j.
Proof.
have [r rE] := short_horizon distinct y; exists r, 0 => j lt.
by rewrite /entry if_same addr0 rE.
Qed.
End Zero.
