import Foundation
import Logging
import OrchestryModel
import ProxyConfig
import ProxyControl
import SecretSealing

/// Puts the newest routing table into effect on this node's proxy, minus what the agent knows is not ready and what
/// there is no way to, and acknowledges it once it is effective. Many changes that arrive while one is applied become one.
actor RoutingApplier {
    let node: NodeID
    private let proxy: NginxController?
    private let secretKeys: SecretKeys?
    private let agent: Agent
    private let logger: Logger
    private let unreachable: @Sendable (RoutingTable, Set<InstanceID>) async -> Set<InstanceID>
    private let acknowledge: @Sendable (RoutingTable.Version) -> Void
    private let onApplied: @Sendable (RoutingTable) async -> Void
    let onEvent: @Sendable (EventKind, AppName?, String, JSONValue) -> Void

    private(set) var table = RoutingTable.empty
    private var applied: (version: RoutingTable.Version, excluded: Set<InstanceID>)?
    private var rejection: String?
    /// What was said of the last attempt; nil: it succeeded.
    private var lastFailure: String?
    /// Of the last result.
    var problems: Set<ProxyStructure.Problem> = []
    var certificates: [AppName: CertificateState] = [:]
    /// Certificates whose end was announced: app and fingerprint.
    var warned: Set<String> = []
    private let signals: AsyncStream<Void>
    private let signal: AsyncStream<Void>.Continuation

    init(
        node: NodeID, proxy: NginxController?, agent: Agent, secretKeys: SecretKeys?, logger: Logger,
        unreachable: @escaping @Sendable (RoutingTable, _ besides: Set<InstanceID>) async -> Set<InstanceID>,
        acknowledge: @escaping @Sendable (RoutingTable.Version) -> Void,
        onApplied: @escaping @Sendable (RoutingTable) async -> Void,
        onEvent: @escaping @Sendable (EventKind, AppName?, String, JSONValue) -> Void
    ) {
        self.node = node
        self.proxy = proxy
        self.secretKeys = secretKeys
        self.agent = agent
        self.logger = logger
        self.unreachable = unreachable
        self.acknowledge = acknowledge
        self.onApplied = onApplied
        self.onEvent = onEvent
        (signals, signal) = AsyncStream.makeStream(of: Void.self, bufferingPolicy: .bufferingNewest(1))
    }

    /// A table from the leader. An older one than the newest seen is dropped: tables never go back.
    func receive(_ table: RoutingTable) {
        guard table.version >= self.table.version else { return }
        self.table = table
        signal.yield()
    }

    /// Something local changed: an instance became or stopped being ready.
    nonisolated func localChange() { signal.yield() }

    nonisolated func stop() { signal.finish() }

    /// Runs until cancelled.
    func run() async {
        for await _ in signals {
            await apply()
            if Task.isCancelled { return }
        }
    }

    /// Looks at the ends of certificates each hour, until cancelled.
    func watch() async {
        while !Task.isCancelled {
            do { try await Task.sleep(for: .seconds(3600)) } catch { return }
            watchCertificates(now: Date())
        }
    }

    private func apply() async {
        let table = table
        guard table.version > .zero else { return }
        var excluded = await agent.notReady(of: table.routes.flatMap(\.targets))
        excluded.formUnion(await unreachable(table, excluded))
        if let applied, applied.version == table.version, applied.excluded == excluded {
            acknowledge(table.version)
            return
        }
        do {
            let opened = Self.certificates(of: table, with: secretKeys)
            let result = try await proxy?.apply(table, excluding: excluded, certificates: opened)
            if let result { report(result, now: Date()) }
            rejection = nil
            lastFailure = nil
        } catch  where error.code == .stale {
            // A newer table overtook this one and is in effect.
        } catch {
            // Membership is in effect even when the structure was refused, so that drains still end; the event says why
            // the new app or host is not served.
            let message = "\(error)"
            // Tried again four times a second: what is said does not repeat itself.
            logger.log(
                level: message == lastFailure ? .debug : .error,
                "The proxy did not take the new routing table; what it had goes on serving",
                metadata: ["routing.version": "\(table.version)", "error": "\(message)"])
            lastFailure = message
            guard error.code == .rejected else {
                retryLater()
                return
            }
            if rejection != message {
                onEvent(
                    .proxyRejected, nil, "nginx of \(node) refused the new configuration; the old one goes on serving",
                    ["error": .string(message)])
            }
            rejection = message
        }
        applied = (table.version, excluded)
        await onApplied(table)
        acknowledge(table.version)
    }

    /// The proxy may be restarting: its supervisor brings it back, and this brings the table back to it.
    private func retryLater() {
        let signal = signal
        retry?.cancel()
        retry = Task {
            // Cancelled: replaced by a later retry. It must not signal then: each attempt would cause the next at once.
            do { try await Task.sleep(for: .milliseconds(250)) } catch { return }
            signal.yield()
        }
    }
    private var retry: Task<Void, Never>?
}
