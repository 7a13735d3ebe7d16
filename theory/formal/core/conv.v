(* A causal convolution of width K+1 in front of a system: the state is the pair (window, h). *)
From mathcomp Require Import all_ssreflect all_algebra.
From Ssmproof.core Require Import recurrence.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

(* Conv inputs x of any kind; tap j acts on the input of j steps ago. *)
Section Conv.
Variables (X : zmodType) (K : nat) (S Y : Type) (tap : 'I_K.+1 -> X -> X) (bias : X) (G : S -> X -> S * Y).

(* The window lists the last K conv inputs, the oldest first. *)
Definition conv_out (w : seq X) (x : X) : X := bias + \sum_(j < K.+1) tap j (nth 0 (x :: rev w) j).
Definition conv_step (wh : seq X * S) (x : X) : (seq X * S) * Y :=
  let r := G wh.2 (conv_out wh.1 x) in ((behead (rcons wh.1 x), r.1), r.2).

Lemma window_after (w p : seq X) : size w = K -> foldl (fun v y => behead (rcons v y)) w p = drop (size p) (w ++ p).
Proof.
move=> sw; elim/last_ind: p => [|p x IH]; first by rewrite cats0 drop0.
by rewrite -cats1 foldl_cat /= IH cats1 size_rcons -rcons_cat -drop1 -drop_rcons ?drop_drop ?add1n // size_cat leq_addl.
Qed.

Lemma conv_window w h p : size w = K -> (state_after conv_step (w, h) p).1 = drop (size p) (w ++ p).
Proof. by move=> /window_after <-; elim: p w h => //= x p IH w h; rewrite -IH. Qed.

(* The convolution alone: what the inner system is given. *)
Definition conv_run (w x : seq X) : seq X := outputs (fun v y => (behead (rcons v y), conv_out v y)) w x.

Lemma conv_outputs w h x : outputs conv_step (w, h) x = outputs G h (conv_run w x).
Proof. by elim: x w h => //= x s IH w h; rewrite IH. Qed.

(* Input number t + 1 of the inner system, from the window and the conv inputs. *)
Lemma conv_run_nth w x t : size w = K -> (t < size x)%N ->
  nth 0 (conv_run w x) t = bias + \sum_(j < K.+1) tap j (nth 0 (rev (w ++ take t.+1 x)) j).
Proof.
move=> sw ltx; have st : size (take t x) = t by rewrite size_takel // ltnW.
have -> : nth 0 (conv_run w x) t = conv_out (drop t (w ++ take t x)) (nth 0 x t).
  rewrite /conv_run -{1}(cat_take_drop t x) (drop_nth 0 ltx) outputs_cat nth_cat size_outputs st ltnn subnn /=.
  by rewrite -[in drop _]st -(window_after _ sw).
rewrite (take_nth 0 ltx) -rcons_cat rev_rcons; congr (_ + _); apply: eq_bigr => -[[|j] ltj] _ //=.
by rewrite rev_drop nth_take // size_cat st addnK sw.
Qed.
End Conv.

(* Numbers in front of one channel; columns in front of D channels, channel k with the taps of row k. *)
Definition one_channel (F : fieldType) K (taps : 'I_K.+1 -> F) (j : 'I_K.+1) (x : F) : F := taps j * x.
Definition channels (F : fieldType) D K (taps : 'M[F]_(D, K.+1)) (j : 'I_K.+1) (x : 'cV[F]_D) : 'cV[F]_D :=
  \col_k (taps k j * x k 0).
