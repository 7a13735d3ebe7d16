(* sparse_dims.depth_sharing, u frozen: stacks of linear layers that give equal outputs have equal products of skips. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.lora_limits Require Import stacked_poles.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

(* Continued backwards by the recurrence of its modes, a channel's response starts at 0: what is left at lag 0 is the skips. *)
Section Lag0.
Variables (F : fieldType) (D N : nat).
Implicit Types (l : linear_layer F D N) (ls : seq (linear_layer F D N)).

Lemma act_lag0 (p : {poly F}) (z : nat -> F) : (forall t, z t.+1 = 0) -> act p z 0 = p`_0 * z 0%N.
Proof.
by move=> z0; rewrite (act_wide z 0 (leqnSn _)) big_ord_recl big1 ?addr0 // => k _; rewrite z0 mulr0.
Qed.

Lemma coef0_mul (p q : {poly F}) : (p * q)`_0 = p`_0 * q`_0.
Proof. by rewrite -!horner_coef0 hornerM. Qed.

Lemma layer_lag0 l q (x : nat -> 'cV[F]_D) i : (forall k, ld l k = 0) -> (forall k, annihilates q (fun t => x t k 0) 1) ->
  act (q * layer_poly l) (fun t => layer_out l x t i 0) 0 = (layer_poly l)`_0 * skip l i * act q (fun t => x t i 0) 0.
Proof.
move=> d0 ann; set p := q * layer_poly l.
have mode k n : annihilates p (mode_state (la l k n) (fun s => x s k 0)) 0.
  have lm : la l k n \in layer_modes l by rewrite mem_undup; apply: allpairs_f; rewrite mem_enum.
  by rewrite /p /layer_poly (big_rem _ lm) /= mulrA mulrC; apply: annihilates_mul; exact: mode_annihilated.
have chan k : annihilates p (channel l k (fun s => x s k 0)) 0.
  move=> s les; rewrite /act; under eq_bigr => j _ do rewrite channelE d0 mul0r addr0.
  exact: (annihilates_sum (index_enum _) (fun n => lc l k n * lb l k n) (mode k) les).
have -> : act p (fun t => layer_out l x t i 0) 0 =
    act p (fun t => \sum_k proj l i k * channel l k (fun s => x s k 0) t) 0 + skip l i * act p (fun t => x t i 0) 0.
  by rewrite /act mulr_sumr -big_split; apply: eq_bigr => j _; rewrite mxE mulrDr [_ * (skip l i * _)]mulrCA.
rewrite (annihilates_sum (index_enum _) (proj l i) chan (leqnn 0)) add0r /p [q * _]mulrC actM act_lag0 => [|t]; last exact: (ann i t.+1 isT).
by rewrite mulrCA mulrA.
Qed.

Lemma stack_lag0 ls q (x : nat -> 'cV[F]_D) i : (forall l, List.In l ls -> forall k, ld l k = 0) ->
  (forall k, annihilates q (fun t => x t k 0) 1) ->
  act (q * stack_poly ls) (fun t => stack_out ls x t i 0) 0 =
  (stack_poly ls)`_0 * (\prod_(l <- ls) skip l i) * act q (fun t => x t i 0) 0.
Proof.
elim: ls q x => [|l ls IH] q x d0 ann; first by rewrite /stack_poly !big_nil mulr1 coef1 !mul1r.
rewrite /= /stack_poly !big_cons mulrA IH => [|l' l'in|k]; last exact: layer_annihilated.
  rewrite layer_lag0 // => [|k]; last by apply: d0; left.
  by rewrite -/(stack_poly ls) coef0_mul; move: (_`_0) (\prod_(_ <- _) _) (_`_0) (skip _ _) (act _ _ _) => A P B u a; ring.
by apply: d0; right.
Qed.

Lemma stack_coef0 ls : (forall l, List.In l ls -> forall k n, la l k n != 0) -> (stack_poly ls)`_0 != 0.
Proof.
elim: ls => [|l ls IH] nz; first by rewrite /stack_poly big_nil coef1 oner_eq0.
rewrite /stack_poly big_cons -/(stack_poly ls) coef0_mul mulf_neq0 ?IH // => [|l' l'in]; last by apply: nz; right.
rewrite -horner_coef0; apply/negP => /eqP/rootP; rewrite root_prod_XsubC mem_undup => /allpairsP[[k n] [_ _ /= e]].
by have := nz l (or_introl erefl) k n; rewrite -e eqxx.
Qed.
End Lag0.

(* Networks that agree on impulses; the channels have no direct term beside the skips, and no mode is 0. *)
Theorem skips_must_match (F : fieldType) D N N' (ls : seq (linear_layer F D N)) (ls' : seq (linear_layer F D N')) :
  (forall l, List.In l ls -> forall k, ld l k = 0) -> (forall l, List.In l ls' -> forall k, ld l k = 0) ->
  (forall l, List.In l ls -> forall k n, la l k n != 0) -> (forall l, List.In l ls' -> forall k n, la l k n != 0) ->
  (forall v t, stack_out ls (impulse_in v) t = stack_out ls' (impulse_in v) t) ->
  forall i, \prod_(l <- ls) skip l i = \prod_(l <- ls') skip l i.
Proof.
move=> d1 d2 n1 n2 same i; pose v : 'cV[F]_D := const_mx 1.
have imp k : annihilates 1 (fun t => impulse_in v t k 0) 1.
  by move=> [|t] // _; rewrite -[1]/(1%:P) actC mxE mulr0.
have one : act 1 (fun t => impulse_in v t i 0) 0 = 1 by rewrite -[1]/(1%:P) actC !mxE mulr1.
pose y t := stack_out ls (impulse_in v) t i 0; pose y' t := stack_out ls' (impulse_in v) t i 0.
have e1 : act (stack_poly ls) y 0 = (stack_poly ls)`_0 * \prod_(l <- ls) skip l i.
  by rewrite -[stack_poly ls in LHS]mul1r /y stack_lag0 // one mulr1.
have e2 : act (stack_poly ls') y' 0 = (stack_poly ls')`_0 * \prod_(l <- ls') skip l i.
  by rewrite -[stack_poly ls' in LHS]mul1r /y' stack_lag0 // one mulr1.
have yy : y =1 y' by move=> t; rewrite /y /y' same.
have h1 t : act (stack_poly ls) y t.+1 = 0 by exact: (stack_annihilated ls v i).
have e t : act (stack_poly ls') y t = act (stack_poly ls') y' t by apply: eq_bigr => k _; rewrite yy.
have h2 t : act (stack_poly ls') y t.+1 = 0 by rewrite e; exact: (stack_annihilated ls' v i).
have := actM (stack_poly ls) (stack_poly ls') y 0; rewrite mulrC actM (act_lag0 _ h1) (act_lag0 _ h2) e e1 e2 mulrCA.
by move=> /(mulfI (stack_coef0 n1))/(mulfI (stack_coef0 n2)).
Qed.
