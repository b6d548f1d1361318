/*
 * Who may lead: the rules L1 to L8 of ../lease.md as a model for spin. The README beside this file says how to run
 * it, what was seen, and how to read a counterexample.
 *
 * Claim, checked in every reachable state: at most one voter is active (L2). A state is an instant: no time passes in
 * it.
 *
 * Parties: three voters, PostgreSQL, time, and an observer that only looks. They share all variables, and each step
 * of one is a d_step; all interleavings of the steps are explored. Bounded are the epochs, the statements sent under
 * one epoch, and P and TTL in ticks. Not bounded are time, crashes and messages: every timer counts down what is
 * left, so runs of any length fit a finite space.
 *
 * TIME AND DRIFT. A tick is any unit of true time; within one, everything may happen in any order. A voter keeps its
 * promise for P by its own clock, a leader counts it for P(1 - 2 drift) by its own, and L2's inequality says: the
 * longest that the second can last is less than the shortest that the first can. So some length lies between, and the
 * model calls it PROMISE. It lets every promise end at the earliest and every count of it at the latest, both after
 * PROMISE ticks, from the receipt there and from the send here. That stands for all clocks within the bounds, since a
 * promise that ends later, or a count that ends earlier, only ever forbids (see "weaker"). The same goes for LEASE,
 * between what a leader counts and what PostgreSQL keeps, and for L6, whose wait is as long as a promise.
 * MUTANT_NO_MARGIN shows that one tick more is too much. The inequality itself is arithmetic, not checked here.
 *
 * WEAKER. Nothing below becomes possible by somebody not being active, by a count of promises or of a lease being
 * short, or by a highest epoch being high; and what a promise forbids, it forbids as long as it runs. So a state with
 * a shorter count, a higher highest epoch or a longer promise can do no more than one without, and is called weaker.
 * A step that would only lead to a weaker state may be left out. It is left out where a comment says so.
 *
 * OVER-APPROXIMATIONS. Each lets the model do all that nodes can do, and more, so that what holds here holds there.
 * - Votes (L3) are not modelled: anyone may take a lease in quorum mode at any time. Nor is order (L8).
 * - An acquire is carried out at any time for any voter, since PostgreSQL may do so long after it was sent: when the
 *   sender is under promise, has restarted, or leads. Its execution and its answer are steps, its sending is none.
 * - The lease counts from the execution; a real leader counts from the send, which is earlier, so it is weaker.
 * - A leader can be heard at any time, asks for either mode at any time, and gives up at any time.
 * - A crash and the restart are one step: being down is weaker than standing still and crashing later.
 * - A pause is standing still while time passes. No step is ever forced.
 *
 * MESSAGES. Lost: the step that receives it does not happen. Delayed, reordered: it happens later. Repeated: what was
 * sent stays receivable. Of heartbeats, acknowledgements and answers to renewals the model takes only the quickest,
 * of Released too, since all others are weaker:
 * - an older heartbeat gives the same promise and a shorter count; one of a leader of the past only a promise;
 * - a later acknowledgement counts until the same moment, but from later on; one lost, not at all;
 * - the same for the lease in an answer to a renewal (but the mode in it is not such a thing: it travels);
 * - a promise to a leader that has stopped only forbids, and so does knowing a higher epoch.
 *
 * With -DFULL none of this is left out. That has ten times the states, and is there to check this reasoning.
 *
 * NOT COVERED: that there is ever a leader (only that there can be, see REACH); times finer than a tick, so the
 * proportions of P, TTL and delays are those of small whole numbers; one voter and five; loss of committed rows; a
 * statement that waited for a lock and read the clock before (the leader's count started still earlier, so the
 * argument is the same, but the row expires sooner than here); what happens between the check for "active" and the
 * act (L5). The simulator (Sources/SimulationKit) runs the real code with real proportions and drifting clocks, but
 * only samples.
 */

mtype = { quorum, solo }  /* for printing only */

#define VOTERS 3
#define MAJORITY 2

