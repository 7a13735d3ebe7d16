(* prefix_state.depth: prompt <= per-layer prefix <= per-layer initial state, for any stack of stepped blocks. *)
From mathcomp Require Import all_ssreflect all_algebra.
From Ssmproof.core Require Import recurrence lti s6 conv.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

(* A block: a state (window and h, say), the state at rest, and one step from token to token of the same width. *)
Record block (X : Type) := Block { carrier : Type; rest : carrier; move_on : carrier -> X -> carrier * X }.

Section Depth.
Variable X : Type.
Implicit Types (b : block X) (bs : seq (block X)) (x p : seq X).

Definition block_outputs b (h : carrier b) x : seq X := outputs (@move_on X b) h x.

(* The whole stack from rest. *)
Definition through bs x : seq X := foldl (fun s b => block_outputs (rest b) s) x bs.
(* A prompt: tokens in front of the first block; the outputs that follow. *)
Definition prompted bs p x : seq X := drop (size p) (through bs (p ++ x)).
(* A prefix at every block's input, its outputs dropped. *)
Definition prefixed (bps : seq (block X * seq X)) x : seq X :=
  foldl (fun s bp => drop (size bp.2) (block_outputs (rest bp.1) (bp.2 ++ s))) x bps.
(* An initial state in every block. *)
Definition started (bhs : seq {b : block X & carrier b}) x : seq X :=
  foldl (fun s bh => block_outputs (projT2 bh) s) x bhs.

(* Each prompt acts as the prefixes it has become at each block's input. *)
Theorem prompt_as_prefixes bs p : exists bps : seq (block X * seq X),
  [/\ map fst bps = bs, forall bp, List.In bp bps -> size bp.2 = size p & forall x, prompted bs p x = prefixed bps x].
Proof.
elim: bs p => [|b bs IH] p.
  by exists [::]; split=> // x; rewrite /prompted /= drop_size_cat.
have [bps [names sizes acts]] := IH (block_outputs (rest b) p).
exists ((b, p) :: bps); split=> [|bp [<- //|/sizes ->]|x] /=; first by rewrite names.
  exact: size_outputs.
rewrite /prompted /prefixed /= -/(prefixed _ _) -acts /prompted /= -/(through _ _).
by rewrite /block_outputs size_outputs outputs_cat drop_size_cat ?size_outputs.
Qed.

(* Each family of prefixes acts as the states it leaves. *)
Theorem prefixes_as_states (bps : seq (block X * seq X)) : exists bhs : seq {b : block X & carrier b},
  map (@projT1 _ _) bhs = map fst bps /\ forall x, prefixed bps x = started bhs x.
Proof.
elim: bps => [|[b p] bps [bhs [names acts]]]; first by exists [::].
exists (existT _ b (state_after (@move_on X b) (rest b) p) :: bhs); split=> [|x] /=; first by rewrite names.
by rewrite /prefixed /started /= /block_outputs outputs_cat drop_size_cat ?size_outputs // -/(prefixed _ _) acts.
Qed.

(* One block: a prompt is a prefix. *)
Theorem one_block b p x : prompted [:: b] p x = prefixed [:: (b, p)] x.
Proof. by []. Qed.

(* A zero token that leaves every block at rest and passes as a zero token: longer prompts and prefixes lose nothing. *)
Theorem zeros_in_front (zero : X) bs k p x : (forall b, List.In b bs -> move_on (rest b) zero = (rest b, zero)) ->
  prompted bs (nseq k zero ++ p) x = prompted bs p x.
Proof.
move=> silent; suff H s : through bs (nseq k zero ++ s) = nseq k zero ++ through bs s.
  by rewrite /prompted -catA H size_cat size_nseq addnC -drop_drop drop_size_cat ?size_nseq.
elim: bs silent s => //= b bs IH silent s; rewrite -IH; last by move=> b' inb; apply: silent; right.
rewrite /through /=; congr foldl; rewrite /block_outputs; have := silent b (or_introl erefl).
by clear IH; elim: k => //= k IHk sb; rewrite sb /= IHk.
Qed.

(* So prefixes of M' >= M tokens contain the prompts of M tokens. *)
Theorem longer_prefixes (zero : X) bs p m : (forall b, List.In b bs -> move_on (rest b) zero = (rest b, zero)) ->
  (size p <= m)%N -> exists bps : seq (block X * seq X),
  [/\ map fst bps = bs, forall bp, List.In bp bps -> size bp.2 = m & forall x, prompted bs p x = prefixed bps x].
Proof.
move=> silent le; have [bps [names sizes acts]] := prompt_as_prefixes bs (nseq (m - size p) zero ++ p).
exists bps; split=> // [bp /sizes ->|x]; first by rewrite size_cat size_nseq subnK.
by rewrite -acts zeros_in_front.
Qed.
End Depth.

(* The blocks of the claim: W_in, a convolution without bias, an activation, an SSM module, a gate, W_out, and the residual. *)
Section MambaBlock.
Variables (F : fieldType) (width D K : nat) (W_in : 'M[F]_(D, width)) (taps : 'M[F]_(D, K.+1)) (W_out : 'M[F]_(width, D)).
Variables (phi : 'cV[F]_D -> 'cV[F]_D) (gate : 'cV[F]_width -> 'cV[F]_D).
Variables (S : Type) (at_rest : S) (ssm : S -> 'cV[F]_D -> S * 'cV[F]_D).

Definition mamba_block : block 'cV[F]_width := Block (nseq K 0, at_rest) (fun wh u =>
  let x := W_in *m u in let r := ssm wh.2 (phi (conv_out (channels taps) 0 wh.1 x)) in
  ((behead (rcons wh.1 x), r.1), u + W_out *m (\col_d (r.2 d 0 * gate u d 0)))).

(* phi(0) = 0 and a module that stays at rest on 0 (S6 and S4 do): zero tokens in front change nothing. *)
Theorem mamba_block_silent : phi 0 = 0 -> ssm at_rest 0 = (at_rest, 0) -> move_on (rest mamba_block) 0 = (rest mamba_block, 0).
Proof.
move=> phi0 rest0; rewrite /= mulmx0; have -> : conv_out (channels taps) 0 (nseq K 0) 0 = 0 :> 'cV[F]_D.
  rewrite /conv_out add0r big1 // => j _; have -> : nth 0 (0 :: rev (nseq K 0)) j = 0 :> 'cV[F]_D.
    by rewrite rev_nseq -[0 :: _]/(nseq K.+1 0) nth_nseq if_same.
  by apply/colP => k; rewrite !mxE mulr0.
rewrite phi0 rest0 /=; congr (_, _, _).
  by have -> : rcons (nseq K (0 : 'cV[F]_D)) 0 = 0 :: nseq K 0 by elim: (K) => //= k ->.
rewrite add0r; have -> : \col_d ((0 : 'cV[F]_D) d 0 * gate 0 d 0) = 0 by apply/colP => d; rewrite !mxE mul0r.
by rewrite mulmx0.
Qed.

Lemma s6_at_rest N (dt : 'cV[F]_D -> 'I_D -> F) (E : 'cV[F]_D -> 'M[F]_(D, N)) WB WC skip : s6_step dt E WB WC skip 0 0 = (0, 0).
Proof.
have h0 : sel_state id (mulmx WB) dt E 0 0 = 0 by apply/matrixP => d n; rewrite !mxE !mulr0 mul0r addr0.
rewrite /s6_step /sel_step -[sel_state _ _ _ _ _ _]/(sel_state id (mulmx WB) dt E 0 0) h0; congr (_, _).
by apply/colP => d; rewrite !mxE mulr0 addr0 big1 // => n _; rewrite mxE mul0r.
Qed.

(* S4: a channel of its own for every entry. *)
Definition s4_step N (a b c : 'I_D -> 'I_N -> F) (d : 'I_D -> F) (h : 'M[F]_(D, N)) (z : 'cV[F]_D) : 'M[F]_(D, N) * 'cV[F]_D :=
  let one k := lti_step (a k) (b k) (c k) (d k) (row k h) (z k 0) in (\matrix_(k, n) (one k).1 0 n, \col_k (one k).2).

Lemma s4_at_rest N (a b c : 'I_D -> 'I_N -> F) d : s4_step a b c d 0 0 = (0, 0).
Proof.
have state0 k : lti_state (a k) (b k) (row k 0) ((0 : 'cV_D) k 0) = 0 by apply/rowP => n; rewrite !mxE !mulr0 addr0.
congr (_, _); first by apply/matrixP => k n; rewrite mxE /= state0 !mxE.
apply/colP => k; rewrite mxE /= state0 [X in _ + d k * X]mxE mulr0 addr0 mxE /lti_readout big1 // => n _.
by rewrite mxE mulr0.
Qed.
End MambaBlock.
