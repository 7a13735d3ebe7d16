(* sparse_dims.depth_sharing: layers that can be made identities, and what frozen skips exclude. *)
From mathcomp Require Import all_ssreflect all_algebra.
From Ssmproof.sparse_dims Require Import exact_match.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import Order.Theory GRing.Theory Num.Theory.
Local Open Scope ring_scope.

(* Identity layers: behind a ReLU inputs are not negative; u = 1, beta = 0 and zero channels pass them on. *)
Section Identity.
Variables (F : realFieldType) (D : nat).
Definition relu (v : F) : F := if 0 <= v then v else 0.
Definition identity_layer (W : 'M[F]_D) : layer F D := Layer (fun _ s => nseq (size s) 0) W (fun=> 1) (fun=> 0).

Theorem identity_passes W (x : seq 'cV[F]_D) : (forall t d, 0 <= nth 0 x t d 0) -> run_layer relu (identity_layer W) x = x.
Proof.
move=> x0; apply: (@eq_from_nth _ 0) => [|t]; rewrite size_mkseq // => ltx.
rewrite nth_mkseq //; apply/colP => d; rewrite mxE /= big1 => [|k _]; last by rewrite nth_nseq if_same mulr0.
by rewrite add0r mul1r addr0 /relu x0.
Qed.

(* Behind a ReLU layer inputs are not negative, so spare layers behind the first change nothing. *)
Lemma relu_ge0 (l : layer F D) (x : seq 'cV[F]_D) t d : 0 <= nth 0 (run_layer relu l x) t d 0.
Proof.
case: (ltnP t (size x)) => [ltx|le]; last by rewrite nth_default ?size_mkseq // mxE.
by rewrite nth_mkseq // mxE /relu; case: ifP.
Qed.

Theorem spare_layers l W k (x : seq 'cV[F]_D) : run_network relu (l :: nseq k (identity_layer W)) x = run_network relu [:: l] x.
Proof.
rewrite /run_network /=; elim: k => //= k IH; rewrite identity_passes // => t d; exact: relu_ge0.
Qed.
End Identity.

(* Even spreading, linear activations: T_g(z) = W_g diag(f_g(z)) + diag(u_g) with f = sum of r z / (z - a). *)
Section Transfer.
Variables (F : fieldType) (D N : nat).
Record spread := Spread { weight : 'M[F]_D; skip : 'I_D -> F; modes : 'I_D -> 'I_N -> F; residues : 'I_D -> 'I_N -> F }.
Definition response (a r : 'I_N -> F) (z : F) : F := \sum_n r n * z / (z - a n).
Definition transfer (l : spread) (z : F) : 'M[F]_D :=
  weight l *m diag_mx (\row_d response (modes l d) (residues l d) z) + diag_mx (\row_d skip l d).
Definition stack (ls : seq spread) (z : F) : 'M[F]_D := foldr (fun l m => m *m transfer l z) 1%:M ls.

(* At z = 0 every channel vanishes, so a layer is its skip there. *)
Lemma transfer_at_0 l : transfer l 0 = diag_mx (\row_d skip l d).
Proof.
rewrite /transfer (_ : diag_mx (\row_d response _ _ 0) = 0) ?mulmx0 ?add0r //.
apply/matrixP => i j; rewrite !mxE /response big1 ?mul0rn // => n _; by rewrite mulr0 mul0r.
Qed.

(* Frozen skips whose product differs from the target's skip exclude the target, whatever else is tuned. *)
Theorem skips_frozen ls target : stack ls 0 = transfer target 0 -> forall d, \prod_(l <- ls) skip l d = skip target d.
Proof.
move=> eqT d; have prod_diag s : stack s 0 = diag_mx (\row_d \prod_(l <- s) skip l d).
  elim: s => [|l s IH] /=; first by apply/matrixP => i j; rewrite !mxE big_nil.
  rewrite IH transfer_at_0; apply/matrixP => i j; rewrite mul_mx_diag !mxE big_cons.
  by case: eqP => [->|_]; rewrite ?mulr1n ?mulr0n ?mul0r // mulrC.
have := congr1 (fun M : 'M[F]_D => M d d) eqT.
by rewrite prod_diag transfer_at_0 !mxE eqxx.
Qed.
End Transfer.
