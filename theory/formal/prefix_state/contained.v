(* prefix_state.contained: every prefix acts exactly as the state it leaves. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence lti s6 ssd conv.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

(* Any system stepped as (h', y) = F h x: the outputs after a prefix p are the outputs from the state p leaves. *)
Theorem contained (S X Y : Type) (F : S -> X -> S * Y) h p x :
  drop (size p) (outputs F h (p ++ x)) = outputs F (state_after F h p) x.
Proof. by rewrite outputs_cat drop_size_cat ?size_outputs. Qed.

Section Instances.
Variable F : fieldType.

Theorem contained_lti N (a b c : 'I_N -> F) d p x :
  drop (size p) (outputs (lti_step a b c d) 0 (p ++ x)) =
  outputs (lti_step a b c d) (\row_n (b n * (Poly (rev p)).[a n])) x.
Proof.
rewrite contained; congr outputs; apply/rowP => n; by rewrite prefix_state mxE.
Qed.

Theorem contained_s6 D N (dt : 'cV[F]_D -> 'I_D -> F) (E : 'cV[F]_D -> 'M[F]_(D, N)) WB WC skip p x :
  drop (size p) (outputs (s6_step dt E WB WC skip) 0 (p ++ x)) =
  outputs (s6_step dt E WB WC skip)
    (\sum_(i < size p) \matrix_(d, n)
       ((\prod_(z <- drop i.+1 p) E z d n) * (dt (nth 0 p i) d * nth 0 p i d 0 * (WB *m nth 0 p i) n 0))) x.
Proof. by rewrite contained (sel_prefix_state _ _ _ _ _ _ 0). Qed.

Theorem contained_mamba2 R D N (dt decay : 'cV[F]_D -> 'I_R -> F) Wx WB WC skip p x :
  drop (size p) (outputs (ssd_step (N := N) dt decay Wx WB WC skip) 0 (p ++ x)) =
  outputs (ssd_step dt decay Wx WB WC skip)
    (\sum_(i < size p) \matrix_(r, n)
       ((\prod_(u <- drop i.+1 p) decay u r) * (dt (nth 0 p i) r * (Wx *m nth 0 p i) r 0 * (WB *m nth 0 p i) n 0))) x.
Proof. by rewrite contained ssd_prefix_state. Qed.

(* Behind a causal convolution the state is the pair (window, h); the window holds the last K-1 conv inputs, zeros in
   front of them. One channel or a layer of them, any taps, with or without a bias. *)
Theorem contained_conv (X : zmodType) K (S Y : Type) (tap : 'I_K.+1 -> X -> X) bias (G : S -> X -> S * Y) h p x :
  drop (size p) (outputs (conv_step tap bias G) (nseq K 0, h) (p ++ x)) =
  outputs (conv_step tap bias G)
    (drop (size p) (nseq K 0 ++ p), (state_after (conv_step tap bias G) (nseq K 0, h) p).2) x.
Proof.
rewrite contained; congr outputs; rewrite -(conv_window tap bias G h p (size_nseq K 0)).
exact: surjective_pairing.
Qed.

Theorem contained_conv_s6 D N K (taps : 'M[F]_(D, K.+1)) bias (dt : 'cV[F]_D -> 'I_D -> F) (E : 'cV[F]_D -> 'M[F]_(D, N))
    WB WC skip p x :
  let step := conv_step (channels taps) bias (s6_step dt E WB WC skip) in
  drop (size p) (outputs step (nseq K 0, 0) (p ++ x)) =
  outputs step (drop (size p) (nseq K 0 ++ p), (state_after step (nseq K 0, 0) p).2) x.
Proof. exact: contained_conv. Qed.
End Instances.