/* Epochs 1 to EPOCHS can be acquired, 2 to 4. Three are the fewest for GREATEST(prior, expires) to matter. */
#ifndef EPOCHS
#define EPOCHS 2
#endif
/* Statements a leader sends under one epoch, 1 to 4. Two are the fewest with one that overtakes. */
#ifndef STATEMENTS
#define STATEMENTS 2
#endif
/* Ticks. */
#ifndef PROMISE
#define PROMISE 1
#endif
#ifndef LEASE
#define LEASE 2
#endif
#if EPOCHS < 2 || EPOCHS > 4 || STATEMENTS < 1 || STATEMENTS > 4 || PROMISE < 1 || PROMISE > 3
#error "the lists of steps at the end are not made for these bounds"
#endif

/* --- The voters. A promise is named by its epoch: an epoch has one leader for ever. --- */

byte highest[VOTERS];       /* L1: the highest epoch seen */
byte promisedTo[VOTERS];    /* L1: the epoch promised to; 0: none */
byte promiseLeft[VOTERS];   /* ticks until that promise ends */
byte amnesia[VOTERS];       /* L6: ticks until it may promise again */

/* --- Leaderships, by epoch (index 0 unused). --- */

#define NEVER   0   /* not acquired */
#define WON     1   /* PostgreSQL gave it; its leader doesn't know yet, and may never */
#define LEADING 2
#define ENDED   3   /* its leader does nothing under it for ever */
byte leader[EPOCHS + 1];
byte phase[EPOCHS + 1];
byte leaseLeft[EPOCHS + 1];  /* L2: ticks the leader counts its lease for */
byte given[EPOCHS + 1];      /* ticks left of what PostgreSQL gave last: what an answer of now would be good for */
byte confirmed[EPOCHS + 1];  /* L4: the statement whose answer confirmed the mode; 0: the acquire */
byte sent[EPOCHS + 1];       /* L4: the last statement's seq */
byte askedSolo[EPOCHS + 1];  /* bit s: statement s asks for solo, else for quorum */
byte executed[EPOCHS + 1];   /* bit s: PostgreSQL carried statement s out; its answer may arrive from then on */

/* count[e].left[v]: ticks that the leader of epoch e counts the promise of voter v for. */
typedef PerVoter { byte left[VOTERS] };
PerVoter count[EPOCHS + 1];
#ifdef FULL
PerVoter underway[EPOCHS + 1];  /* an acknowledgement not yet received: what it would be good for */
#endif

/* --- PostgreSQL's row. leader_id is leader[rowEpoch]; renewed_at and the rest play no part. --- */

byte rowEpoch;
bool rowSolo;
byte rowSeq;
byte rowLeft;    /* ticks until expires_at */
byte rowPrior;   /* ticks until prior_expires_at */

/* --- What some REACH switches need to know of the past; absent otherwise, for it multiplies states. --- */

#ifdef HISTORY
#define VOTES   1
#define EXPIRY  2
#define HANDOVER 3
byte taken[EPOCHS + 1];      /* how the row was had */
bool wentSolo[EPOCHS + 1];   /* its leader has led solo */
byte newest;                 /* the highest epoch under which anyone was active */
#endif

/* --- The rules that carry safety, each with the mutant that drops it: without any of them two are active. --- */

/* L1: no promise while one to another leader runs. */
#ifdef MUTANT_ACK_UNDER_PROMISE
#define mayPromise(v, e) true
#else
#define mayPromise(v, e) (promisedTo[v] == 0 || leader[promisedTo[v]] == leader[e])
#endif

/* L6: the wait after a start. */
#ifdef MUTANT_NO_AMNESIA_WAIT
#define AMNESIA 0
#else
#define AMNESIA PROMISE
#endif

/* L6 forbids to stand, too: an acquire carried out during the wait is from before the crash, and its answer goes to
   nobody. Else a voter could lead solo, having forgotten its promise to a leader that counts all promises and no
   lease. */
#ifdef MUTANT_STAND_IN_AMNESIA
#define mayStand(v) true
#else
#define mayStand(v) (amnesia[v] == 0)
#endif

/* L4, in PostgreSQL: solo only when no earlier holder's lease can run. */
#ifdef MUTANT_NO_PRIOR
#define mayGoSolo true
#else
#define mayGoSolo (rowSolo || rowPrior == 0)
#endif

