(* lora_limits.unreachable: a target that no relabelling brings within rank r of A is missed by a positive distance, seen on
   2N lags of the channels' kernels. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import fingroup perm ring.
From Ssmproof.core Require Import lti minors polynomials dimension near exponential.
From Ssmproof.lora_limits Require Import low_rank_dimension relabelled_targets.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

Section RankNear.
Variables (F : numFieldType) (D N r : nat).

Lemma rank_sandwich (X : 'M[F]_(D, N)) : (r < \rank X)%N ->
  exists (P : 'M_(r.+1, D)) (Q : 'M_(N, r.+1)), P *m X *m Q = 1%:M.
Proof.
move=> lt; have := mulmx_ebase X; move: (col_ebase_unit X) (row_ebase_unit X) (rank_leq_row X) (rank_leq_col X) lt.
move: (col_ebase X) (row_ebase X) (\rank X) => C R k uC uR kD kN lt <-.
exists (pid_mx r.+1 *m invmx C), (invmx R *m pid_mx r.+1).
rewrite !mulmxA mulmxKV // mulmxK // !mul_pid_mx (minn_idPl lt) (minn_idPr (leq_trans lt kD)) minnn.
by rewrite (minn_idPr (leq_trans lt kN)) pid_mx_1.
Qed.

(* Rank above r is kept by all close matrices. *)
Lemma rank_near (X : 'M[F]_(D, N)) : (r < \rank X)%N ->
  small (fun e => forall Y : 'M[F]_(D, N), (forall d n, `|Y d n - X d n| <= e) -> (r < \rank Y)%N).
Proof.
case/rank_sandwich => P [Q PQ].
pose f (x : {ffun 'I_D * 'I_N -> F}) := \det (P *m mx_of x *m Q).
have pf : poly_fun f.
  apply: poly_det => i j; apply: (@PolyExt _ _ (fun x => \sum_l (\sum_k P i k * x (k, l)) * Q l j)).
    by move=> x; rewrite mxE; apply: eq_bigr => l _; rewrite mxE; congr (_ * _); apply: eq_bigr => k _; rewrite mxE.
  apply: poly_sum => l; apply: PolyMul; last exact: PolyConst.
  by apply: poly_sum => k; apply: PolyMul; [exact: PolyConst | exact: PolyCoord].
pose x0 : {ffun 'I_D * 'I_N -> F} := [ffun c => X c.1 c.2].
have f0 : f x0 = 1 by rewrite /f (_ : mx_of x0 = X) ?PQ ?det1 //; apply/matrixP => d n; rewrite mxE ffunE.
have h0 : 0 < 2%:R^-1 :> F by rewrite invr_gt0 ltr0n.
have := poly_near x0 pf h0; apply: small_imp => e _ near Y close.
have nz : f [ffun c => Y c.1 c.2] != 0.
  apply/eqP => z; have : `|f [ffun c => Y c.1 c.2] - f x0| <= 2%:R^-1 by apply: near => c; rewrite !ffunE.
  by rewrite z f0 sub0r normrN1 -[X in X <= _]invr1 lef_pinv ?posrE ?ltr0n ?ltr01 // -[X in _ <= X]/(1%:R) ler_nat.
have unit : P *m Y *m Q \in unitmx.
  rewrite unitmxE unitfE; move: nz; rewrite /f (_ : mx_of _ = Y) //; by apply/matrixP => d n; rewrite mxE ffunE.
rewrite -[X in (X <= _)%N](mxrank_unit unit); exact: leq_trans (mxrankM_maxl _ _) (mxrankM_maxr _ _).
Qed.
End RankNear.

Section Distance.
Variables (F : numFieldType) (D N r : nat) (A T : 'M[F]_(D, N)) (mode : 'I_D -> F -> F) (w' : 'I_D -> 'I_N -> F).
Hypotheses (mode_inj : forall d, injective (mode d)).
(* The inverse of the entry's mode is continuous. *)
Hypothesis mode_open : forall d a eta, 0 < eta -> small (fun e => forall v, `|mode d v - mode d a| <= e -> `|v - a| <= eta).
(* Target modes distinct in each channel, target residues w' not 0. *)
Hypotheses (injT : forall d, injective (T d)) (shown : forall d n, w' d n != 0).
(* Lag t of the kernel of channel d with entries S and residues w = c b (the skips are shared). *)
Definition lag (S : 'M[F]_(D, N)) (w : 'I_D -> 'I_N -> F) d t : F := \sum_n w d n * mode d (S d n) ^+ t.

Theorem positive_distance : (forall p, (r < \rank (relabelled T p - A)%R)%N) ->
  exists2 e, 0 < e & forall (U : 'M_(D, r)) (V : 'M_(r, N)) w, ~ (forall d t, (t < 2 * N)%N -> `|lag (A + U *m V) w d t - lag T w' d t| <= e).
Proof.
move=> far.
(* Entries within eta of a relabelled target keep the rank above r. *)
have [eta eta0 etaP] := small_exists (small_all (fun p => rank_near (far p))).
(* Modes within mu give entries within eta, and are closer to one target mode than half the distance between two. *)
have apart d n n' : small (fun e => n != n' -> 2%:R * e <= `|mode d (T d n) - mode d (T d n')| / 2%:R).
  have [->|ne] := eqVneq n n'; first by exists 1.
  have pos : 0 < `|mode d (T d n) - mode d (T d n')| / 2%:R.
    by rewrite divr_gt0 ?ltr0n // normr_gt0 subr_eq0; apply: contra ne => /eqP/mode_inj/injT ->.
  by have := small_linear (ler0n F 2) pos; apply: small_imp.
have [mu mu0 [muP sep]] := small_exists (small_and (small_all (fun d => small_all (fun n => @mode_open d (T d n) eta eta0)))
  (small_all (fun d => small_all (fun n => small_all (fun n' => apart d n n'))))).
have inj d : injective (fun n => mode d (T d n)) by move=> n n' /mode_inj/injT.
have [e e0 eP] := small_exists (small_all (fun d => near_modes (inj d) (shown d) mu0)).
exists e => // U V w close; pose S := A + U *m V.
have [m mP] := fin_all_exists (fun d => fin_all_exists (eP d _ _ (close d))).
have injm d : injective (m d).
  move=> n n' e1; apply/eqP/negPn/negP => ne; pose x := mode d (T d n) - mode d (T d n').
  have le : `|x| <= 2%:R * mu.
    have -> : x = (mode d (S d (m d n)) - mode d (T d n')) - (mode d (S d (m d n)) - mode d (T d n)) by rewrite /x; ring.
    by apply: le_trans (ler_norm_sub _ _) _; rewrite mulr_natl mulr2n ler_add // e1; exact: mP.
  have x0 : 0 < `|x| by rewrite normr_gt0 subr_eq0; apply: contra ne => /eqP/inj->.
  have := le_trans le (sep d n n' ne); rewrite -/x ler_pdivl_mulr ?ltr0n // ger_pmulr // -[1]/(1%:R) ler_nat //.
pose p := [ffun d => (perm (@injm d))^-1%g].
have entry_sub (M M' : 'M[F]_(D, N)) i j : (M - M') i j = M i j - M' i j by rewrite !mxE.
have : (r < \rank (S - A)%R)%N.
  apply: (etaP p) => d n; pose k := ((perm (@injm d))^-1)%g n.
  have nE : n = m d k by rewrite -[m d k](permE (@injm d)) permKV.
  have -> : (S - A) d n - (relabelled T p - A) d n = S d n - T d k.
    by rewrite !entry_sub [relabelled T p d n]mxE ffunE -/k opprB addrA subrK.
  by rewrite {1}nE; apply: muP; exact: mP.
rewrite /S addrC addKr ltnNge; case/negP; exact: leq_trans (mxrankM_maxl _ _) (rank_leq_col _).
Qed.
End Distance.

(* The modes exp(c A) and exp(c exp(A)), c not 0 (A itself and log A are trained), are one-to-one, not 0 and have continuous
   inverses. *)
Section Exponential.
Variables (R : realFieldType) (e : exponential R).
Notation E := (expo e).

Definition opens (f : R -> R) := forall a eta, 0 < eta -> small (fun d => forall v, `|f v - f a| <= d -> `|v - a| <= eta).

Lemma opens_comp f g : opens f -> opens g -> opens (f \o g).
Proof.
move=> of_ og a eta eta0; have [d d0 dP] := small_exists (og a eta eta0).
by have := of_ (g a) d d0; apply: small_imp => h _ H v /H; exact: dP.
Qed.

Lemma opens_scale c : c != 0 -> opens ( *%R c).
Proof.
move=> c0 a eta eta0; have n0 : 0 < `|c| by rewrite normr_gt0.
have := small_linear ler01 (mulr_gt0 n0 eta0); apply: small_imp => d _; rewrite mul1r => le v.
by rewrite -mulrBr normrM => /le_trans/(_ le); rewrite ler_pmul2l.
Qed.

Lemma opens_expo : opens E.
Proof.
move=> a eta eta0; have pos := expo_gt0 e a; have inv := lt0r_neq0 pos.
have h0 : 0 < 2%:R^-1 :> R by rewrite invr_gt0 ltr0n.
have i0 : 0 <= (E a)^-1 by rewrite invr_ge0 ltW.
have k0 : 0 <= 2%:R * (E a)^-1 by rewrite mulr_ge0 ?ler0n.
have := small_and (small_linear i0 h0) (small_linear k0 eta0); apply: small_imp => d d0 [l1 l2] v near.
pose z := E (v - a) - 1.
have vE : v - a = loga e (1 + z) by rewrite /z addrCA subrr addr0 expoK.
have zE : E a * z = E v - E a by rewrite /z mulrBr mulr1 -expoD (_ : a + (v - a) = v) //; ring.
have zs : `|z| <= (E a)^-1 * d by rewrite ler_pdivl_mull // -[X in X * _](gtr0_norm pos) -normrM zE.
have z1 : 2%:R^-1 <= 1 + z.
  have /andP[ge _] : - 2%:R^-1 <= z <= 2%:R^-1 by rewrite -ler_norml (le_trans zs).
  by have -> : 2%:R^-1 = 1 - 2%:R^-1 :> R by [field]; rewrite ler_add2l.
have p1 : 0 < 1 + z := lt_le_trans h0 z1.
have z2 : `|z| <= eta / 2%:R by rewrite ler_pdivl_mulr ?ltr0n // mulrC (le_trans _ l2) // -mulrA ler_pmul2l ?ltr0n.
have hn : eta / 2%:R <= eta by rewrite ler_pdivr_mulr ?ltr0n // ler_pmulr // ler1n.
rewrite vE; have /andP[low up] := loga1p e p1; rewrite ler_norml; apply/andP; split.
  apply: le_trans low; rewrite ler_pdivl_mulr // mulNr; apply: (@le_trans _ _ (- `|z|)).
    by rewrite ler_opp2 (le_trans z2) // ler_pmul2l.
  by rewrite ler_oppl -normrN ler_norm.
by rewrite (le_trans up) // (le_trans (ler_norm z)) // (le_trans z2).
Qed.

Theorem modes_of_A c : c != 0 -> [/\ injective (fun v => E (c * v)), forall v, E (c * v) != 0 & opens (fun v => E (c * v))].
Proof.
move=> c0; split=> [v v' /(congr1 (loga e))|v|]; last exact: opens_comp opens_expo (opens_scale c0).
  by rewrite !expoK => /(mulfI c0).
by rewrite lt0r_neq0 ?expo_gt0.
Qed.

Theorem modes_of_log_A c : c != 0 ->
  [/\ injective (fun v => E (c * E v)), forall v, E (c * E v) != 0 & opens (fun v => E (c * E v))].
Proof.
move=> c0; have [i n o] := modes_of_A c0; split=> [v v' /i/(congr1 (loga e))|v|]; last exact: opens_comp o opens_expo.
  by rewrite !expoK.
exact: n.
Qed.
End Exponential.
