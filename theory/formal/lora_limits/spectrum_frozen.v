(* lora_limits.spectrum_frozen: adapters on projections move residues and the direct term, never the poles. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence vandermonde s6.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

(* One entry of a kernel with n frozen modes: residues r and a direct term at lag 0. *)
Section Poles.
Variables (F : fieldType) (n : nat) (lam : 'I_n -> F).
Definition entry (r : 'I_n -> F) (direct : F) (j : nat) : F := \sum_i r i * lam i ^+ j + (if j == 0%N then direct else 0).
(* The polynomial whose roots are the frozen modes. *)
Definition frozen_poly : {poly F} := \prod_(i <- [seq lam i | i <- enum 'I_n]) ('X - i%:P).

(* Whatever residues and direct term are trained, frozen_poly annihilates the entry from lag 1 on. *)
Theorem frozen_poly_annihilates r direct j :
  \sum_(k < size frozen_poly) frozen_poly`_k * entry r direct (j.+1 + k) = 0.
Proof.
rewrite /entry /=; under eq_bigr => k _ do rewrite addr0 mulr_sumr.
rewrite exchange_big big1 //= => i _.
have /rootP root_i : root frozen_poly (lam i) by rewrite /frozen_poly root_prod_XsubC map_f // mem_enum.
rewrite (_ : \sum_k _ = r i * lam i ^+ j.+1 * frozen_poly.[lam i]); first by rewrite root_i mulr0.
rewrite horner_coef mulr_sumr; apply: eq_bigr => k _; rewrite exprD; set u := lam i ^+ _; set v := lam i ^+ _; set q := frozen_poly`_k. ring.
Qed.

(* A target with one pole mu outside n distinct frozen modes, and residue s != 0 there. *)
Hypothesis distinct : injective lam.

(* Without the skip n + 1 lags refute it. *)
Theorem outside_pole (r rs : 'I_n -> F) s mu : (forall i, lam i != mu) -> s != 0 ->
  ~ (forall j, (j < n.+1)%N -> \sum_i r i * lam i ^+ j = \sum_i rs i * lam i ^+ j + s * mu ^+ j).
Proof.
move=> out nz same.
pose node (i : 'I_n.+1) := if unlift ord0 i is Some k then lam k else mu.
pose w (i : 'I_n.+1) := if unlift ord0 i is Some k then rs k - r k else s.
have injn : injective node.
  move=> i j; rewrite /node; case: unliftP => [i' ->|->]; case: unliftP => [j' ->|->] // e.
  - by rewrite (distinct e).
  - by have := out i'; rewrite e eqxx.
  - by have := out j'; rewrite -e eqxx.
have w0 : forall i, w i = 0.
  apply: (modes_independent injn) => j ltj; rewrite big_ord_recl /w /node unlift_none.
  under eq_bigr => i _ do rewrite liftK mulrBl.
  by rewrite sumrB addrA [_ + \sum_i rs i * _]addrC -same // subrr.
by have := w0 ord0; rewrite /w unlift_none => /eqP; rewrite (negPf nz).
Qed.

(* With the skip tuned n + 2 lags refute it, if no mode is 0. *)
Theorem outside_pole_skip (r rs : 'I_n -> F) direct directs s mu :
  (forall i, lam i != mu) -> s != 0 -> mu != 0 ->
  ~ (forall j, (j < n.+2)%N -> entry r direct j = entry rs directs j + s * mu ^+ j).
Proof.
move=> out nz mu0 same; apply: (@outside_pole (fun i => r i * lam i) (fun i => rs i * lam i) (s * mu) mu) => //.
  by rewrite mulf_neq0.
move=> j ltj; have := same j.+1 ltj; rewrite /entry /= !addr0 exprS mulrA => e.
under eq_bigr => i _ do rewrite -mulrA -exprS.
rewrite e; congr (_ + _); by apply: eq_bigr => i _; rewrite exprS mulrA.
Qed.

(* One lag less is always matched: n lags by residues, n + 1 lags by residues and the skip (no frozen mode 0). *)
Theorem short_horizon (y : nat -> F) : exists r, forall j, (j < n)%N -> \sum_i r i * lam i ^+ j = y j.
Proof.
have [v vE] : exists v : 'rV_n, v *m vand n lam = \row_j y j.
  by exists ((\row_j y j) *m invmx (vand n lam)); rewrite mulmxKV ?vand_unit.
exists (v 0) => j ltj; have /matrixP/(_ 0 (Ordinal ltj)) := vE; rewrite !mxE => e; rewrite -[RHS]e.
by apply: eq_bigr => i _; rewrite mxE.
Qed.

Theorem short_horizon_skip (y : nat -> F) : (forall i, lam i != 0) ->
  exists r direct, forall j, (j < n.+1)%N -> entry r direct j = y j.
Proof.
move=> nz; have [r rE] := short_horizon (fun j => y j.+1).
exists (fun i => r i / lam i), (y 0%N - \sum_i r i / lam i) => -[|j] ltj; rewrite /entry /=.
  by rewrite (eq_bigr (fun i => r i / lam i)) => [|i _]; [rewrite addrC subrK | rewrite expr0 mulr1].
by rewrite addr0 -rE //; apply: eq_bigr => i _; rewrite exprS mulrA divfK.
Qed.
End Poles.

(* S6, module level: how much of the initial state is left depends on the decays only, not on values and selectors. *)
Section Decays.
Variables (F : fieldType) (T : Type) (D N : nat) (x x' : T -> 'cV[F]_D) (B B' C C' : T -> 'cV[F]_N).
Variables (dt : T -> 'I_D -> F) (E : T -> 'M[F]_(D, N)) (skip skip' : 'I_D -> F).

Theorem decays_stay h (s : seq T) d n :
  state_after (sel_step x B C dt E skip) h s d n - state_after (sel_step x B C dt E skip) 0 s d n =
  state_after (sel_step x' B' C' dt E skip') h s d n - state_after (sel_step x' B' C' dt E skip') 0 s d n.
Proof.
case: s => [|z0 s]; first by [].
by rewrite !(sel_state_after _ _ _ _ _ _ z0) ![(0 : 'M_(D, N)) d n]mxE !mulr0 !add0r !addrK.
Qed.
End Decays.
