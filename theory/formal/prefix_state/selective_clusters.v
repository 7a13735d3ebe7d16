(* prefix_state.selective, (iii) => (i), steps 2 to 4: if the tokens span each block of entries with one decay positively,
   some number of tokens reaches every state. Blocks are added from the fastest decay to the slowest. A later block's tokens
   stand so early in the prefix that what they leave on faster blocks is as small as is wanted. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring zify.
From Ssmproof.core Require Import recurrence squares s6.
From Ssmproof.prefix_state Require Import decay selective.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* Vectors near the units (rows of P) and near their negatives (rows of Q) span positively. *)
Section NearUnits.
Variables (F : realFieldType) (n : nat) (P Q : 'M[F]_n).
Let A : 'M[F]_n := P - 1%:M.
Let B : 'M[F]_n := Q + 1%:M.
Hypothesis near_P : forall j : 'I_n, 4%:R * (\sum_i `|A i j|) <= 1.
Hypothesis near_Q : forall j : 'I_n, 4%:R * (\sum_i `|B i j|) <= 1.

Lemma contraction (d u : 'rV[F]_n) k : (forall j, 4%:R * `|u 0 j| <= k) -> d = u - d *m A -> forall j, 3%:R * `|d 0 j| <= k.
Proof.
move=> small dE j; pose m := [arg max_(i > j) `|d 0 i|]%O.
have max i : `|d 0 i| <= `|d 0 m| by rewrite /m; case: arg_maxP => // i0 _; apply.
apply: le_trans (_ : 3%:R * `|d 0 m| <= k); first by rewrite ler_pmul2l ?ltr0n.
have : 4%:R * `|d 0 m| <= k + `|d 0 m|.
  rewrite {1}dE; apply: (@le_trans _ _ (4%:R * (`|u 0 m| + \sum_i `|d 0 m| * `|A i m|))).
    rewrite ler_pmul2l ?ltr0n // !mxE; apply: le_trans (ler_norm_sub _ _) _; rewrite ler_add2l.
    by apply: le_trans (ler_norm_sum _ _ _) _; apply: ler_sum => i _; rewrite normrM ler_wpmul2r.
  rewrite mulrDr ler_add ?small // -mulr_sumr mulrCA -[X in _ <= X]mulr1.
  by apply: ler_wpmul2l; rewrite ?normr_ge0 // near_P.
by rewrite -ler_subl_addr; congr (_ <= _); ring.
Qed.

Lemma near_unit : P \in unitmx.
Proof.
rewrite -row_free_unit; apply: inj_row_free => x xP; apply/rowP => j; rewrite [RHS]mxE.
have xE : x = 0 - x *m A by rewrite mulmxBr xP mulmx1 !sub0r opprK.
have := @contraction x 0 0 _ xE j; rewrite pmulr_rle0 ?ltr0n // normr_le0 => zero; apply/eqP; apply: zero => i.
by rewrite mxE normr0 mulr0.
Qed.

Let one : 'rV[F]_n := const_mx 1.
Let c := one *m Q *m invmx P.

Lemma c_negative j : c 0 j < 0.
Proof.
have cP : c *m P = one *m Q by rewrite mulmxKV ?near_unit.
have sum1 (M : 'M[F]_n) i : 4%:R * (\sum_k `|M k i|) <= 1 -> 4%:R * `|(one *m M) 0 i| <= 1.
  move=> le; apply: le_trans le; rewrite ler_pmul2l ?ltr0n // mxE; apply: le_trans (ler_norm_sum _ _ _) _.
  by apply: ler_sum => k _; rewrite mxE mul1r.
have dE : c + one = (one *m B + one *m A) - (c + one) *m A.
  have cA : c *m A = one *m Q - c by rewrite mulmxBr mulmx1 cP.
  have oB : one *m B = one *m Q + one by rewrite mulmxDr mulmx1.
  by rewrite mulmxDl cA oB opprD opprB addrACA subrr addr0 [RHS]addrC addrA subrK.
have := contraction (k := 2%:R) _ dE j; rewrite [(c + one) 0 j]mxE [one 0 j]mxE => bound.
have {}bound : 3%:R * `|c 0 j + 1| <= 2%:R.
  apply: bound => i; rewrite mxE; apply: (@le_trans _ _ (4%:R * (`|(one *m B) 0 i| + `|(one *m A) 0 i|))).
    by rewrite ler_pmul2l ?ltr0n // ler_norm_add.
  by rewrite mulrDr mulr2n ler_add ?sum1.
rewrite ltNge; apply/negP => c0; have : 3%:R <= 2%:R :> F.
  by apply: le_trans bound; rewrite ger0_norm ?addr_ge0 ?ler01 // mulrDr mulr1 ler_addr mulr_ge0 ?ler0n.
by rewrite ler_nat.
Qed.

Lemma near_units_span (t : 'rV[F]_n) : exists p q : 'rV[F]_n, [/\ forall i, 0 <= p 0 i, forall i, 0 <= q 0 i & p *m P + q *m Q = t].
Proof.
pose r := t *m invmx P; pose tau := \sum_i `|r 0 i| / - c 0 i.
have pos i : 0 <= `|r 0 i| / - c 0 i by rewrite divr_ge0 // oppr_ge0 ltW // c_negative.
have tau_ge i : `|r 0 i| <= - c 0 i * tau.
  rewrite mulrC -ler_pdivr_mulr ?oppr_gt0 ?c_negative // /tau (bigD1 i) //= ler_addl; exact: sumr_ge0.
exists (r - tau *: c), (tau *: one); split=> [i|i|].
- have -> : (r - tau *: c) 0 i = r 0 i - tau * c 0 i by rewrite mxE [X in _ + X = _]mxE [X in _ - X = _]mxE.
  rewrite subr_ge0; apply: (@le_trans _ _ (- `|r 0 i|)); first by rewrite ler_oppr -mulrN mulrC.
  by rewrite ler_oppl -normrN; exact: ler_norm.
- by rewrite !mxE mulr1; apply: sumr_ge0 => k _; exact: pos.
by rewrite mulmxBl -!scalemxAl /r !mulmxKV ?near_unit // subrK.
Qed.
End NearUnits.

Section Clusters.
Variables (F : rcfType) (D N : nat) (dt : 'I_D -> F) (E : 'M[F]_(D, N)) (WB WC : 'M[F]_(N, D)) (skip : 'I_D -> F).
Let V := 'M[F]_(D, N).
Let state s := state_after (s6_step (fun=> dt) (fun=> E) WB WC skip) 0 s.
Hypotheses (archi : Num.archimedean_axiom F) (E0 : forall d n, 0 < E d n).

(* What the token z adds from slot m, that is, followed by m tokens. *)
Definition given (z : 'cV[F]_D) (d : 'I_D) (n : 'I_N) : F := dt d * z d 0 * (WB *m z) n 0.
Definition added m z : V := \matrix_(d, n) (E d n ^+ m * given z d n).

(* The cone of the directions zs in the slots T, T + 1, ..: every direction may have any length. *)
Definition cone T (zs : seq 'cV[F]_D) (v : V) :=
  exists2 w : nat -> F, forall m, 0 <= w m & v = \sum_(m < size zs) w m *: added (T + m) (nth 0 zs m).

Lemma cone0 T zs : cone T zs 0.
Proof. by exists (fun=> 0) => //; rewrite big1 // => m _; rewrite scale0r. Qed.

Lemma coneD T zs u v : cone T zs u -> cone T zs v -> cone T zs (u + v).
Proof.
case=> w w0 -> [x x0 ->]; exists (fun m => w m + x m) => [m|]; first exact: addr_ge0.
by rewrite -big_split; apply: eq_bigr => m _; rewrite scalerDl.
Qed.

Lemma coneZ T zs k v : 0 <= k -> cone T zs v -> cone T zs (k *: v).
Proof.
move=> k0 [w w0 ->]; exists (fun m => k * w m) => [m|]; first exact: mulr_ge0.
by rewrite scaler_sumr; apply: eq_bigr => m _; rewrite scalerA.
Qed.

Lemma cone_sum T zs n (k : 'I_n -> F) (v : 'I_n -> V) (P : pred 'I_n) : (forall i, 0 <= k i) -> (forall i, cone T zs (v i)) ->
  cone T zs (\sum_(i | P i) k i *: v i).
Proof. by move=> k0 vc; elim/big_ind: _ => [|u u'|i _]; [exact: cone0 | exact: coneD | exact: coneZ]. Qed.

Lemma cone_cat T ys zs u v : cone T ys u -> cone (T + size ys) zs v -> cone T (ys ++ zs) (u + v).
Proof.
case=> w w0 -> [x x0 ->]; exists (fun m => if (m < size ys)%N then w m else x (m - size ys)%N) => [m|]; first by case: ifP.
rewrite size_cat big_split_ord /=; congr (_ + _); apply: eq_bigr => m _; rewrite nth_cat.
  by rewrite ltn_ord.
by rewrite ltnNge leq_addr /= !addKn addnA.
Qed.

Lemma given_scale q z d n : given (q *: z) d n = q ^+ 2 * given z d n.
Proof.
rewrite /given -scalemxAr [(q *: z) d 0]mxE [(q *: (WB *m z)) n 0]mxE.
by move: (z d 0) ((WB *m z) n 0) => x y; ring.
Qed.

(* One token of the right length in each slot. *)
Lemma cone_reached zs v : cone 0 zs v -> exists2 s, size s = size zs & state s = v.
Proof.
case=> w w0 ->; exists (rev (mkseq (fun m => Num.sqrt (w m) *: nth 0 zs m) (size zs))); first by rewrite size_rev size_mkseq.
apply/matrixP => d n; rewrite [LHS]state_entry summxE size_rev size_mkseq; apply: eq_bigr => m _.
rewrite revK nth_mkseq // -/(given _ d n) given_scale sqr_sqrtr // [RHS]mxE [added _ _ _ _]mxE add0n.
exact: mulrCA.
Qed.

(* The tokens of the directions zs span the entries with decay e positively. *)
Definition spanned e := exists zs, forall t : V, exists2 w : nat -> F, forall m, 0 <= w m &
  forall d n, E d n = e -> \sum_(m < size zs) w m * given (nth 0 zs m) d n = t d n.
(* All entries with a faster decay take any values; the others follow. *)
Definition faster_free e := exists zs, forall t : V, exists2 v, cone 0 zs v & forall d n, E d n < e -> v d n = t d n.

(* The directions zs in late slots, scaled against the decay e. *)
Definition late e T zs (w : nat -> F) : V := \sum_(m < size zs) (w m / e ^+ (T + m)) *: added (T + m) (nth 0 zs m).

Lemma late_cone e T zs w : 0 < e -> (forall m, 0 <= w m) -> cone T zs (late e T zs w).
Proof. by move=> e0 w0; exists (fun m => w m / e ^+ (T + m)) => // m; rewrite divr_ge0 // exprn_ge0 // ltW. Qed.

Lemma late_entry e T zs w d n : late e T zs w d n = \sum_(m < size zs) (E d n / e) ^+ (T + m) * (w m * given (nth 0 zs m) d n).
Proof.
rewrite summxE; apply: eq_bigr => m _; rewrite !mxE expr_div_n.
by rewrite mulrACA [RHS]mulrACA [w m * _]mulrC.
Qed.

Lemma late_block e T zs w d n : e != 0 -> E d n = e -> late e T zs w d n = \sum_(m < size zs) w m * given (nth 0 zs m) d n.
Proof. by move=> e0 Ee; rewrite late_entry Ee divff //; apply: eq_bigr => m _; rewrite expr1n mul1r. Qed.

Lemma late_small e zs w d n k : 0 < e -> E d n < e -> 0 < k -> exists T0, forall T, (T0 <= T)%N -> `|late e T zs w d n| <= k.
Proof.
move=> e0 lt k0; pose K := \sum_(m < size zs) `|w m * given (nth 0 zs m) d n|; pose q := E d n / e.
have K0 : 0 <= K by apply: sumr_ge0 => m _; exact: normr_ge0.
have q0 : 0 <= q by rewrite divr_ge0 // ltW.
have q1 : q < 1 by rewrite ltr_pdivr_mulr // mul1r.
have [T0 small] : exists T, forall t, (T <= t)%N -> q ^+ t < k / (K + 1) by apply: powers_vanish => //; rewrite divr_gt0 // ltr_paddl.
exists T0 => T le; rewrite late_entry -/q; apply: le_trans (ler_norm_sum _ _ _) _.
apply: (@le_trans _ _ (q ^+ T * K)).
  rewrite mulr_sumr; apply: ler_sum => m _; rewrite normrM ler_wpmul2r ?normr_ge0 //.
  by rewrite ger0_norm ?exprn_ge0 // exprD ler_pimulr ?exprn_ge0 // exprn_ile1 // ltW.
apply: (@le_trans _ _ (k / (K + 1) * K)); first by rewrite ler_wpmul2r // ltW // small.
by rewrite -mulrA mulrC ler_pimull ?(ltW k0) // mulrC ler_pdivr_mulr ?ltr_paddl // mul1r ler_addl ler01.
Qed.

(* Entries by number. *)
Let K := #|{: 'I_D * 'I_N}|.
Definition at_ (v : V) (i : 'I_K) : F := v (enum_val i).1 (enum_val i).2.
Definition faster e (i : 'I_K) : bool := E (enum_val i).1 (enum_val i).2 < e.

(* Block e joins the faster ones. *)
Lemma next_block e : 0 < e -> faster_free e -> spanned e ->
  exists zs, forall t : V, exists2 v, cone 0 zs v & forall d n, E d n <= e -> v d n = t d n.
Proof.
move=> e0 [ps free] [qs span]; have en0 : e != 0 by rewrite gt_eqF.
pose sgn (b : bool) : F := if b then 1 else -1.
pose target (x : bool * 'I_K) : V := \matrix_(d, n) (sgn x.1 * ((d, n) == enum_val x.2)%:R).
have [X XE] : exists X : bool * 'I_K -> V, forall x, cone 0 ps (X x) /\ forall d n, E d n < e -> X x d n = target x d n.
  have each x : exists v : V, cone 0 ps v /\ forall d n, E d n < e -> v d n = target x d n.
    by have [v vc vE] := free (target x); exists v.
  by have [X XE] := fin_all_exists each; exists X.
have [w wE] : exists w : bool * 'I_K -> nat -> F, forall x, (forall m, 0 <= w x m) /\
    forall d n, E d n = e -> \sum_(m < size qs) w x m * given (nth 0 qs m) d n = (- X x) d n.
  have each x : exists w : nat -> F, (forall m, 0 <= w m) /\
      forall d n, E d n = e -> \sum_(m < size qs) w m * given (nth 0 qs m) d n = (- X x) d n.
    by have [v v0 vE] := span (- X x); exists v.
  by have [w wE] := fin_all_exists each; exists w.
pose k : F := (4%:R * K.+1%:R)^-1; have k0 : 0 < k by rewrite invr_gt0 mulr_gt0 ?ltr0n.
have [T leT small] : exists2 T, (size ps <= T)%N & forall x d n, E d n < e -> `|late e T qs (w x) d n| <= k.
  have [T0 T0E] : exists T0 : (bool * 'I_K) * ('I_D * 'I_N) -> nat, forall y T, (T0 y <= T)%N ->
      E y.2.1 y.2.2 < e -> `|late e T qs (w y.1) y.2.1 y.2.2| <= k.
    have each (y : (bool * 'I_K) * ('I_D * 'I_N)) : exists T0 : nat, forall T, (T0 <= T)%N ->
        E y.2.1 y.2.2 < e -> `|late e T qs (w y.1) y.2.1 y.2.2| <= k.
      case: (ltP (E y.2.1 y.2.2) e) => lt; last by exists 0%N.
      by have [T HT] := late_small qs (w y.1) e0 lt k0; exists T => T' le _; exact: HT.
    by have [T0 T0E] := fin_all_exists each; exists T0.
  exists (maxn (size ps) (\max_y T0 y)) => [|x d n lt]; first exact: leq_maxl.
  apply: (T0E (x, (d, n))) => //; apply: leq_trans (leq_maxr _ _); exact: (leq_bigmax (x, (d, n))).
pose zs := ps ++ (nseq (T - size ps) 0 ++ qs); exists zs.
have joined u r : cone 0 ps u -> cone T qs r -> cone 0 zs (u + r).
  move=> uc rc; apply: cone_cat => //; rewrite -[r]add0r; apply: cone_cat; first exact: cone0.
  by rewrite size_nseq add0n subnKC.
pose Y x : V := X x + late e T qs (w x).
have Yc x : cone 0 zs (Y x) by apply: joined; [exact: (XE x).1 | apply: late_cone => //; exact: (wE x).1].
have Y_block x d n : E d n = e -> Y x d n = 0.
  by move=> Ee; rewrite mxE late_block // (wE x).2 // mxE subrr.
pose P : 'M[F]_K := \matrix_(i, j) (if faster e i && faster e j then at_ (Y (true, i)) j else (i == j)%:R).
pose Q : 'M[F]_K := \matrix_(i, j) (if faster e i && faster e j then at_ (Y (false, i)) j else - (i == j)%:R).
have YE b i j : faster e j -> at_ (Y (b, i)) j = sgn b * (i == j)%:R + at_ (late e T qs (w (b, i))) j.
  move=> fj; rewrite /at_ mxE (XE _).2 // mxE /= -surjective_pairing (inj_eq enum_val_inj) eq_sym.
  by [].
have column (M : 'M[F]_K) j : (forall i, `|M i j| <= k) -> 4%:R * (\sum_i `|M i j|) <= 1.
  move=> le; apply: (@le_trans _ _ (4%:R * (K.+1%:R * k))).
    rewrite ler_pmul2l ?ltr0n //; apply: le_trans (ler_sum _ (fun i _ => le i)) _.
    by rewrite sumr_const card_ord -[X in X <= _]mulr_natl ler_wpmul2r ?ler_nat ?leqnSn ?ltW.
  by rewrite mulrA mulfV // mulf_neq0 ?pnatr_eq0.
have nearP j : 4%:R * (\sum_i `|(P - 1%:M) i j|) <= 1.
  apply: column => i; rewrite !mxE; case: ifP => [/andP[_ fj]|_]; last by rewrite subrr normr0 ltW.
  by rewrite YE // mul1r addrAC subrr add0r; exact: small.
have nearQ j : 4%:R * (\sum_i `|(Q + 1%:M) i j|) <= 1.
  apply: column => i; rewrite !mxE; case: ifP => [/andP[_ fj]|_]; last by rewrite addNr normr0 ltW.
  by rewrite YE // mulN1r addrAC addNr add0r; exact: small.
move=> t; have [wt wt0 wtE] := span t; pose v1 := late e T qs wt.
pose rest : 'rV[F]_K := \row_j (if faster e j then at_ (t - v1) j else 0).
have [p [q [p0 q0 pq]]] := near_units_span nearP nearQ rest.
pose v2 : V := \sum_(i | faster e i) p 0 i *: Y (true, i) + \sum_(i | faster e i) q 0 i *: Y (false, i).
exists (v2 + (0 + v1)).
  apply: coneD; first by apply: coneD; apply: cone_sum.
  by apply: joined; [exact: cone0 | exact: late_cone].
move=> d n; rewrite le_eqVlt => /orP[/eqP Ee|lt]; rewrite add0r mxE.
  rewrite [v1 d n]late_block // wtE // mxE !summxE !big1 ?addr0 ?add0r // => i _; by rewrite mxE Y_block // mulr0.
pose j : 'I_K := enum_rank (d, n); have ej : enum_val j = (d, n) by rewrite enum_rankK.
have fj : faster e j by rewrite /faster ej.
have entry b (x : 'rV_K) (M : 'M_K) : (forall i, M i j = if faster e i then at_ (Y (b, i)) j else 0) ->
    (\sum_(i | faster e i) x 0 i *: Y (b, i)) d n = (x *m M) 0 j.
  move=> ME; rewrite [RHS]mxE summxE big_mkcond; apply: eq_bigr => i _; rewrite ME.
  by case: ifP => _; rewrite ?mulr0 // mxE /at_ ej.
have apart i : faster e i = false -> (i == j) = false by move=> fi; apply: contraFF fi => /eqP ->.
have -> : v2 d n = rest 0 j.
  rewrite -pq [LHS]mxE [RHS]mxE; congr (_ + _); apply: entry => i; rewrite mxE fj andbT; case: ifP => // /apart -> //.
  by rewrite oppr0.
by rewrite mxE fj /at_ ej !mxE subrK.
Qed.

(* Block after block: a length that serves every state. *)
Theorem blocks_reach : (forall e, spanned e) -> exists M, forall h, exists2 s, size s = M & state s = h.
Proof.
move=> span; pose count e := #|[pred i : 'I_D * 'I_N | E i.1 i.2 < e]|.
have free e : 0 < e -> faster_free e.
  have [c] := ubnP (count e); elim: c e => // c IH e /ltnSE le e0.
  case: (pickP [pred i : 'I_D * 'I_N | E i.1 i.2 < e]) => [i0 lt0|none]; last first.
    exists [::] => t; exists 0; first exact: cone0.
    by move=> d n lt; have := none (d, n); rewrite /= lt.
  have [m lt_m max_m] : exists2 m : 'I_D * 'I_N, E m.1 m.2 < e & forall i, E i.1 i.2 < e -> E i.1 i.2 <= E m.1 m.2.
    pose m := [arg max_(i > i0 | E i.1 i.2 < e) E i.1 i.2]%O; exists m; rewrite /m; case: arg_maxP => // i lt max j; exact: max.
  have [|zs zsE] := next_block (E0 m.1 m.2) (IH _ _ (E0 m.1 m.2)) (span _).
    apply: leq_trans le; apply: proper_card; apply/properP; split; last by exists m; rewrite !inE ?ltxx.
    by apply/subsetP => i; rewrite !inE => lt; exact: lt_trans lt lt_m.
  exists zs => t; have [v vc vE] := zsE t; exists v => // d n lt; apply: vE; exact: (max_m (d, n)).
have [zs zsE] : faster_free (1 + \sum_d \sum_n E d n).
  by apply: free; apply: ltr_paddr ltr01; apply: sumr_ge0 => d _; apply: sumr_ge0 => n _; exact: ltW.
exists (size zs) => h; have [v vc vE] := zsE h; have [s sz sE] := cone_reached vc; exists s => //.
rewrite sE; apply/matrixP => d n; apply: vE; rewrite (bigD1 d) //= (bigD1 n) //= addrC -!addrA ltr_addl.
apply: ltr_paddl; first by apply: sumr_ge0 => j _; exact: ltW.
apply: ltr_paddl ltr01; apply: sumr_ge0 => j _; apply: sumr_ge0 => k _; exact: ltW.
Qed.
End Clusters.
