(* Polynomial functions of finitely many variables, and the fact that counts dimensions: more polynomials than variables
   satisfy a polynomial relation. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import zify.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* Built from constants and coordinates by sums and products. A point gives a number to each i in I. *)
Inductive poly_fun (F : fieldType) (I : finType) : ({ffun I -> F} -> F) -> Prop :=
| PolyConst c : poly_fun (fun=> c)
| PolyCoord i : poly_fun (fun x => x i)
| PolyAdd f g : poly_fun f -> poly_fun g -> poly_fun (fun x => f x + g x)
| PolyMul f g : poly_fun f -> poly_fun g -> poly_fun (fun x => f x * g x)
| PolyExt f g : f =1 g -> poly_fun f -> poly_fun g.

Section Closure.
Variables (F : fieldType) (I : finType).
Implicit Types f g : {ffun I -> F} -> F.

Lemma poly_sum (J : Type) (r : seq J) (P : pred J) (h : J -> {ffun I -> F} -> F) : (forall j, poly_fun (h j)) ->
  poly_fun (fun x => \sum_(j <- r | P j) h j x).
Proof.
move=> ph; elim: r => [|j r IH]; first by apply: PolyExt (PolyConst _ 0) => x; rewrite big_nil.
case: (boolP (P j)) => Pj; last by apply: PolyExt IH => x; rewrite big_cons (negPf Pj).
by apply: PolyExt (PolyAdd (ph j) IH) => x; rewrite big_cons Pj.
Qed.

Lemma poly_prod (J : Type) (r : seq J) (P : pred J) (h : J -> {ffun I -> F} -> F) : (forall j, poly_fun (h j)) ->
  poly_fun (fun x => \prod_(j <- r | P j) h j x).
Proof.
move=> ph; elim: r => [|j r IH]; first by apply: PolyExt (PolyConst _ 1) => x; rewrite big_nil.
case: (boolP (P j)) => Pj; last by apply: PolyExt IH => x; rewrite big_cons (negPf Pj).
by apply: PolyExt (PolyMul (ph j) IH) => x; rewrite big_cons Pj.
Qed.

