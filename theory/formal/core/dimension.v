(* The dimension of a set of points: k coordinates can be given any values as far as polynomials can tell, and every k + 1
   coordinates satisfy a polynomial relation. It is the dimension of the smallest algebraic set that contains the points. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import fingroup perm.
From Ssmproof.core Require Import polynomials.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section Dimension.
Variables (F : numFieldType) (J : finType).
Implicit Types (X : {ffun J -> F} -> Prop) (k : nat).

(* The coordinates kap_0, kap_1, .. of a point. *)
Definition pick_coords k (kap : 'I_k -> J) (x : {ffun J -> F}) : {ffun 'I_k -> F} := [ffun i => x (kap i)].
(* No polynomial but 0 vanishes on these coordinates of all points of X. *)
Definition independent_on X k (kap : 'I_k -> J) := forall Q, poly_fun Q -> (forall x, X x -> Q (pick_coords kap x) = 0) -> forall y, Q y = 0.
(* Some polynomial that is not 0 vanishes on them. *)
Definition related_on X k (kap : 'I_k -> J) := exists Q : {ffun 'I_k -> F} -> F,
  [/\ poly_fun Q, exists y, Q y != 0 & forall x, X x -> Q (pick_coords kap x) = 0].
Definition has_dim X k := (exists2 kap : 'I_k -> J, injective kap & independent_on X kap) /\
  (forall kap : 'I_k.+1 -> J, injective kap -> related_on X kap).

(* Finitely many images of polynomial maps with at most k parameters each have dimension at most k. *)
Lemma images_related (T : finType) (I : T -> finType) (f : forall t, J -> {ffun I t -> F} -> F) (good : pred T) k
    (kap : 'I_k.+1 -> J) X :
  (forall t j, poly_fun (f t j)) -> (forall t, good t -> (#|I t| <= k)%N) ->
  (forall x, X x -> exists t p, good t /\ x = [ffun j => f t j p]) -> related_on X kap.
Proof.
move=> pf small cover.
have one t : exists Q : {ffun 'I_k.+1 -> F} -> F, [/\ poly_fun Q, exists y, Q y != 0 &
    good t -> forall p, Q [ffun i => f t (kap i) p] = 0].
  case: (boolP (good t)) => [gt|_].
    have [|Q [pQ nQ zQ]] := @relation F (I t) [finType of 'I_k.+1] (fun i => f t (kap i)) _ (fun i => pf t _).
      by rewrite card_ord ltnS small.
    by exists Q.
  by exists (fun=> 1); split=> //; [exact: PolyConst | exists [ffun=> 0]; exact: oner_neq0].
have [Q QP] := fin_all_exists one.
exists (fun y => \prod_t Q t y); split.
- by apply: poly_prod => t; case: (QP t).
- by apply: common_points => t; case: (QP t).
move=> x /cover[t [p [gt ->]]]; rewrite (bigD1 t) //= [X in X * _](_ : _ = 0) ?mul0r //.
have [_ _ /(_ gt p) <-] := QP t; congr (Q t); apply/ffunP => i; by rewrite !ffunE.
Qed.

(* Points renamed by a permutation of coordinates and moved: the same dimension. *)
Lemma dim_moved X k (s : {perm J}) (a : J -> F) : has_dim X k -> has_dim (fun x => X [ffun c => x (s c) - a c]) k.
Proof.
case=> -[kap inj ind] rel; split.
  exists (fun i => s (kap i)) => [i j /perm_inj/inj //|Q pQ zQ y].
  have := ind (fun z => Q [ffun i => z i + a (kap i)]) _ _ [ffun i => y i - a (kap i)].
  rewrite (_ : [ffun i => _] = y) => [|]; last by apply/ffunP => i; rewrite !ffunE subrK.
  apply=> [|x Xx].
    by apply: (@poly_comp _ _ _ (fun i z => z i + a (kap i))) => // i; apply: PolyAdd; [exact: PolyCoord | exact: PolyConst].
  rewrite -[RHS](zQ [ffun c => x (s^-1%g c) + a (s^-1%g c)]).
    by congr Q; apply/ffunP => i; rewrite !ffunE permK.
  by rewrite (_ : [ffun c => _] = x) //; apply/ffunP => c; rewrite !ffunE permK addrK.
move=> kap' inj'; have [Q [pQ [y yQ] zQ]] := rel (fun i => s^-1%g (kap' i)) (fun i j e => inj' _ _ (perm_inj e)).
pose b i := a (s^-1%g (kap' i)).
exists (fun z => Q [ffun i => z i - b i]); split.
- by apply: (@poly_comp _ _ _ (fun i z => z i - b i)) => // i; apply: PolyAdd; [exact: PolyCoord | exact: PolyConst].
- by exists [ffun i => y i + b i]; rewrite (_ : [ffun i => _] = y) //; apply/ffunP => i; rewrite !ffunE addrK.
move=> x /zQ; congr (Q _ = 0); apply/ffunP => i; by rewrite !ffunE permKV.
Qed.
End Dimension.
