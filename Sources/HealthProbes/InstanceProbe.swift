import Glibc
import NIOCore
import NIOPosix
import OrchestryModel
import Synchronization

/// The probing of one instance: at most one probe at a time, all on one event loop.
final class InstanceProbe: Sendable {
    /// Until an instance has been ready once it is looked at this often, so that a new one gets traffic soon…
    private static let readinessPeriod = 0.25
    /// …and one that has just been started more often still for a while, where looking costs next to nothing: clients may
    /// be waiting for it…
    private static let firstPeriod = 0.05
    private static let firstSeconds = 5.0
    /// …but not for ever: what is not ready by then is not about to be.
    private static let readinessSeconds = 60.0
    /// Spreads the probes of instances that were started together.
    private static let jitter = 0.9...1.1

    private struct State {
        var timer: Scheduled<Void>?
        var channel: (any Channel)?
        var command: Task<Void, Never>?
        var successesInRow = 0
        var wasReady = false
        var isProbing = false
    }

    private let instance: InstanceID
    private let check: AppSpec.HealthCheck
    private let address: Result<SocketAddress, ProbeFailure>
    private let request: ProbeRequest
    /// Looks often until the first success.
    private let isUrgent: Bool
    /// Its container has just been started.
    private let isNew: Bool
    private let runCommand: HealthProber.CommandRunner?
    private let onResult: @Sendable (InstanceID, ProbeResult) -> Void
    private let eventLoop: any EventLoop
    private let begun = NIODeadline.now()
    private let state: NIOLoopBoundBox<State>
    private let isStopped = Atomic(false)
    /// Completed when a stop has been asked for and nothing is open any more.
    private let closed: EventLoopPromise<Void>

    init(
        instance: InstanceID, check: AppSpec.HealthCheck, endpoint: Endpoint?, eventLoop: any EventLoop,
        isUrgent: Bool, isNew: Bool, runCommand: HealthProber.CommandRunner?,
        onResult: @escaping @Sendable (InstanceID, ProbeResult) -> Void
    ) {
        self.instance = instance
        self.check = check
        if let endpoint {
            address = Result { try SocketAddress(ipAddress: endpoint.host, port: endpoint.port) }
                .mapError { .unreachable("no address: \(endpoint): \($0)") }
        } else {
            address = .failure(.unreachable("it has no address"))
        }
        self.isUrgent = isUrgent
        self.isNew = isNew
        self.runCommand = runCommand
        request = ProbeRequest(check, endpoint: endpoint)
        self.onResult = onResult
        self.eventLoop = eventLoop
        state = .makeBoxSendingValue(State(), eventLoop: eventLoop)
        closed = eventLoop.makePromise()
    }

    func start() { eventLoop.execute { self.probe() } }

    /// No result is delivered from now on, except one whose delivery has already begun on the event loop.
    /// - Returns: completed when the last connection is closed.
    @discardableResult
    func stop() -> EventLoopFuture<Void> {
        guard !isStopped.exchange(true, ordering: .sequentiallyConsistent) else { return closed.futureResult }
        eventLoop.execute {
            self.state.value.timer?.cancel()
            self.state.value.channel?.close(promise: nil)
            self.state.value.command?.cancel()
            if !self.state.value.isProbing { self.closed.succeed() }
        }
        return closed.futureResult
    }

    private var stopped: Bool { isStopped.load(ordering: .sequentiallyConsistent) }

    private func probe() {
        state.value.timer = nil
        guard !stopped else { return }
        state.value.isProbing = true
        let started = NIODeadline.now()
        let status = eventLoop.makePromise(of: Int.self)
        let ended =
            switch check.kind {
            case .none: succeed(status)
            case .http, .tcp: connect(status)
            case .command: run(status)
            }
        let delivered = status.futureResult.map { self.outcome(status: $0) }
            .flatMapErrorThrowing { .failure(Self.failure($0)) }
            .map { outcome in
                self.deliver(ProbeResult(outcome: outcome, elapsed: .nanoseconds((.now() - started).nanoseconds)))
            }
        // Neither can fail; a connection that is still open would be a second one beside the next probe's.
        delivered.and(ended).whenComplete { _ in self.finish(started) }
    }

    private func outcome(status: Int) -> ProbeResult.Outcome {
        switch check.kind {
        case .http: request.outcome(status: status)
        case .command: status == 0 ? .success : .failure(.exitCode(status))
        case .tcp, .none: .success
        }
    }

