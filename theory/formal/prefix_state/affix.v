(* prefix_state.affix: tokens inserted after position p, their outputs dropped, are one affine jump of the state. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence lti vandermonde modes s6.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* S6, any clock, any field. *)
Section Jump.
Variables (F : fieldType) (D N : nat) (dt : 'cV[F]_D -> 'I_D -> F) (E : 'cV[F]_D -> 'M[F]_(D, N)).
Variables (WB WC : 'M[F]_(N, D)) (skip : 'I_D -> F).
Let step := s6_step dt E WB WC skip.

Definition jump_decay (s : seq 'cV[F]_D) : 'M[F]_(D, N) := \matrix_(d, n) \prod_(z <- s) E z d n.
Definition jump (s : seq 'cV[F]_D) (h : 'M[F]_(D, N)) : 'M[F]_(D, N) :=
  \matrix_(d, n) (jump_decay s d n * h d n + state_after step 0 s d n).
(* The outputs for ps and x where s is inserted between them, and its outputs are dropped. *)
Definition affixed h ps s x := outputs step h ps ++ drop (size s) (outputs step (state_after step h ps) (s ++ x)).

Lemma state_jump s h : state_after step h s = jump s h.
Proof.
apply/matrixP => d n; rewrite [RHS]mxE [jump_decay s d n]mxE.
by rewrite !(sel_state_after id (mulmx WB) (mulmx WC) dt E skip 0) [(0 : 'M_(D, N)) d n]mxE mulr0 add0r.
Qed.

Theorem affix_is_jump h ps s x : affixed h ps s x = outputs step h ps ++ outputs step (jump s (state_after step h ps)) x.
Proof. by rewrite /affixed outputs_cat drop_size_cat ?size_outputs // state_jump. Qed.

Theorem jumps_compose s s' h : jump (s ++ s') h = jump s' (jump s h).
Proof. by rewrite -!state_jump state_after_cat. Qed.

Theorem jump_decays_multiply s s' d n : jump_decay (s ++ s') d n = jump_decay s' d n * jump_decay s d n.
Proof. by rewrite !mxE big_cat mulrC. Qed.

(* p = 0: the affix is a prefix; nothing behind it: it does nothing. *)
Theorem affix_in_front s x : affixed 0 [::] s x = outputs step (state_after step 0 s) x.
Proof. by rewrite affix_is_jump -state_jump. Qed.

Theorem affix_behind h ps s : affixed h ps s [::] = outputs step h ps.
Proof. by rewrite affix_is_jump cats0. Qed.
End Jump.

(* Constant clock: behind the first token no initial state, hence no prefix, acts as the affix. *)
Section NoState.
Variables (F : realFieldType) (D N : nat) (dt : 'I_D -> F) (E : 'M[F]_(D, N)) (WB WC : 'M[F]_(N, D)) (skip : 'I_D -> F).
Hypotheses (E0 : forall d n, 0 < E d n) (E1 : forall d n, E d n < 1) (dt0 : forall d, dt d != 0).
Let step := s6_step (fun=> dt) (fun=> E) WB WC skip.

Definition different_decays d : nat := size (undup [seq E d n | n <- enum 'I_N]).

(* Equal outputs from two states show that they agree on each group of equal decays, read by C(y). *)
Lemma groups_agree L d e (y : 'cV[F]_D) g g' : (different_decays d <= L)%N ->
  outputs step g (nseq L y) = outputs step g' (nseq L y) -> \sum_(n | E d n == e) (WC *m y) n 0 * (g d n - g' d n) = 0.
Proof.
move=> leL same; pose a n := E d n; pose c n := (WC *m y) n 0; pose h : 'rV[F]_N := \row_n (g d n - g' d n).
have free t : (t < L)%N -> free_response a c h t.+1 = 0.
  move=> lt; have diff k m n : state_after step g (nseq k y) m n - state_after step g' (nseq k y) m n = E m n ^+ k * (g m n - g' m n).
    rewrite !(sel_state_after id (mulmx WB) (mulmx WC) (fun=> dt) (fun=> E) skip 0) opprD addrACA subrr addr0 -mulrBr.
    by rewrite big_const_seq count_predT size_nseq iter_mulr_1.
  have out : (step (state_after step g (nseq t y)) y).2 = (step (state_after step g' (nseq t y)) y).2 :> 'cV_D.
    have at_t f : nth 0 (outputs step f (nseq L y)) t = (step (state_after step f (nseq t y)) y).2.
      have -> : nseq L y = nseq t y ++ y :: nseq (L - t.+1) y.
        by rewrite -[y :: _]/(nseq (L - t.+1).+1 y) -nseqD subnSK // subnKC // ltnW.
      by rewrite outputs_cat nth_cat size_outputs size_nseq ltnn subnn.
    by rewrite -!at_t same.
  have := congr1 (fun v : 'cV_D => v d 0) out; rewrite !mxE => /addIr/eqP; rewrite -subr_eq0 -sumrB => /eqP e0.
  rewrite -[RHS]e0; apply: eq_bigr => n _; rewrite -mulrBl ![sel_state _ _ _ _ _ _ d n]mxE opprD addrACA subrr addr0 -mulrBr diff.
  by rewrite mulrA -exprS [h 0 n]mxE [RHS]mulrC mulrA.
have le_obs : (n_obs a c <= L)%N.
  apply: leq_trans leL; rewrite /n_obs /different_decays; apply: uniq_leq_size; first exact: obs_modes_uniq.
  move=> l /obs_modesP[_ [n <- _]]; rewrite mem_undup; apply: map_f; exact: mem_enum.
have same0 : same_outputs a (fun=> 0) c 0 L h 0.
  by apply/same_outputsP => t lt; rewrite free // /free_response big1 // => n _; rewrite mxE mulr0.
have kap l : l \in obs_modes a c -> kappa a c h l = 0.
  by move=> obs; rewrite (proj1 (same_outputs_kappa _ _ _ _ le_obs) same0) // /kappa big1 // => n _; rewrite mxE mulr0.
have -> : \sum_(n | E d n == e) (WC *m y) n 0 * (g d n - g' d n) = kappa a c h e by apply: eq_bigr => n _; rewrite [h 0 n]mxE.
case: (boolP (e \in obs_modes a c)) => [/kap //|hid]; rewrite /kappa big1 // => n /eqP an.
have [->|cn] := eqVneq (c n) 0; first by rewrite mul0r.
by case/negP: hid; apply/obs_modesP; split; [rewrite -an gt_eqF // E0 | exists n].
Qed.

(* The module remembers: some channel reads back, from its states with one decay, something of what a token writes. *)
Definition remembers := exists d e i j, \sum_(n | E d n == e) WC n i * WB n j != 0.

Theorem no_state p L s h0 : (0 < p)%N -> (0 < size s)%N -> (forall d, different_decays d <= L)%N -> remembers ->
  ~ (forall ps x, size ps = p -> size x = L -> outputs step h0 (ps ++ x) = affixed (fun=> dt) (fun=> E) WB WC skip 0 ps s x).
Proof.
move=> p0 M0 leL [d [e [i [j nz]]]] acts; pose R ps := state_after step 0 ps.
pose gap ps d n := state_after step h0 ps d n - jump (fun=> dt) (fun=> E) WB WC skip s (R ps) d n.
have tails ps x : size ps = p -> size x = L -> outputs step (state_after step h0 ps) x = outputs step (jump (fun=> dt) (fun=> E) WB WC skip s (R ps)) x.
  move=> sp sx; have := acts ps x sp sx; rewrite affix_is_jump outputs_cat => /eqP; rewrite eqseq_cat ?size_outputs // => /andP[_ /eqP].
  exact.
have groups ps (y : 'cV_D) : size ps = p -> \sum_(n | E d n == e) (WC *m y) n 0 * gap ps d n = 0.
  move=> sp; have same := tails ps (nseq L y) sp (size_nseq L y).
  exact: (groups_agree e (leL d) same).
have decay n : jump_decay (fun=> E) s d n = E d n ^+ size s by rewrite mxE big_const_seq count_predT iter_mulr_1.
have fromh ps n : size ps = p -> state_after step h0 ps d n = E d n ^+ p * h0 d n + R ps d n.
  move=> sp; rewrite /R !(sel_state_after id (mulmx WB) (mulmx WC) (fun=> dt) (fun=> E) skip 0) [(0 : 'M_(D, N)) d n]mxE mulr0 add0r.
  by rewrite big_const_seq count_predT iter_mulr_1 sp.
pose Z : seq 'cV[F]_D := nseq p 0; have sZ : size Z = p by rewrite size_nseq.
have at_rest k : state_after step 0 (nseq k 0) = 0.
  elim: k => // k IH; rewrite -[LHS]/(state_after step (step 0 0).1 (nseq k 0)).
  suff -> : (step 0 0).1 = 0 by [].
  by apply/matrixP => m n; rewrite !mxE !mulr0 mul0r addr0.
pose token z : seq 'cV[F]_D := rcons (nseq p.-1 0) z.
have st z : size (token z) = p by rewrite size_rcons size_nseq prednK.
have RT (z : 'cV_D) n : R (token z) d n = dt d * z d 0 * (WB *m z) n 0.
  rewrite /R /token state_after_rcons at_rest mxE; set q := (WB *m z) n 0; rewrite [(0 : 'M_(D, N)) d n]mxE mulr0 add0r mxE.
  by [].
have RZ n : R Z d n = 0 by rewrite /R /Z at_rest mxE.
have key (y z : 'cV_D) : z d 0 * (\sum_(n | E d n == e) (WC *m y) n 0 * (WB *m z) n 0) = 0.
  have := groups (token z) y (st z); have := groups Z y sZ => zero eqz.
  have : \sum_(n | E d n == e) (WC *m y) n 0 * ((1 - e ^+ size s) * (dt d * z d 0 * (WB *m z) n 0)) = 0.
    have both : \sum_(n | E d n == e) (WC *m y) n 0 * gap (token z) d n - \sum_(n | E d n == e) (WC *m y) n 0 * gap Z d n = 0.
      by rewrite eqz zero subrr.
    rewrite -[RHS]both -sumrB; apply: eq_bigr => n /eqP En; rewrite -mulrBr; congr (_ * _).
    rewrite /gap ![jump _ _ _ _ _ _ _ d n]mxE !decay // !fromh // RT RZ En; move: (_ * (WB *m z) n 0) => q; ring.
  have -> : \sum_(n | E d n == e) (WC *m y) n 0 * ((1 - e ^+ size s) * (dt d * z d 0 * (WB *m z) n 0)) =
      (1 - e ^+ size s) * dt d * (z d 0 * \sum_(n | E d n == e) (WC *m y) n 0 * (WB *m z) n 0).
    rewrite !mulr_sumr; by apply: eq_bigr => n _; move: ((WC *m y) n 0) ((WB *m z) n 0) (z d 0) => u v w; ring.
  have /existsP[n0 /eqP En0] : [exists n, E d n == e].
    by apply: contraNT nz => /existsPn none; rewrite big1 // => n En; have := none n; rewrite En.
  move/eqP; rewrite mulf_eq0 mulf_eq0 (negPf (dt0 d)) orbF subr_eq0 => /orP[/eqP e1|/eqP //].
  have : e ^+ size s < 1 by rewrite -En0 exprn_ilt1 ?(ltW (E0 d n0)) ?E1 // -lt0n.
  by rewrite -e1 ltxx.
pose Q (z : 'cV_D) := \sum_(n | E d n == e) WC n i * (WB *m z) n 0.
have Qkey (z : 'cV_D) : z d 0 * Q z = 0.
  rewrite -[RHS](key (delta_mx i 0) z); congr (_ * _); apply: eq_bigr => n _; congr (_ * _).
  by rewrite -colE mxE.
have QD z z' t : Q (z + t *: z') = Q z + t * Q z'.
  rewrite /Q mulr_sumr -big_split; apply: eq_bigr => n _; rewrite mulmxDr -scalemxAr mxE [X in _ * (_ + X) = _]mxE.
  by move: ((WB *m z) n 0) ((WB *m z') n 0) => u v /=; ring.
have Qd k : Q (delta_mx k 0) = \sum_(n | E d n == e) WC n i * WB n k by apply: eq_bigr => n _; rewrite -colE mxE.
have self : Q (delta_mx d 0) = 0 by have := Qkey (delta_mx d 0); rewrite mxE !eqxx mul1r.
case/eqP: nz; rewrite -Qd; have [->|jd] := eqVneq j d; first exact: self.
have := Qkey (delta_mx d 0 + 1 *: delta_mx j 0); rewrite QD self add0r mul1r !mxE !eqxx [d == j]eq_sym (negPf jd) mulr0 addr0 mul1r.
by [].
Qed.
End NoState.
