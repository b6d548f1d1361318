import Logging
import OrchestryModel
import ProxyConfig
import ProxyControl
import WireProtocol

/// Tells the leader which apps requests wait for on this node: at once when the proxy says that some do, and each second
/// besides. What was said too early, or to a leader that has just died, is said again.
actor HeldWatch {
    /// Between two readings at least: a crowd of newcomers is counted together.
    private static let pause = Duration.milliseconds(10)

    private let proxy: NginxController?
    private let logger: Logger
    private let deliver: @Sendable (HeldRequests) -> Void
    private let signals: AsyncStream<Void>
    private let signal: AsyncStream<Void>.Continuation
    private var isFailing = false

    /// - Parameter proxy: nil: no requests come through this node.
    init(proxy: NginxController?, logger: Logger, deliver: @escaping @Sendable (HeldRequests) -> Void) {
        self.proxy = proxy
        self.logger = logger
        self.deliver = deliver
        (signals, signal) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    }

    /// Somebody else may have to know.
    nonisolated func lookAgain() { signal.yield() }

    nonisolated func stop() { signal.finish() }

    /// Runs until cancelled.
    func run() async {
        await withDiscardingTaskGroup { group in
            group.addTask { [signal, proxy] in
                guard let proxy else { return }
                for await _ in proxy.wakes { signal.yield() }
            }
            group.addTask { [signal] in
                while !Task.isCancelled {
                    signal.yield()
                    try? await Task.sleep(for: .seconds(1))  // Cancelled: the condition ends the loop.
                }
            }
            for await _ in signals {
                if Task.isCancelled { break }
                await look()
                try? await Task.sleep(for: Self.pause)  // Cancelled: the condition ends the loop.
            }
            group.cancelAll()
        }
    }

    private func look() async {
        guard let proxy else { return deliver(HeldRequests(canHold: true)) }
        switch proxy.mode {
        case .plain: deliver(HeldRequests(canHold: false))
        case nil: break  // It is being started: what it can do is not known.
        case .lua:
            do throws(ProxyError) {
                let waiting = try await proxy.readHeld()
                isFailing = false
                deliver(HeldRequests(canHold: true, waiting: Array(waiting.prefix(WireLimits.heldApps))))
            } catch {
                if !isFailing {
                    logger.warning(
                        "Requests that wait for an idle app can't be counted: no app goes to zero meanwhile",
                        metadata: ["error": "\(error)"])
                }
                isFailing = true
            }
        }
    }
}
