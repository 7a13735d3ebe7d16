(* prefix_state.minimal_length for a layer: channels with tokens of their own need the largest of their lengths. *)
From mathcomp Require Import all_ssreflect all_algebra complex.
From Ssmproof.core Require Import recurrence lti modes half real_channel.
From Ssmproof.prefix_state Require Import equivalent conjugate_pairs minimal_length full_storage.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

(* A token of the layer gives one number to each of its D channels. *)
Lemma channels_apart (T : Type) (x0 : T) D (S : 'I_D -> Type) (start : forall k, S k) (ok : forall k, S k -> Prop)
    (acts : forall k, seq T -> S k -> Prop) (need : 'I_D -> nat) M :
  (forall k, ok k (start k)) ->
  (forall k, (forall h, ok k h -> exists2 s, size s = M & acts k s h) <-> (need k <= M)%N) ->
  (forall h : forall k, S k, (forall k, ok k (h k)) ->
     exists2 s : seq ('I_D -> T), size s = M & forall k, acts k [seq x k | x <- s] (h k)) <->
  (\max_k need k <= M)%N.
Proof.
move=> ok0 each; split=> [all|/bigmax_leqP le h okh]; last first.
  have reached k : exists2 s, size s = M & acts k s (h k) by exact: (proj2 (each k) (le k isT) (h k) (okh k)).
  have [s sz act] := fin_all_exists2 reached.
  exists [seq (fun k => nth x0 (s k) i) | i <- iota 0 M] => [|k]; first by rewrite size_map size_iota.
  by rewrite -map_comp; have := mkseq_nth x0 (s k); rewrite sz /mkseq => ->.
apply/bigmax_leqP => k _; apply/each => hk okk.
pose h j := if k =P j is ReflectT e then eq_rect k S hk j e else start j.
have [|s sz act] := all h; first by move=> j; rewrite /h; case: (k =P j) => // e; case: j / e.
exists [seq x k | x <- s]; first by rewrite size_map.
by have := act k; rewrite /h; case: (k =P k) => // e; rewrite (eq_axiomK e).
Qed.

(* Channels over any field; no observable residue is 0. *)
Theorem layer_length (F : fieldType) D (N : 'I_D -> nat) (a b c : forall k, 'I_(N k) -> F) (d : 'I_D -> F) L M :
  (forall k, n_obs (a k) (c k) <= L)%N -> (forall k l, l \in obs_modes (a k) (c k) -> residue (a k) (b k) (c k) l != 0) ->
  (forall h : forall k, 'rV[F]_(N k), exists2 s : seq ('I_D -> F), size s = M & forall k,
     same_outputs (a k) (b k) (c k) (d k) L (state_after (lti_step (a k) (b k) (c k) (d k)) 0 [seq x k | x <- s]) (h k)) <->
  (\max_k n_obs (a k) (c k) <= M)%N.
Proof.
move=> leL nz; pose acts k s h :=
  same_outputs (a k) (b k) (c k) (d k) L (state_after (lti_step (a k) (b k) (c k) (d k)) 0 s) h.
have [||to from] := @channels_apart F 0 D (fun k => 'rV[F]_(N k)) (fun=> 0) (fun _ _ => True) acts (fun k => n_obs (a k) (c k)) M => //.
  by move=> k; rewrite -(length_for_all (d k) (leL k) M (nz k)); split=> all h; [exact: all | move=> _; exact: all].
by split=> [all|le h]; [apply: to => h _; exact: all | exact: from].
Qed.

(* Real tokens, both modes of each conjugate pair stored (a channel with half storage enters closed). *)
Theorem real_layer_length (R : rcfType) D (N : 'I_D -> nat) (a b c : forall k, 'I_(N k) -> R[i]) (d : 'I_D -> R[i]) L M :
  (forall k, real_channel (a k) (b k) (c k)) -> (forall k, n_obs (a k) (c k) <= L)%N ->
  (forall k l, l \in obs_modes (a k) (c k) -> residue (a k) (b k) (c k) l != 0) ->
  (forall h : forall k, 'rV[R[i]]_(N k), (forall k, real_state (a k) (c k) (h k)) ->
     exists2 s : seq ('I_D -> R), size s = M & forall k, same_outputs (a k) (b k) (c k) (d k) L
       (state_after (lti_step (a k) (b k) (c k) (d k)) 0 (real_tokens [seq x k | x <- s])) (h k)) <->
  (\max_k n_obs (a k) (c k) <= M)%N.
Proof.
move=> real leL nz; pose acts k s h :=
  same_outputs (a k) (b k) (c k) (d k) L (state_after (lti_step (a k) (b k) (c k) (d k)) 0 (real_tokens s)) h.
pose ok k h := real_state (a k) (c k) h.
apply: (@channels_apart R 0 D _ (fun=> 0) ok acts (fun k => n_obs (a k) (c k))) => k; first by move=> t; rewrite /free_response big1 // => n _; rewrite mxE mulr0.
by rewrite (full_equivalent (d k) (real k) M (leL k)); split=> [[]|leM] //; split=> //; exact: nz.
Qed.

(* Real tokens, one mode of each conjugate pair stored. *)
Theorem half_layer_length (R : rcfType) D (N : 'I_D -> nat) (ar ai br bi cr ci : forall k, 'I_(N k) -> R) (d : 'I_D -> R) L M :
  let a k := both (ar k) (ai k) in let b k := both (br k) (bi k) in let c k := both (cr k) (ci k) in
  let step k := half_step (ar k) (ai k) (br k) (bi k) (cr k) (ci k) (d k) in
  (forall k, n_obs (a k) (c k) <= L)%N -> (forall k l, l \in obs_modes (a k) (c k) -> residue (a k) (b k) (c k) l != 0) ->
  (forall h : forall k, 'rV[R]_(N k) * 'rV[R]_(N k), exists2 s : seq ('I_D -> R), size s = M & forall k,
     half_same (ar k) (ai k) (br k) (bi k) (cr k) (ci k) (d k) L (state_after (step k) (0, 0) [seq x k | x <- s]) (h k)) <->
  (\max_k n_obs (a k) (c k) <= M)%N.
Proof.
move=> a b c step leL nz; pose acts k s h :=
  half_same (ar k) (ai k) (br k) (bi k) (cr k) (ci k) (d k) L (state_after (step k) (0, 0) s) h.
have [||to from] := @channels_apart R 0 D _ (fun=> (0, 0)) (fun _ _ => True) acts (fun k => n_obs (a k) (c k)) M => //.
  move=> k; have eqv := half_equivalent (br k) (bi k) (d k) M (leL k); split=> [all|leM h _].
    by have [_] : (forall l, l \in obs_modes (a k) (c k) -> residue (a k) (b k) (c k) l != 0) /\ (n_obs (a k) (c k) <= M)%N
      by apply/eqv => h; exact: all.
  by apply: (proj2 eqv); split=> //; exact: nz.
by split=> [all|le h]; [apply: to => h _; exact: all | exact: from].
Qed.