/* L4, in PostgreSQL: a statement doesn't undo one sent after it. (The mutant too carries each out once.) */
#ifdef MUTANT_NO_SEQ
#define inOrder(e, s) (((executed[e] >> s) & 1) == 0)
#else
#define inOrder(e, s) (rowSeq < s)
#endif
/* What nobody asks for any more is forgotten, to have fewer states; but that mutant asks. */
#ifdef MUTANT_NO_SEQ
#define EXECUTED_BY_ENDED(e) executed[e]
#define EXECUTED_IF_ENDED(s) (1 << s)
#define STILL_ASKED(s) 255
#else
#define EXECUTED_BY_ENDED(e) 0
#define EXECUTED_IF_ENDED(s) 0
#define STILL_ASKED(s) (255 - ((1 << s) - 1))
#endif

#define isExecuted(e, s)   ((executed[e] >> (s)) & 1)
#define isSolo(e, s)       ((askedSolo[e] >> (s)) & 1)
/* A statement sent after s asks for quorum. */
#define quorumAfter(e, s)  ((((~askedSolo[e]) & ((1 << (sent[e] + 1)) - 1)) >> ((s) + 1)) != 0)

/* L4: a solo claim ends when quorum is asked for, not when that is confirmed; a confirmation of solo from before that
   is void. */
#ifdef MUTANT_KEEP_SOLO
#define confirms(e, s) (s > confirmed[e])
#define claimsSolo(e) isSolo(e, confirmed[e])
#else
#define confirms(e, s) (s > confirmed[e] && !(isSolo(e, s) && quorumAfter(e, s)))
#define claimsSolo(e) (isSolo(e, confirmed[e]) && !quorumAfter(e, confirmed[e]))
#endif

/* L2: the lease counts from the send, not from the answer. */
#ifdef MUTANT_FROM_ANSWER
#define LEASE_AT_ANSWER(e) LEASE
#else
#define LEASE_AT_ANSWER(e) given[e]
#endif

/* L2: the margin for drift. */
#ifdef MUTANT_NO_MARGIN
#define COUNTED (PROMISE + 1)
#else
#define COUNTED PROMISE
#endif

/* L2: solo only under no promise to another. */
#ifdef MUTANT_SOLO_WHILE_BOUND
#define bound(v) false
#else
#define bound(v) (promisedTo[v] != 0 && leader[promisedTo[v]] != v)
#endif

/* --- L2 --- */

#define promises(e) ((count[e].left[0] > 0) + (count[e].left[1] > 0) + (count[e].left[2] > 0))
#define byQuorum(e) (leaseLeft[e] > 0 && !isSolo(e, confirmed[e]) && promises(e) >= MAJORITY)
#define bySolo(e)   (leaseLeft[e] > 0 && claimsSolo(e) && !bound(leader[e]))
#define byAll(e)    (promises(e) == VOTERS)
/* "Knows no higher epoch" is part of LEADING: whoever learns of one ends its leadership in the same step. */
#define isActive(e) (phase[e] == LEADING && (byQuorum(e) || bySolo(e) || byAll(e)))

/* --- Parts of steps --- */

inline lower(ticks) { ticks = (ticks > 0 -> ticks - 1 : 0) }

/* Brings what can't matter any more to one value, so that states differing only in it count once. */
inline forget(e) {
    leaseLeft[e] = 0; given[e] = 0; confirmed[e] = 0; executed[e] = EXECUTED_BY_ENDED(e);
    count[e].left[0] = 0; count[e].left[1] = 0; count[e].left[2] = 0;
#ifdef FULL
    underway[e].left[0] = 0; underway[e].left[1] = 0; underway[e].left[2] = 0;
#endif
    if
    :: rowEpoch != e ->
        sent[e] = 0; askedSolo[e] = 0; executed[e] = 0;
#ifndef FULL
        leader[e] = 0
#endif
    :: else -> skip  /* Its statements may still be carried out. */
    fi
}

#ifdef FULL
inline endLeadership(e) { phase[e] = ENDED; forget(e) }
#else
/* Released reaches everyone at once: a promise to a leadership that is over only forbids. */
inline endLeadership(e) {
    phase[e] = ENDED; forget(e);
    releaseFrom(0, e); releaseFrom(1, e); releaseFrom(2, e)
}
inline releaseFrom(v, e) {
    if
    :: promisedTo[v] == e -> promisedTo[v] = 0; promiseLeft[v] = 0
    :: else -> skip
    fi
}
#endif

#define isAlive(e) (phase[e] == WON || phase[e] == LEADING)

/* A highest epoch forbids only what is below it: with no leadership there it is as good as 0. (Not so if heartbeats of
   leaders of the past arrive.) */
