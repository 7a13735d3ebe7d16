(* prefix_state.selective: (iii) => (i), the theorem, and distinct decays. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence squares complete s6.
From Ssmproof.prefix_state Require Import selective selective_clusters.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Converse.
Variables (F : rcfType) (D N : nat) (dt : 'I_D -> F) (E : 'M[F]_(D, N)) (WB WC : 'M[F]_(N, D)) (skip : 'I_D -> F).
Let V := 'M[F]_(D, N).
Let state s := state_after (s6_step (fun=> dt) (fun=> E) WB WC skip) 0 s.
Let given := given dt WB.

(* (i): prefixes of one length M reach every state. *)
Definition reached_in_time := exists M, forall h, exists2 s, size s = M & state s = h.

(* The directions zs, with lengths of their own, give v on the entries with decay e. *)
Definition on_block e (zs : seq 'cV[F]_D) (v : V) := exists2 w : nat -> F, forall m, 0 <= w m &
  forall d n, E d n = e -> \sum_(m < size zs) w m * given (nth 0 zs m) d n = v d n.

Lemma on_block0 e zs : on_block e zs 0.
Proof. by exists (fun=> 0) => // d n _; rewrite mxE big1 // => m _; rewrite mul0r. Qed.

Lemma on_blockD e zs u v : on_block e zs u -> on_block e zs v -> on_block e zs (u + v).
Proof.
case=> w w0 wE [x x0 xE]; exists (fun m => w m + x m) => [m|d n Ee]; first exact: addr_ge0.
by rewrite mxE -wE // -xE // -big_split; apply: eq_bigr => m _; rewrite mulrDl.
Qed.

Lemma on_blockZ e zs k v : 0 <= k -> on_block e zs v -> on_block e zs (k *: v).
Proof.
move=> k0 [w w0 wE]; exists (fun m => k * w m) => [m|d n Ee]; first exact: mulr_ge0.
by rewrite mxE -wE // mulr_sumr; apply: eq_bigr => m _; rewrite -mulrA.
Qed.

Lemma on_block_cat e ys zs u v : on_block e ys u -> on_block e zs v -> on_block e (ys ++ zs) (u + v).
Proof.
case=> w w0 wE [x x0 xE]; exists (fun m => if (m < size ys)%N then w m else x (m - size ys)%N) => [m|d n Ee]; first by case: ifP.
rewrite mxE -wE // -xE // size_cat big_split_ord /=; congr (_ + _); apply: eq_bigr => m _; rewrite nth_cat.
  by rewrite ltn_ord.
by rewrite ltnNge leq_addr /= !addKn.
Qed.

(* What holds for each of finitely many values holds for one list of directions. *)
Lemma together e (ts : seq V) : (forall t, exists zs, on_block e zs t) -> exists zs, forall t, t \in ts -> on_block e zs t.
Proof.
move=> each; elim: ts => [|t ts [zs zsE]]; first by exists [::].
have [ys ysE] := each t; exists (ys ++ zs) => u; rewrite inE => /orP[/eqP ->|/zsE uE].
  by rewrite -[t]addr0; apply: on_block_cat => //; exact: on_block0.
by rewrite -[u]add0r; apply: on_block_cat => //; exact: on_block0.
Qed.

Let signed (x : bool * ('I_D * 'I_N)) : V := (if x.1 then 1 else -1) *: delta_mx x.2.1 x.2.2.

Lemma spanned_if e : (forall t, exists zs, on_block e zs t) -> spanned dt E WB e.
Proof.
move=> each; have [zs zsE] := together [seq signed x | x <- enum [finType of bool * ('I_D * 'I_N)]] each.
exists zs => t; suff [w w0 wE] : on_block e zs t by exists w.
rewrite [t]matrix_sum_delta; elim/big_ind: _ => [|u v|d _]; [exact: on_block0 | exact: on_blockD |].
elim/big_ind: _ => [|u v|n _]; [exact: on_block0 | exact: on_blockD |].
have -> : t d n *: delta_mx d n = `|t d n| *: signed (0 <= t d n, (d, n)).
  rewrite /signed scalerA; congr (_ *: _); case: (lerP 0 (t d n)) => [le|lt]; first by rewrite ger0_norm ?mulr1.
  by rewrite ltr0_norm // mulrN1 opprK.
by apply: on_blockZ; rewrite ?normr_ge0 //; apply: zsE; apply: map_f; rewrite mem_enum.
Qed.

(* Step 1, where bounded sets of numbers have suprema: a block without obstruction is spanned positively. *)
Definition no_obstruction_on e := forall l : V, (forall d n, E d n != e -> l d n = 0) ->
  (forall z : 'cV[F]_D, 0 <= form dt E WB 0 l z) -> l = 0.

Theorem block_spanned e : complete F -> no_obstruction_on e -> spanned dt E WB e.
Proof.
move=> real none; pose K := #|{: 'I_D * 'I_N}|.
pose mx (x : 'rV[F]_K) : V := \matrix_(d, n) x 0 (enum_rank (d, n)).
pose C (x : 'rV[F]_K) := exists zs, on_block e zs (mx x).
have mxD x y : mx (x + y) = mx x + mx y by apply/matrixP => d n; rewrite !mxE.
have mxZ k x : mx (k *: x) = k *: mx x by apply/matrixP => d n; rewrite !mxE.
have all : forall x, C x.
  move=> x; case: (decide real (C x)) => // out; exfalso.
  have [||||l /eqP l0 lE] := separate real (C := C).
  - by move=> y z [zs zsE] [ys ysE]; exists (zs ++ ys); rewrite mxD; exact: on_block_cat.
  - by move=> k y k0 [zs zsE]; exists zs; rewrite mxZ; exact: on_blockZ.
  - by exists [::]; have -> : mx 0 = 0 by [apply/matrixP => d n; rewrite !mxE]; exact: on_block0.
  - by exists x.
  pose L : V := \matrix_(d, n) l (enum_rank (d, n)) 0.
  suff L0 : L = 0 by apply: l0; apply/colP => j; have := congr1 (fun A : V => A (enum_val j).1 (enum_val j).2) L0;
    rewrite !mxE -surjective_pairing enum_valK.
  apply: none => [d n out_of|z].
    have unit_ (k : F) : 0 <= k * L d n.
      have := lE (k *: delta_mx 0 (enum_rank (d, n))); rewrite -scalemxAl mxE -rowE !mxE; apply.
      exists [::]; exists (fun=> 0) => // d' n' Ee; rewrite big_ord0 !mxE eqxx (inj_eq enum_rank_inj) /=.
      by case: eqP => [[e1 e2]|]; rewrite ?mulr0 //; rewrite -e1 -e2 Ee eqxx in out_of.
    by apply/eqP; rewrite eq_le -oppr_ge0 -mulN1r unit_ /=; have := unit_ 1; rewrite mul1r.
  have := lE (\row_j given z (enum_val j).1 (enum_val j).2); rewrite mxE => pos.
  have -> : form dt E WB 0 L z = \sum_j (\row_j given z (enum_val j).1 (enum_val j).2) 0 j * l j 0.
    pose h (j : 'I_K) : 'I_D * 'I_N := enum_val j.
    rewrite /form pair_big /= (reindex h) /=; last by apply: onW_bij; exact: enum_val_bij.
    by apply: eq_bigr => j _; rewrite expr0 mulr1 [L _ _]mxE [X in _ = X * _]mxE -surjective_pairing enum_valK mulrC.
  apply: pos; exists [:: z]; exists (fun=> 1) => [_|d n _]; first exact: ler01.
  by rewrite big_ord1 mul1r [RHS]mxE [RHS]mxE enum_rankK.
apply: spanned_if => t; have [zs zsE] := all (\row_j t (enum_val j).1 (enum_val j).2); exists zs.
by have <- : mx (\row_j t (enum_val j).1 (enum_val j).2) = t by apply/matrixP => d n; rewrite !mxE enum_rankK.
Qed.

(* The other way round: each block is decided. *)
Theorem block_decided e : complete F -> spanned dt E WB e <-> no_obstruction_on e.
Proof.
move=> real; split=> [[zs span] l supp pos|]; last exact: block_spanned.
have [w w0 wE] := span (- l).
have : 0 <= \sum_(m < size zs) w m * form dt E WB 0 l (nth 0 zs m) by apply: sumr_ge0 => m _; exact: mulr_ge0.
have -> : \sum_(m < size zs) w m * form dt E WB 0 l (nth 0 zs m) = - \sum_d \sum_n l d n ^+ 2.
  have spread m : w m * form dt E WB 0 l (nth 0 zs m) = \sum_d \sum_n w m * (l d n * E d n ^+ 0 * given (nth 0 zs m) d n).
    by rewrite /form mulr_sumr; apply: eq_bigr => d _; rewrite mulr_sumr.
  rewrite (eq_bigr _ (fun (m : 'I_(size zs)) _ => spread m)) exchange_big /= -sumrN; apply: eq_bigr => d _.
  rewrite exchange_big /= -sumrN; apply: eq_bigr => n _.
  have [Ee|ne] := eqVneq (E d n) e; last by rewrite supp // big1 ?expr0n ?oppr0 // => m _; rewrite !mul0r mulr0.
  transitivity (l d n * \sum_(m < size zs) w m * given (nth 0 zs m) d n); last by rewrite wE // mxE mulrN expr2.
  by rewrite mulr_sumr; apply: eq_bigr => m _; rewrite expr0 mulr1 mulrCA.
have sq d n : 0 <= l d n ^+ 2 by exact: sqr_ge0.
rewrite oppr_ge0 => le0; apply/matrixP => d n; rewrite [RHS]mxE; apply/eqP; rewrite -sqrf_eq0 eq_le sq andbT.
apply: le_trans le0; rewrite (bigD1 d) //= (bigD1 n) //= -addrA ler_addl addr_ge0 //.
  by apply: sumr_ge0 => k _.
by apply: sumr_ge0 => k _; apply: sumr_ge0 => j _.
Qed.

Lemma reached_all : reached_in_time -> reaches_all dt E WB WC skip.
Proof. by move=> [M all] ? h; have [s _ sE] := all h; exists s. Qed.

(* (i) iff (iii), over the real numbers. *)
Theorem criterion : complete F -> (forall d n, 0 < E d n) -> reached_in_time <-> no_block_obstruction dt E WB.
Proof.
move=> real E0; split=> [reach|none].
  by apply: no_obstruction_blocks => [d n|]; [exact: ltW | apply: reach_no_obstruction (reached_all reach)].
by apply: blocks_reach => // [|e]; [exact: archimedean | apply: block_spanned => // l; exact: none].
Qed.

(* All decays distinct: every state is reached iff every row of W_B has two nonzero entries. *)
Theorem distinct_decays_reach : Num.archimedean_axiom F -> (forall d n, 0 < E d n) -> (forall d, 0 < dt d) ->
  (forall d n d' n', E d n = E d' n' -> d = d' /\ n = n') ->
  reached_in_time <-> forall n d, exists2 d', d' != d & WB n d' != 0.
Proof.
move=> archi E0 dt0 inj; split=> [reach|two].
  apply: (proj1 (@distinct_decays F D N dt E WB dt0 inj)); apply: no_obstruction_blocks => [d n|]; first exact: ltW.
  exact: reach_no_obstruction (reached_all reach).
apply: blocks_reach => // e; apply: spanned_if => t.
case: (pickP [pred i : 'I_D * 'I_N | E i.1 i.2 == e]) => [[d n] /= /eqP Ee|none]; last first.
  by exists [::]; exists (fun=> 0) => // d n Ee; have := none (d, n); rewrite /= Ee eqxx.
have [j jd wj] := two n d; have d0 : dt d != 0 by rewrite gt_eqF.
pose x : F := if 0 <= t d n then 1 else -1; pose y := (x / dt d - WB n d) / WB n j.
pose z : 'cV[F]_D := delta_mx d 0 + y *: delta_mx j 0.
exists [:: z]; exists (fun=> `|t d n|) => [_|d' n' Ee']; first exact: normr_ge0.
have [-> ->] : d' = d /\ n' = n by apply: inj; rewrite Ee' Ee.
rewrite big_ord1 /=; have -> : given z d n = x.
  have zd : z d 0 = 1 by rewrite !mxE !eqxx [d == j]eq_sym (negPf jd) mulr0 addr0.
  have wz : (WB *m z) n 0 = WB n d + y * WB n j by rewrite mulmxDr -scalemxAr -!colE !mxE.
  by rewrite /given /selective_clusters.given zd wz mulr1 divfK // addrC subrK mulrC divfK.
by rewrite /x; case: (lerP 0 (t d n)) => [le|lt]; [rewrite ger0_norm ?mulr1 | rewrite ltr0_norm // mulrN1 opprK].
Qed.

(* A state column with one decay for all channels is an obstruction, for every D. *)
Theorem shared_column n e : (0 < D)%N -> (forall d, 0 < dt d) -> (forall d, E d n = e) -> ~ no_block_obstruction dt E WB.
Proof.
move=> D0 dt0 Ee none; pose on (x : 'I_D -> F) : V := \matrix_(d, k) (if k == n then x d else 0).
have formE x z : form dt E WB 0 (on x) z = (\sum_d x d * dt d * z d 0) * (WB *m z) n 0.
  rewrite /form mulr_suml; apply: eq_bigr => d _; rewrite (bigD1 n) //= big1 ?addr0 => [|k ne]; last by rewrite mxE (negPf ne) !mul0r.
  by rewrite [on x d n]mxE eqxx expr0 mulr1 !mulrA.
have zero x : (forall z, 0 <= form dt E WB 0 (on x) z) -> forall d, x d = 0.
  move=> pos d; have := none e (on x) _ pos; rewrite /on => /(_ _)/matrixP/(_ d n); rewrite !mxE eqxx; apply=> d' k.
  by rewrite mxE; case: (k =P n) => // ->; rewrite Ee eqxx.
have W0 d : WB n d = 0.
  suff : WB n d / dt d = 0 by move/eqP; rewrite mulf_eq0 invr_eq0 [dt d == 0]gt_eqF // orbF => /eqP.
  apply: (zero (fun d => WB n d / dt d)) => z; rewrite formE.
  have <- : (WB *m z) n 0 = \sum_d WB n d / dt d * dt d * z d 0.
    by rewrite mxE; apply: eq_bigr => j _; rewrite divfK // gt_eqF.
  by rewrite -expr2 sqr_ge0.
have := zero (fun=> 1) _ (Ordinal D0) => /(_ _)/eqP; rewrite oner_eq0 => H; suff : false by [].
apply: H => z; rewrite formE [(WB *m z) n 0]mxE [X in _ * X]big1 ?mulr0 // => j _; by rewrite W0 mul0r.
Qed.
End Converse.
