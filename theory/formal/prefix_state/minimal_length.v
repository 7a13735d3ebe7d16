(* prefix_state.minimal_length: a prefix is a polynomial, and its degree decides how many tokens are needed. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence lti vandermonde modes.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

(* Some polynomial with n coefficients takes any values at n distinct nodes, and only one does. *)
Theorem interpolation (F : fieldType) n (node val : 'I_n -> F) : injective node ->
  exists2 p : {poly F}, (size p <= n)%N /\ (forall i, p.[node i] = val i) &
    forall q : {poly F}, (size q <= n)%N -> (forall i, q.[node i] = val i) -> q = p.
Proof.
move=> inj; have U := vand_unit inj.
pose v := invmx (vand n node) *m \col_i val i; pose p := rVpoly v^T.
have pE i : p.[node i] = val i.
  rewrite (@horner_coef_wide _ n) ?size_poly //.
  have := congr1 (fun z : 'cV_n => z i 0) (mulKVmx U (\col_i val i)); rewrite [RHS]mxE => <-.
  by rewrite mxE; apply: eq_bigr => m _; rewrite coef_rVpoly_ord [vand _ _ _ _]mxE [v^T _ _]mxE mulrC.
exists p => [|q sq qE]; first by split=> //; exact: size_poly.
apply/eqP; rewrite -subr_eq0; apply/eqP.
apply: (@roots_geq_poly_eq0 _ _ [seq node i | i <- enum 'I_n]).
- by apply/allP => _ /mapP[i _ ->]; rewrite /root hornerD hornerN pE qE subrr.
- by rewrite map_inj_uniq // enum_uniq.
- by rewrite size_map size_enum_ord (leq_trans (size_add _ _)) // geq_max sq size_opp size_poly.
Qed.

Section MinimalLength.
Variables (F : fieldType) (N : nat) (a b c : 'I_N -> F) (d : F) (L : nat).
Let n := n_obs a c.
Hypothesis horizon : (n <= L)%N.
Let state s := state_after (lti_step a b c d) 0 s.
(* The prefix s acts as the state h on all later inputs. *)
Definition acts_as s h := same_outputs a b c d L (state s) h.

Theorem prefix_is_polynomial s h :
  acts_as s h <-> forall l, l \in obs_modes a c -> residue a b c l * (Poly (rev s)).[l] = kappa a c h l.
Proof.
rewrite /acts_as same_outputs_kappa //; split=> same l obs.
  by rewrite -same // kappa_prefix.
by rewrite kappa_prefix same.
Qed.

(* A vanishing residue is an obstruction at any length. *)
Theorem obstruction l h : l \in obs_modes a c -> residue a b c l = 0 -> kappa a c h l != 0 ->
  forall s, ~ acts_as s h.
Proof. by move=> obs r0 k0 s /prefix_is_polynomial/(_ l obs)/eqP; rewrite r0 mul0r eq_sym (negPf k0). Qed.

Lemma poly_tokens (p : {poly F}) m : (size p <= m)%N -> Poly (rev (rev (mkseq (fun i => p`_i) m))) = p.
Proof.
move=> sp; rewrite revK; apply/polyP => i; rewrite coef_Poly.
case: (ltnP i m) => [lt|le]; first by rewrite nth_mkseq.
by rewrite nth_default ?size_mkseq // nth_default // (leq_trans sp).
Qed.

(* No observable residue is 0: one polynomial p with at most n coefficients gives kappa / r at the observable modes, and the
   lengths of prefixes that act as h are the numbers from size p = degree + 1 on. *)
Theorem minimal_length h : (forall l, l \in obs_modes a c -> residue a b c l != 0) ->
  exists p : {poly F}, [/\ (size p <= n)%N,
    forall l, l \in obs_modes a c -> p.[l] = kappa a c h l / residue a b c l &
    forall m, (exists2 s, size s = m & acts_as s h) <-> (size p <= m)%N].
Proof.
move=> nz; pose v (i : 'I_n) := kappa a c h (obs_mode i) / residue a b c (obs_mode i).
have [p [sp pE] uniq_p] := interpolation v (@obs_mode_inj F N a c).
have pl l : l \in obs_modes a c -> p.[l] = kappa a c h l / residue a b c l.
  move=> obs; have lt : (index l (obs_modes a c) < n)%N by rewrite index_mem.
  by have := pE (Ordinal lt); rewrite /v /obs_mode /= nth_index.
exists p; split=> // m; split=> [[s <- /prefix_is_polynomial act]|le_pm].
  case: (leqP (size s) n) => [sn|/ltnW ns]; last exact: leq_trans ns.
  suff <- : Poly (rev s) = p by rewrite (leq_trans (size_Poly _)) // size_rev.
  apply: uniq_p => [|i]; first by rewrite (leq_trans (size_Poly _)) // size_rev.
  have obs := obs_mode_mem i; by rewrite /v -act // mulrC mulKf // nz.
exists (rev (mkseq (fun i => p`_i) m)); first by rewrite size_rev size_mkseq.
by apply/prefix_is_polynomial => l obs; rewrite poly_tokens // pl // mulrC divfK // nz.
Qed.

(* n_obs tokens suffice for every state, and fewer miss one. *)
Theorem length_for_all m : (forall l, l \in obs_modes a c -> residue a b c l != 0) ->
  (forall h, exists2 s, size s = m & acts_as s h) <-> (n <= m)%N.
Proof.
move=> nz; split=> [all|le_nm h]; last first.
  by have [p [sp _ /(_ m)[_]]] := minimal_length h nz; apply; exact: leq_trans le_nm.
case: (leqP n m) => // lt_mn.
pose k l := residue a b c l * l ^+ n.-1; have [h hE] := kappa_onto a c k.
have n0 : (0 < n)%N := leq_ltn_trans (leq0n m) lt_mn.
have [p [sp pE /(_ m)[/(_ (all h)) le_pm _]]] := minimal_length h nz.
have [q [sq qE] uniq_q] := interpolation (fun i : 'I_n => (obs_mode i : F) ^+ n.-1) (@obs_mode_inj F N a c).
have pX : p = q.
  by apply: uniq_q => // i; rewrite pE ?obs_mode_mem // hE ?obs_mode_mem // /k mulrC mulKf // nz // obs_mode_mem.
have qX : 'X^(n.-1) = q by apply: uniq_q => [|i]; rewrite ?size_polyXn ?prednK // hornerXn.
by move: le_pm; rewrite pX -qX size_polyXn prednK // leqNgt lt_mn.
Qed.

(* State level: the prefix leaves exactly h iff b_n p(a_n) = h_n for every state. *)
Theorem state_level s h : state s = h <-> forall i, b i * (Poly (rev s)).[a i] = h 0 i.
Proof.
split=> [<- i|same]; first by rewrite prefix_state.
by apply/rowP => i; rewrite prefix_state same.
Qed.
End MinimalLength.

Section StateLevel.
Variables (F : fieldType) (N : nat) (a b c : 'I_N -> F) (d : F).

(* N free tokens reach every state iff no mode repeats and no b_n is 0. *)
Theorem every_state_is_left :
  (forall h : 'rV[F]_N, exists2 s, size s = N & state_after (lti_step a b c d) 0 s = h) <->
  injective a /\ (forall i, b i != 0).
Proof.
split=> [all|[inj nz] h]; last first.
  have [p [sp pE] _] := interpolation (fun i => h 0 i / b i) inj.
  exists (rev (mkseq (fun i => p`_i) N)); first by rewrite size_rev size_mkseq.
  by apply/state_level => i; rewrite poly_tokens // pE mulrC divfK.
have nz i : b i != 0.
  apply/negP => /eqP b0; have [s _ /state_level/(_ i)] := all (\row_j (j == i)%:R).
  by rewrite b0 mul0r mxE eqxx => /esym/eqP; rewrite oner_eq0.
split=> // i j aij; apply/eqP/negPn/negP => neq.
have [s _ /state_level hs] := all (\row_k (k == i)%:R).
move: (hs j) (hs i); rewrite !mxE eqxx eq_sym (negPf neq) aij => /eqP; rewrite mulf_eq0 (negPf (nz j)) /= => /eqP ->.
by rewrite mulr0 => /esym/eqP; rewrite oner_eq0.
Qed.

(* With fewer than N tokens some state is missed, whatever the modes. *)
Theorem shorter_misses m : (m < N)%N ->
  exists h : 'rV[F]_N, forall s, size s = m -> state_after (lti_step a b c d) 0 s != h.
Proof.
pose reach : 'M[F]_(m, N) := \matrix_(k, i) (b i * a i ^+ k).
move=> mn; have : ~~ (1%:M <= reach)%MS.
  by rewrite sub1mx -col_leq_rank -ltnNge (leq_ltn_trans (rank_leq_row _)).
case/row_subPn => i nsub; exists (row i 1%:M) => s sz.
apply: contra nsub => /eqP <-; apply/submxP; exists (\row_k (rev s)`_k).
apply/rowP => j; rewrite prefix_state [RHS]mxE (@horner_coef_wide _ m); last first.
  by rewrite (leq_trans (size_Poly _)) // size_rev sz.
by rewrite mulr_sumr; apply: eq_bigr => k _; rewrite [_ 0 k]mxE [reach _ _]mxE coef_Poly mulrCA.
Qed.
End StateLevel.