#ifdef FULL
inline settle() { skip }
#else
inline settle() {
    other = 1;
    do
    :: other <= EPOCHS && !isAlive(other) -> other++
    :: else -> break
    od;
    if
    :: highest[0] <= other -> highest[0] = 0
    :: else -> skip
    fi;
    if
    :: highest[1] <= other -> highest[1] = 0
    :: else -> skip
    fi;
    if
    :: highest[2] <= other -> highest[2] = 0
    :: else -> skip
    fi;
    other = 0
}
#endif

byte other;  /* Counts within a step; 0 between steps. (Hidden variables would forbid breadth-first search.) */

/* L1, step 1, for any news of epoch e: leaderships of v under lower epochs end; answers that would start one are too
   late. */
inline observe(v, e) {
    highest[v] = e;
    other = 1;
    do
    :: other < e ->
        if
        :: leader[other] == v && (phase[other] == LEADING || phase[other] == WON) -> endLeadership(other)
        :: else -> skip
        fi;
        other++
    :: else -> break
    od;
    other = 0
}

/* --- Steps of a voter --- */

#define isHeard(e, age) (phase[e] == LEADING || (phase[e] == ENDED && age == PROMISE))

/* L1, steps 2, 4 and 5, on a heartbeat of epoch e sent `age` ticks ago; and at the leader its acknowledgement, which
   counts from the send. A leader promises to itself by the same rule. At age PROMISE the acknowledgement counts for
   nothing: it is lost, or its epoch over. Step 3 (after Released) is left out: it means to receive less. */
inline heartbeat(v, e, age) {
    d_step {
        isHeard(e, age) && highest[v] <= e && amnesia[v] == 0 && mayPromise(v, e) ->
        printf("voter %d promises to epoch %d (leader %d); heartbeat is %d ticks old\n", v, e, leader[e], age);
        if
        :: highest[v] < e -> observe(v, e)
        :: else -> skip
        fi;
        promisedTo[v] = e;
        promiseLeft[v] = PROMISE;
        settle();
        if
        :: phase[e] == LEADING ->
#ifdef FULL
            if
            :: v != leader[e] -> if
                :: underway[e].left[v] < COUNTED - age -> underway[e].left[v] = COUNTED - age
                :: else -> skip
                fi
            :: else -> count[e].left[v] = COUNTED
            fi
#else
            if
            :: count[e].left[v] < COUNTED - age -> count[e].left[v] = COUNTED - age
            :: else -> skip
            fi
#endif
        :: else -> skip
        fi
    }
}

#ifdef FULL
/* An acknowledgement of voter `from` arrives. */
inline acknowledged(v, e, from) {
    d_step {
        phase[e] == LEADING && leader[e] == v && count[e].left[from] < underway[e].left[from] ->
        printf("voter %d, epoch %d, hears of the promise of voter %d\n", v, e, from);
        count[e].left[from] = underway[e].left[from]
    }
}
#endif

#ifdef FULL
/* Any other news of an epoch: a heartbeat under promise or in L6, a vote reply, a refusal with the row. Without FULL:
   it only makes a leader give up, which it may do anyway. */
inline learn(v, e) {
    d_step {
        e <= rowEpoch && highest[v] < e ->
        printf("voter %d learns of epoch %d\n", v, e);
        observe(v, e);
        if
        :: phase[e] == WON && leader[e] == v -> endLeadership(e)
        :: else -> skip
        fi;
        settle()
    }
}
#endif

#ifdef FULL
/* L7: Released arrives, at any time after the leadership ended. (Nobody sends it after a crash. But a promise to a
   leader that has stopped protects nothing, however it stopped.) */
inline releasedPromise(v) {
    d_step {
        promisedTo[v] != 0 && phase[promisedTo[v]] == ENDED ->
        printf("voter %d is released from its promise to epoch %d\n", v, promisedTo[v]);
        promisedTo[v] = 0; promiseLeft[v] = 0
    }
}
#endif

/* L3: the answer to acquire. Its lease is what is left of it. */
inline won(v, e) {
    d_step {
        phase[e] == WON && leader[e] == v && highest[v] <= e ->
        printf("voter %d hears that it acquired epoch %d, %d ticks left\n", v, e, given[e]);
        observe(v, e);
        phase[e] = LEADING;
        leaseLeft[e] = LEASE_AT_ANSWER(e);
        settle()
    }
}

