(* prefix_state.depth: prompt <= per-layer prefix <= per-layer initial state, for any stack of stepped blocks. *)
From mathcomp Require Import all_ssreflect all_algebra.
From Ssmproof.core Require Import recurrence.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.

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
End Depth.
