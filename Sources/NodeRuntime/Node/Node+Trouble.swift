import OrchestryModel
import PostgresStore
import ProxyControl
import Synchronization

/// What goes wrong with the parts this node stands on, as events.
extension Node {
    /// On the proxy's own queue.
    func proxyChanged(_ change: ProxyEvent) {
        switch change {
        case .masterExited(let pid):
            becomeLost("nginx of \(id) ended by itself; it is started again", ["pid": .int(Int64(pid))])
        case .restartFailed(let reason):
            becomeLost("nginx of \(id) does not start; it is tried again", ["error": .string(reason)])
        case .started, .adopted:
            let isNews = state.withLock { state in
                defer { state.proxyIsLost = false }
                return state.proxyIsLost
            }
            if isNews { record(.proxyRecovered, nil, "nginx of \(id) serves again", [:]) }
        case .fellBackToPlain(let reason):
            record(
                .proxyDegraded, nil,
                "nginx of \(id) runs without its Lua module: each change of endpoints is a reload, and scaling sees CPU and "
                    + "memory only",
                ["error": .string(reason)])
        // The applier says so, with the table's version.
        case .configurationRejected: break
        }
    }

    /// Once for each outage, however often a new start fails.
    private func becomeLost(_ message: String, _ details: JSONValue) {
        let isNews = state.withLock { state in
            defer { state.proxyIsLost = true }
            return !state.proxyIsLost
        }
        if isNews { record(.proxyLost, nil, message, details) }
    }

    /// Says when PostgreSQL has been away for three seconds, and when it is back: one refused connection is no outage. Runs
    /// until cancelled.
    func watchStore(_ store: StateStore) async {
        var missed = 0
        while !Task.isCancelled {
            do { try await Task.sleep(for: .seconds(1)) } catch { return }
            if store.isAvailable {
                if missed >= 3 {
                    record(.storeRecovered, nil, "PostgreSQL answers \(id) again", ["seconds": .int(Int64(missed))])
                }
                missed = 0
                continue
            }
            missed += 1
            if missed == 3 {
                record(
                    .storeLost, nil,
                    "PostgreSQL does not answer \(id): apps go on running, changes wait, events stay in the outbox", [:]
                )
            }
        }
    }
}
