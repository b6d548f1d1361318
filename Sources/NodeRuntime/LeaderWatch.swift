import Leadership
import Logging
import NIOCore
import OrchestryModel
import Synchronization

/// Drives a worker's `LeaderTracker`. Everything happens on one event loop, so that changes are told in order.
final class LeaderWatch: Sendable {
    private let tracker = Mutex(LeaderTracker())
    private let timer = Mutex<Scheduled<Void>?>(nil)
    private let eventLoop: any EventLoop
    private let clock: NodeClock
    private let logger: Logger
    private let refuse: @Sendable (NodeID, Epoch) -> Void
    private let onChange: @Sendable (LeadershipChange) -> Void

    init(
        eventLoop: any EventLoop, clock: NodeClock, logger: Logger,
        refuse: @escaping @Sendable (NodeID, Epoch) -> Void,
        onChange: @escaping @Sendable (LeadershipChange) -> Void
    ) {
        self.eventLoop = eventLoop
        self.clock = clock
        self.logger = logger
        self.refuse = refuse
        self.onChange = onChange
    }

    /// Any thread.
    func submit(_ input: LeaderTracker.Input) {
        if eventLoop.inEventLoop { step(input) } else { eventLoop.execute { self.step(input) } }
    }

    var highestEpoch: Epoch { tracker.withLock { $0.highestEpoch } }

    func stop() {
        timer.withLock {
            $0?.cancel()
            $0 = nil
        }
    }

    private func step(_ input: LeaderTracker.Input) {
        let now = clock.now()
        let (outputs, due) = tracker.withLock { ($0.handle(input, at: now), $0.nextDeadline) }
        for output in outputs {
            switch output {
            case .leaderChanged(let node, let epoch):
                logger.info("Leader changed", metadata: ["leader": "\(node?.rawValue ?? "none")", "epoch": "\(epoch)"])
                onChange(.leader(node, epoch))
            case .refuse(let node, let highest):
                logger.warning(
                    "A controller leads under an epoch below the highest obeyed here; it is told so",
                    metadata: ["peer": "\(node)", "highest": "\(highest)"])
                refuse(node, highest)
            }
        }
        timer.withLock { timer in
            timer?.cancel()
            timer = due.map { due in
                eventLoop.scheduleTask(in: .nanoseconds(max(0, (due - now).inNanoseconds))) { self.step(.tick) }
            }
        }
    }
}