/* L4: sends a statement. If it asks for quorum, the solo claim ends here: see claimsSolo. Sent after the row was taken
   it would only be refused and end that claim: weaker, so left out. */
inline send(v, e, wantsSolo) {
    d_step {
        phase[e] == LEADING && leader[e] == v && rowEpoch == e && sent[e] < STATEMENTS ->
        sent[e]++;
        askedSolo[e] = askedSolo[e] | (wantsSolo << sent[e]);
        printf("voter %d, epoch %d, sends statement %d for %e\n", v, e, sent[e], (wantsSolo -> solo : quorum))
    }
}

/* L4: the answer to statement s. The lease in it is taken to be what PostgreSQL gave last, be that by a later
   statement. */
inline answered(v, e, s) {
    d_step {
        phase[e] == LEADING && leader[e] == v && isExecuted(e, s) && (leaseLeft[e] < given[e] || confirms(e, s)) ->
        printf("voter %d, epoch %d, hears that statement %d was carried out, %d ticks left\n", v, e, s, given[e]);
        leaseLeft[e] = LEASE_AT_ANSWER(e);
        if
        :: confirms(e, s) ->
            confirmed[e] = s;
            askedSolo[e] = askedSolo[e] & STILL_ASKED(s)
        :: else -> skip
        fi
    }
}

/* L7: told to leave, or to step down. */
inline giveUp(v, e) {
    d_step {
        phase[e] == LEADING && leader[e] == v ->
        printf("voter %d gives up epoch %d\n", v, e);
        endLeadership(e);
        settle()
    }
}

/* Forgets everything. Statements it sent are still under way, answers to them are lost. */
inline crash(v) {
    d_step {
        printf("voter %d crashes and restarts\n", v);
        observe(v, EPOCHS + 1);
        highest[v] = 0;
        promisedTo[v] = 0; promiseLeft[v] = 0;
        amnesia[v] = AMNESIA;
        settle()
    }
}

/* --- Steps of PostgreSQL: the three statements, each whole --- */

/* Whoever is first is called voter 0: until then all three are alike. GREATEST(epoch, highestEpoch) is the row's own
   epoch while no row is lost, says the assertion; so the row's epoch only rises. */
inline acquire(v) {
    d_step {
        rowEpoch < EPOCHS && (rowLeft == 0 || !rowSolo) && (rowEpoch > 0 || v == 0) ->
        printf("PostgreSQL: voter %d acquires epoch %d, %d ticks of the former lease left\n", v, rowEpoch + 1, rowLeft);
        assert(highest[v] <= rowEpoch);
        if
        :: rowPrior < rowLeft -> rowPrior = rowLeft
        :: else -> skip
        fi;
        rowEpoch++;
#ifdef HISTORY
        taken[rowEpoch] = (rowSeq > STATEMENTS -> HANDOVER : (rowLeft > 0 -> VOTES : (rowEpoch > 1 -> EXPIRY : 0)));
#endif
        if
        :: phase[rowEpoch - 1] == ENDED -> forget(rowEpoch - 1)
        :: else -> skip
        fi;
        leader[rowEpoch] = v;
        phase[rowEpoch] = (mayStand(v) -> WON : ENDED);
        rowSolo = false; rowSeq = 0; rowLeft = LEASE;
        given[rowEpoch] = LEASE
    }
}

/* A statement that would be refused stays under way here, and may succeed later: like one that was slower. */
inline renew(e, s) {
    d_step {
        rowEpoch == e && s <= sent[e] && inOrder(e, s) && (!isSolo(e, s) || mayGoSolo) ->
        printf("PostgreSQL: statement %d of epoch %d is carried out: %e\n", s, e, (isSolo(e, s) -> solo : quorum));
        rowSolo = isSolo(e, s);
        rowSeq = s;
        rowLeft = LEASE;
        if
        :: phase[e] == LEADING ->
            executed[e] = executed[e] | (1 << s);
            given[e] = LEASE;
#ifndef FULL
            leaseLeft[e] = LEASE
#endif
        :: else -> executed[e] = executed[e] | EXECUTED_IF_ENDED(s)
        fi
    }
}

/* L7. It is sent after the leadership ended, so its seq is above all others. (Nobody sends it after a crash. But a
   lease of a leader that has stopped protects nothing, however it stopped.) */
