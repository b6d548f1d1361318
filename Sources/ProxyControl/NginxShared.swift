import OrchestryModel
import ProxyConfig
import Synchronization

/// What callers, the engine and the reader of counters share without waiting for one another.
final class NginxShared: Sendable {
    struct Desired: Sendable {
        var table = RoutingTable.empty
        var excluded: Set<InstanceID> = []
        var certificates: [AppName: AppCertificate] = [:]
    }

    private struct State {
        var desired = Desired()
        var ticket: UInt64 = 0
        var layout: ProxyLayout?
        var reloads: UInt64 = 0
    }

    private let state = Mutex(State())
    /// Yields when requests have begun to wait for an app's first instance; one for many.
    let wakes: AsyncStream<Void>
    private let wake: AsyncStream<Void>.Continuation
    private let onEvent: @Sendable (ProxyEvent) -> Void

    init(onEvent: @escaping @Sendable (ProxyEvent) -> Void) {
        self.onEvent = onEvent
        (wakes, wake) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    }

    func requestsWait() { wake.yield() }

    /// Makes this the table to be applied next, unless a newer one already waits.
    /// - Returns: the ticket to ask the engine for.
    func want(_ desired: Desired) throws(ProxyError) -> UInt64 {
        let ticket: UInt64? = state.withLock { state in
            if state.ticket > 0 && desired.table.version < state.desired.table.version { return nil }
            state.desired = desired
            state.ticket += 1
            return state.ticket
        }
        guard let ticket else {
            throw ProxyError(
                .stale, while: "applying routes", "\(desired.table.version) is older than the one being applied")
        }
        return ticket
    }

    func desired() -> (Desired, ticket: UInt64) {
        state.withLock { ($0.desired, $0.ticket) }
    }

    /// nil: not started.
    func publish(_ layout: ProxyLayout?) {
        state.withLock { $0.layout = layout }
    }

    var layout: ProxyLayout? { state.withLock { $0.layout } }

    /// Reloads this process has caused.
    var reloads: UInt64 { state.withLock { $0.reloads } }

    func countReload() { state.withLock { $0.reloads += 1 } }

    func report(_ event: ProxyEvent) { onEvent(event) }
}
