import Leadership
import Logging
import NIOCore
import OrchestryModel
import Synchronization

/// What others in the node hear about leadership, in order.
enum LeadershipChange: Sendable {
    case activated(Epoch)
    case deactivated(Epoch, reason: String)
    /// Whom this node follows now (itself included); nil: nobody.
    case leader(NodeID?, Epoch)
}

/// Drives `Election`: owns its clock, timers, messages and lease statements. Everything happens on one event loop, so
/// that outputs leave in the order the machine gave them; `activity` may be asked from any thread.
final class LeadershipService: Sendable {
    private struct Timers {
        var scheduled: Scheduled<Void>?
        var due: Instant?
    }

    private struct State {
        var election: Election
        /// Until when this node could act, as of the last step.
        var activeUntil: Instant?
    }

    private let election: Mutex<State>
    private let timers = Mutex(Timers())
    private let outstandingLeaseRequests = Atomic(0)
    private let lastLeaseRow = Mutex<LeaseRow?>(nil)
    private let eventLoop: any EventLoop
    private let clock: NodeClock
    private let logger: Logger
    private let leaseTimeout: Duration
    private let send: @Sendable (ElectionMessage, NodeID) -> Void
    private let performLease: @Sendable (LeaseRequest, Duration) async -> LeaseOutcome
    private let pool: TaskPool
    private let onChange: @Sendable (LeadershipChange) -> Void

    init(
        election: Election, eventLoop: any EventLoop, clock: NodeClock, leaseTimeout: Duration, pool: TaskPool,
        logger: Logger, send: @escaping @Sendable (ElectionMessage, NodeID) -> Void,
        performLease: @escaping @Sendable (LeaseRequest, Duration) async -> LeaseOutcome,
        onChange: @escaping @Sendable (LeadershipChange) -> Void
    ) {
        self.election = Mutex(State(election: election))
        self.eventLoop = eventLoop
        self.clock = clock
        self.leaseTimeout = leaseTimeout
        self.pool = pool
        self.logger = logger
        self.send = send
        self.performLease = performLease
        self.onChange = onChange
    }

    func start() { submit(.tick) }

    /// Any thread.
    func submit(_ input: Election.Input) {
        if eventLoop.inEventLoop { step(input) } else { eventLoop.execute { self.step(input) } }
    }

    /// Whether this node may act as leader at this very moment: asked immediately before every act (L2).
    func isActive(_ epoch: Epoch) -> Bool {
        // The clock is read inside the lock: waiting for it must not make the time stale.
        election.withLock {
            if case .active(let active, _, _) = $0.election.activity(at: clock.now()) { active == epoch } else { false }
        }
    }

    var activity: Activity {
        election.withLock { $0.election.activity(at: clock.now()) }
    }

    /// The leader this node would forward to, and the highest epoch it has seen.
    var view: (leader: NodeID?, state: ClusterView.State, highestEpoch: Epoch) {
        election.withLock { ($0.election.leader?.node, $0.election.state, $0.election.highestEpoch) }
    }

    /// Whether PostgreSQL still owes an answer, such as to the release of the lease.
    var awaitsPostgres: Bool { outstandingLeaseRequests.load(ordering: .relaxed) > 0 }

    var leaseRow: LeaseRow? { lastLeaseRow.withLock { $0 } }

    func noteLeaseRow(_ row: LeaseRow?) {
        if let row { lastLeaseRow.withLock { $0 = row } }
    }

    private func step(_ input: Election.Input) {
        let now = clock.now()
        let (outputs, due, couldActUntil) = election.withLock { state in
            let outputs = state.election.handle(input, at: now)
            let before = state.activeUntil
            if case .active(_, _, let until) = state.election.activity(at: now) {
                state.activeUntil = until
            } else {
                state.activeUntil = nil
            }
            return (outputs, state.election.nextDeadline, before)
        }
        for output in outputs { perform(output, at: now, couldActUntil: couldActUntil) }
        schedule(due, now: now)
    }

    /// - Parameter couldActUntil: when the grounds it had before this step ended, if it had any.
    private func perform(_ output: Election.Output, at now: Instant, couldActUntil: Instant?) {
        switch output {
        case .send(let message, let node):
            send(message, node)
        case .lease(let request):
            outstandingLeaseRequests.add(1, ordering: .relaxed)
            pool.add { [self] in
                defer { outstandingLeaseRequests.subtract(1, ordering: .relaxed) }
                let outcome = await performLease(request, leaseTimeout)
                if case .refused(let row) = outcome { noteLeaseRow(row) }
                submit(.leaseReply(id: request.id, outcome))
            }
        case .activated(let epoch, let mode):
            logger.info(
                "Leading",
                metadata: ["epoch": "\(epoch)", "mode": "\(mode)", "monotonic.ns": "\(clock.onMachine(now))"])
            onChange(.activated(epoch))
        case .deactivated(let epoch, let reason):
            // Found late after a pause of the process: what counts is when it ended.
            let end = couldActUntil.map { min($0, now) } ?? now
            logger.warning(
                "Not leading any more",
                metadata: ["epoch": "\(epoch)", "reason": "\(reason)", "monotonic.ns": "\(clock.onMachine(end))"])
            onChange(.deactivated(epoch, reason: "\(reason)"))
        case .leaderChanged(let node, let epoch):
            logger.info(
                "Leader changed", metadata: ["leader": "\(node?.rawValue ?? "none")", "epoch": "\(epoch)"])
            onChange(.leader(node, epoch))
        }
    }

    /// One timer at a time; an earlier deadline replaces a later one.
    private func schedule(_ due: Instant, now: Instant) {
        self.timers.withLock { timers in
            if let current = timers.due, current <= due, current > now { return }
            timers.scheduled?.cancel()
            timers.due = due
            let wait = max(0, (due - now).inNanoseconds)
            timers.scheduled = eventLoop.scheduleTask(in: .nanoseconds(wait)) { [self] in
                self.timers.withLock { $0.due = nil }
                step(.tick)
            }
        }
    }

    func stop() {
        timers.withLock {
            $0.scheduled?.cancel()
            $0.scheduled = nil
            $0.due = nil
        }
    }
}
