(* lora_limits.published_in_proj: complex in_proj on real inputs, and the softplus clock of complex arguments. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence s6.
From Ssmproof.lora_limits Require Import in_proj_dominates published_in_proj.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* In tied_rows_fail the inputs may be positive real numbers only. *)
Section Positive.
Variables (F : numFieldType) (D : nat) (dt : F -> F) (decay : F -> 'I_1 -> F).
Let e : 'rV[F]_D.+1 := delta_mx 0 0.
Let block Win WB := block_outputs dt decay 0 Win WB e e e 0.

Theorem tied_rows_fail_positive k t0 tk : expands dt k t0 tk -> t0 != 0 -> tk != 0 -> (0 < k)%N -> forall p : 'cV[F]_D.+1,
  ~ (forall u : F, 0 < u -> block p e [:: const_mx u] = block (const_mx 1) (2%:R *: e) [:: const_mx u]).
Proof.
move=> near nz0 nzk k0 p same; apply: (no_factor (p := p 0 0) near nz0 nzk k0) => u u0.
have eE (q : 'cV[F]_D.+1) i j : (e *m (q *m const_mx u)) i j = q 0 0 * u.
  by rewrite -rowE !mxE big_ord1 mxE.
have := same u u0; rewrite /block !first_output !big_ord1 /block_clock !addr0 -!scalemxAl => -[/colP/(_ 0)].
have scale (a : F) (M : 'cV[F]_1) : (a *: M) 0 0 = a * M 0 0 by rewrite mxE.
rewrite !scale !eE mxE mul1r => eq_out; apply: (mulIf (expf_neq0 3 (lt0r_neq0 u0))).
have -> : 2%:R * dt u * u ^+ 3 = dt u * (u * (2%:R * u)) * u by ring.
by rewrite -eq_out; ring.
Qed.
End Positive.

(* Near 0 softplus is a solution dt of exp(dt s) = 1 + exp s that moves little; of exp only two facts are used. *)
Section Softplus.
Variables (F : numFieldType) (E dt : F -> F) (eta : F).
Hypotheses (ED : forall x y, E (x + y) = E x * E y) (E1 : forall x, `|x| <= 1 -> `|E x - 1 - x| <= `|x| ^+ 2).
Hypotheses (eta0 : 0 < eta <= 1) (dtE : forall s, `|s| <= eta -> E (dt s) = 1 + E s).
Hypothesis dt_near : forall s, `|s| <= eta -> `|dt s - dt 0| <= 2%:R^-1.

Theorem complex_softplus_clock : expands dt 1 (dt 0) 2%:R^-1 /\ dt 0 != 0.
Proof.
have [et0 et1] := andP eta0.
have two0 : (2%:R : F) != 0 by rewrite pnatr_eq0.
have half1 : 2%:R^-1 <= 1 :> F by rewrite invf_le1 ?ler1n ?ltr0n.
have E0 : E 0 = 1.
  have := E1 (x := 0); rewrite normr0 ler01 subr0 expr0n => /(_ isT); rewrite normr_le0 subr_eq0 => /eqP; exact.
have at0 : E (dt 0) = 2%:R by rewrite dtE ?normr0 ?(ltW et0) // E0.
split; last by apply/eqP => z; have := at0; rewrite z E0 => /esym/eqP; rewrite -subr_eq0 -[X in _ - X]/(1%:R) -natrB // oner_eq0.
exists 5%:R, eta; split; [exact: ler0n | exact: eta0 | move=> s le]; pose del := dt s - dt 0; have ls : `|s| <= 1 := le_trans le et1.
have Edel : E del - 1 = (E s - 1) / 2%:R.
  have := dtE le; rewrite -[dt s](subrK (dt 0)) ED at0 => e; apply: (mulIf two0); rewrite divfK // mulrBl e; ring.
have dl := dt_near le; have dl1 : `|del| <= 1 := le_trans dl half1.
have rs := E1 ls; have rd := E1 dl1.
have Es : `|E s - 1| <= 2%:R * `|s|.
  rewrite -[E s - 1](subrK s) (le_trans (ler_norm_add _ _)) // mulr_natl mulr2n ler_add2r (le_trans rs) // expr2.
  by rewrite ler_pimulr ?normr_ge0.
have dels : `|del| <= 2%:R * `|s|.
  have h : `|del| <= `|s| + 2%:R^-1 * `|del|.
    have {1}-> : del = (E del - 1) - (E del - 1 - del) by ring.
    apply: le_trans (ler_norm_sub _ _) _; apply: ler_add.
      by rewrite Edel normrM normfV normr_nat ler_pdivr_mulr ?ltr0n // mulrC.
    by apply: le_trans rd _; rewrite expr2 ler_wpmul2r ?normr_ge0.
  rewrite -ler_subl_addr in h; have e : `|del| - 2%:R^-1 * `|del| = 2%:R^-1 * `|del| by field.
  by rewrite e in h; rewrite -(ler_pmul2l (x := 2%:R^-1)) ?invr_gt0 ?ltr0n // mulrA mulVf // mul1r.
have -> : dt s - dt 0 - 2%:R^-1 * s ^+ 1 = (E s - 1 - s) / 2%:R - (E del - 1 - del).
  by rewrite Edel -/del; field.
apply: le_trans (ler_norm_sub _ _) _; have -> : 5%:R * `|s| ^+ 2 = `|s| ^+ 2 + (2%:R * `|s|) ^+ 2 by ring.
apply: ler_add.
  rewrite normrM normfV normr_nat ler_pdivr_mulr ?ltr0n // (le_trans rs) // ler_pemulr ?exprn_ge0 ?normr_ge0 // ler1n //.
by apply: le_trans rd _; rewrite ler_expn2r ?nnegrE ?normr_ge0 ?mulr_ge0 ?ler0n.
Qed.
End Softplus.
