(* One channel of a diagonal linear SSM with N states: h' = a h + b x (entrywise), y = c . h' + d x. *)
From mathcomp Require Import all_ssreflect all_algebra.
From mathcomp Require Import ring.
From Ssmproof.core Require Import recurrence.
Set Implicit Arguments. Unset Strict Implicit. Unset Printing Implicit Defensive.
Import GRing.Theory.
Local Open Scope ring_scope.

Section Channel.
Variables (F : fieldType) (N : nat) (a b c : 'I_N -> F) (d : F).

Definition lti_state (h : 'rV[F]_N) (x : F) : 'rV[F]_N := \row_n (a n * h 0 n + b n * x).
Definition lti_readout (h : 'rV[F]_N) : F := \sum_n c n * h 0 n.
Definition lti_step (h : 'rV[F]_N) (x : F) : 'rV[F]_N * F :=
  (lti_state h x, lti_readout (lti_state h x) + d * x).

(* k_j = sum_n c_n b_n a_n^j *)
Definition kernel (j : nat) : F := \sum_n c n * b n * a n ^+ j.
(* What an initial state adds to the output at t = 1, 2, ..: sum_n c_n a_n^t h_n. *)
Definition free_response (h : 'rV[F]_N) (t : nat) : F := \sum_n c n * a n ^+ t * h 0 n.

(* Inputs are counted from the last one: `rev s` read as the coefficients of a polynomial. *)
Lemma lti_state_after h s n :
  state_after lti_step h s 0 n = a n ^+ size s * h 0 n + b n * (Poly (rev s)).[a n].
Proof.
elim/last_ind: s => [|s x IH]; first by rewrite /= expr0 mul1r horner0 mulr0 addr0.
rewrite state_after_rcons rev_rcons /= mxE IH horner_cons size_rcons exprS.
by ring.
Qed.

Lemma prefix_state s n : state_after lti_step 0 s 0 n = b n * (Poly (rev s)).[a n].
Proof. by rewrite lti_state_after mxE mulr0 add0r. Qed.

(* The output at t = size s + 1 along s ++ [:: x]. *)
Lemma lti_output h s x :
  (lti_step (state_after lti_step h s) x).2 =
  free_response h (size s).+1 + \sum_(j < (size s).+1) kernel j * nth 0 (x :: rev s) j + d * x.
Proof.
rewrite /= /lti_readout; congr (_ + _).
under eq_bigr => n _ do rewrite -[lti_state _ _]/((lti_step (state_after lti_step h s) x).1) -state_after_rcons
  lti_state_after size_rcons rev_rcons mulrDr.
rewrite big_split /=; congr (_ + _); first by apply: eq_bigr => n _; rewrite mulrA.
under [RHS]eq_bigr => j _ do rewrite mulr_suml.
rewrite exchange_big /=; apply: eq_bigr => n _.
rewrite -[cons_poly _ _]/(Poly (x :: rev s)) mulrA.
rewrite (@horner_coef_wide _ (size s).+1) ?mulr_sumr; last first.
  by rewrite (leq_trans (size_Poly _)) //= size_rev.
by apply: eq_bigr => j _; rewrite coef_Poly mulrA mulrAC.
Qed.

Lemma lti_outputs_nth h s t : (t < size s)%N ->
  nth 0 (outputs lti_step h s) t =
  free_response h t.+1 + \sum_(j < t.+1) kernel j * nth 0 s (t - j) + d * nth 0 s t.
Proof.
move=> lts; rewrite -{1}(cat_take_drop t s) (drop_nth 0 lts) outputs_cat nth_cat size_outputs size_takel ?(ltnW lts) //.
rewrite ltnn subnn /= -[lti_readout _ + _]/((lti_step (state_after lti_step h (take t s)) (nth 0 s t)).2).
rewrite lti_output size_takel ?(ltnW lts) //; congr (_ + _ + _); apply: eq_bigr => -[[|j] ltj] _ /=; first by rewrite subn0.
have lt_jt : (j < t)%N by [].
by rewrite nth_rev size_takel ?(ltnW lts) // nth_take // ltn_subrL (leq_ltn_trans (leq0n j) lt_jt).
Qed.

(* Two states and the same inputs: the outputs differ by the free responses. *)
Lemma outputs_zero h L t : (t < L)%N -> nth 0 (outputs lti_step h (nseq L 0)) t = free_response h t.+1.
Proof.
move=> ltL; rewrite lti_outputs_nth ?size_nseq // nth_nseq if_same mulr0 addr0 big1 ?addr0 // => j _.
by rewrite nth_nseq if_same mulr0.
Qed.
End Channel.
