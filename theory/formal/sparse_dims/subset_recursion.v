(* sparse_dims.minimal_adjustment, exact solver: the least cost over partitions is found destination by destination, choosing a
   subset of the states that are left each time. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import zify.
From Ssmproof.sparse_dims Require Import partitions.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

Section Recursion.
Variables (F : fieldType) (N M : nat) (a r : 'I_N -> F) (lam rs : 'I_M -> F).
Hypotheses (injl : injective lam) (rs0 : forall m, rs m != 0).
Let c := @group_cost F N M a r lam rs.
Definition feasible v (S : {set 'I_N}) : bool := (target lam rs v != 0) ==> (S != set0).

(* Whether the states U can be split among the destinations V at a cost of at most k. *)
Fixpoint solvable (V : seq F) (U : {set 'I_N}) (k : nat) : bool :=
  if V is v :: V' then [exists S : {set 'I_N}, [&& S \subset U, feasible v S, (c v S <= k)%N & solvable V' (U :\: S) (k - c v S)]]
  else U == set0.

Definition splits (V : seq F) (U : {set 'I_N}) (f : 'I_N -> F) k :=
  [/\ forall n, n \in U -> f n \in V, forall v, v \in V -> feasible v [set n in U | f n == v] &
      (\sum_(v <- V) c v [set n in U | f n == v] <= k)%N].

Lemma solvableP V U k : uniq V -> reflect (exists f, splits V U f k) (solvable V U k).
Proof.
elim: V U k => [|v V IH] U k /=.
  move=> _; apply: (iffP eqP) => [->|[f [none _ _]]]; first by exists (fun=> 0); split=> [n|//|]; rewrite ?inE ?big_nil.
  by apply/setP => n; rewrite inE; apply/negP => /none; rewrite in_nil.
case/andP => vV uV; apply: (iffP existsP) => [[S /and4P[SU fS le /(IH _ _ uV)[f [fV ff cf]]]]|[f [fV ff cf]]].
  pose g n := if n \in S then v else f n.
  have inS : [set n in U | g n == v] = S.
    apply/setP => n; rewrite inE /g; case: (boolP (n \in S)) => nS; first by rewrite eqxx (subsetP SU).
    apply/negP => /andP[nU /eqP fn]; have := fV n; rewrite inE nS nU fn (negPf vV) => /(_ isT).
    by [].
  have rest z : z \in V -> [set n in U | g n == z] = [set n in U :\: S | f n == z].
    move=> zV; apply/setP => n; rewrite !inE /g; case: (n \in S) => //=; case: eqP => [e|]; last by rewrite andbF.
    by rewrite e zV in vV.
  exists g; split=> [n nU|z|].
  - rewrite /g in_cons; case: (boolP (n \in S)) => nS; first by rewrite eqxx.
    by rewrite fV ?orbT // inE nS.
  - by rewrite in_cons => /predU1P[->|zV]; rewrite ?inS // rest // ff.
  rewrite big_cons inS -leq_subRL // (eq_big_seq (fun z => c z [set n in U :\: S | f n == z])) // => z zV.
  by rewrite rest.
pose S := [set n in U | f n == v]; exists S; rewrite big_cons -/S in cf.
have le : (c v S <= k)%N by exact: leq_trans (leq_addr _ _) cf.
have rest z : z \in V -> [set n in U :\: S | f n == z] = [set n in U | f n == z].
  move=> zV; apply/setP => n; rewrite !inE; case: (n \in U); rewrite ?andbF //=.
  case: (eqVneq (f n) z) => [->|_]; rewrite ?andbF ?andbT //; by apply: contraNneq vV => <-.
rewrite le ff ?mem_head // (_ : S \subset U); last by apply/subsetP => n; rewrite inE => /andP[].
apply/IH => //; exists f; split=> [n|z zV|].
- rewrite !inE => /andP[nS nU]; have := fV n nU; rewrite in_cons => /predU1P[e|//]; by rewrite e nU eqxx in nS.
- by rewrite rest // ff // in_cons zV orbT.
rewrite leq_subRL // (eq_big_seq (fun z => c z [set n in U | f n == z])) // => z zV.
by rewrite rest.
Qed.

(* The recursion over all destinations and all states decides the least cost of an edit. *)
Theorem exact_solver k : solvable (destinations a lam) setT k <-> exists a' r', right lam rs a' r' /\ (edit_cost a r a' r' <= k)%N.
Proof.
have groups f v : [set n in [set: 'I_N] | f n == v] = group f v by apply/setP => n; rewrite !inE.
split=> [/(solvableP _ _ (destinations_uniq a lam))[f [fV ff cf]]|[a' [r' [ok le]]]].
  have adm : admissible a lam f.
    split=> [n|m]; first exact: fV.
    have := ff _ (destinations_lam a lam m); rewrite /feasible target_lam // rs0 groups => /set0Pn[n].
    by rewrite inE => /eqP fn; exists n.
  have [r' ok eq] := exact_upper r rs adm; exists f, r'; split=> //; rewrite eq; apply: leq_trans cf.
  by rewrite /partition_cost leq_eqVlt; apply/orP; left; apply/eqP; apply: eq_bigr => v _; rewrite groups.
have [f [fV hit] le2] := exact_lower a r injl rs0 ok; apply/(solvableP _ _ (destinations_uniq a lam)); exists f; split=> [n _|v vV|].
- exact: fV.
- apply/implyP => t0; rewrite groups; have /existsP[m /eqP e] : [exists m, lam m == v].
    by apply: contraNT t0 => /existsPn none; rewrite /target big_pred0 // => m; apply/negbTE/none.
  by have [n fn] := hit m; apply/set0Pn; exists n; rewrite inE fn e.
apply: leq_trans (leq_trans le2 le); rewrite /partition_cost leq_eqVlt; apply/orP; left; apply/eqP.
by apply: eq_bigr => v _; rewrite groups.
Qed.
End Recursion.