inline release(e) {
    d_step {
        rowEpoch == e && phase[e] == ENDED && rowLeft > 0 && rowSeq <= STATEMENTS ->
        printf("PostgreSQL: epoch %d is released\n", e);
        rowSeq = STATEMENTS + 1;
        rowLeft = 0
    }
}

/* --- Time --- */

inline tick() {
    d_step {
        printf("---- tick\n");
        other = 0;
        do
        :: other < VOTERS ->
            lower(amnesia[other]);
            lower(promiseLeft[other]);
            if
            :: promiseLeft[other] == 0 -> promisedTo[other] = 0
            :: else -> skip
            fi;
            other++
        :: else -> break
        od;
        other = 1;
        do
        :: other <= EPOCHS ->
            lower(leaseLeft[other]);
            lower(given[other]);
            lower(count[other].left[0]); lower(count[other].left[1]); lower(count[other].left[2]);
#ifdef FULL
            lower(underway[other].left[0]); lower(underway[other].left[1]); lower(underway[other].left[2]);
#endif
            other++
        :: else -> break
        od;
        other = 0;
        lower(rowLeft);
        lower(rowPrior)
    }
}

/* --- The parties. A macro lists a step once for each epoch, statement or age. --- */

#if EPOCHS == 2
#define EACH_EPOCH(steps) steps(1) steps(2)
#elif EPOCHS == 3
#define EACH_EPOCH(steps) steps(1) steps(2) steps(3)
#else
#define EACH_EPOCH(steps) steps(1) steps(2) steps(3) steps(4)
#endif

#if STATEMENTS == 1
#define EACH_STATEMENT(step, e) step(e, 1)
#elif STATEMENTS == 2
#define EACH_STATEMENT(step, e) step(e, 1) step(e, 2)
#elif STATEMENTS == 3
#define EACH_STATEMENT(step, e) step(e, 1) step(e, 2) step(e, 3)
#else
#define EACH_STATEMENT(step, e) step(e, 1) step(e, 2) step(e, 3) step(e, 4)
#endif

#ifndef FULL
#define EACH_AGE(step, e) step(e, 0)
#elif PROMISE == 1
#define EACH_AGE(step, e) step(e, 0) step(e, 1)
#elif PROMISE == 2
#define EACH_AGE(step, e) step(e, 0) step(e, 1) step(e, 2)
#else
#define EACH_AGE(step, e) step(e, 0) step(e, 1) step(e, 2) step(e, 3)
#endif

#define me _pid  /* Voters are created first. */

#define RECEIVE(e, age) :: heartbeat(me, e, age)
#define ANSWERED(e, s)  :: answered(me, e, s)
#ifdef FULL
#define ACKNOWLEDGED(e) :: acknowledged(me, e, 0) :: acknowledged(me, e, 1) :: acknowledged(me, e, 2)
#define LEARN(e) :: learn(me, e)
#else
#define LEARN(e)
#define ACKNOWLEDGED(e)
#endif
#define OF_EPOCH(e) EACH_AGE(RECEIVE, e) ACKNOWLEDGED(e) EACH_STATEMENT(ANSWERED, e) \
    LEARN(e) :: won(me, e) :: send(me, e, 0) :: send(me, e, 1) :: giveUp(me, e)

active [VOTERS] proctype Voter() {
    do
    EACH_EPOCH(OF_EPOCH)
#ifdef FULL
    :: releasedPromise(me)
#endif
    :: crash(me)
    od
}

#define RENEW(e, s) :: renew(e, s)
#define CARRY_OUT(e) EACH_STATEMENT(RENEW, e) :: release(e)

active proctype PostgreSQL() {
    do
    :: acquire(0) :: acquire(1) :: acquire(2)
    EACH_EPOCH(CARRY_OUT)
    od
}

active proctype Time() {
    do
    :: tick()
    od
}

/* --- The observer: it can always look, and does so in every state. --- */

#if EPOCHS == 2
#define ANY(property) (property(1) || property(2))
#define ACTIVE (isActive(1) + isActive(2))
#define LEASES ((leaseLeft[1] > 0) + (leaseLeft[2] > 0))
#elif EPOCHS == 3
#define ANY(property) (property(1) || property(2) || property(3))
#define ACTIVE (isActive(1) + isActive(2) + isActive(3))
#define LEASES ((leaseLeft[1] > 0) + (leaseLeft[2] > 0) + (leaseLeft[3] > 0))
#else
#define ANY(property) (property(1) || property(2) || property(3) || property(4))
#define ACTIVE (isActive(1) + isActive(2) + isActive(3) + isActive(4))
#define LEASES ((leaseLeft[1] > 0) + (leaseLeft[2] > 0) + (leaseLeft[3] > 0) + (leaseLeft[4] > 0))
#endif

