(* sparse_dims.depth_sharing, frozen, G = 2, disjoint tuned sets: what two layers need that step as one target layer does. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.lora_limits Require Import stacked_poles.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* Powers of distinct numbers that are not 0 are independent, also from the first power on. *)
Lemma powers_independent (F : fieldType) (I : finType) (p c : I -> F) : injective p -> (forall i, p i != 0) ->
  (forall t, \sum_i c i * p i ^+ t.+1 = 0) -> forall i, c i = 0.
Proof.
move=> inj nz zero i.
have all (q : {poly F}) : \sum_j c j * (p j * q.[p j]) = 0.
  under eq_bigr => j _ do rewrite horner_coef 2!mulr_sumr.
  rewrite exchange_big big1 // => k _.
  have -> : \sum_j c j * (p j * (q`_k * p j ^+ k)) = q`_k * \sum_j c j * p j ^+ k.+1.
    by rewrite mulr_sumr; apply: eq_bigr => j _; rewrite exprS; ring.
  by rewrite zero mulr0.
have [q qi qj] : exists2 q : {poly F}, q.[p i] != 0 & forall j, j != i -> q.[p j] = 0.
  exists (\prod_(j | j != i) ('X - (p j)%:P)) => [|j ji].
    rewrite horner_prod; apply/prodf_neq0 => j ji; rewrite hornerXsubC subr_eq0.
    by apply: contraNneq ji => /inj ->.
  by rewrite horner_prod (bigD1 j) //= hornerXsubC subrr mul0r.
have := all q; rewrite (bigD1 i) //= big1 ?addr0 => [|j /qj ->]; last by rewrite !mulr0.
by move/eqP; rewrite !mulf_eq0 (negPf (nz i)) (negPf qi) !orbF => /eqP.
Qed.

Section Disjoint.
Variables (F : fieldType) (D : nat).
Implicit Types l : linear_layer F D 1.
Definition mode l k : F := la l k ord0.
Definition residue l k : F := lc l k ord0 * lb l k ord0.
(* The entry (i, j) of W diag(r z/(z - a)) + diag(u). *)
Definition entry l (z : F) i j : F := proj l i j * residue l j * (z / (z - mode l j)) + (i == j)%:R * skip l i.

Lemma mode_state_power (m p c e : F) (x : nat -> F) t : p != m -> x 0%N = c + e -> (forall s, x s.+1 = c * p ^+ s.+1) ->
  mode_state m x t = c * (p / (p - m)) * p ^+ t + (e + c * (m / (m - p))) * m ^+ t.
Proof.
move=> pm x0 xs; have d1 : p - m != 0 by rewrite subr_eq0.
have d2 : m - p != 0 by rewrite subr_eq0 eq_sym.
elim: t => [|t IH].
  by rewrite /mode_state big_ord1 subn0 x0 !expr0; field; rewrite d1 d2.
by rewrite mode_step IH xs !exprS; field; rewrite d1 d2.
Qed.

Lemma channel_state l k x t : ld l k = 0 -> channel l k x t = residue l k * mode_state (mode l k) x t.
Proof. by move=> d0; rewrite channelE big_ord1 d0 mul0r addr0. Qed.

(* One layer on an impulse into channel k. *)
Lemma layer_impulse l k t i : (forall j, ld l j = 0) ->
  layer_out l (impulse_in (delta_mx k 0)) t i 0 =
  proj l i k * residue l k * mode l k ^+ t + (if t == 0%N then (i == k)%:R * skip l i else 0).
Proof.
move=> d0; have st j : mode_state (mode l j) (fun s => impulse_in (delta_mx k 0) s j 0) t = (j == k)%:R * mode l j ^+ t.
  elim: t => [|t IH]; first by rewrite /mode_state big_ord1 /= mxE eqxx andbT expr0 mul1r mulr1.
  by rewrite mode_step IH exprS /impulse_in /= mxE addr0 mulrCA.
rewrite mxE (bigD1 k) //= big1 => [|j /negPf jk]; last by rewrite channel_state // st jk mul0r !mulr0.
rewrite channel_state // st eqxx mul1r addr0 mulrA; congr (_ + _).
by rewrite /impulse_in; case: eqP => _; rewrite mxE ?mulr0 // eqxx andbT mulrC.
Qed.

(* Two layers: the residues at the mode of the channel that the impulse enters, and at the modes of the second layer. *)
Lemma stack_impulse l1 l2 k t i : (forall j, ld l1 j = 0) -> (forall j, ld l2 j = 0) ->
  (forall j, mode l1 k != mode l2 j) ->
  stack_out [:: l1; l2] (impulse_in (delta_mx k 0)) t.+1 i 0 =
  (\sum_j entry l2 (mode l1 k) i j * proj l1 j k) * residue l1 k * mode l1 k ^+ t.+1 +
  \sum_j proj l2 i j * residue l2 j * entry l1 (mode l2 j) j k * mode l2 j ^+ t.+1.
Proof.
move=> d1 d2 neq; rewrite /stack_out /= mxE layer_impulse //= addr0.
under eq_bigr => j _.
  rewrite channel_state //.
  rewrite (@mode_state_power _ (mode l1 k) (proj l1 j k * residue l1 k) ((j == k)%:R * skip l1 j)) //; first over.
  - by rewrite layer_impulse //= expr0 mulr1.
  - by move=> s; rewrite layer_impulse //= addr0.
have -> : \sum_j entry l2 (mode l1 k) i j * proj l1 j k =
    \sum_j proj l2 i j * residue l2 j * (mode l1 k / (mode l1 k - mode l2 j)) * proj l1 j k + skip l2 i * proj l1 i k.
  rewrite /entry; under eq_bigr => j _ do rewrite mulrDl.
  rewrite big_split /=; congr (_ + _); rewrite (bigD1 i) //= eqxx mul1r big1 ?addr0 // => j /negPf ji.
  by rewrite eq_sym ji !mul0r.
have order (a b c d e : F) : (a + b) * c * d + e = a * c * d + e + b * c * d by ring.
rewrite order !mulr_suml -big_split /=; congr (_ + _); last by rewrite !mulrA.
apply: eq_bigr => j _; rewrite /entry; move: (_ / _) (_ / _) => y z; ring.
Qed.

(* Layer 1 tunes the channels in S, layer 2 the others; the modes and residues of the rest are frozen. *)
Variables (f1 f2 target l1 l2 : linear_layer F D 1) (S : pred 'I_D).
Definition keeps (T : pred 'I_D) (f l : linear_layer F D 1) :=
  forall k, ~~ T k -> mode l k = mode f k /\ residue l k = residue f k.
Definition frozen k : F := if S k then mode f2 k else mode f1 k.
Definition column i d : F := proj target i d * residue target d.

(* Generic: poles distinct and not 0, frozen residues not 0, W*_d not 0 outside S for d in S, W*[S, outside] of independent
   columns (so S has at least as many channels as there are outside). *)
Record generic := Generic {
  modes_differ : injective (mode target);
  frozen_differ : injective frozen;
  apart : forall j k, frozen j != mode target k;
  modes_not0 : forall k, mode target k != 0;
  frozen_not0 : forall k, frozen k != 0;
  residues_not0 : forall k, if S k then residue f2 k != 0 else residue f1 k != 0;
  columns_cross : forall d, S d -> exists2 i, ~~ S i & column i d != 0;
  block_independent : forall c : 'I_D -> F,
    (forall i, S i -> \sum_(j | ~~ S j) c j * column i j = 0) -> forall j, ~~ S j -> c j = 0 }.

Hypothesis gen : generic.
Hypotheses (d1 : forall k, ld l1 k = 0) (d2 : forall k, ld l2 k = 0) (dt : forall k, ld target k = 0).
Hypotheses (k1 : keeps S f1 l1) (k2 : keeps (fun k => ~~ S k) f2 l2).
Hypothesis same : forall v t, stack_out [:: l1; l2] (impulse_in v) t = stack_out [:: target] (impulse_in v) t.

Let tuned k := if S k then mode l1 k else mode l2 k.

Lemma column_not0 d : exists i, column i d != 0.
Proof.
case Sd: (S d); first by have [i _ nz] := columns_cross gen Sd; exists i.
apply/existsP; apply: contraT; rewrite negb_exists => /forallP z.
suff /eqP : ((d == d)%:R : F) = 0 by rewrite eqxx oner_eq0.
apply: (block_independent gen (c := fun j => (j == d)%:R)); last by rewrite Sd.
move=> i _; rewrite big1 // => j _; case: eqP => [->|_]; last by rewrite mul0r.
by have := z i; rewrite negbK => /eqP ->; rewrite mulr0.
Qed.

Lemma target_impulse k t i : stack_out [:: target] (impulse_in (delta_mx k 0)) t.+1 i 0 = column i k * mode target k ^+ t.+1.
Proof. by rewrite /stack_out /= layer_impulse //= addr0. Qed.

Lemma frozen1 k : ~~ S k -> mode l1 k = frozen k.
Proof. by move=> Sk; rewrite /frozen (negPf Sk); case: (k1 Sk). Qed.
Lemma frozen2 k : S k -> mode l2 k = frozen k.
Proof. by move=> Sk; rewrite /frozen Sk; case: (@k2 k); rewrite ?negbK. Qed.

(* Every pole of the target is the mode of a tuned state. *)
Lemma pole_is_tuned d : exists k, tuned k == mode target d.
Proof.
have [i nz] := column_not0 d.
have : (1 <= count (fun l => mode target d \in layer_modes l) [:: l1; l2])%N.
  apply: (@pole_order _ _ _ _ (delta_mx d 0) i) => q t0 /(_ t0.+1 (leqnSn _)).
  rewrite /act; under eq_bigr => j _ do rewrite same addSn target_impulse -addSn exprD.
  move=> z; have : column i d * mode target d ^+ t0.+1 * q.[mode target d] = 0.
    rewrite -z horner_coef mulr_sumr; apply: eq_bigr => j _; ring.
  move/eqP; rewrite 2!mulf_eq0 (negPf nz) expf_eq0 (negPf (modes_not0 gen d)) /= => r.
  by rewrite expr1 dvdp_XsubCl.
have mem l : mode target d \in layer_modes l -> exists k, mode l k = mode target d.
  by rewrite mem_undup => /allpairsP[[k n] [_ _]]; rewrite /= (ord1 n) => e; exists k; exact: (esym e).
rewrite /= addn0; case i1: (_ \in layer_modes l1).
  have [k e] := mem _ i1; exists k; rewrite /tuned; case Sk: (S k); first by rewrite e.
  by have := apart gen k d; rewrite -frozen1 ?Sk // e eqxx.
case i2: (_ \in layer_modes l2) => // _; have [k e] := mem _ i2; exists k; rewrite /tuned; case Sk: (S k); last by rewrite e.
by have := apart gen k d; rewrite -frozen2 ?Sk // e eqxx.
Qed.

Lemma tuned_matched : exists tau : 'I_D -> 'I_D, injective tau /\ forall k, tuned k = mode target (tau k).
Proof.
pose sigma d := xchoose (pole_is_tuned d).
have sE d : tuned (sigma d) = mode target d by apply/eqP; exact: (xchooseP (pole_is_tuned d)).
have sI : injective sigma by move=> a b e; apply: (modes_differ gen); rewrite -!sE e.
have [tau st ts] := injF_bij sI; exists tau; split; first exact: can_inj ts.
by move=> k; rewrite -sE ts.
Qed.

Let pole (s : 'I_D + 'I_D) := match s with inl k => mode l1 k | inr k => mode l2 k end.

Lemma poles_distinct : injective pole /\ forall s, pole s != 0.
Proof.
have [tau [inj tE]] := tuned_matched.
have tI : injective tuned by move=> a b; rewrite !tE => /(modes_differ gen)/inj.
have tF j k : tuned k != frozen j by rewrite tE eq_sym (apart gen).
have cases s : exists k, (pole s = tuned k /\ s = if S k then inl k else inr k) \/
                         (pole s = frozen k /\ s = if S k then inr k else inl k).
  case: s => k; exists k; rewrite /tuned; case Sk: (S k).
  - by left.
  - by right; rewrite /pole frozen1 ?Sk.
  - by right; rewrite /pole frozen2 ?Sk.
  - by left.
split=> [s s'|s]; last by have [k [[-> _]|[-> _]]] := cases s; rewrite ?tE ?(modes_not0 gen) ?(frozen_not0 gen).
have [k ck] := cases s; have [k' ck'] := cases s'.
case: ck => -[-> ->]; case: ck' => -[-> ->].
- by move/tI ->.
- by move/eqP; rewrite (negPf (tF _ _)).
- by move/eqP; rewrite eq_sym (negPf (tF _ _)).
- by move/(frozen_differ gen) ->.
Qed.

Let alpha i k := (\sum_j entry l2 (mode l1 k) i j * proj l1 j k) * residue l1 k.
Let beta i j k := proj l2 i j * residue l2 j * entry l1 (mode l2 j) j k.

(* The residues of the two stacks agree, pole by pole. *)
Lemma residues_agree i k :
  (forall k', (k' == k)%:R * alpha i k = (mode l1 k' == mode target k)%:R * column i k) /\
  (forall j, beta i j k = (mode l2 j == mode target k)%:R * column i k).
Proof.
have [inj nz] := poles_distinct.
pose c (s : 'I_D + 'I_D) := match s with
  | inl k' => (k' == k)%:R * alpha i k - (mode l1 k' == mode target k)%:R * column i k
  | inr j => beta i j k - (mode l2 j == mode target k)%:R * column i k end.
suff z s : c s = 0 by split=> j; apply/eqP; rewrite -subr_eq0; apply/eqP; [exact: (z (inl j))|exact: (z (inr j))].
apply: (powers_independent inj nz) => t; have := same (delta_mx k 0) t.+1.
move=> /(congr1 (fun v : 'cV[F]_D => v i 0)); rewrite target_impulse stack_impulse // => [e|j]; last first.
  by apply/eqP => e; have := inj (inl k) (inr j) e.
have [s0 s0E] : exists s, pole s = mode target k.
  have [k0 /eqP <-] := pole_is_tuned k; rewrite /tuned; case: (S k0); by [exists (inl k0)|exists (inr k0)].
have hit : \sum_s (pole s == mode target k)%:R * column i k * pole s ^+ t.+1 = column i k * mode target k ^+ t.+1.
  rewrite (bigD1 s0) //= s0E eqxx mul1r big1 ?addr0 // => s1 ne.
  by case: eqP => [e'|_]; rewrite ?mul0r //; case/eqP: ne; apply: inj; rewrite e' s0E.
have own : \sum_k' (k' == k)%:R * alpha i k * mode l1 k' ^+ t.+1 = alpha i k * mode l1 k ^+ t.+1.
  by rewrite (bigD1 k) //= eqxx mul1r big1 ?addr0 // => k' /negPf ->; rewrite !mul0r.
apply/eqP; move: e; rewrite -hit -own !big_sumType /= => e.
rewrite (eq_bigr (fun k' => (k' == k)%:R * alpha i k * mode l1 k' ^+ t.+1 -
  (mode l1 k' == mode target k)%:R * column i k * mode l1 k' ^+ t.+1)); last by move=> k' _; rewrite mulrBl.
rewrite [X in _ + X](eq_bigr (fun j => beta i j k * mode l2 j ^+ t.+1 -
  (mode l2 j == mode target k)%:R * column i k * mode l2 j ^+ t.+1)); last by move=> k' _; rewrite mulrBl.
by rewrite !sumrB addrACA -opprD subr_eq0 e.
Qed.

Lemma entry_off l z i j : i != j -> entry l z i j = proj l i j * residue l j * (z / (z - mode l j)).
Proof. by move=> /negPf ij; rewrite /entry ij mul0r addr0. Qed.

(* Layer 1 is diagonal on S and nothing else. *)
Lemma first_layer j k : (k != j) || ~~ S k -> proj l1 j k = 0.
Proof.
have [pI nz] := poles_distinct; have [tau [tI tE]] := tuned_matched.
have fixed m : S m -> tau m = m.
  move=> Sm; have [//|ne] := eqVneq (tau m) m; have [i ci] := column_not0 (tau m).
  have [/(_ m) e _] := residues_agree i (tau m).
  have e1 : mode l1 m = mode target (tau m) by rewrite -tE /tuned Sm.
  by move: e; rewrite eq_sym (negPf ne) e1 eqxx mul0r mul1r => e; rewrite -e eqxx in ci.
have a1 i m : S m -> alpha i m = column i m.
  move=> Sm; have [/(_ m) + _] := residues_agree i m; rewrite eqxx !mul1r => ->.
  by rewrite -[in mode target m](fixed m Sm) -tE /tuned Sm eqxx mul1r.
have a2 i m : ~~ S m -> alpha i m = 0.
  by move=> Sm; have [/(_ m) + _] := residues_agree i m; rewrite eqxx mul1r frozen1 // (negPf (apart gen _ _)) mul0r.
have r1 m : residue l1 m != 0.
  case Sm: (S m); last by have := residues_not0 gen m; rewrite Sm; case: (@k1 m) => [|_ ->]; rewrite ?Sm.
  by have [i] := column_not0 m; rewrite -a1 // /alpha; apply: contraNneq => ->; rewrite mulr0.
have r2 m : S m -> residue l2 m != 0.
  by move=> Sm; have := residues_not0 gen m; rewrite Sm; case: (@k2 m) => [|_ ->]; rewrite ?negbK.
have outside m : ~~ S m -> ~~ S (tau m).
  by move=> Sm; apply/negP => St; have /tI e := fixed _ St; rewrite e (negPf Sm) in St.
have m2 m : ~~ S m -> mode l2 m = mode target (tau m) by move=> Sm; rewrite -tE /tuned (negPf Sm).
have b1 i m : ~~ S m -> proj l2 i m * residue l2 m * entry l1 (mode l2 m) m (tau m) = column i (tau m).
  by move=> Sm; have [_ /(_ m)] := residues_agree i (tau m); rewrite /beta m2 // eqxx mul1r.
have b2 i m n : ~~ S m -> n != tau m -> beta i m n = 0.
  move=> Sm ne; have [_ ->] := residues_agree i n; rewrite m2 //; case: eqP => [/(modes_differ gen) e|_]; last by rewrite mul0r.
  by rewrite e eqxx in ne.
have b3 i m n : S m -> beta i m n = 0.
  by move=> Sm; have [_ ->] := residues_agree i n; rewrite frozen2 // (negPf (apart gen _ _)) mul0r.
have ratio1 m n : mode l2 m / (mode l2 m - mode l1 n) != 0.
  by rewrite mulf_neq0 ?invr_neq0 ?subr_eq0 ?(nz (inr m)) //; apply/eqP => e; have := pI (inr m) (inl n) e.
have ratio2 m n : mode l1 n / (mode l1 n - mode l2 m) != 0.
  by rewrite mulf_neq0 ?invr_neq0 ?subr_eq0 ?(nz (inl n)) //; apply/eqP => e; have := pI (inl n) (inr m) e.
have zero m n : m != n -> entry l1 (mode l2 m) m n = 0 -> proj l1 m n = 0.
  by move=> mn /eqP; rewrite entry_off // 2!mulf_eq0 (negPf (r1 n)) (negPf (ratio1 m n)) !orbF => /eqP.
have scale m : ~~ S m -> entry l1 (mode l2 m) m (tau m) != 0.
  by move=> Sm; have [i] := column_not0 (tau m); rewrite -b1 // mulf_eq0 negb_or => /andP[].
have neqS m n : ~~ S m -> S n -> m != n by move=> Sm Sn; apply: contraNneq Sm => ->.
have below m n : ~~ S m -> S n -> proj l1 m n = 0.
  move=> Sm Sn; apply: zero (neqS _ _ Sm Sn) _; have [i] := column_not0 (tau m).
  have ne : n != tau m by rewrite eq_sym; exact: neqS (outside _ Sm) Sn.
  by rewrite -b1 // mulf_eq0 negb_or => /andP[w _]; apply/eqP; move/eqP: (b2 i m n Sm ne); rewrite /beta mulf_eq0 (negPf w).
have rows m : S m -> (forall i, proj l2 i m = 0) \/ (forall n, n != m -> proj l1 m n = 0).
  move=> Sm; have [i w|z] := pickP (fun i => proj l2 i m != 0); last by left=> i; apply/eqP; have /negbFE := z i.
  right=> n ne; apply: zero; rewrite 1?eq_sym //; apply/eqP; move/eqP: (b3 i m n Sm).
  by rewrite /beta 2!mulf_eq0 (negPf w) (negPf (r2 _ Sm)).
have diag m n : S m -> n != m -> proj l1 m n = 0.
  move=> Sm ne; have [dead|] := rows m Sm; last exact.
  have [i Si] := columns_cross gen Sm; rewrite -a1 // /alpha big1 ?mul0r ?eqxx // => p _.
  case Sp: (S p); last by rewrite below ?mulr0 ?Sp.
  have ip : i != p by exact: neqS.
  have [pm|pm] := eqVneq p m; first by rewrite entry_off // pm dead !mul0r.
  have [dead'|->] := rows p Sp; first by rewrite entry_off // dead' !mul0r.
    by rewrite mulr0.
  by rewrite eq_sym.
move=> jk; case Sj: (S j).
  apply: diag => //; case/orP: jk => // Sk; exact: neqS.
case Sk: (S k); first by rewrite below ?Sj.
have [inv ti it] := injF_bij tI.
pose g m := proj l1 m k * (mode l1 k / (mode l1 k - mode l2 m)) / entry l1 (mode l2 m) m (tau m).
suff : g j = 0.
  move/eqP; rewrite 2!mulf_eq0 invr_eq0 (negPf (ratio2 _ _)) (negPf (scale _ _)) ?Sj // !orbF; exact: eqP.
rewrite -(ti j); apply: (block_independent gen (c := g \o inv)); last by rewrite outside ?Sj.
move=> i Si; have := a2 i k; rewrite Sk /alpha => /(_ isT)/eqP; rewrite mulf_eq0 (negPf (r1 k)) orbF => /eqP sum0.
rewrite (reindex_inj tI) /= -{}[RHS]sum0 [RHS](bigID S) /= [X in _ = X + _]big1 ?add0r => [|m Sm]; last first.
  by rewrite diag ?mulr0 //; apply: neqS; rewrite ?Sk.
rewrite (eq_bigl (fun m => ~~ S m)) => [|m]; last first.
  by case Sm: (S m); [rewrite fixed ?Sm|rewrite outside ?Sm].
apply: eq_bigr => m Sm; rewrite ti entry_off -?b1 //; last by rewrite eq_sym; exact: neqS.
rewrite /g; move: (scale m Sm); move: (entry _ _ _ _) (_ / (_ - _)) => e z e0; by field.
Qed.

Lemma first_layer_diagonal : exists2 s : 'rV[F]_D, (forall k, ~~ S k -> s 0 k = 0) & proj l1 = diag_mx s.
Proof.
exists (\row_k proj l1 k k) => [k Sk|]; first by rewrite mxE first_layer ?Sk ?orbT.
apply/matrixP => j k; rewrite !mxE; case: (eqVneq j k) => [->|jk]; first by rewrite mulr1n.
by rewrite first_layer ?mulr0n // eq_sym jk.
Qed.
End Disjoint.

(* The rank of every update of layer 1 is at least the least rank of W_1 - diag(s, 0), the zeros outside S: any width. *)
Theorem rank_bound (F : fieldType) D (f1 f2 target l1 l2 : linear_layer F D 1) (S : pred 'I_D) n : generic f1 f2 target S ->
  (forall k, ld l1 k = 0) -> (forall k, ld l2 k = 0) -> (forall k, ld target k = 0) ->
  keeps S f1 l1 -> keeps (fun k => ~~ S k) f2 l2 ->
  (forall v t, stack_out [:: l1; l2] (impulse_in v) t = stack_out [:: target] (impulse_in v) t) ->
  (forall s : 'rV[F]_D, (forall k, ~~ S k -> s 0 k = 0) -> (n <= \rank (proj f1 - diag_mx s)%R)%N) ->
  (n <= \rank (proj l1 - proj f1)%R)%N.
Proof.
move=> gen d1 d2 dt k1 k2 same least; have [s s0 ->] := first_layer_diagonal gen d1 d2 dt k1 k2 same.
by rewrite -opprB mxrank_opp; exact: least.
Qed.

(* The least rank by linear algebra: the columns outside S stay, and one column in S is not in their span and that of e_d. *)
Definition kept_columns (F : fieldType) D (S : pred 'I_D) (W : 'M[F]_D) : 'M[F]_D := \matrix_(i, j) (if S j then 0 else W i j).
Definition outside_span (F : fieldType) D (S : pred 'I_D) (W : 'M[F]_D) d :=
  forall (c : 'cV[F]_D) a, col d W != kept_columns S W *m c + a *: delta_mx d 0.

Theorem diagonal_distance (F : fieldType) D (S : pred 'I_D) (W : 'M[F]_D) d (s : 'rV[F]_D) : (forall k, ~~ S k -> s 0 k = 0) ->
  outside_span S W d -> (\rank (kept_columns S W) < \rank (W - diag_mx s)%R)%N.
Proof.
move=> s0 out; set M := W - diag_mx s.
have kM : kept_columns S W = M *m diag_mx (\row_j (~~ S j)%:R).
  apply/matrixP => i j; rewrite mul_mx_diag !mxE; case Sj: (S j); first by rewrite mulr0.
  by rewrite mulr1; case: eqP => [->|_]; rewrite ?mulr0n ?subr0 // s0 ?Sj // mul0rn subr0.
rewrite -[X in (X < _)%N]mxrank_tr -[X in (_ < X)%N]mxrank_tr; apply: rank_ltmx.
rewrite ltmxE; apply/andP; split; first by rewrite kM trmx_mul submxMl.
apply/negP => le; have /submxP[u] : (row d M^T <= (kept_columns S W)^T)%MS by rewrite (submx_trans (row_sub _ _)).
move=> /(congr1 trmx); rewrite trmx_mul trmxK tr_row trmxK => e.
have /eqP := out u^T (s 0 d); apply; rewrite -e; apply/colP => i; rewrite !mxE eqxx andbT.
by case: eqP => [->|_]; rewrite ?mulr1n ?mulr0n ?mulr1 ?mulr0 ?subrK // subr0 addr0.
Qed.

(* Generic W_1: the columns outside S are independent, and some column d is not in their span and that of e_d. *)
Definition generic_weights (F : fieldType) D (S : pred 'I_D) (W : 'M[F]_D) :=
  \rank (kept_columns S W) = #|[predC S]| /\ exists d, outside_span S W d.

(* Any width: no rank up to the number of channels outside S suffices. *)
Theorem small_ranks (F : fieldType) D (f1 f2 target l1 l2 : linear_layer F D 1) (S : pred 'I_D) :
  generic f1 f2 target S -> generic_weights S (proj f1) ->
  (forall k, ld l1 k = 0) -> (forall k, ld l2 k = 0) -> (forall k, ld target k = 0) ->
  keeps S f1 l1 -> keeps (fun k => ~~ S k) f2 l2 ->
  (forall v t, stack_out [:: l1; l2] (impulse_in v) t = stack_out [:: target] (impulse_in v) t) ->
  (#|[predC S]| < \rank (proj l1 - proj f1)%R)%N.
Proof.
move=> gen [rk [d out]] d1 d2 dt k1 k2 same; apply: (rank_bound gen d1 d2 dt k1 k2 same) => s s0.
by rewrite -rk; exact: diagonal_distance out.
Qed.

(* Four channels, two tuned in each layer: ranks 1 and 2 are out of reach. *)
Theorem four_channels (F : fieldType) (f1 f2 target l1 l2 : linear_layer F 4 1) (S : pred 'I_4) : #|S| = 2%N ->
  generic f1 f2 target S -> generic_weights S (proj f1) ->
  (forall k, ld l1 k = 0) -> (forall k, ld l2 k = 0) -> (forall k, ld target k = 0) ->
  keeps S f1 l1 -> keeps (fun k => ~~ S k) f2 l2 ->
  (forall v t, stack_out [:: l1; l2] (impulse_in v) t = stack_out [:: target] (impulse_in v) t) ->
  (2 < \rank (proj l1 - proj f1)%R)%N.
Proof.
move=> two gen genW d1 d2 dt k1 k2 same; have := small_ranks gen genW d1 d2 dt k1 k2 same.
suff -> : #|[predC S]| = 2%N by [].
by apply/eqP; rewrite -(eqn_add2l #|S|) cardC card_ord two.
Qed.

(* Such numbers exist for all sets, so the conditions hold for all numbers but the zeros of polynomials that are not 0. *)
Lemma diagonal_rank (F : fieldType) D (T : pred 'I_D) : \rank (\matrix_(i, j) (T j && (i == j))%:R : 'M[F]_D) = #|T|.
Proof.
set M := \matrix_(i, j) _; pose A : 'M[F]_(D, #|T|) := \matrix_(i, m) (i == enum_val m)%:R.
have MA : M *m A = A.
  apply/matrixP => i m; rewrite !mxE (bigD1 i) //= big1 => [|j ji]; last by rewrite mxE eq_sym (negPf ji) andbF mul0r.
  rewrite !mxE eqxx andbT addr0; case: eqP => [->|_]; last by rewrite mulr0.
  by have := enum_valP m; rewrite unfold_in => ->; rewrite mulr1.
have AA : A^T *m A = 1%:M.
  apply/matrixP => m n; rewrite !mxE (bigD1 (enum_val m)) //= big1 => [|j jm]; last by rewrite !mxE (negPf jm) mul0r.
  by rewrite !mxE eqxx mul1r addr0 (inj_eq enum_val_inj).
have MAA : M = A *m A^T.
  apply/matrixP => i j; rewrite !mxE; case: (boolP (T j)) => Tj.
    rewrite (bigD1 (enum_rank_in Tj j)) //= big1 => [|m mj].
      by rewrite !mxE !enum_rankK_in // eqxx mulr1 addr0.
    rewrite !mxE; case: (eqVneq j (enum_val m)) => [e|_]; last by rewrite mulr0.
    by case/eqP: mj; apply: enum_val_inj; rewrite enum_rankK_in.
  rewrite big1 // => m _; rewrite !mxE; case: (eqVneq j (enum_val m)) => [e|_]; last by rewrite mulr0.
  by have := enum_valP m; rewrite -e unfold_in (negPf Tj).
apply/eqP; rewrite eqn_leq {1}MAA (leq_trans (mxrankM_maxl _ _) (rank_leq_col _)) /=.
rewrite -[X in (X <= _)%N](mxrank1 F) -AA -{2}MA mulmxA.
by rewrite (leq_trans (mxrankM_maxl _ _)) ?mxrankM_maxr.
Qed.

Theorem generic_exists (F : numFieldType) D (S : pred 'I_D) : (0 < #|[predC S]| <= #|S|)%N -> (1 < #|S|)%N ->
  exists f1 f2 target : linear_layer F D 1, generic f1 f2 target S /\ generic_weights S (proj f1).
Proof.
case/andP=> /card_gt0P[o So] le /card_gt1P[d [d' [Sd Sd' dd]]].
have [Td Td'] : S d /\ S d' by [].
pose layer W b : linear_layer F D 1 := LinearLayer W (fun=> 1) (fun k _ => (b + k).+1%:R) (fun _ _ => 1) (fun _ _ => 1) (fun=> 0).
pose h j := nth d (enum S) (index j (enum [predC S])).
have small j : ~~ S j -> (index j (enum [predC S]) < size (enum S))%N.
  by move=> Sj; apply: leq_trans (_ : (size (enum [predC S]) <= _)%N); rewrite -?cardE // cardE index_mem mem_enum.
have hS j : ~~ S j -> S (h j) by move=> Sj; have := mem_nth d (small _ Sj); rewrite mem_enum.
have hI i j : ~~ S i -> ~~ S j -> h i = h j -> i = j.
  move=> Si Sj /eqP; rewrite nth_uniq ?small ?enum_uniq // => /eqP e.
  by rewrite -(nth_index o (_ : i \in enum [predC S])) ?e ?nth_index ?mem_enum.
pose W1 : 'M[F]_D := \matrix_(i, j) (if S j then i == d' else i == j)%:R.
pose Wt : 'M[F]_D := \matrix_(i, j) (if S j then true else i == h j)%:R.
have natI (a b : nat) : (a.+1%:R = b.+1%:R :> F) -> a = b by move/eqP; rewrite eqr_nat eqSS => /eqP.
have nat0 (a : nat) : (a.+1%:R != 0 :> F) by rewrite pnatr_eq0.
exists (layer W1 D), (layer W1 D), (layer Wt 0%N); split; split.
- by move=> i j /natI e; apply: ord_inj.
- move=> i j; rewrite /frozen !if_same => /natI/addnI; exact: ord_inj.
- move=> i j; rewrite /frozen if_same; apply/negP => /eqP/natI.
  by move=> e; have := ltn_ord j; rewrite -[X in (X < _)%N]add0n -e ltnNge leq_addr.
- by move=> k; exact: nat0.
- by move=> k; rewrite /frozen if_same; exact: nat0.
- by move=> k; rewrite if_same /residue mulr1 oner_eq0.
- by move=> k Sk; exists o => //; rewrite /column /residue mxE Sk !mulr1 oner_eq0.
- move=> c z j Sj; rewrite -(z _ (hS _ Sj)) (bigD1 j) //= big1 => [|k /andP[Sk kj]].
    by rewrite /column /residue mxE (negPf Sj) eqxx !mulr1 addr0.
  rewrite /column /residue mxE (negPf Sk); case: eqP => [/(hI _ _ Sj Sk) e|_]; last by rewrite mul0r mulr0.
  by rewrite e eqxx in kj.
- rewrite -(diagonal_rank F [predC S]); congr (\rank _); apply/matrixP => i j; rewrite !mxE /=.
  by have -> : (j \in S) = S j by []; case: (S j).
exists d => c a; apply/negP => /eqP/colP/(_ d'); rewrite !mxE Td eqxx big1 => [|j _].
  by rewrite eq_sym (negPf dd) mulr0 addr0 => /eqP; rewrite oner_eq0.
rewrite !mxE; case Sj: (S j); first by rewrite mul0r.
by case: eqP => [e|_]; rewrite ?mul0r //; rewrite -e in Sj; rewrite Td' in Sj.
Qed.
