(* sparse_dims.exact_match: what sparse dimension tuning with LoRA on the projections reproduces, layer by layer. *)
From mathcomp Require Import all_ssreflect all_algebra.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

(* An update of rank(W* - W) turns W into W*, and no smaller rank does. *)
Theorem projection_update (F : fieldType) m n (W W' : 'M[F]_(m, n)) :
  (exists (P : 'M[F]_(m, \rank (W' - W))) (Q : 'M[F]_(\rank (W' - W), n)), W + P *m Q = W') /\
  (forall r (P : 'M[F]_(m, r)) (Q : 'M[F]_(r, n)), W + P *m Q = W' -> (\rank (W' - W)%R <= r)%N).
Proof.
split; first by exists (col_base (W' - W)), (row_base (W' - W)); rewrite mulmx_base addrC subrK.
move=> r P Q <-; rewrite [W + _]addrC addrK; exact: leq_trans (mxrankM_maxl _ _) (rank_leq_col _).
Qed.

(* Layers: channels f (functions of a sequence), then phi (W f(x) + u x + beta) token by token. Equal channels and equal
   parameters give equal layers, and stacks of equal layers are equal, for every phi. *)
Section Network.
Variables (F : fieldType) (D : nat) (phi : F -> F).
Record layer := Layer { channel : 'I_D -> seq F -> seq F; proj : 'M[F]_D; direct : 'I_D -> F; bias : 'I_D -> F }.
Definition run_layer (l : layer) (x : seq 'cV[F]_D) : seq 'cV[F]_D :=
  mkseq (fun t => \col_d phi (\sum_k proj l d k * nth 0 (channel l k [seq (z : 'cV[F]_D) k 0 | z <- x]) t +
                               direct l d * nth 0 x t d 0 + bias l d)) (size x).
Definition run_network (ls : seq layer) x := foldl (fun s l => run_layer l s) x ls.

Definition same_layer (l l' : layer) :=
  [/\ forall k s, channel l k s = channel l' k s, proj l = proj l', direct l =1 direct l' & bias l =1 bias l'].

Lemma same_run l l' x : same_layer l l' -> run_layer l x = run_layer l' x.
Proof.
case=> ec ep ed eb; apply: (@eq_from_nth _ 0) => [|t]; rewrite !size_mkseq // => ltx.
rewrite !nth_mkseq //; apply/colP => d; rewrite !mxE ed eb ep; congr (phi (_ + _ + _)).
by apply: eq_bigr => k _; rewrite ec.
Qed.

Fixpoint same_stack (ls ls' : seq layer) : Prop :=
  match ls, ls' with l :: s, l' :: s' => same_layer l l' /\ same_stack s s' | [::], [::] => True | _, _ => False end.

Theorem same_network ls ls' x : same_stack ls ls' -> run_network ls x = run_network ls' x.
Proof. by elim: ls ls' x => [|l ls IH] [|l' ls'] //= x [/same_run e same]; rewrite e; exact: IH. Qed.
End Network.