    /// - Parameter status: completed with the exit code or a failure.
    /// - Returns: completed when the command is over, or nobody waits for it any more.
    private func run(_ status: EventLoopPromise<Int>) -> EventLoopFuture<Void> {
        guard let runCommand, let command = check.command else {
            status.fail(ProbeFailure.notRun("there is none"))
            return eventLoop.makeSucceededVoidFuture()
        }
        let over = eventLoop.makePromise(of: Void.self)
        let limit = Duration.nanoseconds(Int64(check.timeoutSeconds * 1e9))
        // Ends by itself at the limit; cancelled in `stop`.
        state.value.command = Task {
            do throws(ProbeFailure) {
                status.succeed(try await runCommand(command, limit))
            } catch {
                status.fail(error)
            }
            over.succeed()
        }
        return over.futureResult
    }

    private func succeed(_ status: EventLoopPromise<Int>) -> EventLoopFuture<Void> {
        status.succeed(0)
        return eventLoop.makeSucceededVoidFuture()
    }

    /// - Parameter status: completed with the HTTP status (0 for TCP) or a failure, within the check's timeout.
    /// - Returns: completed when the connection is closed, or could not be made.
    private func connect(_ status: EventLoopPromise<Int>) -> EventLoopFuture<Void> {
        let target: SocketAddress
        switch address {
        case .success(let address): target = address
        case .failure(let failure):
            status.fail(failure)
            return eventLoop.makeSucceededVoidFuture()
        }
        let limit = TimeAmount.nanoseconds(Int64(check.timeoutSeconds * 1e9))
        let isHTTP = check.kind == .http
        let bytes = request.bytes
        let connection = ClientBootstrap(group: eventLoop)
            .connectTimeout(limit)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    // Also before a connection exists, so that a stop or a timeout can end the attempt.
                    self.state.value.channel = channel
                    guard isHTTP else { return }
                    try channel.pipeline.syncOperations.addHandler(ProbeHandler(request: bytes, status: status))
                }
            }
            .connect(to: target)
        let deadline = eventLoop.scheduleTask(in: limit) {
            status.fail(ProbeFailure.timeout(.nanoseconds(limit.nanoseconds)))
            self.state.value.channel?.close(promise: nil)
        }
        connection.whenComplete { result in
            switch result {
            case .success(let channel) where !isHTTP:
                status.succeed(0)
                channel.close(promise: nil)
            case .success: break
            case .failure(let error): status.fail(error)
            }
        }
        return connection.flatMap { $0.closeFuture }.recover { _ in }.map { deadline.cancel() }
    }

    private func deliver(_ result: ProbeResult) {
        state.value.successesInRow = result.isSuccess ? state.value.successesInRow + 1 : 0
        if state.value.successesInRow >= check.successThreshold { state.value.wasReady = true }
        if !stopped { onResult(instance, result) }
    }

    private func finish(_ started: NIODeadline) {
        state.value.channel = nil
        state.value.command = nil
        state.value.isProbing = false
        guard !stopped else { return closed.succeed() }
        let next = started + .nanoseconds(Int64(period * Double.random(in: Self.jitter) * 1e9))
        state.value.timer = eventLoop.scheduleTask(deadline: next) { self.probe() }
    }

    /// Seconds until the next probe.
    private var period: Double {
        let age = (.now() - begun).seconds
        guard isUrgent, !state.value.wasReady, age < Self.readinessSeconds else { return check.periodSeconds }
        // A command is a process in the container.
        let isFirst = isNew && age < Self.firstSeconds && check.kind != .command
        return min(check.periodSeconds, isFirst ? Self.firstPeriod : Self.readinessPeriod)
    }

    /// What an error of the network means.
    static func failure(_ error: any Error) -> ProbeFailure {
        switch error {
        case let error as ProbeFailure: return error
        case let error as IOError where error.errnoCode == ECONNREFUSED: return .refused
        case let error as IOError where error.errnoCode == ECONNRESET || error.errnoCode == EPIPE: return .closed
        case let error as ChannelError:
            if case .connectTimeout(let limit) = error { return .timeout(.nanoseconds(limit.nanoseconds)) }
            return .closed
        default: return .unreachable("\(error)")
        }
    }
}

extension TimeAmount {
    fileprivate var seconds: Double { Double(nanoseconds) / 1e9 }
}