/* Lines of the proof in lease.md, stronger than the claim. Mutants break them sooner than the claim, so they are a
   switch. */
#ifdef LEMMAS
/* "While A's claim stands the row can only be taken once it has expired." */
#define LEASED_SOLO(e) (phase[e] == LEADING && leaseLeft[e] > 0 && claimsSolo(e))
#define LOOSE_SOLO(e)  (LEASED_SOLO(e) && !(rowEpoch == e && rowSolo && rowLeft >= leaseLeft[e]))
/* "B solo, A on a lease": who counts a lease as solo is the only one who counts a lease. */
#define SHARED_SOLO(e) (LEASED_SOLO(e) && LEASES > 1)
/* "The voter's own promises to both would run at once": a promise is counted only while its voter keeps it, or waits
   after a restart that made it forget. */
#define KEPT(e, v)     (promisedTo[v] != 0 && leader[promisedTo[v]] == leader[e] && promiseLeft[v] >= count[e].left[v])
#define UNKEPT(e, v)   (count[e].left[v] > 0 && !KEPT(e, v) && amnesia[v] < count[e].left[v])
#define UNKEPT_BY_ANY(e) (UNKEPT(e, 0) || UNKEPT(e, 1) || UNKEPT(e, 2))
#endif

/* Places the model must be able to get to, else "nothing bad happens" would mean little. */
#ifdef REACH_QUORUM
#define PLACE(e) (phase[e] == LEADING && byQuorum(e))
#elif defined(REACH_SOLO)
#define PLACE(e) (phase[e] == LEADING && bySolo(e))
#elif defined(REACH_UNANIMOUS)  /* PostgreSQL is away for longer than a lease. */
#define PLACE(e) (phase[e] == LEADING && byAll(e) && leaseLeft[e] == 0)
#elif defined(REACH_TAKEOVER_VOTES)
#define PLACE(e) (isActive(e) && taken[e] == VOTES)
#elif defined(REACH_TAKEOVER_EXPIRY)
#define PLACE(e) (isActive(e) && taken[e] == EXPIRY)
#elif defined(REACH_HANDOVER)
#define PLACE(e) (isActive(e) && taken[e] == HANDOVER)
#elif defined(REACH_SOLO_AFTER_VOTES)  /* The former lease had to run out first. */
#define PLACE(e) (phase[e] == LEADING && bySolo(e) && taken[e] == VOTES)
#elif defined(REACH_BACK_TO_QUORUM)
#define PLACE(e) (phase[e] == LEADING && byQuorum(e) && wentSolo[e])
#elif defined(REACH_OLDER_AGAIN)  /* Not at one instant, but after one another: the reason for L5. */
#define PLACE(e) (isActive(e) && e < newest)
#elif defined(REACH_OVERLAP)  /* Somebody acts while an older leader still holds a lease that counts. */
#define PLACE(e) (isActive(e) && LEASES > 1)
#endif

#define NOTE(e) :: d_step { isActive(e) && newest < e -> newest = e } \
    :: d_step { phase[e] == LEADING && bySolo(e) && !wentSolo[e] -> wentSolo[e] = true }

active proctype Observer() {
    do
    :: d_step { ACTIVE > 1 -> printf("VIOLATION: %d active\n", ACTIVE); assert(false) }
#ifdef LEMMAS
    :: d_step { ANY(LOOSE_SOLO) -> printf("VIOLATION: a solo claim outlives the row\n"); assert(false) }
    :: d_step { ANY(SHARED_SOLO) -> printf("VIOLATION: a lease counts beside a solo claim\n"); assert(false) }
    :: d_step { ANY(UNKEPT_BY_ANY) -> printf("VIOLATION: a promise counts that nobody keeps\n"); assert(false) }
#endif
#ifdef PLACE
    :: d_step { ANY(PLACE) -> printf("REACHED\n"); assert(false) }
#endif
#ifdef HISTORY
    EACH_EPOCH(NOTE)
#endif
    od
}
