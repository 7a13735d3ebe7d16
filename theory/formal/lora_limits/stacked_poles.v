(* lora_limits.spectrum_frozen, S4 poles: a stack of layers with linear activations has the frozen poles only, each at most
   as often as layers have it. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence lti.
From Ssmproof.sparse_dims Require Import essential.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

(* A polynomial q acts on a sequence y by the shift: (q y)_t = sum_k q_k y_(t+k). It annihilates y from t0 on if that is 0. *)
Section Shift.
Variable F : fieldType.
Implicit Types (p q : {poly F}) (y : nat -> F).
Definition act q y t : F := \sum_(k < size q) q`_k * y (t + k)%N.
Definition annihilates q y t0 := forall t, (t0 <= t)%N -> act q y t = 0.

Lemma act_wide n q y t : (size q <= n)%N -> act q y t = \sum_(k < n) q`_k * y (t + k)%N.
Proof.
move=> le; rewrite /act (big_ord_widen n (fun k => q`_k * y (t + k)%N)) // big_mkcond; apply: eq_bigr => k _.
by case: ltnP => // ge; rewrite nth_default ?mul0r.
Qed.

Lemma actD p q y t : act (p + q) y t = act p y t + act q y t.
Proof.
have [l1 l2] := (leq_maxl (size p) (size q), leq_maxr (size p) (size q)).
rewrite (act_wide y t (size_add p q)) (act_wide y t l1) (act_wide y t l2) -big_split; apply: eq_bigr => k _.
by rewrite coefD mulrDl.
Qed.

Lemma actC c y t : act c%:P y t = c * y t.
Proof. by rewrite (@act_wide 1) ?size_polyC_leq1 // big_ord1 coefC addn0. Qed.

Lemma act0 y t : act 0 y t = 0.
Proof. by rewrite -[0]/(0%:P) actC mul0r. Qed.

Lemma act_mulX p y t : act (p * 'X) y t = act p y t.+1.
Proof.
rewrite (@act_wide (size p).+1) ?big_ord_recl => [|]; last by rewrite (leq_trans (size_mul_leq _ _)) // size_polyX addn2.
rewrite coefMX mul0r add0r; apply: eq_bigr => k _; by rewrite coefMX /= addnS addSn.
Qed.

Lemma act_scale c p y t : act (c%:P * p) y t = c * act p y t.
Proof.
rewrite (@act_wide (size p)) ?mulr_sumr => [|]; first by apply: eq_bigr => k _; rewrite coefCM mulrA.
by rewrite mul_polyC size_scale_leq.
Qed.

Lemma actM p q y t : act (p * q) y t = act p (act q y) t.
Proof.
elim/poly_ind: p t => [|p c IH] t; first by rewrite mul0r !act0.
rewrite mulrDl !actD act_scale actC; congr (_ + _).
by rewrite mulrAC !act_mulX IH.
Qed.

Lemma annihilates_mul p q y t0 : annihilates q y t0 -> annihilates (p * q) y t0.
Proof.
move=> ann t le; rewrite actM; apply: big1 => k _; rewrite ann ?mulr0 //; exact: leq_trans le (leq_addr _ _).
Qed.

Lemma annihilates_sum (I : Type) (r : seq I) q (c : I -> F) (y : I -> nat -> F) t0 : (forall i, annihilates q (y i) t0) ->
  annihilates q (fun t => \sum_(i <- r) c i * y i t) t0.
Proof.
move=> ann t le; rewrite /act; under eq_bigr => k _ do rewrite mulr_sumr.
rewrite exchange_big big1 // => i _; under eq_bigr => k _ do rewrite mulrCA.
by rewrite -mulr_sumr -/(act q (y i) t) ann ?mulr0.
Qed.

(* One mode on a sequence x from rest: h_t = sum_j lam^j x_(t-j). *)
Definition mode_state (lam : F) (x : nat -> F) t : F := \sum_(j < t.+1) lam ^+ j * x (t - j)%N.

Lemma mode_step lam x t : mode_state lam x t.+1 = lam * mode_state lam x t + x t.+1.
Proof.
rewrite /mode_state big_ord_recl expr0 mul1r subn0 addrC mulr_sumr; congr (_ + _).
by apply: eq_bigr => j _; rewrite exprS -mulrA subSS.
Qed.

Lemma mode_annihilated q lam x : annihilates q x 1 -> annihilates (q * ('X - lam%:P)) (mode_state lam x) 0.
Proof.
have step s : act ('X - lam%:P) (mode_state lam x) s = x s.+1.
  by rewrite actD -polyCN actC -['X]mul1r act_mulX -[1]/(1%:P) actC mul1r mode_step mulNr addrAC subrr add0r.
move=> ann t _; rewrite actM -(ann t.+1 isT); apply: eq_bigr => k _; by rewrite step addSn.
Qed.
End Shift.

(* A layer T = W diag(f) + diag(u) with D channels of N modes, and a stack of such layers. *)
Section Stack.
Variables (F : fieldType) (D N : nat).
Record linear_layer := LinearLayer { proj : 'M[F]_D; skip : 'I_D -> F;
  la : 'I_D -> 'I_N -> F; lb : 'I_D -> 'I_N -> F; lc : 'I_D -> 'I_N -> F; ld : 'I_D -> F }.

(* Channel k on a sequence; its outputs are those of lti_step (channel_is_lti). *)
Definition channel (l : linear_layer) k (x : nat -> F) t : F :=
  \sum_(j < t.+1) impulse (la l k) (lb l k) (lc l k) (ld l k) j * x (t - j)%N.
Definition layer_out (l : linear_layer) (x : nat -> 'cV[F]_D) t : 'cV[F]_D :=
  \col_i (\sum_k proj l i k * channel l k (fun s => x s k 0) t + skip l i * x t i 0).
Definition stack_out (ls : seq linear_layer) (x : nat -> 'cV[F]_D) : nat -> 'cV[F]_D := foldl (fun y l => layer_out l y) x ls.
Definition impulse_in (v : 'cV[F]_D) (t : nat) : 'cV[F]_D := if t == 0%N then v else 0.

Lemma channel_is_lti l k (x : seq F) t : (t < size x)%N ->
  nth 0 (outputs (lti_step (la l k) (lb l k) (lc l k) (ld l k)) 0 x) t = channel l k (nth 0 x) t.
Proof. exact: outputs_impulse. Qed.

Lemma channelE l k x t :
  channel l k x t = \sum_n lc l k n * lb l k n * mode_state (la l k n) x t + ld l k * x t.
Proof.
rewrite /channel /impulse; under [LHS]eq_bigr => j _ do rewrite mulrDl.
rewrite big_split /=; congr (_ + _); last first.
  rewrite big_ord_recl /= subn0 big1 ?addr0 // => j _; by rewrite mul0r.
rewrite /kernel; under eq_bigr => j _ do rewrite mulr_suml.
rewrite exchange_big; apply: eq_bigr => n _; rewrite mulr_sumr; apply: eq_bigr => j _; by rewrite mulrA.
Qed.

(* The modes of a layer, listed once each, and the polynomial of a stack. *)
Definition layer_modes (l : linear_layer) : seq F := undup [seq la l k n | k <- enum 'I_D, n <- enum 'I_N].
Definition layer_poly l : {poly F} := \prod_(lam <- layer_modes l) ('X - lam%:P).
Definition stack_poly (ls : seq linear_layer) : {poly F} := \prod_(l <- ls) layer_poly l.

Lemma layer_annihilated l q (x : nat -> 'cV[F]_D) : (forall i, annihilates q (fun t => x t i 0) 1) ->
  forall i, annihilates (q * layer_poly l) (fun t => layer_out l x t i 0) 1.
Proof.
move=> ann i t le; set p := q * layer_poly l.
have mode k n : annihilates p (mode_state (la l k n) (fun s => x s k 0)) 1.
  have lm : la l k n \in layer_modes l by rewrite mem_undup; apply: allpairs_f; rewrite mem_enum.
  rewrite /p /layer_poly (big_rem _ lm) /= mulrA mulrC; apply: annihilates_mul => s _.
  exact: (mode_annihilated (la l k n) (ann k)) (leq0n s).
have self k : annihilates p (fun s => x s k 0) 1 by rewrite /p mulrC; exact: annihilates_mul (ann k).
have chan k : annihilates p (channel l k (fun s => x s k 0)) 1.
  move=> s les; rewrite /act; under eq_bigr => j _ do rewrite channelE mulrDr mulrCA.
  rewrite big_split /= -mulr_sumr -/(act p (fun s => x s k 0) s) self // mulr0 addr0.
  by have := annihilates_sum (index_enum _) (fun n => lc l k n * lb l k n) (mode k) les.
rewrite /act; under eq_bigr => j _ do rewrite mxE mulrDr mulrCA.
rewrite big_split /= -mulr_sumr -/(act p (fun s => x s i 0) t) self // mulr0 addr0.
by have := annihilates_sum (index_enum _) (proj l i) chan le.
Qed.

(* Whatever projections, skips and residues are trained: the stack's kernel obeys the recurrence of the frozen modes. *)
Theorem stack_annihilated ls v i : annihilates (stack_poly ls) (fun t => stack_out ls (impulse_in v) t i 0) 1.
Proof.
rewrite /stack_out -[stack_poly ls]mul1r.
have : forall i, annihilates 1 (fun t => impulse_in v t i 0) 1.
  by move=> k [|t] // _; rewrite -[1]/(1%:P) actC mxE mulr0.
elim: ls (1 : {poly F}) (impulse_in v) i => [|l ls IH] q x i ann; first by rewrite /stack_poly big_nil mulr1; exact: ann.
rewrite /= /stack_poly big_cons mulrA; apply: IH; exact: layer_annihilated.
Qed.

(* A sequence has the pole lam of order m or more if ('X - lam)^m divides every polynomial that annihilates it in the end. *)
Definition pole (y : nat -> F) lam m := forall q t0, annihilates q y t0 -> ('X - lam%:P) ^+ m %| q.

(* Poles of a stack are frozen modes, and their order is at most the number of layers that have the mode. *)
Theorem pole_order ls v i lam m : pole (fun t => stack_out ls (impulse_in v) t i 0) lam m ->
  (m <= count (fun l => lam \in layer_modes l) ls)%N.
Proof.
move=> /(_ _ _ (stack_annihilated ls v i)); set n := count _ _.
have [R [-> R0]] : exists R, stack_poly ls = ('X - lam%:P) ^+ n * R /\ ~~ root R lam.
  rewrite /stack_poly {}/n; elim: ls => [|l ls [R [eR R0]]].
    by exists 1; rewrite big_nil expr0 mulr1 root1.
  rewrite big_cons eR /=; case: (boolP (lam \in layer_modes l)) => lm.
    exists (\prod_(z <- rem lam (layer_modes l)) ('X - z%:P) * R); split.
      by rewrite /layer_poly (big_rem _ lm) /= exprS -!mulrA; congr (_ * _); rewrite mulrCA.
    by rewrite rootM negb_or R0 root_prod_XsubC mem_rem_uniq ?undup_uniq // !inE eqxx.
  exists (layer_poly l * R); split; first by rewrite add0n mulrCA.
  by rewrite rootM negb_or R0 /layer_poly root_prod_XsubC lm.
rewrite Gauss_dvdpl; last by rewrite coprimep_expl // coprimep_sym coprimep_XsubC.
by move/dvdp_leq; rewrite !size_exp_XsubC expf_neq0 ?polyXsubC_eq0 //; apply.
Qed.
End Stack.
