import AccessControl
import Logging
import NodeConfiguration
import OrchestryModel
import PeerTransport
import PostgresStore
import RecordArchive
import RestFacade
import SecretSealing
import WireProtocol

/// How a request from a client reaches the leader, from any node: carried out here if this node leads, else forwarded,
/// else held back until somebody leads. A write keeps its idempotency key through all attempts, so that a leader's
/// death between its commit and its answer changes nothing twice.
struct NodeControlPlane: ControlPlane {
    let node: Node

    func clusterView() async -> ClusterView { await node.clusterView() }

    func noteRefusal(_ record: AuditRecord) { node.access.note(record) }

    func prometheusText() async -> String { await node.prometheusText() }

    func newestEventID() async throws(Problem) -> Int64 {
        try mayStream()
        return try await node.feed.newestEventID()
    }

    func nextStreamPage(
        after cursor: StreamCursor, _ filter: EventFilter, limit: Int, atMost: Duration
    ) async throws(Problem) -> StreamPage? {
        try mayStream()
        return try await node.feed.next(after: cursor, filter, limit: limit, atMost: atMost)
    }

    /// A stream asks again and again in the name of the node that serves it. Where credentials are asked for, controllers
    /// answer no worker that does.
    /// - Throws: `Problem` 503 at such a worker.
    func mayStream() throws(Problem) {
        guard node.isWorker, node.access.isRequired else { return }
        let controllers = node.configuration.controllers.keys.map(\.rawValue).sorted().joined(separator: ", ")
        throw Problem(
            status: 503, code: "no-streams-here", title: "This node serves no streams",
            detail: "\(node.id) is a worker, and with auth.mode: required only controllers serve streams and followed "
                + "logs. Ask one of these: \(controllers).")
    }

    /// Sealed where it arrives: no plain value goes from node to node.
    func seal(_ value: String, name: SecretName) throws(Problem) -> SealedSecret {
        guard let keys = node.configuration.secretKeys else { throw .secretsUnusable(.notConfigured) }
        return keys.seal(value, name: name, version: 0)
    }

    func stage(_ backup: JSONValue) async throws -> String {
        let checksum = try ControlBackup(backup).checksum
        guard let store = node.controller?.store else {
            throw Problem(
                status: 409, code: "no-store", title: "A worker can't take a backup",
                detail: "\(node.id) is a worker, without PostgreSQL. Send the backup to a controller.")
        }
        do {
            try await store.stageRestore(checksum, document: backup)
        } catch {
            node.logger.warning("A backup could not be staged", metadata: ["error": "\(error)"])
            throw Problem.storeUnavailable("The backup could not be put into PostgreSQL, nothing was changed: \(error)")
        }
        return checksum
    }

    func perform(_ request: ControlRequest) async -> ControlResponse {
        // A whole backup need not go from node to node: each reads the same rows.
        if request.operation == .backup, let answer = await node.readWithoutLeader(request) { return answer }
        let leaderWait = node.settings.current.leaderWait
        let started = ContinuousClock.now
        // Reads have another source than the leader and needn't wait as long.
        let patience = request.operation.isWrite ? leaderWait : min(leaderWait, .seconds(1))
        var lastProblem: String?
        while true {
            let seen = node.leaderChanges.count
            switch await attempt(request) {
            case .answer(let response): return response
            case .noLeader: break
            case .failed(let reason): lastProblem = reason
            }
            if Task.isCancelled || ContinuousClock.now - started >= patience { break }
            // Who leads is known a moment before that node is ready, and nothing tells when it is.
            await node.leaderChanges.wait(after: seen, atMost: .milliseconds(5))
        }
        if !request.operation.isWrite, let stored = await node.readWithoutLeader(request) { return stored }
        return ControlResponse(
            .noLeader(
                "No node could take this within \(patience) \(lastProblem.map { "(\($0))" } ?? "(no leader is elected)"). "
                    + "Nothing is known to have changed; repeat the request with the same Idempotency-Key."))
    }

    private enum Attempt {
        case answer(ControlResponse)
        case noLeader
        case failed(String)
    }

    private func attempt(_ request: ControlRequest) async -> Attempt {
        if let term = node.currentTerm {
            if let response = await term.perform(request) { return .answer(response) }
            return .noLeader
        }
        guard let leader = node.leader, leader != node.id else { return .noLeader }
        do {
            return .answer(try await node.forward(request, to: leader))
        } catch {
            return .failed("\(leader): \(error)")
        }
    }
}

extension Problem {
    /// 409: what is asked for is fine, the cluster's configuration is not.
    static func secretsUnusable(_ error: SecretSealingError) -> Problem {
        Problem(
            status: 409, code: "secrets-unusable", title: "Secrets can't be kept here", detail: "No: \(error).")
    }
}