Lemma poly_horner (u : {poly F}) f : poly_fun f -> poly_fun (fun x => u.[f x]).
Proof.
move=> pf; apply: (@PolyExt _ _ (fun x => \sum_(k < size u) u`_k * \prod_(i < k) f x)).
  by move=> x; rewrite horner_coef; apply: eq_bigr => k _; rewrite big_const_ord iter_mulr_1.
by apply: poly_sum => k; apply: PolyMul; [exact: PolyConst | exact: poly_prod].
Qed.

Lemma poly_det n (M : {ffun I -> F} -> 'M[F]_n) : (forall i j, poly_fun (fun x => M x i j)) -> poly_fun (fun x => \det (M x)).
Proof.
move=> pM; apply: poly_sum => s; apply: PolyMul; [exact: PolyConst | exact: poly_prod].
Qed.

Lemma poly_comp (J : finType) (h : J -> {ffun I -> F} -> F) (f : {ffun J -> F} -> F) : poly_fun f -> (forall j, poly_fun (h j)) ->
  poly_fun (fun x => f [ffun j => h j x]).
Proof.
move=> pf ph; elim: pf => [c|j|f1 f2 _ IH1 _ IH2|f1 f2 _ IH1 _ IH2|f1 f2 e _ IH].
- exact: PolyConst.
- by apply: PolyExt (ph j) => x; rewrite ffunE.
- exact: PolyAdd.
- exact: PolyMul.
- by apply: PolyExt IH => x; exact: e.
Qed.

(* Along a line a polynomial function is a polynomial in one variable. *)
Definition line (a b : {ffun I -> F}) (t : F) : {ffun I -> F} := [ffun i => a i + t * (b i - a i)].

Lemma poly_line f a b : poly_fun f -> exists u : {poly F}, forall t, f (line a b t) = u.[t].
Proof.
elim=> [c|i|f1 f2 _ [u1 e1] _ [u2 e2]|f1 f2 _ [u1 e1] _ [u2 e2]|f1 f2 e _ [u e1]].
- by exists c%:P => t; rewrite hornerC.
- by exists ((a i)%:P + 'X * (b i - a i)%:P) => t; rewrite ffunE !hornerE.
- by exists (u1 + u2) => t; rewrite e1 e2 hornerD.
- by exists (u1 * u2) => t; rewrite e1 e2 hornerM.
- by exists u => t; rewrite -e e1.
Qed.

(* Degree at most m in each variable. *)
Definition upd (x : {ffun I -> F}) i t : {ffun I -> F} := [ffun j => if j == i then t else x j].
Definition sep_deg m f := forall x i, exists2 u : {poly F}, (size u <= m.+1)%N & forall t, f (upd x i t) = u.[t].

Lemma sep_deg_le m n f : (m <= n)%N -> sep_deg m f -> sep_deg n f.
Proof. by move=> le df x i; have [u su eu] := df x i; exists u => //; exact: leq_trans su _. Qed.

Lemma sep_deg_ext m f g : f =1 g -> sep_deg m f -> sep_deg m g.
Proof. by move=> e df x i; have [u su eu] := df x i; exists u => // t; rewrite -e. Qed.

Lemma sep_deg_const c : sep_deg 0 (fun=> c).
Proof. by move=> x i; exists c%:P => [|t]; rewrite ?hornerC // (leq_trans (size_polyC_leq1 _)). Qed.

Lemma sep_deg_add m f g : sep_deg m f -> sep_deg m g -> sep_deg m (fun x => f x + g x).
Proof.
move=> df dg x i; have [u su eu] := df x i; have [v sv ev] := dg x i; exists (u + v) => [|t]; last by rewrite eu ev hornerD.
by rewrite (leq_trans (size_add _ _)) // geq_max su.
Qed.

Lemma sep_deg_mul m n f g : sep_deg m f -> sep_deg n g -> sep_deg (m + n) (fun x => f x * g x).
Proof.
move=> df dg x i; have [u su eu] := df x i; have [v sv ev] := dg x i; exists (u * v) => [|t]; last by rewrite eu ev hornerM.
rewrite (leq_trans (size_mul_leq _ _)) //; lia.
Qed.

Lemma sep_deg_sum (J : Type) (r : seq J) m (h : J -> {ffun I -> F} -> F) : (forall j, sep_deg m (h j)) ->
  sep_deg m (fun x => \sum_(j <- r) h j x).
Proof.
move=> dh; elim: r => [|j r IH].
  by apply: (@sep_deg_ext _ (fun=> 0)) => [x|]; [rewrite big_nil | exact: sep_deg_le (sep_deg_const 0)].
by apply: (@sep_deg_ext _ _ _ _ (sep_deg_add (dh j) IH)) => x; rewrite big_cons.
Qed.

Lemma sep_deg_prod (J : Type) (r : seq J) m (h : J -> {ffun I -> F} -> F) : (forall j, sep_deg m (h j)) ->
  sep_deg (size r * m) (fun x => \prod_(j <- r) h j x).
Proof.
move=> dh; elim: r => [|j r IH]; first by apply: sep_deg_ext (sep_deg_const 1) => x; rewrite big_nil.
by apply: (@sep_deg_ext _ _ _ _ (sep_deg_mul (dh j) IH)) => x; rewrite big_cons.
Qed.

Lemma sep_deg_horner m (u : {poly F}) n f : (size u <= n.+1)%N -> sep_deg m f -> sep_deg (n * m) (fun x => u.[f x]).
Proof.
move=> su df x i; have [v sv ev] := df x i; exists (u \Po v) => [|t]; last by rewrite ev horner_comp.
by rewrite (leq_trans (size_comp_poly_leq _ _)) // ltnS leq_mul //; lia.
Qed.

Lemma poly_sep_deg f : poly_fun f -> exists m, sep_deg m f.
Proof.
elim=> [c|i|f1 f2 _ [m1 d1] _ [m2 d2]|f1 f2 _ [m1 d1] _ [m2 d2]|f1 f2 e _ [m d]].
- by exists 0%N; exact: sep_deg_const.
- exists 1%N => x j; case: (eqVneq i j) => [->|ne].
    by exists 'X => [|t]; rewrite ?size_polyX // ffunE eqxx hornerX.
  by exists (x i)%:P => [|t]; [exact: leq_trans (size_polyC_leq1 _) _ | rewrite ffunE (negPf ne) hornerC].
- exists (maxn m1 m2); apply: sep_deg_add; [exact: sep_deg_le (leq_maxl _ _) d1 | exact: sep_deg_le (leq_maxr _ _) d2].
- by exists (m1 + m2)%N; exact: sep_deg_mul.
- by exists m; exact: sep_deg_ext e d.
Qed.

(* A polynomial function of degree at most m in each variable that vanishes on a grid with m + 1 values is 0. *)
Lemma grid_zero m f (s : 'I_m.+1 -> F) : injective s -> sep_deg m f ->
  (forall e : {ffun I -> 'I_m.+1}, f [ffun i => s (e i)] = 0) -> forall x, f x = 0.
Proof.
move=> inj df zero.
suff H (r : seq I) (x : {ffun I -> F}) : (forall i, i \notin r -> exists k, x i = s k) -> f x = 0.
  by move=> x; apply: (H (enum I)) => i; rewrite mem_enum.
elim: r x => [|i r IH] x on.
  rewrite -(zero [ffun i => odflt ord0 [pick k | s k == x i]]); congr f; apply/ffunP => i; rewrite !ffunE.
  by have [k ->] := on i isT; case: pickP => [l /eqP //|/(_ k)]; rewrite eqxx.
have [u su eu] := df x i.
have -> : x = upd x i (x i) by apply/ffunP => j; rewrite ffunE; case: eqP => [->|].
rewrite eu; suff -> : u = 0 by rewrite horner0.
pose values := [seq s k | k <- enum 'I_m.+1].
have [uniq_values size_values] : uniq values /\ size values = m.+1 by rewrite map_inj_uniq ?enum_uniq // size_map size_enum_ord.
apply: roots_geq_poly_eq0 uniq_values _; last by rewrite size_values.
apply/allP => _ /mapP[k _ ->]; apply/rootP; rewrite -eu; apply: IH => j nj; rewrite ffunE.
by case: eqP => [_|/eqP ne]; [exists k | apply: on; rewrite inE negb_or ne].
Qed.
End Closure.

Section Relations.
Variable F : numFieldType.

Lemma nonroot (u : {poly F}) : u != 0 -> exists t, ~~ root u t.
Proof.
move=> nz; pose w := [seq (k%:R : F) | k <- iota 0 (size u)].
case: (boolP (all (root u) w)) => [al|/allPn[t _ rt]]; last by exists t.
case/negP: nz; apply/eqP; apply: (roots_geq_poly_eq0 al); last by rewrite size_map size_iota.
by rewrite map_inj_uniq ?iota_uniq // => k l /eqP; rewrite eqr_nat => /eqP.
Qed.

(* Two polynomial functions that are not 0 have a common point where neither vanishes; hence finitely many have one. *)
Lemma common_point (I : finType) (f g : {ffun I -> F} -> F) a b : poly_fun f -> poly_fun g -> f a != 0 -> g b != 0 ->
  exists c, f c * g c != 0.
Proof.
move=> pf pg fa gb; have [u eu] := poly_line a b pf; have [v ev] := poly_line a b pg.
have l0 : line a b 0 = a by apply/ffunP => i; rewrite ffunE mul0r addr0.
have l1 : line a b 1 = b by apply/ffunP => i; rewrite ffunE mul1r addrC subrK.
have [t] : exists t, ~~ root (u * v) t.
  apply: nonroot; rewrite mulf_neq0 //; first by apply: contra fa => /eqP u0; rewrite -l0 eu u0 horner0.
  by apply: contra gb => /eqP v0; rewrite -l1 ev v0 horner0.
by rewrite /root hornerM -eu -ev => nz; exists (line a b t).
Qed.

Lemma common_points (I : finType) (J : Type) (r : seq J) (f : J -> {ffun I -> F} -> F) : (forall j, poly_fun (f j)) ->
  (forall j, exists a, f j a != 0) -> exists c, \prod_(j <- r) f j c != 0.
Proof.
move=> pf nz; elim: r => [|j r [c cP]]; first by exists [ffun=> 0]; rewrite big_nil oner_eq0.
have [a aP] := nz j; have [|d dP] := @common_point _ _ (fun x => \prod_(j <- r) f j x) a c (pf j) _ aP cP.
  exact: poly_prod.
by exists d; rewrite big_cons.
Qed.

(* Lagrange's polynomials on the nodes 0, .., n. *)
Definition lagrange n (k : 'I_n.+1) : {poly F} :=
  (\prod_(l < n.+1 | l != k) (k%:R - l%:R))^-1 *: \prod_(l < n.+1 | l != k) ('X - (l%:R)%:P).

Lemma size_lagrange n (k : 'I_n.+1) : (size (lagrange k) <= n.+1)%N.
Proof.
rewrite (leq_trans (size_scale_leq _ _)) // -[\prod_(_ < _ | _) _](big_filter (index_enum _)).
rewrite size_prod_XsubC size_filter ltnS (@eq_count _ _ (predC (pred1 k))) //.
have := count_predC (pred1 k) (index_enum (ordinal_finType n.+1)).
rewrite count_uniq_mem ?index_enum_uniq // mem_index_enum -[index_enum _]enumT size_enum_ord; lia.
Qed.

Lemma lagrange_node n (k l : 'I_n.+1) : (lagrange k).[l%:R] = (k == l)%:R.
Proof.
rewrite /lagrange hornerZ horner_prod; have [<-|ne] := eqVneq k l.
  rewrite [X in _ * X](eq_bigr (fun i : 'I_n.+1 => k%:R - i%:R)) => [|i _]; last by rewrite hornerXsubC.
  rewrite mulVf //; apply/prodf_neq0 => i ne; rewrite subr_eq0 eqr_nat; apply: contra ne => /eqP e.
  by apply/eqP/val_inj.
by rewrite [X in _ * X](bigD1 l) 1?eq_sym //= hornerXsubC subrr mul0r mulr0.
Qed.

Theorem relation (I J : finType) (f : J -> {ffun I -> F} -> F) : (#|I| < #|J|)%N -> (forall j, poly_fun (f j)) ->
  exists Q : {ffun J -> F} -> F, [/\ poly_fun Q, exists y, Q y != 0 & forall x, Q [ffun j => f j x] = 0].
Proof.
move=> lt pf.
have [d df] : exists d, forall j, sep_deg d (f j).
  have [d dP] := fin_all_exists (fun j => poly_sep_deg (pf j)).
  by exists (\max_j d j) => j; apply: sep_deg_le (dP j); exact: leq_bigmax.
pose n := ((#|J| * d).+1 ^ #|I|)%N; pose m := (#|J| * (n * d))%N.
pose R := [finType of {ffun J -> 'I_n.+1}]; pose C := [finType of {ffun I -> 'I_m.+1}].
have below q k : ((q * (k * d)).+1 <= (q * d).+1 * k.+1)%N by nia.
have cardRC : (#|C| < #|R|)%N.
  rewrite !card_ffun !card_ord; apply: (@leq_trans (n.+1 ^ #|I|.+1)); last by rewrite leq_pexp2l.
  apply: (@leq_ltn_trans (((#|J| * d).+1 * n.+1) ^ #|I|)).
    by case: #|I| => [|p]; rewrite ?expn0 // leq_exp2r //; exact: below.
  by rewrite expnMn expnS -/n ltn_mul2r expn_gt0 ltnSn.
pose grid (e : C) : {ffun I -> F} := [ffun i => (e i)%:R].
pose term (e : R) (y : {ffun J -> F}) := \prod_j (lagrange (e j)).[y j].
pose A : 'M[F]_(#|R|, #|C|) := \matrix_(a, b) term (enum_val a) [ffun j => f j (grid (enum_val b))].
have [v /sub_kermxP vA v0] : exists2 v : 'rV_#|R|, (v <= kermx A)%MS & v != 0.
  apply/rowV0Pn; rewrite -mxrank_eq0 mxrank_ker -lt0n subn_gt0; exact: leq_ltn_trans (rank_leq_col _) cardRC.
pose Q y := \sum_a v 0 a * term (enum_val a) y; exists Q; split.
- apply: poly_sum => a; apply: PolyMul; first exact: PolyConst.
  by apply: poly_prod => j; apply: poly_horner; exact: PolyCoord.
- have /existsP[a va] : [exists a, v 0 a != 0].
    by apply: contraNT v0 => /existsPn z; apply/eqP/rowP => i; rewrite [RHS]mxE; apply/eqP/negPn; exact: z.
  exists [ffun j => (enum_val a j)%:R]; rewrite /Q (bigD1 a) //= big1 ?addr0 => [|b ne].
    by rewrite /term big1 ?mulr1 // => j _; rewrite ffunE lagrange_node eqxx.
  suff -> : term (enum_val b) [ffun j => (enum_val a j)%:R] = 0 by rewrite mulr0.
  have /existsP[j nej] : [exists j, enum_val b j != enum_val a j].
    apply: contraNT ne => /existsPn z; apply/eqP/enum_val_inj/ffunP => j; apply/eqP/negPn; exact: z.
  by rewrite /term (bigD1 j) //= ffunE lagrange_node (negPf nej) mul0r.
apply: (@grid_zero _ _ m _ (fun k => k%:R)) => [k l /eqP|| e].
- by rewrite eqr_nat => /eqP; exact: val_inj.
- apply: sep_deg_sum => a; rewrite -[m]add0n; apply: sep_deg_mul; first exact: sep_deg_const.
  rewrite /m cardE enumT; apply: (@sep_deg_ext _ _ _ (fun x => \prod_j (lagrange (enum_val a j)).[f j x])).
    by move=> x; apply: eq_bigr => j _; rewrite ffunE.
  apply: sep_deg_prod => j; apply: sep_deg_horner (df j); exact: size_lagrange.
have /rowP/(_ (enum_rank (e : C))) := vA; rewrite !mxE => z; rewrite -[RHS]z; apply: eq_bigr => a _.
by rewrite mxE enum_rankK.
Qed.
End Relations.
